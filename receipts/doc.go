// Package receipts says what evidence means: it recognises what the
// Zustellplattformen send back, verifies its seal, finds the item it is about,
// and computes from all receipts of an item where its case stands.
//
// It is for the gateway, which stores what it finds, and for the operator who
// looks at a file (Inspect). Recognising is shared by all platforms, because a
// message handed to one may be answered by the other.
//
// Three rules carry it (platforms.md § 5.3): only what a seal covers may close
// a case; a receipt moves an outgoing item only if we are its sender; the
// result does not depend on the order in which receipts come. The gateway
// computes and shows; it issues no receipt and decides no law.
package receipts
