package keysources

import (
	"encoding/base64"
	"encoding/hex"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"gatewayd/crypto/keys"
)

// TestWKDHash is the example of the draft.
func TestWKDHash(t *testing.T) {
	for _, local := range []string{"Joe.Doe", "joe.doe"} {
		if got := wkdHash(local); got != "iy9q119eutrkn8s1mk4r39qejnbu3n5q" {
			t.Errorf("%s: %s", local, got)
		}
	}
}

// TestWKD asks by both methods.
func TestWKD(t *testing.T) {
	raw := pgpKey("Joe.Doe@example.org")
	z := zone{"openpgpkey.example.org": {public}, "direct.example": {public}, "openpgpkey.sick.example": {public}, "sick.example": {public}}
	asked := map[string]bool{}
	w := newWeb(t, z, FetchOptions{}, func(w http.ResponseWriter, r *http.Request) {
		asked[r.Host+r.URL.String()] = true
		switch r.Host + r.URL.String() {
		case "openpgpkey.example.org/.well-known/openpgpkey/example.org/hu/iy9q119eutrkn8s1mk4r39qejnbu3n5q?l=Joe.Doe",
			"direct.example/.well-known/openpgpkey/hu/iy9q119eutrkn8s1mk4r39qejnbu3n5q?l=Joe.Doe":
			_, _ = w.Write(raw)
		case "direct.example/.well-known/openpgpkey/hu/" + wkdHash("junk") + "?l=junk":
			_, _ = w.Write([]byte("<html>"))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	for a, want := range map[string]int{"Joe.Doe@example.org": 1, "Joe.Doe@direct.example": 1, "nobody@example.org": 0, "joe@nowhere.example": -1, "junk@direct.example": -1, "a@sick.example": 0} {
		got, err := WKD{w.fetch}.Find(t.Context(), addr(a))
		if (err != nil) != (want < 0) || len(got) != max(want, 0) {
			t.Errorf("%s: %d, %v", a, len(got), err)
		}
		if err != nil && strings.Contains(err.Error(), "@") {
			t.Errorf("%s: %v", a, err)
		}
	}
	if asked["sick.example/.well-known/openpgpkey/hu/"+wkdHash("a")+"?l=a"] {
		t.Error("the direct method is tried although the advanced one answers")
	}
}

func TestHKPS(t *testing.T) {
	bob := pgpKey("bob+x@partner.example")
	w := newWeb(t, zone{"keys.example": {public}}, FetchOptions{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/pks/lookup" || r.URL.Query().Get("op") != "get" || r.URL.Query().Get("search") != "bob+x@partner.example" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write(bob)
	})
	h := HKPS{w.fetch, "https://keys.example/"}
	if got, err := h.Find(t.Context(), addr("bob+x@partner.example")); err != nil || len(got) != 1 {
		t.Errorf("%d, %v", len(got), err)
	}
	if got, err := h.Find(t.Context(), addr("eve@partner.example")); err != nil || len(got) != 0 {
		t.Errorf("%d, %v", len(got), err)
	}
}

// nameServer is a validating resolver with what a test says.
func nameServer(t *testing.T, answer func(q dns.Question, m *dns.Msg)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(r)
		if opt := r.IsEdns0(); opt == nil || !opt.Do() {
			t.Error("asks without DO")
		}
		answer(r.Question[0], m)
		_ = w.WriteMsg(m)
	})}
	go func() { _ = s.ActivateAndServe() }()
	t.Cleanup(func() { _ = s.Shutdown() })
	return l.Addr().String()
}

func record(q dns.Question) dns.RR_Header {
	return dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: 60}
}

// TestDANE: both kinds of records, and nothing that is not validated.
func TestDANE(t *testing.T) {
	issuer := newCA()
	cert, raw := issuer.mail("hugh@example.com"), pgpKey("hugh@example.com")
	pgp, smime := daneName("hugh", "example.com", dns.TypeOPENPGPKEY), daneName("hugh", "example.com", dns.TypeSMIMEA)
	// RFC 7929 section 3 and RFC 8162 section 3 name hugh@example.com.
	if pgp != "c93f1e400f26708f98cb19d936620da35eec8f72e57f9eec01c1afd6._openpgpkey.example.com." || smime != "c93f1e400f26708f98cb19d936620da35eec8f72e57f9eec01c1afd6._smimecert.example.com." {
		t.Errorf("names %s %s", pgp, smime)
	}
	server := nameServer(t, func(q dns.Question, m *dns.Msg) {
		m.AuthenticatedData = !strings.HasSuffix(q.Name, ".unsigned.example.")
		switch {
		case q.Name == pgp, strings.HasSuffix(q.Name, "_openpgpkey.unsigned.example."):
			m.Answer = append(m.Answer, &dns.OPENPGPKEY{Hdr: record(q), PublicKey: base64.StdEncoding.EncodeToString(raw)})
		case q.Name == smime:
			for _, use := range [][3]uint8{{3, 0, 0}, {1, 0, 0}, {2, 0, 0}, {3, 0, 1}, {3, 1, 0}} {
				m.Answer = append(m.Answer, &dns.SMIMEA{Hdr: record(q), Usage: use[0], Selector: use[1], MatchingType: use[2], Certificate: hex.EncodeToString(cert.Raw)})
			}
		case strings.HasSuffix(q.Name, ".sick.example."):
			m.Rcode = dns.RcodeServerFailure
		default:
			m.Rcode = dns.RcodeNameError
		}
	})
	for a, want := range map[string]string{
		"hugh@example.com": "direct openpgp, direct smime, anchored smime", "Hugh@example.com": "direct openpgp, direct smime, anchored smime",
		"nobody@example.com": "", "hugh@unsigned.example": "error", "hugh@sick.example": "error",
	} {
		var got []string
		found, err := DANE{server}.Find(t.Context(), addr(a))
		for _, e := range found {
			p, err := e.Partner()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(e.Trust)+" "+string(p.Technique()))
		}
		if err != nil {
			got = []string{"error"}
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: %v %v, want %s", a, got, err, want)
		}
	}
	if _, err := (DANE{"127.0.0.1:1"}).Find(t.Context(), addr("a@b.example")); err == nil {
		t.Error("no resolver, no error")
	}
	if !slices.Contains(keys.Sources(), DANE{}.Name()) {
		t.Error("not a source")
	}
}
