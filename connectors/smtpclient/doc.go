// Package smtpclient speaks SMTP to the systems that take mail over from the
// gateway: verified TLS, one message for one recipient in one transaction, and
// for each failure the word of package connectors: Temporary, Permanent or
// Unclear.
//
// It is for the platform packages beside it. It knows no form of a message: what
// it is given leaves octet for octet. It repeats nothing by itself that a peer
// may have taken.
package smtpclient
