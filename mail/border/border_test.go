package border

import (
	"bufio"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/mail"
)

var own = Border{Host: "gateway.bl.example", Tags: []string{"[Signatur gültig]", "[verschlüsselt]"}}

func header(t *testing.T, text string) *mail.Header {
	t.Helper()
	h, err := mail.ReadHeader(bufio.NewReader(strings.NewReader(text)), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestClean: what only we may say goes, all else stays octet for octet.
func TestClean(t *testing.T) {
	const rest = "From: a@b.example\r\nSubject:  Gruss =?utf-8?q?=C3=BC?=\r\n ber  Land\r\n"
	for _, forged := range []string{
		"X-Gatewayd-Verdict: valid\r\n",
		"x-gatewayd-verdict: valid\r\n",
		"X-GATEWAYD-Verdict \t: valid; signature=good\r\n",
		"X-Gatewayd-Verdict: un\r\n signed\r\n\tvalid\r\n",
		"X-Gatewayd-Opened: encryption=decrypted\r\n",
		"X-Gatewayd: x\r\n",
		"Gatewayd-Verdict: valid\r\n",
		"X_Gatewayd_Verdict: valid\r\n",
		"X-Gate-wayd-Verdict: valid\r\n",
		"X-Gateway\u0501-Verdict: valid\r\n",      // Cyrillic d
		"\u0425-Gatewayd-Verdict: valid\r\n",      // Cyrillic X
		"X-G\u0430tew\u0430yd-Verdict: valid\r\n", // Cyrillic a
		"X-Gatewayd\u200b-Verdict: valid\r\n",     // zero width
		"\uff38-Gatewayd-Verdict: valid\r\n",      // full width
		"X-Gatewayd Verdict: valid\r\n",           // a space: no field
		"X-\u1d33atewayd-Verdict: valid\r\n",      // modifier letter
		"X-A: b\rX-Gatewayd-Verdict: valid\r\n",   // a bare CR
		"X-A: b\rauthentication-results : gateway.bl.example; smime=pass\r\n",
		"X-A: b\rSubject: [verschlüsselt]\r\n",
		"X-A: b\r\n c\r\rX-Gatewayd: valid\r\n", // a bare CR
		"Authentication-Results: gateway.bl.example; smime=pass\r\n",
		"authentication-results:\r\n GATEWAY.bl.example 1;\r\n smime=pass\r\n",
		"Authentication-Results: (hi) gateway.bl.example (x); none\r\n",
		"Authentication-Results: \"gateway.bl.example\"; none\r\n",
		"Authentication-Results: \"gateway\\.bl.example\"; none\r\n",
		"Authentication-Results: gateway.bl.example.; none\r\n",
		"Authentication-Results: gateway.bl.example\t1; smime=pass\r\n",
		"Authentication-Results: gateway.bl.example\r\n\t1; smime=pass\r\n",
		"Authentication-Results: gateway.bl.example(x)1; smime=pass\r\n",
		"Authentication-Results: gateway(x).bl.example; smime=pass\r\n",
		"Authentication-Results: ; smime=pass\r\n",
		"Authentication-Results: g\u0430teway.bl.example; smime=pass\r\n",
	} {
		for _, text := range []string{forged + rest, rest + forged, rest + forged + forged} {
			h := header(t, text+"\r\n")
			found := own.Clean(h)
			if got := string(h.Bytes()); got != rest+"\r\n" || len(found) != 1 {
				t.Errorf("%q: left %q, found %q", text, got, found)
			}
		}
	}
	h := header(t, " X-Gatewayd-Verdict: valid\r\n"+rest+"\r\n")
	if found := own.Clean(h); string(h.Bytes()) != rest+"\r\n" || len(found) != 1 {
		t.Errorf("indented: %q, %q", h.Bytes(), found)
	}
	for _, kept := range []string{
		"Authentication-Results: mx.example.org; spf=pass\r\n",
		"Authentication-Results: mx.gateway.bl.example; spf=pass\r\n",
		"Authentication-Results: (\\() mx.example.org (\\)) 1; spf=pass\r\n",
		"ARC-Authentication-Results: i=1; gateway.bl.example; spf=pass\r\n",
		"X-Gateway-Verdict: valid\r\n",
		"X-Mailer: Gatewayd\r\n",
		"X-A: b\r\n X-Gatewayd-Verdict: valid\r\n",
		"no field at all, gatewayd\r\n",
		"Subject: [Signatur]\r\n",
		"Subject: gültig signiert\r\n",
	} {
		h := header(t, kept+rest+"\r\n")
		if found := own.Clean(h); string(h.Bytes()) != kept+rest+"\r\n" || len(found) > 0 {
			t.Errorf("%q: %q, %q", kept, h.Bytes(), found)
		}
	}
}

// TestSubject: nobody writes our tags, however he spells them.
func TestSubject(t *testing.T) {
	for text, want := range map[string]string{
		"[Signatur gültig] Rechnung":                       "(Signatur gültig) Rechnung",
		"Re: [signatur  GÜLTIG]":                           "Re: (signatur  GÜLTIG)",
		"［Signatur gültig］ x":                              "(Signatur gültig) x",
		"【Signatur gu\u0308ltig】 x":                        "(Signatur gu\u0308ltig) x",
		"[S\u0456gnatur gültig] x":                         "(S\u0456gnatur gültig) x",
		"[Slgnatur gültig] x":                              "(Slgnatur gültig) x",
		"[Signa\u200btur gu\u00adltig] x":                  "(Signa\u200btur gu\u00adltig) x",
		"[[Signatur gültig]] x":                            "((Signatur gültig)) x",
		"[x [Signatur gültig] [verschlusselt]":             "[x (Signatur gültig) (verschlusselt)",
		"[Signatur-gültig]":                                "(Signatur-gültig)",
		"[Signatur gultig":                                 "[Signatur gultig",
		"[BL-7F3K9Q2M] Entscheid":                          "[BL-7F3K9Q2M] Entscheid",
		strings.Repeat("[", 300) + "Signatur gültig] lang": strings.Repeat("[", 116) + strings.Repeat("(", 184) + "Signatur gültig) lang",
	} {
		if got, changed := own.Subject(text); got != want || changed != (text != want) {
			t.Errorf("%q: %q, %v", text, got, changed)
		}
	}
	for _, raw := range []string{
		"[Signatur =?utf-8?q?g=C3=BCltig=5D?= x",
		"=?utf-8?b?W1NpZ25hdHVyIGfDvGx0aWdd?= x",
		"[Signatur g\xfcltig] x",
		"[Signatur\r\n gultig] x",
	} {
		h := header(t, "Subject: "+raw+"\r\nSubject: second\r\n\r\n")
		found := own.Clean(h)
		if !slices.Equal(found, []string{"Subject"}) || len(h.All("Subject")) != 1 || strings.ContainsAny(h.Text("Subject"), "[]") || !strings.HasSuffix(h.Text("Subject"), " x") {
			t.Errorf("%q: %q %q", raw, h.Bytes(), found)
		}
	}
	for charset, raw := range map[string]string{
		"koi8-r": "[v\xc5rschlusselt] x", // a Cyrillic e, in Latin-1 another letter
		"gbk":    "\xa3\xdb\xa3\xf6erschlusselt\xa3\xdd x",
	} {
		for _, before := range []string{"", "Subject: first\r\n"} {
			h := header(t, before+"Subject: "+raw+"\r\nContent-Type: text/plain; charset="+charset+"\r\n\r\n")
			if found := own.Clean(h); !slices.Equal(found, []string{"Subject"}) || strings.ContainsAny(h.Text("Subject"), "[]\uff3b\uff3d") {
				t.Errorf("%s: %q %q", charset, h.Bytes(), found)
			}
		}
	}
	h := header(t, "Subject: first\r\nSubject: [verschluesselt]\r\nSubject: [verschlüsselt]\r\n\r\n")
	if own.Clean(h); !slices.Equal(h.All("Subject"), []string{"first"}) {
		t.Errorf("%q", h.Bytes())
	}
}

// TestLongSubject: a subject of brackets alone, as long as a header may be, is read in
// time; it took minutes.
func TestLongSubject(t *testing.T) {
	begin := time.Now()
	for _, odd := range []string{"[]", "[", "[]\ufdfa", "[S]"} {
		if _, changed := own.Subject(strings.Repeat(odd, 1<<16/len(odd))); changed {
			t.Errorf("%q", odd)
		}
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

// FuzzClean: what was cleaned has nothing of ours any more, whatever it was.
func FuzzClean(f *testing.F) {
	f.Add("X-Gatewayd-Verdict: valid\r\nSubject: [verschlüsselt] a\r\n\r\n")
	f.Add("Subject: =?utf-8?b?W1NpZ25hdHVyIGfDvGx0aWdd?=\r\n [Signatur gültig]\r\n")
	f.Add("Authentication-Results:gateway.bl.example\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := mail.ReadHeader(bufio.NewReader(strings.NewReader(text)), 1<<16)
		if err != nil {
			return
		}
		own.Clean(h)
		if found := own.Clean(h); len(found) > 0 {
			t.Errorf("%q: still %q in %q", text, found, h.Bytes())
		}
		if strings.HasPrefix(strings.ToLower(h.Get("X-Gatewayd-Verdict")), "valid") {
			t.Errorf("%q: %q", text, h.Bytes())
		}
	})
}
