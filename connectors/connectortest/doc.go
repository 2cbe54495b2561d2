// Package connectortest is the conformance suite that every connector passes,
// and the SMTP server behind it: one that says what its script tells it, at any
// step, and keeps every octet it was sent.
//
// It is for tests of connectors and of what uses them; nothing else imports it.
package connectortest
