package evidence_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"codeberg.org/go-pdf/fpdf"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/pdfsig"
	"gatewayd/crypto/tsp"
	"gatewayd/evidence"
	"gatewayd/legal"
	"gatewayd/message"
	"gatewayd/simulator"
)

func testDay() time.Time { return time.Date(2026, 12, 8, 9, 0, 0, 0, time.UTC) }

const letterText = "From: bau@bl.example\r\nTo: buerger@example.ch\r\nSubject: Entscheid\r\nMIME-Version: 1.0\r\n" +
	"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nIm Anhang.\r\n" +
	"--b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"Verfügung.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQK\r\n--b--\r\n"

// world is a small PKI and one delivery case.
type world struct {
	t         testing.TB
	ca        *simulator.CA // of the gateway's seal and the time-stamping authority
	platform  *simulator.CA
	seal, tsa simulator.Certificate
	receipt   []byte
	forged    []byte
	signer    *x509.Certificate // of the receipt
}

// shared is made once: its keys take most of the time of these tests.
var shared struct {
	once sync.Once
	w    world
}

func theWorld(t testing.TB) *world {
	t.Helper()
	shared.once.Do(func() { shared.w = *newWorld(t) })
	w := shared.w
	w.t = t
	return &w
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t}
	var err error
	must := func(e error) {
		t.Helper()
		if e != nil {
			t.Fatal(e)
		}
	}
	w.ca, err = simulator.NewCA("Evidence CA")
	must(err)
	w.platform, err = simulator.NewCA("Platform CA")
	must(err)
	w.seal, err = w.ca.Seal("Gateway Siegel", "gateway@bl.example")
	must(err)
	w.tsa, err = w.ca.TSA("Zeitstempel")
	must(err)
	stamp, err := w.platform.Seal("IncaMail Siegel", "swisspost@im.post.ch")
	must(err)
	w.signer = stamp.Leaf
	pdf := fpdf.New("P", "mm", "A4", "")
	pdf.AddPage()
	pdf.SetFont("Helvetica", "", 11)
	pdf.CellFormat(0, 7, "IncaMail Abholquittung", "", 1, "L", false, 0, "")
	var b bytes.Buffer
	must(pdf.Output(&b))
	w.receipt, err = pdfsig.Sign(b.Bytes(), pdfsig.Signer{Cert: stamp.Leaf, Key: stamp.Key}, pdfsig.Options{Name: "IncaMail", Time: testDay().AddDate(0, 0, -4)})
	must(err)
	w.forged = bytes.Replace(w.receipt, []byte("/Type /Page\n"), []byte("/Type /Pagf\n"), 1)
	if bytes.Equal(w.forged, w.receipt) {
		t.Fatal("nothing was forged")
	}
	return w
}

func (w *world) sealer() evidence.Sealer { return sealer(w.seal, w.tsa) }

func sealer(seal, tsa simulator.Certificate) evidence.Sealer { return sealerAt(seal, tsa, testDay) }

func sealerAt(seal, tsa simulator.Certificate, now func() time.Time) evidence.Sealer {
	authority := &simulator.TSA{Cert: tsa, Now: now}
	return evidence.Sealer{
		Signer: cms.Signer{Cert: seal.Leaf, Key: seal.Key, Chain: []*x509.Certificate{seal.Issuer}},
		Stamp: func(_ context.Context, r io.Reader) ([]byte, error) {
			q, err := tsp.NewRequest(r)
			if err != nil {
				return nil, err
			}
			return authority.Stamp(q)
		},
	}
}

func (w *world) roots() *x509.CertPool {
	p := w.ca.Pool()
	p.AddCert(w.platform.Cert())
	return p
}

type body struct{ *bytes.Reader }

func (body) Close() error { return nil }

// input is a case with a collected item: its Abholquittung, and a forged one
// beside it.
func (w *world) input(withContent bool) evidence.Input {
	key := message.ItemKey{Message: message.NewID(testDay().AddDate(0, 0, -8)), N: 1}
	handed := testDay().AddDate(0, 0, -8)
	who := legal.Addressee{Identified: true, Checked: "2026-06-01", Expects: legal.Yes, Calendar: "BL", Consent: "GEVER 1"}
	env := message.Envelope{
		ID: key.Message, Direction: message.Outbound, Authority: "bau", Account: "meier", From: message.Address{Local: "bau", Domain: "bl.example"}, Received: handed,
		MessageID: "<1@bl.example>", Protocol: "ESMTPSA", Content: message.Content{Digest: sha256.Sum256([]byte(letterText)), Size: int64(len(letterText))},
	}
	item := message.Item{
		Key: key, State: message.Done, Attempts: 1, HandedAt: handed, Recipient: message.Recipient{Address: message.Address{Local: "buerger", Domain: "example.ch"}},
		Decision: message.Decision{Class: message.Registered, Via: "incamail", Tag: "<r> "}, Reference: "BL-7F3K9Q2M", Case: message.CaseCollected, CaseAt: testDay().AddDate(0, 0, -4),
	}
	receipt := func(n byte, k message.ReceiptKind, v message.Authenticity, doc []byte) message.Receipt {
		return message.Receipt{
			ID: message.ID{n}, Item: key, Authority: "bau", Kind: k, Platform: "incamail", Verdict: v, At: testDay().AddDate(0, 0, -4), Received: testDay().AddDate(0, 0, -4).Add(time.Duration(n) * time.Minute),
			Document: message.Ref{Day: "2027-06-08", Segment: 1, Offset: int64(n), End: 2}, Digest: sha256.Sum256(doc), FileName: "Quittung.pdf", MediaType: "application/pdf",
		}
	}
	docs := map[message.ID][]byte{{1}: w.receipt, {2}: w.forged}
	receipts := []message.Receipt{receipt(1, message.Abholquittung, message.Verified, w.receipt), receipt(2, message.Verfallquittung, message.Forged, w.forged)}
	events := []message.Event{
		{Seq: 3, At: handed, Kind: message.EventAccepted, Message: key.Message, Data: map[string]string{"sha256": env.Content.Digest.String()}},
		{Seq: 4, At: handed, Kind: message.EventHanded, Message: key.Message, Item: 1, Data: who.Data()},
	}
	in := evidence.Input{
		Now: testDay(), Maker: evidence.Maker{Host: "gateway.bl.example", Software: "gatewayd test"}, Name: "Bauinspektorat", Envelope: env, Item: item, Receipts: receipts, Events: events,
		Case:     legal.Open(legal.Input{Item: item, Receipts: receipts, Events: events, Rules: legal.DefaultRules(), Now: testDay()}),
		Document: func(r message.Receipt) ([]byte, error) { return docs[r.ID], nil }, Roots: []*x509.CertPool{w.platform.Pool()},
	}
	if withContent {
		in.Message = func() (evidence.Body, error) { return body{bytes.NewReader([]byte(letterText))}, nil }
	}
	return in
}

// write makes a bundle file.
func (w *world) write(in evidence.Input, s evidence.Sealer) string {
	w.t.Helper()
	bundle, err := evidence.Prepare(w.t.Context(), in, s)
	if err != nil {
		w.t.Fatal(err)
	}
	var b, again bytes.Buffer
	if err := errors.Join(bundle.Write(&b), bundle.Write(&again)); err != nil || !bytes.Equal(b.Bytes(), again.Bytes()) {
		w.t.Fatalf("%v, or written twice it differs", err)
	}
	return w.file(b.Bytes())
}

func (w *world) file(raw []byte) string {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), "bundle.zip")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// entry is one file of a ZIP that a test writes by hand.
type entry struct {
	name string
	text []byte
	mode os.FileMode
}

func unpack(t testing.TB, path string) []entry {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var list []entry
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		list = append(list, entry{f.Name, text, 0})
	}
	return list
}

func pack(t testing.TB, list []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range list {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		if e.mode != 0 {
			h.SetMode(e.mode)
		}
		f, err := z.CreateHeader(h)
		if err == nil {
			_, err = f.Write(e.text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// folder writes the files of a bundle into a new folder.
func folder(t testing.TB, list []entry) string {
	t.Helper()
	dir := t.TempDir()
	for _, e := range list {
		path := filepath.Join(dir, filepath.FromSlash(e.name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, e.text, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func problems(r evidence.Result) string {
	var all []string
	for _, p := range r.Problems {
		all = append(all, p.File+": "+p.Text)
	}
	return strings.Join(all, "\n")
}
