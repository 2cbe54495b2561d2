// Package mail reads and composes Internet messages (RFC 5322, MIME).
//
// It is for whoever must look into a message or put one line on top of it
// without disturbing the rest: the raw octets are the truth, everything else
// is a view of them. What it did not change it never writes anew, so that
// signatures stay whole. Reading is tolerant, because a gateway must carry
// what others produce; routing needs the header section only and never a full
// MIME parse.
//
// It does not send, sign, decrypt or decide, and it keeps no attachment in
// memory: parts are ranges of the original.
package mail
