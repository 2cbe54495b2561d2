package message

import "fmt"

// Class says what kind of mail this is; it decides how the mail may travel
// (docs/architecture.md, table of classes).
type Class string

// The classes, from the least to the most strict, except Bulk, which stands
// beside the others.
const (
	Normal       Class = "normal"       // ordinary mail
	Confidential Class = "confidential" // Vertraulich: leaves encrypted or not at all (Benutzungsreglement BL § 11)
	Personal     Class = "personal"     // IncaMail <p>
	Private      Class = "private"      // Privat: no official signature, no footer (Benutzungsreglement BL § 12)
	Registered   Class = "registered"   // Einschreiben: the legal decision; only over a recognised Zustellplattform
	Bulk         Class = "bulk"         // Massenversand: held for approval (Benutzungsreglement BL § 13)
)

// Classes lists every class in the order of the documentation.
func Classes() []Class {
	return []Class{Normal, Confidential, Personal, Private, Registered, Bulk}
}

// ParseClass returns the class of that name.
func ParseClass(s string) (Class, error) {
	for _, c := range Classes() {
		if string(c) == s {
			return c, nil
		}
	}
	return "", fmt.Errorf("unknown class %q: use one of %v", s, Classes())
}

// MustEncrypt reports whether mail of this class may leave only with its
// content protected (TLS alone is not enough).
func (c Class) MustEncrypt() bool {
	return c == Confidential || c == Personal || c == Registered
}
