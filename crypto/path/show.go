package path

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"strings"
)

// Show writes a distinguished name as RFC 4514 has it, for a person and for
// patterns in the configuration. As pkix.Name writes it, but that what issuers
// of personal certificates and seals put there beside is readable, and not the
// hexadecimal form of its DER.
func Show(n pkix.Name) string {
	s := n.String()
	for _, a := range n.Names {
		value, isText := a.Value.(string)
		word := wordFor(a.Type.String())
		der, err := asn1.Marshal(a.Value)
		if isText && word != "" && err == nil {
			s = strings.ReplaceAll(s, a.Type.String()+"=#"+hex.EncodeToString(der), word+"="+escape(value))
		}
	}
	return s
}

// wordFor names attributes of a name that pkix.Name does not: PKCS #9, X.520.
func wordFor(oid string) string {
	switch oid {
	case "1.2.840.113549.1.9.1":
		return "emailAddress"
	case "2.5.4.4":
		return "SN"
	case "2.5.4.12":
		return "title"
	case "2.5.4.42":
		return "GN"
	case "2.5.4.65":
		return "pseudonym"
	case "2.5.4.97":
		return "organizationIdentifier"
	}
	return ""
}

// escape is RFC 4514 section 2.4. What is not printable stands as hexadecimal
// pairs: a name must not paint on a terminal.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c < ' ' || c == 0x7f:
			b.WriteString(`\` + hex.EncodeToString([]byte{c}))
			continue
		case strings.IndexByte(`,+"\<>;`, c) >= 0, c == ' ' && (i == 0 || i == len(s)-1), c == '#' && i == 0:
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}
