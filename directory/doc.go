// Package directory knows who is who outside: which recipients are registered
// on which platform, and who has consented to receive decisions electronically
// (VwVG Art. 11b and 34); and inside: who may act for another authority for some
// days. It also holds the password file of the accounts and the token file.
//
// All are text files that people edit: every mistake is reported at once with
// its place, and a reload with a mistake changes nothing. Whether a message may
// go to somebody is not decided here, but by policy.
package directory
