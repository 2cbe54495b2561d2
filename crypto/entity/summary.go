package entity

import (
	"slices"
	"strings"
)

// Word is the verdict about a whole message in one word, for those who read no
// more than that. Only Valid says that the author wrote what is shown.
type Word string

// The words.
const (
	WordValid     Word = "valid"               // signed by the author, over the whole content, by a key that is trusted
	WordUntrusted Word = "valid-but-untrusted" // the signature fits, but whose it is does not count: no anchor, or another than the author
	WordPartial   Word = "partial"             // what is shown is not, or not all, what was signed
	WordWeak      Word = "weak"                // could be forged
	WordExpired   Word = "expired"
	WordRevoked   Word = "revoked"
	WordInvalid   Word = "invalid"   // does not fit, or stands in another message than the one that was signed
	WordUnchecked Word = "unchecked" // there is one, and nobody can check it: no key, or an unknown form
	WordUnsigned  Word = "unsigned"
)

// Words lists them, the best first.
func Words() []Word {
	return []Word{WordValid, WordUntrusted, WordPartial, WordWeak, WordExpired, WordRevoked, WordInvalid, WordUnchecked, WordUnsigned}
}

// word of a verdict.
func (s Signing) word() Word {
	switch s {
	case Good:
		return WordValid
	case WrongSender, Untrusted:
		return WordUntrusted
	case Outside, PartlySeen:
		return WordPartial
	case Weak:
		return WordWeak
	case Expired:
		return WordExpired
	case Revoked:
		return WordRevoked
	case Broken, Redated:
		return WordInvalid
	case UnknownKey, Unchecked:
		return WordUnchecked
	}
	return WordUnsigned
}

// Summary is what one line can say about a message.
type Summary struct {
	Word       Word       `json:"verdict"`
	Signature  Signing    `json:"signature"`
	Encryption Encryption `json:"encryption"`
	FromAuthor bool       `json:"signer_is_from"`      // the signer's key stands for the address in From
	Covers     string     `json:"covers,omitempty"`    // content, part, cipher_text; nothing is signed: ""
	SignedBy   Technique  `json:"signed_by,omitempty"` // technique of the signature that decided
	Signers    []string   `json:"signers,omitempty"`   // addresses for which its key stands
	Key        string     `json:"key,omitempty"`       // fingerprint of it
	Anchor     string     `json:"anchor,omitempty"`    // fingerprint of the trust anchor above it
	Sealed     Technique  `json:"encrypted_by,omitempty"`
	Algorithms []string   `json:"algorithms,omitempty"` // of the encryption
	Hidden     []string   `json:"hidden,omitempty"`     // header fields that the way has not seen
	Differs    []string   `json:"differs,omitempty"`    // header fields that stand differently outside than their author has put them
	Detail     string     `json:"detail,omitempty"`     // why, for a person
}

// Unprotected is the summary of a message without any protection.
func Unprotected() Summary {
	return Summary{Word: WordUnsigned, Signature: NotSigned, Encryption: NotEncrypted}
}

// Unlooked is the summary of a message that is beyond the limits of looking.
func Unlooked() Summary {
	return Summary{Word: WordUnchecked, Signature: Unchecked, Encryption: Unreadable, Detail: "too large to be looked at"}
}

// Summary tells what was found in one line.
func (op *Opened) Summary() Summary {
	s := Summary{Word: op.Signature.word(), Signature: op.Signature, Encryption: op.Encryption, Covers: covers(op.Signature), Detail: op.Detail}
	for _, f := range op.Fields {
		if f.Encrypted {
			s.Hidden = append(s.Hidden, strings.ToLower(f.Name))
		}
		if f.Differs {
			s.Differs = append(s.Differs, strings.ToLower(f.Name))
		}
	}
	for _, l := range op.Layers {
		if l.Encryption != NotEncrypted {
			s.Sealed, s.Algorithms = l.Technique, l.Algorithms
		}
		for _, sig := range l.Signatures {
			if sig.Verdict != op.Signature && op.Signature != Outside {
				continue
			}
			s.SignedBy, s.Key, s.Anchor, s.Signers = l.Technique, sig.KeyID, sig.Anchor, nil
			s.FromAuthor = op.author.trick == "" && op.author.vouchedBy(sig.Addresses)
			if s.Detail == "" {
				s.Detail = sig.Detail
			}
			for _, a := range sig.Addresses {
				s.Signers = append(s.Signers, a.String())
			}
		}
	}
	return s
}

// Line writes the summary as the value of a header field: the word, then
// attributes. Nothing that a sender wrote stands in it but addresses out of
// keys, and those only where they are plain.
func (s Summary) Line() string {
	parts := []string{string(s.Word)}
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+"="+value)
		}
	}
	add("signature", string(s.Signature))
	if s.SignedBy != "" {
		add("by", string(s.SignedBy))
		add("signer-is-from", map[bool]string{true: "yes", false: "no"}[s.FromAuthor])
	}
	add("covers", s.Covers)
	add("encryption", string(s.Encryption))
	add("encrypted-by", string(s.Sealed))
	if len(s.Signers) == 1 && plainWord(s.Signers[0]) {
		add("signer", s.Signers[0])
	}
	add("key", s.Key)
	add("hidden", strings.Join(s.Hidden, ","))
	add("differs", strings.Join(s.Differs, ","))
	return strings.Join(parts, "; ")
}

func plainWord(s string) bool {
	return len(s) <= 254 && !slices.ContainsFunc([]byte(s), func(c byte) bool {
		return c <= ' ' || c > '~' || c == ';' || c == '"' || c == '\\' || c == '(' || c == ')'
	})
}
