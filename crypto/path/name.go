package path

import (
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf16"

	"golang.org/x/text/unicode/norm"
)

// name is a distinguished name, one word for each relative one, in the form in
// which names are compared (RFC 5280 section 7.1).
type name []string

// attribute is AttributeTypeAndValue of RFC 5280 section 4.1.2.4.
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// relativeSET is a RelativeDistinguishedName; encoding/asn1 knows a SET by the
// end of the type's name.
type relativeSET []attribute

// parseName reads DER. What cannot be read is a name of its own.
func parseName(der []byte) name {
	var list []relativeSET
	if rest, err := asn1.Unmarshal(der, &list); err != nil || len(rest) > 0 {
		return name{"#" + hex.EncodeToString(der)}
	}
	n := make(name, 0, len(list))
	for _, set := range list {
		words := make([]string, 0, len(set))
		for _, a := range set {
			words = append(words, a.Type.String()+"="+comparable(a.Value))
		}
		slices.Sort(words)
		n = append(n, strings.Join(words, "+"))
	}
	return n
}

func (n name) equal(o name) bool { return slices.Equal(n, o) }

// key is the same for equal names only: NUL is escaped inside of them.
func (n name) key() string { return strings.Join(n, "\x00") }

// under reports whether n lies in the subtree of base.
func (n name) under(base name) bool {
	return len(n) >= len(base) && slices.Equal(n[:len(base)], base)
}

// comparable returns a value in one form: without regard to case, to the type
// of string and to further spaces (RFC 4518, as far as names need it).
func comparable(v asn1.RawValue) string {
	text, ok := stringOf(v)
	if !ok {
		return "#" + hex.EncodeToString(v.FullBytes)
	}
	text = strings.Join(strings.Fields(strings.ToLower(norm.NFKC.String(text))), " ")
	if !strings.ContainsAny(text, "\\+\x00#") {
		return text
	}
	return strings.NewReplacer("\\", `\\`, "+", `\+`, "\x00", `\0`, "#", `\#`).Replace(text)
}

// Tags of strings that encoding/asn1 does not name.
const (
	tagVisible   = 26
	tagUniversal = 28
)

// stringOf returns the text of a DirectoryString or IA5String.
func stringOf(v asn1.RawValue) (string, bool) {
	if v.Class != asn1.ClassUniversal || v.IsCompound {
		return "", false
	}
	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, asn1.TagNumericString, tagVisible:
		return string(v.Bytes), true
	case asn1.TagT61String: // in practice Latin-1
		runes := make([]rune, 0, len(v.Bytes))
		for _, b := range v.Bytes {
			runes = append(runes, rune(b))
		}
		return string(runes), true
	case asn1.TagBMPString:
		var units []uint16
		for i := 0; i+1 < len(v.Bytes); i += 2 {
			units = append(units, binary.BigEndian.Uint16(v.Bytes[i:]))
		}
		return string(utf16.Decode(units)), len(v.Bytes)%2 == 0
	case tagUniversal:
		var runes []rune
		for i := 0; i+3 < len(v.Bytes); i += 4 {
			runes = append(runes, rune(binary.BigEndian.Uint32(v.Bytes[i:])))
		}
		return string(runes), len(v.Bytes)%4 == 0
	}
	return "", false
}
