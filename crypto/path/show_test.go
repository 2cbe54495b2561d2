package path

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"runtime"
	"strings"
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
		{[]any{"\u009b2J\u202egx "}, `CN=Bauamt,emailAddress=\c2\9b2J\e2\80\aegx\ `},
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

// TestShowOthers: a name of other attributes is shown as pkix.Name shows it; but what
// is not printable in any of them cannot be seen either.
func TestShowOthers(t *testing.T) {
	odd := pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 15}, Value: "Private, #1"}
	for _, n := range []pkix.Name{
		{},
		{Names: []pkix.AttributeTypeAndValue{odd, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "a"}}, CommonName: "a"},
		{ExtraNames: []pkix.AttributeTypeAndValue{odd}, Names: []pkix.AttributeTypeAndValue{odd}, CommonName: "#a <b> "},
		{Country: []string{"CH"}, Province: []string{"BL", "Basel+Land"}, Locality: []string{"Liestal"}, StreetAddress: []string{"Rheinstrasse 29"}, PostalCode: []string{"4410"}, Organization: []string{`Bau "Amt"; \`}, OrganizationalUnit: []string{"ä"}, CommonName: " x", SerialNumber: "7"},
	} {
		if got := Show(n); got != n.String() {
			t.Errorf("%s, want %s", got, n)
		}
	}
	if got := Show(pkix.Name{CommonName: "\x1b[2J\u202e", Organization: []string{"\u009bA"}}); got != `CN=\1b[2J\e2\80\ae,O=\c2\9bA` {
		t.Error(got)
	}
}

// TestShowLong: a name as long as a stranger's certificate may hold costs a small
// multiple of its length; it took a second.
func TestShowLong(t *testing.T) {
	var n pkix.Name
	for range 4000 {
		n.Names = append(n.Names, pkix.AttributeTypeAndValue{Type: oidEmail(), Value: "x"})
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got := Show(n)
	runtime.ReadMemStats(&after)
	if strings.Count(got, "emailAddress=x") != 4000 {
		t.Errorf("%.100s", got)
	}
	if used := (after.TotalAlloc - before.TotalAlloc) / uint64(len(got)); used > 200 {
		t.Errorf("%d octets for each of the text", used)
	}
}
