package receipts

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/message"
)

func one(t *testing.T, r *Recogniser, in Input) Finding {
	t.Helper()
	list, claimed, err := r.Recognise(in)
	if err != nil || !claimed || len(list) != 1 {
		t.Fatalf("Recognise: %d findings, claimed %v, %v", len(list), claimed, err)
	}
	return list[0]
}

func TestRecogniseIncaMail(t *testing.T) {
	inca, priva := newSeal(t, "IncaMail"), newSeal(t, "PrivaSphere")
	roots := map[string]*x509.CertPool{"incamail": inca.roots, "privasphere": priva.roots}
	r := recogniser(t, Options{})
	titles := map[string]message.ReceiptKind{
		"Abgabequittung": message.Abgabequittung, "Abholquittung": message.Abholquittung,
		"Annahmeverweigerungsquittung": message.Annahmeverweigerung, "Verfallquittung": message.Verfallquittung,
	}
	for title, kind := range titles {
		for _, compress := range []bool{false, true} {
			pdf := inca.sign(t, render(t, compress, receiptLines("IncaMail "+title)...))
			f := one(t, r, input(letter(fromInca, title+": [BL-7F3K9Q2M] Verf", pdf), roots))
			if f.Kind != kind || f.Verdict != message.Verified || f.Platform != "incamail" {
				t.Errorf("%s: %s %s %s (%s)", title, f.Kind, f.Verdict, f.Platform, f.Detail)
			}
			if f.Reference != "BL-7F3K9Q2M" || f.Sender.String() != "bau@bl.example" || f.Recipient.String() != "buerger@example.ch" {
				t.Errorf("%s: reference %q, sender %s, recipient %s", title, f.Reference, f.Sender, f.Recipient)
			}
			if !f.At.Equal(testDay) || f.BodyDigest.String() != strings.Repeat("ab", 32) {
				t.Errorf("%s: at %s, digest %s", title, f.At, f.BodyDigest)
			}
			if f.Subject40 != "[BL-7F3K9Q2M] Verfügung über das Baugesu" || f.FileName != "Abgabequittung.pdf" {
				t.Errorf("%s: subject %q, file %q", title, f.Subject40, f.FileName)
			}
			if !bytes.Equal(f.Document, pdf) {
				t.Errorf("%s: the document is not kept byte for byte", title)
			}
		}
	}
}

func TestRecogniseSeals(t *testing.T) {
	inca, priva, rogue := newSeal(t, "IncaMail"), newSeal(t, "PrivaSphere"), newSeal(t, "Rogue")
	roots := map[string]*x509.CertPool{"incamail": inca.roots, "privasphere": priva.roots}
	plain := render(t, false, receiptLines("IncaMail Abholquittung")...)
	good := inca.sign(t, plain)
	tests := []struct {
		name    string
		pdf     []byte
		roots   map[string]*x509.CertPool
		want    message.Authenticity
		issuer  string
		patched Options
	}{
		{"good", good, roots, message.Verified, "incamail", Options{}},
		{"no anchors", good, nil, message.Untrusted, "incamail", Options{}},
		{"foreign anchor only", good, map[string]*x509.CertPool{"privasphere": priva.roots}, message.Untrusted, "incamail", Options{}},
		{"rogue", rogue.sign(t, plain), roots, message.Untrusted, "incamail", Options{}},
		{"unsigned", plain, roots, message.Unsigned, "incamail", Options{}},
		{"changed", bytes.Replace(good, []byte("(Zeitpunkt: 2"), []byte("(Zeitpunkt: 1"), 1), roots, message.Forged, "incamail", Options{}},
		{"appended", append(bytes.Clone(good), "% more\n"...), roots, message.Forged, "incamail", Options{}},
		{"sealed by the other platform", priva.sign(t, render(t, false, receiptLines("PrivaSphere Abgabequittung")...)), roots, message.Verified, "privasphere", Options{}},
		{"not the platform's signer", good, roots, message.Untrusted, "incamail", Options{Platforms: pinned(`^CN=Post`)}},
		{"the platform's signer", good, roots, message.Verified, "incamail", Options{Platforms: pinned(`IncaMail Siegel`)}},
	}
	for _, tt := range tests {
		f := one(t, recogniser(t, tt.patched), input(letter(fromInca, "Abholquittung: x", tt.pdf), tt.roots))
		if f.Verdict != tt.want || f.Platform != tt.issuer {
			t.Errorf("%s: %s of %s (%s), want %s of %s", tt.name, f.Verdict, f.Platform, f.Detail, tt.want, tt.issuer)
		}
	}
}

func pinned(signer string) []Platform {
	list := DefaultPlatforms()
	list[0].Signers = []string{signer}
	return list
}

// What only the mail around a sealed document says must not count as sealed.
func TestMailCannotDressASealedDocument(t *testing.T) {
	inca := newSeal(t, "IncaMail")
	roots := map[string]*x509.CertPool{"incamail": inca.roots}
	r := recogniser(t, Options{})
	abgabe := inca.sign(t, render(t, false, receiptLines("IncaMail Abgabequittung")...))
	f := one(t, r, input(letter(fromInca, "Abholquittung: [BL-ZZZZZZZZ] x", abgabe), roots))
	if f.Kind != message.Abgabequittung || f.Reference != "BL-7F3K9Q2M" || f.Verdict != message.Verified {
		t.Errorf("kind %s, reference %s, %s", f.Kind, f.Reference, f.Verdict)
	}
	noRef := receiptLines("IncaMail Abholquittung")
	noRef[3] = "Betreff: ohne Zeichen"
	f = one(t, r, input(letter(fromInca, "Abholquittung: [BL-ZZZZZZZZ] x", inca.sign(t, render(t, false, noRef...))), roots))
	if f.Reference != "" || f.Verdict != message.Verified {
		t.Errorf("reference %q from the mail, %s", f.Reference, f.Verdict)
	}
	for i, what := range []string{"kind", "sender", "recipient"} {
		lines := receiptLines("IncaMail Abholquittung")
		lines[i] = "Leer"
		f = one(t, r, input(letter(fromInca, "Abholquittung: [BL-7F3K9Q2M] x", inca.sign(t, render(t, false, lines...))), roots))
		if f.Verdict != message.Unsigned || f.Kind != message.Abholquittung || f.Detail == "" {
			t.Errorf("without sealed %s: %s %s %q", what, f.Kind, f.Verdict, f.Detail)
		}
	}
	// A subject that looks like a title or a field moves nothing.
	lines := receiptLines("IncaMail Abgabequittung")
	lines[3] = "Betreff: IncaMail Abholquittung"
	if f = one(t, r, input(letter(fromInca, "x", inca.sign(t, render(t, false, lines...))), roots)); f.Kind != message.Abgabequittung {
		t.Errorf("kind %s from the subject line", f.Kind)
	}
}

func TestRecognisePrivaSphere(t *testing.T) {
	priva := newSeal(t, "PrivaSphere")
	roots := map[string]*x509.CertPool{"privasphere": priva.roots}
	r := recogniser(t, Options{})
	codes := map[string]message.ReceiptKind{
		"0": message.Abholquittung, "3": message.NoticeBlocked, "7": message.Abholquittung, "11": message.Annahmeverweigerung,
		"12": message.Verfallquittung, "13": message.NoticeUndelivered, "17": message.Weitergabe, "18": message.Abholquittung, "99": message.UnknownReceipt,
	}
	for code, kind := range codes {
		record := "<rM><d>Mon Nov 23 14:05:06 CET 2026</d><dt>" + code + "</dt><f>bau@bl.example</f><i>6</i><s>Mon Nov 23 14:00:00 CET 2026</s><t>buerger@example.ch</t><u>[BL-7F3K9Q2M] Verf</u></rM>"
		in := input(letter(fromPriva, "=?utf-8?q?Lesebest=C3=A4tigung?=: x", priva.sign(t, render(t, true, "PrivaSphere Lesebestätigung", record))), roots)
		f := one(t, r, in)
		if f.Kind != kind || f.Code != code || f.Verdict != message.Verified || f.Reference != "BL-7F3K9Q2M" {
			t.Errorf("dt %s: %s %s %s %q (%s)", code, f.Kind, f.Code, f.Verdict, f.Reference, f.Detail)
		}
		if !f.At.Equal(testDay) || !f.SentAt.Equal(testDay.Add(-306*time.Second)) {
			t.Errorf("dt %s: at %s, sent %s", code, f.At, f.SentAt)
		}
	}
	copied := priva.sign(t, render(t, false, receiptLines("PrivaSphere Abgabequittung")...))
	if f := one(t, r, input(letter(fromPriva, "Archivkopie: x", copied), roots)); f.Kind != message.Abgabequittung || f.Verdict != message.Verified {
		t.Errorf("archive copy with receipt: %s %s", f.Kind, f.Verdict)
	}
}

func TestRecogniseNotices(t *testing.T) {
	r := recogniser(t, Options{})
	notice := func(from, subject string) string {
		return "From: " + from + "\r\nSubject: " + subject + "\r\nDate: Mon, 23 Nov 2026 14:06:00 +0100\r\nIn-Reply-To: <a@b> <c@d>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" +
			"Nicht zustellbar.\r\nAbsender: bau@bl.example\r\nEmpfänger: buerger@example.ch\r\nBetreff: [BL-7F3K9Q2M] x\r\nZeitpunkt: 2026-11-23T14:05:06+01:00\r\n"
	}
	tests := []struct {
		from, subject string
		want          message.ReceiptKind
	}{
		{fromInca, "Nicht zustellbar: [BL-7F3K9Q2M] x", message.NoticeUndelivered},
		{fromInca, "Eingeschriebene Nachrichten gesperrt: [BL-7F3K9Q2M] x", message.NoticeBlocked},
		{fromPriva, "Archivkopie: [BL-7F3K9Q2M] x", message.ArchiveCopy},
	}
	for _, tt := range tests {
		raw := notice(tt.from, tt.subject)
		in := input(raw, nil)
		in.Envelope.From = message.Address{}
		f := one(t, r, in)
		if f.Kind != tt.want || f.Verdict != message.Unsigned || f.Reference != "BL-7F3K9Q2M" || f.Recipient.String() != "buerger@example.ch" {
			t.Errorf("%s: %s %s %q %s", tt.subject, f.Kind, f.Verdict, f.Reference, f.Recipient)
		}
		if string(f.Document) != raw || strings.Join(f.InReplyTo, " ") != "<a@b> <c@d>" || !f.At.Equal(testDay) {
			t.Errorf("%s: document of %d octets, in reply to %v, at %s", tt.subject, len(f.Document), f.InReplyTo, f.At)
		}
	}
}

func TestNotOfAPlatform(t *testing.T) {
	inca := newSeal(t, "IncaMail")
	roots := map[string]*x509.CertPool{"incamail": inca.roots}
	r := recogniser(t, Options{})
	pdf := inca.sign(t, render(t, false, receiptLines("IncaMail Abholquittung")...))
	tests := []struct {
		name, raw     string
		from          string
		claimed       bool
		wantFindings  int
		wantAuthentic message.Authenticity
	}{
		{"citizen directly", letter("buerger@example.ch", "Abholquittung: x", pdf), "buerger@example.ch", false, 0, ""},
		{"look-alike domain", letter("x@im.post.ch.evil.example", "Abholquittung: x", pdf), "x@evil.example", false, 0, ""},
		{"passed on by the platform", "Reply-To: buerger@example.ch\r\n" + letter(fromInca, "Abholquittung: [BL-7F3K9Q2M] x"), "swisspost+t@im.post.ch", false, 0, ""},
		{"passed on, with a sealed receipt", "Reply-To: buerger@example.ch\r\n" + letter(fromInca, "Ihre Quittung", pdf), "swisspost+t@im.post.ch", true, 1, message.Verified},
		{"unknown document", letter(fromInca, "Neuigkeiten"), "swisspost+t@im.post.ch", true, 0, ""},
		{"subdomain", letter("a@mx.im.post.ch", "Abholquittung: x", pdf), "", true, 1, message.Verified},
		{"receipt inside a forwarded mail", "From: " + fromInca + "\r\nSubject: x\r\nContent-Type: message/rfc822\r\n\r\n" + letter(fromInca, "Abholquittung: x", pdf), "swisspost@im.post.ch", true, 0, ""},
	}
	for _, tt := range tests {
		in := input(tt.raw, roots)
		in.Envelope.From, _ = message.ParseAddress(tt.from)
		list, claimed, err := r.Recognise(in)
		if err != nil || claimed != tt.claimed || len(list) != tt.wantFindings {
			t.Errorf("%s: %d findings, claimed %v, %v", tt.name, len(list), claimed, err)
			continue
		}
		if len(list) > 0 && list[0].Verdict != tt.wantAuthentic {
			t.Errorf("%s: %s", tt.name, list[0].Verdict)
		}
	}
}

func TestInspect(t *testing.T) {
	inca := newSeal(t, "IncaMail")
	roots := map[string]*x509.CertPool{"incamail": inca.roots}
	r := recogniser(t, Options{})
	pdf := inca.sign(t, render(t, false, receiptLines("IncaMail Abholquittung")...))
	for name, raw := range map[string]string{"pdf": string(pdf), "mail": letter(fromInca, "Abholquittung: x", pdf)} {
		got, err := r.Inspect([]byte(raw), roots)
		if err != nil || len(got.Receipts) != 1 {
			t.Fatalf("%s: %+v, %v", name, got, err)
		}
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`"verified"`, `"abholquittung"`, `"BL-7F3K9Q2M"`, `"buerger@example.ch"`, `"incamail"`, `"2026-11-23T14:05:06+01:00"`} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s: %s lacks %s", name, text, want)
			}
		}
	}
	if got, err := r.Inspect([]byte("Subject: hello\r\n\r\nworld\r\n"), roots); err != nil || got.Claimed || len(got.Receipts) != 0 {
		t.Errorf("ordinary mail: %+v, %v", got, err)
	}
}

func TestNewReportsEveryMistake(t *testing.T) {
	_, errs := New(Options{
		Reference: "(", Fields: Fields{Sender: "no group"},
		Platforms: []Platform{{Name: "x", Senders: []string{"x.example"}, Subjects: map[message.ReceiptKind][]string{"what": {"a"}, message.Abgabequittung: {"["}}, Signers: []string{"*"}}, {}},
	})
	if len(errs) != 6 {
		t.Errorf("%d mistakes: %v", len(errs), errs)
	}
}

// signedLetter is a mail that somebody has signed as a whole (S/MIME).
func signedLetter(t *testing.T, s seal, subject, text string, opaque bool, edit func(string) string) string {
	t.Helper()
	entity := "Content-Type: text/plain; charset=utf-8\r\n\r\n" + text + "\r\n"
	head := "From: " + fromInca + "\r\nTo: <bau@bl.example>\r\nSubject: " + subject + "\r\nDate: Mon, 23 Nov 2026 14:06:00 +0100\r\nMIME-Version: 1.0\r\n"
	by := cms.Signer{Cert: s.signer.Cert, Key: s.signer.Key}
	if opaque {
		before, after, err := cms.SignAround(strings.NewReader(entity), by, cms.SignOptions{Time: testDay})
		if err != nil {
			t.Fatal(err)
		}
		der := slices.Concat(before, []byte(edit(entity)), after)
		return head + "Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString(der) + "\r\n"
	}
	sig, err := cms.Sign(strings.NewReader(strings.TrimSuffix(entity, "\r\n")), by, cms.SignOptions{Time: testDay})
	if err != nil {
		t.Fatal(err)
	}
	return head + "Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; micalg=sha-256; boundary=s\r\n\r\n--s\r\n" + edit(entity) +
		"--s\r\nContent-Type: application/pkcs7-signature\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString(sig) + "\r\n--s--\r\n"
}

// TestSignedMail: a receipt that is sealed as a mail counts only where the
// operator has said whose signature seals receipts.
func TestSignedMail(t *testing.T) {
	inca, stranger := newSeal(t, "IncaMail"), newSeal(t, "Stranger")
	roots := map[string]*x509.CertPool{"incamail": inca.roots}
	with := func(mailSigners ...string) *Recogniser {
		platforms := DefaultPlatforms()
		platforms[0].MailSigners = mailSigners
		return recogniser(t, Options{Platforms: platforms})
	}
	receiptText := strings.Join(receiptLines("IncaMail Abholquittung"), "\r\n")
	same := func(s string) string { return s }
	for _, opaque := range []bool{false, true} {
		for _, c := range []struct {
			name string
			r    *Recogniser
			by   seal
			text string
			edit func(string) string
			want message.Authenticity
			says string
		}{
			{"sealed", with("IncaMail Siegel"), inca, receiptText, same, message.Verified, "signature of the mail good"},
			{"nobody said so", with(), inca, receiptText, same, message.Untrusted, "receipt_mail_signers"},
			{"another signer is expected", with("Quittungen"), inca, receiptText, same, message.Untrusted, "somebody else"},
			{"a stranger", with("Siegel"), stranger, receiptText, same, message.Untrusted, "signed mail"},
			{"changed", with("IncaMail Siegel"), inca, receiptText, func(s string) string { return strings.Replace(s, "14:05:06", "13:05:06", 1) }, message.Forged, "broken"},
			{"the kind stands in the subject only", with("IncaMail Siegel"), inca, strings.ReplaceAll(receiptText, "IncaMail Abholquittung", "Guten Tag"), same, message.Unsigned, "which receipt it is"},
		} {
			f := one(t, c.r, input(signedLetter(t, c.by, "Abholquittung: [BL-ZZZZZZZZ] x", c.text, opaque, c.edit), roots))
			if f.Verdict != c.want || !strings.Contains(f.Detail, c.says) || f.Kind != message.Abholquittung {
				t.Errorf("%s, opaque %v: %s %s (%s)", c.name, opaque, f.Kind, f.Verdict, f.Detail)
			}
			if c.want == message.Verified && (f.Reference != "BL-7F3K9Q2M" || len(f.Chain) != 2 || f.MediaType != "message/rfc822" || !bytes.Contains(f.Document, []byte("MIME-Version")) || !f.At.Equal(testDay)) {
				t.Errorf("%s, opaque %v: %+v", c.name, opaque, f)
			}
		}
	}
}
