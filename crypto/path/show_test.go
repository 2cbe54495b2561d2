package path

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
)

// TestShow: the address in a name can be read, and cannot pass for another
// attribute.
func TestShow(t *testing.T) {
	name := func(values ...any) pkix.Name {
		var rdns pkix.RDNSequence
		for _, v := range values {
			rdns = append(rdns, pkix.RelativeDistinguishedNameSET{{Type: oidEmail(), Value: v}})
		}
		rdns = append(rdns, pkix.RelativeDistinguishedNameSET{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "Bauamt"}})
		der, err := asn1.Marshal(rdns)
		if err != nil {
			t.Fatal(err)
		}
		var back pkix.RDNSequence
		if _, err := asn1.Unmarshal(der, &back); err != nil {
			t.Fatal(err)
		}
		var n pkix.Name
		n.FillFromRDNSequence(&back)
		return n
	}
	for _, c := range []struct {
		values []any
		want   string
	}{
		{nil, "CN=Bauamt"},
		{[]any{"amt@bl.example"}, "CN=Bauamt,emailAddress=amt@bl.example"},
		{[]any{"a@b.example", "c@d.example"}, "CN=Bauamt,emailAddress=c@d.example,emailAddress=a@b.example"},
		{[]any{"x,CN=Kanton \x1b[2J"}, `CN=Bauamt,emailAddress=x\,CN=Kanton \1b[2J`},
		{[]any{42}, "CN=Bauamt,1.2.840.113549.1.9.1=#02012a"},
	} {
		if got := Show(name(c.values...)); got != c.want {
			t.Errorf("%q: %s, want %s", c.values, got, c.want)
		}
	}
	seal := pkix.Name{CommonName: "Amt", ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 97}, Value: "VATCH-123"}}}
	seal.Names = seal.ExtraNames
	if got := Show(seal); got != "organizationIdentifier=VATCH-123,CN=Amt" {
		t.Error(got)
	}
}
