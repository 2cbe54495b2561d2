package path

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"strings"
)

// Show writes a distinguished name as RFC 4514 has it, for a person and for
// patterns in the configuration. As pkix.Name writes it, but that an e-mail
// address (PKCS #9, which many issuers put there) is readable and not the
// hexadecimal form of its DER.
func Show(n pkix.Name) string {
	s := n.String()
	for _, a := range n.Names {
		value, ok := a.Value.(string)
		if !ok || !a.Type.Equal(oidEmail()) {
			continue
		}
		der, err := asn1.Marshal(value)
		if err != nil {
			continue
		}
		s = strings.ReplaceAll(s, oidEmail().String()+"=#"+hex.EncodeToString(der), "emailAddress="+escape(value))
	}
	return s
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
