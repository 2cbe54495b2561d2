// Package simulator plays the two recognised Zustellplattformen, IncaMail and
// PrivaSphere, on loopback: over real SMTP with TLS, with an injected clock,
// scripted recipients and scripted faults, and with receipts that are really
// signed PDFs.
//
// It is for the demo, for rehearsals and for end-to-end tests: nothing in it
// may stand in the path of real mail. What the platforms publish about
// themselves is copied in kind; every string that they do not publish is
// invented and the mail that carries it is marked with the header "X-Sim: 1".
//
// Locking: Platform.mu guards the state of one platform. What one platform has
// to tell the other is collected in Platform.after and said only when the lock
// is free, so that two peers never wait for each other.
package simulator
