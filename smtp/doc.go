// Package smtp is the door for mail: submission for the authorities' mail
// systems and programs (RFC 6409), and the inbound port for platforms and the
// world (RFC 5321).
//
// It speaks the protocol on go-smtp, as released, and adds what an exposed
// server needs around it: a fast and strict reader for bodies, limits,
// deadlines, one rule for replies, and a shutdown that loses nothing. It decides
// nothing about a message: recipients and bodies go to an Intake, passwords to an
// Authenticator.
//
// Each connection has three layers: wire keeps the time, TLS the secrets, and
// conn stands between them and go-smtp (docs/smtp.md). What go-smtp does
// differently from the standard is pinned by tests (pins_test.go).
//
// REQUIRETLS (RFC 8689) is not offered: a server may take such mail only when
// every way out of it keeps the promise. The parameter is answered 504.
package smtp
