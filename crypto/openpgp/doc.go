// Package openpgp protects a whole message by OpenPGP in its MIME form (RFC
// 3156) and opens what comes in. The cryptography is ProtonMail's go-crypto
// (RFC 9580 and 4880); the MIME forms and the verdicts come from crypto/entity.
//
// Written are multipart/signed, and multipart/encrypted with signature and
// encryption in one object, always with integrity protection. Read are those,
// nested as well, and inline blocks in short plain text. A message without
// integrity protection is never decrypted, and no octet is given out before
// the protection was checked to the end.
//
// It has no trust of its own: every key that it is given is trusted.
package openpgp
