// Package connectors is the contract between the gateway and the systems that
// take mail over from it, and the form in which a platform wants a message, with
// its fail-closed check.
//
// It is for the packages below it (smtpclient, which speaks SMTP; incamail,
// privasphere, smtprelay) and for the gateway, which knows a platform only as a
// Connector. It decides nothing: class, route and recipient come with the
// Handover. It recognises nothing that comes back: that is the work of package
// receipts.
package connectors
