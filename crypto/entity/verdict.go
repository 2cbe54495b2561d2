package entity

import (
	"errors"
	"slices"
	"time"

	"gatewayd/message"
)

// Technique is how a layer was made.
type Technique string

// The techniques.
const (
	SMIME   Technique = "smime"
	OpenPGP Technique = "openpgp"
)

// Encryption is the verdict about an encrypted layer, or about the encryption
// of a whole message. It must not be told to the sender, nor change what he can
// see: the difference between Malleable and Damaged, asked often enough, is a
// padding oracle.
type Encryption string

// Verdicts about encryption.
const (
	NotEncrypted Encryption = "none"
	Decrypted    Encryption = "decrypted"    // opened, and a check of its own or a signature inside proves that nobody changed it
	Malleable    Encryption = "malleable"    // opened, but nothing proves that the content was not changed on the way (CBC without signature)
	WeakCipher   Encryption = "weak"         // opened, but by a cipher or key that can be broken: others may have read it
	NotForUs     Encryption = "not_for_us"   // none of our keys opens it
	Damaged      Encryption = "damaged"      // a key of ours fits, the content does not: changed or cut
	NoIntegrity  Encryption = "no_integrity" // a form without any protection against change; never opened
	Unreadable   Encryption = "unreadable"   // an algorithm or form that we do not know, or broken syntax
	PartlyHidden Encryption = "partial"      // something inside of the message is encrypted, not its root; not opened
)

// Signing is the verdict about a signature, or about the signature of a whole
// message. Only Good is good.
type Signing string

// Verdicts about signatures.
const (
	NotSigned   Signing = "none"
	Good        Signing = "good"         // fits, by a key that we trust, for the sender's address, over the whole content
	Redated     Signing = "redated"      // as good, but the message is dated long after it was signed: perhaps copied into a new one
	WrongSender Signing = "wrong_sender" // as good, but the key belongs to another address than the sender's, or who that is stays unclear
	Untrusted   Signing = "untrusted"    // fits, but no trust anchor of ours stands above the key
	UnknownKey  Signing = "unknown_key"  // cannot be checked: we do not have the key
	Expired     Signing = "expired"      // fits, but key, certificate or signature had expired or were not yet valid
	Unchecked   Signing = "unchecked"    // cannot be checked: an algorithm or form that we do not know
	Weak        Signing = "weak"         // made with an algorithm or key that can be forged
	Revoked     Signing = "revoked"      // by a key that its owner has revoked
	Broken      Signing = "broken"       // does not fit: changed on the way, or forged
	Outside     Signing = "outside"      // signs the encrypted form only: says nothing about who wrote the content
	PartlySeen  Signing = "partial"      // only a part of the message is signed, not its root; not checked
)

// severity orders verdicts from the best to the worst.
func severity(s Signing) int {
	return slices.Index([]Signing{Good, Redated, WrongSender, Untrusted, UnknownKey, PartlySeen, Expired, Unchecked, Weak, Revoked, Broken}, s)
}

// proves reports whether a signature with that verdict shows that the content
// is what its signer signed, whoever that is.
func proves(s Signing) bool {
	return slices.Contains([]Signing{Good, Redated, WrongSender, Untrusted, Expired}, s)
}

// Signature is one signature of a layer.
type Signature struct {
	Verdict   Signing
	Detail    string            // why, for a person; without address or content
	Signer    string            // subject of the certificate, or user ID of the key; "" if unknown. Personal data: not for logs
	Addresses []message.Address // the addresses for which the key stands
	Algorithm string            // for a person: "ECDSA P-256, SHA-256"; "" if unknown
	KeyID     string            // fingerprint in hexadecimal: SHA-256 of the certificate, or of the OpenPGP key
	Time      time.Time         // of signing as the signer claims; zero: not said
	Announced []byte            // S/MIME capabilities of the signer's program, for smime.MethodFor; nil: not said
	// Certificates came with an S/MIME signature, DER: the signer's first.
	Certificates [][]byte
	Preferred    []byte // of these the one by which he wants to be answered, DER; nil: not said
	Anchor       string // fingerprint of the trust anchor above a certificate, or of itself where it is trusted alone; "" if none
	LineEnds     bool   // fits only after bare line feeds were read as CRLF (RFC 8551 section 3.1.1)
}

// Layer is one layer of protection, as it was taken off.
type Layer struct {
	Technique  Technique
	Encryption Encryption  // NotEncrypted for a layer that only signs
	Signatures []Signature // empty for a layer that only encrypts
	Clear      bool        // the signed content stands readable beside its signature (multipart/signed)
	Compressed bool        // a layer that only packs
	Algorithms []string    // of encryption, for a person: content, then its key
	Key        string      // fingerprint of our key that opened it; "" if none
	Detail     string      // why it could not be opened, for a person
	Inner      *Range      // what was inside; nil: not to be had. Only between Opener and Open
}

// signing returns the verdict about the layer's signatures: several signers
// stand for the same content, so the best counts. But one that does not fit the
// content that another has signed was put there to be seen: the layer is broken.
func (l Layer) signing() Signing {
	best := NotSigned
	for _, s := range l.Signatures {
		if s.Verdict == Broken {
			return Broken
		}
		if best == NotSigned || severity(s.Verdict) < severity(best) {
			best = s.Verdict
		}
	}
	return best
}

// Reasons why a certificate or key cannot be used.
var (
	ErrNotYetValid  = errors.New("not yet valid")
	ErrExpired      = errors.New("expired")
	ErrRevoked      = errors.New("revoked by its owner")
	ErrWrongAddress = errors.New("does not stand for this address")
	ErrWrongUse     = errors.New("not made for this use")
	ErrWeakKey      = errors.New("too weak, or of an unknown kind")
)
