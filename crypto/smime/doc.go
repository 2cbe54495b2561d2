// Package smime protects a whole message by S/MIME (RFC 8551) and opens what
// comes in: sign, then encrypt, on top of crypto/cms; the MIME forms around it
// and the verdicts come from crypto/entity.
//
// Written are multipart/signed with a detached signature (SHA-256) and
// enveloped-data with AES-256-CBC, for RSA and EC certificates. Read are those
// and opaque signed-data, in any nesting. Authenticated-enveloped-data,
// compressed-data and Triple-DES are not read: the verdict says so.
//
// It has no keys, no trust and no clock of its own, and keeps no message in
// memory.
package smime
