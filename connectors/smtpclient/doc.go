// Package smtpclient speaks SMTP to the systems that take mail over from the
// gateway: verified TLS, one message for one recipient in one transaction, and
// for each failure the word of package connectors: Temporary, Permanent or
// Unclear. Unclear is exactly what it says there: the octet that ends the message
// may have left, and no reply came.
//
// It is for the platform packages beside it. It knows no form of a message: what
// it is given leaves octet for octet. It repeats nothing by itself that a peer
// may have taken.
//
// Connections serve several messages (Pool). Two messages share one only where
// destination, name, rules and credentials are the same (key). What the peer
// offers is used: PIPELINING (RFC 2920), CHUNKING for long messages (RFC 3030),
// LIMITS (RFC 9422), SIZE, 8BITMIME, SMTPUTF8 and DSN.
//
// A short message is read once and kept; a longer one is read twice, to look and
// to send, and is never in memory whole.
package smtpclient
