// Package smime protects a whole message by S/MIME (RFC 8551) and opens what
// comes in: sign, then encrypt, on top of crypto/cms; the MIME forms around it
// and the verdicts come from crypto/entity.
//
// Written are multipart/signed with a detached signature (SHA-256), and
// enveloped-data (AES-256-CBC) or authEnveloped-data (AES-256-GCM) for RSA, EC
// and X25519 certificates. Read are those, opaque signed-data and
// compressed-data, in any nesting; Triple-DES is read and called weak.
//
// It has no keys, no trust and no clock of its own, and keeps no message in
// memory.
package smime
