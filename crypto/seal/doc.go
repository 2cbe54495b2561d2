// Package seal protects data at rest: the keyring (a random key per family and
// day, wrapped by the master key), sealed records, and message bodies sealed in
// chunks while they stream by.
//
// It is for the packages that store something: vault, queue, audit. They get an
// AEAD for a day and never see a day key. Destroying a day's key makes everything
// sealed under it unreadable, wherever a copy survives; that is how the windows
// of Vo E-GovG BL § 11 are enforced.
//
// It knows nothing of messages, windows or clocks, and it is no general
// cryptography: S/MIME and OpenPGP live beside it.
//
// Everything is AES-256-GCM. Records carry a random nonce: one day key must not
// seal more than 2^32 records (NIST SP 800-38D section 8.3), which no gateway
// reaches in a day. Bodies use the STREAM construction (Hoang, Reyhanitabar,
// Rogaway, Vizár 2015) under a key that seals this one body only.
package seal
