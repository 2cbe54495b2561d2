package simulator

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatewayd/message"
)

func letter(class message.Class) CitizenMail {
	return CitizenMail{
		From: citizen, To: authority, Class: class, Subject: "Einsprache gegen das Baugesuch Müller", Text: "Guten Tag\r\n",
		Attachment: []byte("%PDF-1.4"), FileName: "Einsprache.pdf",
	}
}

func TestInboundPlain(t *testing.T) {
	w := newWorld(t)
	for _, p := range []*Platform{w.inca, w.psph} {
		if _, err := p.Inbound(letter("")); err != nil {
			t.Fatal(err)
		}
	}
	w.flush()
	got := w.sink.all()
	if len(got) != 2 {
		t.Fatalf("%d mails, want 2", len(got))
	}
	for _, d := range got {
		m := parse(t, d.raw)
		if d.from != citizen || m.header.Get("From") != "<"+citizen+">" || m.subject() != "Einsprache gegen das Baugesuch Müller" {
			t.Errorf("from %q, header %v", d.from, m.header)
		}
		if m.text != "Guten Tag\r\n" || string(m.files["Einsprache.pdf"]) != "%PDF-1.4" || m.header.Get("X-Sim") != "1" {
			t.Errorf("content changed:\n%s", d.raw)
		}
	}
}

// TestInboundRewritten: IncaMail's form, opened again by openssl.
func TestInboundRewritten(t *testing.T) {
	w := newWorld(t)
	w.profile(w.inca, authority, "native")
	if _, err := w.inca.Inbound(letter(message.Confidential)); err != nil {
		t.Fatal(err)
	}
	w.flush()
	d := w.sink.all()[0]
	m := parse(t, d.raw)
	for name, want := range map[string]string{
		"From":     `"` + citizen + ` mittels IncaMail" <swisspost@im.post.ch>`,
		"Reply-To": "<" + citizen + ">",
	} {
		if got := m.header.Get(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if got := m.subject(); got != "Einsprache gegen das Baugesuch Müller (Secured by IncaMail)" {
		t.Errorf("subject %q", got)
	}
	if !strings.HasPrefix(d.from, "swisspost+") || !strings.HasSuffix(m.header.Get("Message-ID"), "@im.post.ch>") {
		t.Errorf("MAIL FROM %q, Message-ID %q", d.from, m.header.Get("Message-ID"))
	}
	page := string(m.files["IncaMail.html"])
	has(t, "page", page, `method="post" action="https://incamail.com/"`, `name="secmail" value="MIAG`)
	_, value, _ := strings.Cut(page, `value="`)
	value, _, _ = strings.Cut(value, `"`)
	sealed, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	key, err := w.pki.inca.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tool(t, "openssl", "openssl"), "cms", "-decrypt", "-binary", "-inform", "DER", "-in", writeFile(t, "m", sealed),
		"-inkey", writeFile(t, "k.pem", key), "-recip", writeFile(t, "c.pem", w.pki.inca.CertPEM()))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl cms -decrypt: %v", err)
	}
	if got := parse(t, out); got.text != "Guten Tag\r\n" {
		t.Errorf("inside: %q", got.text)
	}
}

func TestInboundInvitation(t *testing.T) {
	w := newWorld(t)
	w.profile(w.psph, authority, "native")
	if _, err := w.psph.Inbound(letter(message.Confidential)); err != nil {
		t.Fatal(err)
	}
	w.flush()
	m := parse(t, w.sink.all()[0].raw)
	if got := m.header.Get("From"); got != `"PrivaSphere" <securemessaging@privasphere.com>` {
		t.Errorf("From %q", got)
	}
	has(t, "invitation", m.text, citizen, "https://")
}

// TestInboundRegistered: the authority has receipts as the recipient, and the
// mail itself only once it has accepted.
func TestInboundRegistered(t *testing.T) {
	tests := []struct {
		profile       string
		first, second []string
	}{
		{
			"auto-accept", []string{"Abgabequittung: e", "Abholquittung: e", "e"}, nil,
		},
		{
			"business", []string{"Abgabequittung: e"}, []string{"Abholquittung: e", "e"},
		},
		{
			"native", []string{"Abgabequittung: e", "e (Secured by IncaMail)"}, []string{"Abholquittung: e"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.profile, func(t *testing.T) {
			w := newWorld(t)
			w.profile(w.inca, authority, tt.profile)
			c := letter(message.Registered)
			c.Subject = "e"
			id, err := w.inca.Inbound(c)
			if err != nil {
				t.Fatal(err)
			}
			w.flush()
			if got := w.subjects(); !slices.Equal(got, tt.first) {
				t.Errorf("at once %q, want %q", got, tt.first)
			}
			if tt.second == nil {
				return
			}
			if err := w.inca.Accept(id); err != nil {
				t.Fatal(err)
			}
			w.flush()
			if got := w.subjects()[len(tt.first):]; !slices.Equal(got, tt.second) {
				t.Errorf("after accept %q, want %q", got, tt.second)
			}
			has(t, "receipt", pdfText(t, w.documents()[0]), "Absender: "+citizen, "Empfänger: "+authority)
		})
	}
}

func TestInboundRaw(t *testing.T) {
	w := newWorld(t)
	raw := mail(citizen, authority, "roh")
	if _, err := w.inca.Inbound(CitizenMail{From: citizen, To: authority, Raw: []byte(raw)}); err != nil {
		t.Fatal(err)
	}
	w.flush()
	if got := string(w.sink.all()[0].raw); got != "X-Sim: 1\r\n"+raw {
		t.Errorf("got:\n%s", got)
	}
}

func TestInboundRefused(t *testing.T) {
	w := newWorld(t)
	for _, c := range []CitizenMail{
		{From: citizen, To: "a@elsewhere.example"},
		{From: "", To: authority},
		{From: "x\r\ny@example.ch", To: authority},
		{From: citizen, To: authority, Class: message.Bulk},
	} {
		if _, err := w.inca.Inbound(c); err == nil {
			t.Errorf("taken: %+v", c)
		}
	}
	if n := len(w.inca.Messages()); n != 0 {
		t.Errorf("%d messages", n)
	}
}

func TestControl(t *testing.T) {
	w := newWorld(t)
	s := httptest.NewServer(w.inca.Handler())
	defer s.Close()
	call := func(method, path, in string, want int) string {
		t.Helper()
		r, err := http.NewRequest(method, s.URL+path, strings.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		out, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want {
			t.Errorf("%s %s: %d %s, want %d", method, path, resp.StatusCode, out, want)
		}
		return string(out)
	}
	call("PUT", "/recipients/"+citizen, `{"profile":"native"}`, 200)
	call("PUT", "/recipients/a@example.ch", `{"profile":"auto-accept"}`, 200)
	call("PUT", "/recipients/"+citizen, `{"profile":"nativ"}`, 400)
	call("PUT", "/recipients/nobody", `{"profile":"native"}`, 400)
	call("PUT", "/recipients/"+citizen, `{"profil":"native"}`, 400)
	for range 3 {
		w.mustSubmit(w.inca, citizen, "<r> x")
	}
	var list []Message
	if err := json.Unmarshal([]byte(call("GET", "/messages", "", 200)), &list); err != nil || len(list) != 3 {
		t.Fatalf("%v: %+v", err, list)
	}
	call("POST", "/messages/"+list[0].ID+"/accept", "", 200)
	call("POST", "/messages/"+list[0].ID+"/accept", "", 409)
	call("POST", "/messages/"+list[1].ID+"/refuse", "", 200)
	call("POST", "/messages/"+list[2].ID+"/ignore", "", 200)
	call("POST", "/messages/"+list[2].ID+"/eat", "", 400)
	call("POST", "/messages/incamail-9/accept", "", 404)
	has(t, "answer", call("POST", "/clock/advance", `{"by":"7d"}`, 200), "2026-10-31T10:00:00Z")
	call("POST", "/clock/advance", `{"by":"-7d"}`, 400)
	var states []State
	for _, m := range w.inca.Messages() {
		states = append(states, m.State)
	}
	if want := []State{PickedUp, Refused, Expired}; !slices.Equal(states, want) {
		t.Errorf("states %v, want %v", states, want)
	}
	has(t, "answer", call("POST", "/inbound", `{"from":"`+citizen+`","to":"`+authority+`","subject":"s","text":"t"}`, 200), `"id":"incamail-000004"`)
	call("POST", "/inbound", `{"from":"`+citizen+`"}`, 400)
	has(t, "answer", call("PUT", "/faults", `{"faults":["late:2h","dup-receipt"]}`, 200), "late:2h0m0s", "dup-receipt")
	has(t, "answer", call("GET", "/faults", "", 200), "late:2h0m0s", "dup-receipt")
	call("PUT", "/faults", `{"faults":["rain"]}`, 400)
	call("PUT", "/faults", `{"faults":[]}`, 200)
	if w.inca.Faults() != (Faults{}) {
		t.Errorf("faults %+v", w.inca.Faults())
	}
	if got := call("GET", "/received/2.eml", "", 200); got != string(w.inca.Received()[1].Raw) {
		t.Errorf("received:\n%s", got)
	}
	for _, path := range []string{"/received/0.eml", "/received/4.eml", "/received/x.eml", "/received/1"} {
		call("GET", path, "", 404)
	}
	has(t, "answer", call("GET", "/received", "", 200), `"number":3`)
}

func TestLoadCertificate(t *testing.T) {
	p, err := testPKI()
	if err != nil {
		t.Fatal(err)
	}
	key, err := p.inca.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	name := func(n string, data []byte) string {
		path := filepath.Join(dir, n)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, keyFile, ca := name("c", p.inca.CertPEM()), name("k", key), name("ca", p.ca.PEM())
	got, err := LoadCertificate(cert, keyFile, ca)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Leaf.Raw, p.inca.Leaf.Raw) || !bytes.Equal(got.Issuer.Raw, p.ca.Cert().Raw) {
		t.Error("another certificate came back")
	}
	for _, bad := range [][3]string{{keyFile, keyFile, ca}, {cert, cert, ca}, {cert, keyFile, dir}, {cert, keyFile, name("x", nil)}} {
		if _, err := LoadCertificate(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("loaded %q", bad)
		}
	}
}

func TestCertificatesOutliveClocks(t *testing.T) {
	p, err := testPKI()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []Certificate{p.server, p.client, p.inca} {
		if c.Leaf.NotBefore.Year() != 2000 || c.Leaf.NotAfter.Year() != 2099 {
			t.Errorf("valid %s to %s", c.Leaf.NotBefore, c.Leaf.NotAfter)
		}
	}
	if _, err := p.ca.Server(); err == nil {
		t.Error("a certificate without a name")
	}
}
