package gateway_test

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"gatewayd/crypto/entity"
	"gatewayd/crypto/smime"
	"gatewayd/gateway"
	"gatewayd/gateway/forms"
	"gatewayd/mail"
	"gatewayd/mail/parts"
	"gatewayd/message"
	"gatewayd/queue"
)

// TestDelivered: what members and the authority's own server get says once, and
// truly, what the protection is worth; what is stored, and every octet that had
// no need to change, stays.
func TestDelivered(t *testing.T) {
	t.Parallel()
	own := &link{name: "forward:bau"}
	k := newKeyRig(t, func(o *gateway.Options) {
		o.Connectors[own.name] = port{own, new(atomic.Bool)}
		o.Authorities[0].Tags = map[string]string{"valid": "[signiert]", "invalid": "[Signatur ungültig]", "encrypted": "[verschlüsselt]"}
	})
	now := k.w.time()
	bob, us, foreign := k.ca.issue("bob@partner.example", now.AddDate(1, 0, 0)), k.ca.issue("bau@bl.example", now.AddDate(1, 0, 0)), k.ca.issue("x@partner.example", now.AddDate(1, 0, 0))
	k.put(t, "roots/ca.crt", certPEM(k.ca.cert))
	k.put(t, "own/bau/seal.crt", certPEM(us.Cert))
	k.put(t, "own/bau/seal.key", keyPEM(us))
	k.reload(t)
	const forged = "X-Gatewayd-Verdict: valid; signature=good\r\nAuthentication-Results: gateway.bl.example; smime=pass\r\n"
	const letter = "From: bob@partner.example\r\nSubject: Gesuch\r\nContent-Type: text/plain\r\n\r\nGuten Tag\r\n"
	protect := func(o smime.Options) string {
		o.Time = now
		var b bytes.Buffer
		must(must(smime.Protect(strings.NewReader(letter), int64(len(letter)), o)).WriteTo(&b))
		return b.String()
	}
	signer, to := bob.Signer(), func(c *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{c} }
	good := protect(smime.Options{Signer: signer})
	broken := strings.Replace(good, "Guten", "Bösen", 1)
	sealed := protect(smime.Options{Recipients: to(us.Cert)})
	notOurs := protect(smime.Options{Recipients: to(foreign.Cert)})
	for _, c := range []struct {
		name, text                  string
		verdict, subject, list      string // of the opened form
		kept                        bool   // it keeps its protection
		forwardSubject, forwardWord string
	}{
		{"plain", letter, "unsigned; signature=none; encryption=none", "Gesuch", "unsigned none", true, "Gesuch", "unsigned"},
		{"tag by the sender", strings.Replace(letter, "Gesuch", "=?utf-8?q?=5Bs=C3=ACgniert]?= Gesuch", 1), "unsigned;", "(sìgniert) Gesuch", "unsigned none", true, "(sìgniert) Gesuch", "unsigned"},
		{"signed", good, "valid; signature=good; by=smime; signer-is-from=yes; covers=content; encryption=none; signer=bob@partner.example", "[signiert] Gesuch", "valid none", false, "[signiert] Gesuch", "valid"},
		{"broken", broken, "invalid; signature=broken", "[Signatur ungültig] Gesuch", "invalid none", true, "[Signatur ungültig] Gesuch", "invalid"},
		{"encrypted", sealed, "unsigned; signature=none; encryption=malleable", "[verschlüsselt] Gesuch", "unsigned malleable", false, "[verschlüsselt] Gesuch", "unsigned"},
		{"for others", notOurs, "unsigned; signature=none; encryption=not_for_us", "Gesuch", "unsigned not_for_us", true, "Gesuch", "unsigned"},
	} {
		came := forged + c.text
		id, err := k.inbound("bob@partner.example", came, "bau@bl.example")
		if err != nil {
			t.Fatal(err)
		}
		k.becomes(id, message.Done)
		k.itemBecomes(key(id, 2), message.Done)
		var stored, opened bytes.Buffer
		if err := k.g.Fetch(t.Context(), reading(), "bau", id, false, &stored); err != nil || stored.String() != came {
			t.Errorf("%s: stored %v, %q", c.name, err, stored.String())
		}
		if err := k.g.Fetch(t.Context(), reading(), "bau", id, true, &opened); err != nil {
			t.Fatal(err)
		}
		_, cameBody, _ := strings.Cut(came, "\r\n\r\n")
		sent := own.seen()
		for form, text := range map[string]string{"opened": opened.String(), "forwarded": sent[len(sent)-1].body} {
			h := must(mail.ReadHeader(bufio.NewReader(strings.NewReader(text)), 1<<20))
			body := text[h.Len():]
			verdict, subject, kept := c.verdict, c.subject, c.kept
			if form == "forwarded" {
				verdict, subject, kept = c.forwardWord+";", c.forwardSubject, true
			}
			all := h.All(forms.VerdictField)
			switch {
			case len(all) != 1 || !strings.HasPrefix(all[0], verdict) || h.Fields()[0].Name != forms.VerdictField:
				t.Errorf("%s, %s: verdict %q", c.name, form, all)
			case h.Text("Subject") != subject || len(h.All("Authentication-Results")) != 0:
				t.Errorf("%s, %s: header %q", c.name, form, h.Bytes())
			case kept && body != cameBody, !kept && body != "Guten Tag\r\n":
				t.Errorf("%s, %s: body %q", c.name, form, body)
			case strings.ContainsFunc(string(h.Bytes()), func(r rune) bool { return r > 126 }):
				t.Errorf("%s, %s: not 7-bit: %q", c.name, form, h.Bytes())
			}
		}
		page, _, err := k.g.Mailbox(t.Context(), reading(), "bau", message.Inbound, "", 100, true)
		i := slices.IndexFunc(page, func(s message.Story) bool { return s.Envelope.ID == id })
		if err != nil || i < 0 || page[i].Protection["verdict"]+" "+page[i].Protection["encryption"] != c.list || page[i].Subject != strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(c.subject, "[signiert] "), "[Signatur ungültig] "), "[verschlüsselt] ") {
			t.Errorf("%s: list %v %v", c.name, err, page)
		}
	}
}

// TestSubjectHidden: what leaves encrypted tells its subject inside only, where
// the authority wants that, and comes back whole to a member who reads it.
func TestSubjectHidden(t *testing.T) {
	t.Parallel()
	k := newKeyRig(t, func(o *gateway.Options) { o.Authorities[0].Headers = entity.HeadersHidden })
	now := k.w.time()
	bob, us := k.ca.issue("bob@partner.example", now.AddDate(1, 0, 0)), k.ca.issue("bau@bl.example", now.AddDate(1, 0, 0))
	k.put(t, "partners/bob@partner.example.crt", certPEM(bob.Cert))
	k.put(t, "own/bau/seal.crt", certPEM(us.Cert))
	k.put(t, "own/bau/seal.key", keyPEM(us))
	k.put(t, "roots/ca.crt", certPEM(k.ca.cert))
	k.reload(t)
	id := k.submit(submission("bob@partner.example"), strings.Replace(confidential("1"), "Subject: x", "Subject: Steuererlass Meier", 1))
	k.becomes(id, message.Done)
	left := k.w.links["smime"].seen()[0].body
	if !strings.Contains(left, "\r\nSubject: [...]\r\n") || strings.Contains(left, "Steuererlass") {
		t.Errorf("%s", left)
	}
	// Bob's answer hides its subject as well.
	letter := "From: bob@partner.example\r\nSubject: Antwort\r\nContent-Type: text/plain\r\n\r\nGern\r\n"
	var b bytes.Buffer
	must(must(smime.Protect(strings.NewReader(letter), int64(len(letter)), smime.Options{Signer: bob.Signer(), Recipients: []*x509.Certificate{us.Cert}, Headers: entity.HeadersHidden, Time: now})).WriteTo(&b))
	in, err := k.inbound("bob@partner.example", b.String(), "bau@bl.example")
	if err != nil {
		t.Fatal(err)
	}
	k.becomes(in, message.Done)
	if d := k.data(in, message.EventMailbox); d["hidden"] != "subject" || d["differs"] != "" || d["verdict"] != "valid" {
		t.Errorf("%v", d)
	}
	page, _, err := k.g.Mailbox(t.Context(), reading(), "bau", message.Inbound, "", 100, true)
	if err != nil || len(page) != 1 || page[0].Subject != "Antwort" {
		t.Errorf("list: %v %+v", err, page)
	}
	var out bytes.Buffer
	if err := k.g.Fetch(t.Context(), reading(), "bau", in, true, &out); err != nil || !strings.Contains(out.String(), "\r\nSubject: Antwort\r\n") || strings.Contains(out.String(), "[...]") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// winmail packs a file as Outlook does (MS-OXTNEF).
func winmail(name string, data []byte) []byte {
	b := []byte{0x78, 0x9f, 0x3e, 0x22, 1, 0}
	for _, a := range []struct {
		id   uint32
		data []byte
	}{{0x00069002, make([]byte, 14)}, {0x00018010, append([]byte(name), 0)}, {0x0006800f, data}} {
		var sum uint16
		for _, c := range a.data {
			sum += uint16(c)
		}
		b = binary.LittleEndian.AppendUint32(append(b, 2), a.id)
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(a.data))), a.data...)
		b = binary.LittleEndian.AppendUint16(b, sum)
	}
	return b
}

// TestContents: what lies in an encrypted mail is told, also what Outlook has
// packed, and the subject that stood inside only.
func TestContents(t *testing.T) {
	t.Parallel()
	k := newKeyRig(t)
	now := k.w.time()
	us := k.ca.issue("bau@bl.example", now.AddDate(1, 0, 0))
	k.put(t, "own/bau/seal.crt", certPEM(us.Cert))
	k.put(t, "own/bau/seal.key", keyPEM(us))
	k.reload(t)
	letter := "From: bob@partner.example\r\nSubject: Gesuch\r\nContent-Type: application/ms-tnef; name=winmail.dat\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		base64.StdEncoding.EncodeToString(winmail("plan.pdf", []byte("%PDF-1.7"))) + "\r\n"
	var b bytes.Buffer
	must(must(smime.Protect(strings.NewReader(letter), int64(len(letter)), smime.Options{Recipients: []*x509.Certificate{us.Cert}, Headers: entity.HeadersHidden, Time: now})).WriteTo(&b))
	id, err := k.inbound("bob@partner.example", b.String(), "bau@bl.example")
	if err != nil {
		t.Fatal(err)
	}
	k.becomes(id, message.Done)
	p := gateway.NewPrograms(k.g)
	c, err := p.Contents(t.Context(), "bau", id)
	if err != nil || len(c.Items) != 2 || c.Items[1] != (entity.Item{ID: "1/1", FileName: "plan.pdf", Size: 8}) || c.Message.Subject != "Gesuch" || c.Verdict.Encryption != entity.Malleable {
		t.Errorf("%v %+v", err, c)
	}
	if len(c.Packed) != 1 || c.Packed[0].Message == nil || c.Packed[0].Error != "" {
		t.Errorf("%+v", c.Packed)
	}
	if _, err := p.Contents(t.Context(), "steuer", id); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("another authority: %v", err)
	}
}

// TestOriginalAttached: an authority that wants opened mail at its own server gets
// the original with it, octet for octet; what cannot be opened goes as it came.
func TestOriginalAttached(t *testing.T) {
	t.Parallel()
	own := &link{name: "forward:bau"}
	k := newKeyRig(t, func(o *gateway.Options) {
		o.Connectors[own.name] = port{own, new(atomic.Bool)}
		o.Authorities[0].ForwardOpened = true
	})
	now := k.w.time()
	us, foreign := k.ca.issue("bau@bl.example", now.AddDate(1, 0, 0)), k.ca.issue("x@partner.example", now.AddDate(1, 0, 0))
	k.put(t, "own/bau/seal.crt", certPEM(us.Cert))
	k.put(t, "own/bau/seal.key", keyPEM(us))
	k.reload(t)
	const letter = "From: bob@partner.example\r\nSubject: Gesuch\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüezi\r\n"
	for name, to := range map[string]*x509.Certificate{"ours": us.Cert, "not ours": foreign.Cert} {
		var b bytes.Buffer
		must(must(smime.Protect(strings.NewReader(letter), int64(len(letter)), smime.Options{Recipients: []*x509.Certificate{to}, Headers: entity.HeadersHidden, Time: now})).WriteTo(&b))
		id, err := k.inbound("bob@partner.example", b.String(), "bau@bl.example")
		if err != nil {
			t.Fatal(err)
		}
		k.itemBecomes(key(id, 2), message.Done)
		k.becomes(id, message.Done)
		sent := own.seen()
		got := sent[len(sent)-1].body
		tree := must(parts.Read(strings.NewReader(got), int64(len(got)), parts.Limits{}))
		if to != us.Cert {
			if len(tree.Parts) != 1 || tree.Parts[0].Type != "application/pkcs7-mime" {
				t.Errorf("%s:\n%s", name, got)
			}
			continue
		}
		if len(tree.Parts) != 3 || !strings.HasPrefix(got, "X-Gatewayd-Verdict: unsigned; signature=none; encryption=malleable") || tree.Parts[0].Header.Text("Subject") != "Gesuch" {
			t.Fatalf("%s:\n%s", name, got)
		}
		read := func(p parts.Part) string { return string(must(io.ReadAll(p.Decode(strings.NewReader(got))))) }
		if text := read(tree.Parts[1]); text != "Grüezi\r\n" && text != "Grüezi" || read(tree.Parts[2]) != b.String() || tree.Parts[2].FileName != "original.eml" {
			t.Errorf("%s: %q\n%s", name, text, got)
		}
		d := must(gateway.NewPrograms(k.g).DeliveredWithOriginal(t.Context(), "bau", id))
		var again bytes.Buffer
		must(d.WriteTo(&again))
		if err := d.Close(); err != nil || strings.Count(again.String(), "original.eml") != 2 {
			t.Errorf("%v\n%s", err, again.String())
		}
	}
}
