package path

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
)

// Show writes a distinguished name as RFC 4514 has it, for a person and for
// patterns in the configuration. As pkix.Name writes it, but that what issuers
// of personal certificates and seals put there beside is readable, and not the
// hexadecimal form of its DER; that it cannot paint on a terminal; and that its
// time grows with the length of the name only, which a stranger chooses.
func Show(n pkix.Name) string {
	names := n.ToRDNSequence()
	if n.ExtraNames == nil {
		names = append(others(n.Names), names...)
	}
	var b strings.Builder
	for i := len(names) - 1; i >= 0; i-- {
		for j, a := range names[i] {
			switch {
			case j > 0:
				b.WriteByte('+')
			case b.Len() > 0:
				b.WriteByte(',')
			}
			writeAttribute(&b, a)
		}
	}
	return b.String()
}

// others are the attributes that have no field of their own in pkix.Name, each as
// a relative name.
func others(list []pkix.AttributeTypeAndValue) (names pkix.RDNSequence) {
	for _, a := range list {
		if _, own := wordFor(a.Type.String()); !own {
			names = append(names, pkix.RelativeDistinguishedNameSET{a})
		}
	}
	return names
}

func writeAttribute(b *strings.Builder, a pkix.AttributeTypeAndValue) {
	id := a.Type.String()
	word, own := wordFor(id)
	value, isText := a.Value.(string)
	if word == "" || !isText && !own {
		if der, err := asn1.Marshal(a.Value); err == nil {
			b.WriteString(id + "=#" + hex.EncodeToString(der))
			return
		}
	}
	if word == "" {
		word = id
	}
	if !isText {
		value = fmt.Sprint(a.Value)
	}
	b.WriteString(word + "=")
	escape(b, value)
}

// wordFor names attributes of a name: RFC 4514 section 3, and what it leaves out of
// PKCS #9 and X.520. own: pkix.Name has a field for it.
func wordFor(oid string) (word string, own bool) {
	switch oid {
	case "2.5.4.3":
		return "CN", true
	case "2.5.4.5":
		return "SERIALNUMBER", true
	case "2.5.4.6":
		return "C", true
	case "2.5.4.7":
		return "L", true
	case "2.5.4.8":
		return "ST", true
	case "2.5.4.9":
		return "STREET", true
	case "2.5.4.10":
		return "O", true
	case "2.5.4.11":
		return "OU", true
	case "2.5.4.17":
		return "POSTALCODE", true
	case "1.2.840.113549.1.9.1":
		return "emailAddress", false
	case "2.5.4.4":
		return "SN", false
	case "2.5.4.12":
		return "title", false
	case "2.5.4.42":
		return "GN", false
	case "2.5.4.65":
		return "pseudonym", false
	case "2.5.4.97":
		return "organizationIdentifier", false
	}
	return "", false
}

// escape is RFC 4514 section 2.4. What is not printable stands as hexadecimal
// pairs: a name must not paint on a terminal.
func escape(b *strings.Builder, s string) {
	for i, c := range s {
		text := string(c)
		switch {
		case c == unicode.ReplacementChar, unicode.IsControl(c), unicode.In(c, unicode.Cf, unicode.Zl, unicode.Zp):
			for _, octet := range []byte(text) {
				b.WriteString(`\` + hex.EncodeToString([]byte{octet}))
			}
			continue
		case strings.ContainsRune(`,+"\<>;`, c), c == ' ' && (i == 0 || i == len(s)-1), c == '#' && i == 0:
			b.WriteByte('\\')
		}
		b.WriteString(text)
	}
}
