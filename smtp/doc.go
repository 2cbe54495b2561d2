// Package smtp is the door for mail: submission for the authorities' mail
// systems and programs (RFC 6409), and the inbound port for platforms and the
// world (RFC 5321).
//
// It speaks the protocol on go-smtp, as released, and adds what an exposed
// server needs around it: a strict reader for bodies, limits, deadlines, one
// rule for replies, and a shutdown that loses nothing. It decides nothing about
// a message: recipients and bodies go to an Intake, passwords to an
// Authenticator. What go-smtp does differently from the standard and cannot be
// reached from here is pinned by tests (pins_test.go).
//
// REQUIRETLS (RFC 8689) is not offered: a server may take such mail only when
// every way out of it keeps the promise. The parameter is answered 504.
package smtp
