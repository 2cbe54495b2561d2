package keydesk_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/entity"
	"gatewayd/crypto/keys"
	"gatewayd/crypto/smime"
	"gatewayd/gateway/keydesk"
	"gatewayd/keybook"
	"gatewayd/keysources"
	"gatewayd/message"
	"gatewayd/queue"
)

// room is a desk with what lies around it.
type room struct {
	t       *testing.T
	now     time.Time
	desk    *keydesk.Desk
	book    *keybook.Book
	folder  string
	ring    *keys.Ring
	events  []message.Event
	full    error // what the ledger answers
	arrived []message.Address
	broken  bool // the folder cannot be read
}

func newRoom(t *testing.T) *room {
	t.Helper()
	r := &room{t: t, now: time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC), folder: t.TempDir(), ring: &keys.Ring{}}
	var err error
	if r.book, err = keybook.Open(filepath.Join(t.TempDir(), "keybook"), bytes.Repeat([]byte{5}, 32)); err != nil {
		t.Fatal(err)
	}
	r.desk = r.open(keydesk.Sources{Folder: func() *keys.Ring { return r.ring }, Reload: r.load, Book: r.book, Harvest: true, Keep: 365 * 24 * time.Hour})
	return r
}

func (r *room) open(s keydesk.Sources) *keydesk.Desk {
	return keydesk.New(keydesk.Options{
		Sources: s, Ledger: r, Local: func(a message.Address) bool { return a.Domain == "bl.example" },
		Arrived: func(a message.Address) { r.arrived = append(r.arrived, a) },
		Now:     func() time.Time { return r.now }, Log: slog.New(slog.DiscardHandler),
	})
}

func (r *room) Apply(_ context.Context, c queue.Change) error {
	r.events = append(r.events, c.Events...)
	return r.full
}

func (r *room) load() error {
	ring, problems := keys.Load(r.folder)
	if len(problems) > 0 || r.broken {
		return errors.New("broken")
	}
	r.ring = ring
	return nil
}

func (r *room) put(name string, c *x509.Certificate, k *ecdsa.PrivateKey) {
	r.t.Helper()
	path := filepath.Join(r.folder, name)
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), 0o600))
	if k != nil {
		der, wrong := x509.MarshalPKCS8PrivateKey(k)
		err = errors.Join(err, wrong, os.WriteFile(path+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	}
	if err = errors.Join(err, r.load()); err != nil {
		r.t.Fatal(err)
	}
}

// told returns what of the last event is asked for, and forgets the events.
func (r *room) told(field string) (all []string) {
	for _, e := range r.events {
		all = append(all, e.Data[field])
	}
	r.events = nil
	return all
}

// issue makes a certificate for an address, signed by parent, or by itself if nil.
func issue(t *testing.T, mail string, from, until time.Time, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: mail}, NotBefore: from, NotAfter: until, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement}
	if mail == "" {
		tpl.IsCA, tpl.KeyUsage = true, x509.KeyUsageCertSign
	} else {
		tpl.EmailAddresses = []string{mail}
	}
	if parent == nil {
		parent, by = tpl, k
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, parent, k.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, k
}

// partner issues under an anchor of the folder.
func (r *room) partner(mail string) *x509.Certificate {
	r.t.Helper()
	ca, k := issue(r.t, "", r.now.AddDate(-1, 0, 0), r.now.AddDate(9, 0, 0), nil, nil)
	r.put("roots/zertes/ca", ca, nil)
	c, _ := issue(r.t, mail, r.now.AddDate(-1, 0, 0), r.now.AddDate(1, 0, 0), ca, k)
	return c
}

func addr(s string) message.Address {
	a, err := message.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func (r *room) stateOf(fingerprint string) string {
	r.t.Helper()
	all, err := r.desk.Keys(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, k := range all {
		if k.Fingerprint == fingerprint {
			return k.State
		}
	}
	return "not there"
}

// TestNoSources: without a folder and a book nothing is there, and every question
// has an answer.
func TestNoSources(t *testing.T) {
	r := newRoom(t)
	d, ctx := r.open(keydesk.Sources{}), context.Background()
	if all, err := d.Keys(ctx); err != nil || len(all) != 0 {
		t.Errorf("%v %v", all, err)
	}
	if ways := d.Ways(addr("bob@partner.example"), r.now); len(ways) != 0 {
		t.Errorf("ways %v", ways)
	}
	if a, err := d.FindKey(ctx, addr("bob@partner.example"), true); err != nil || len(a.Keys) != 0 {
		t.Errorf("%+v %v", a, err)
	}
	if _, err := d.ExportKey(ctx, "x"); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("export: %v", err)
	}
	if err := errors.Join(d.ReloadKeys(ctx, "x")); !errors.Is(err, keydesk.ErrNoKeys) {
		t.Errorf("reload: %v", err)
	}
	if err := d.ApproveKey(ctx, "x", "because"); !errors.Is(err, keydesk.ErrNoKeys) {
		t.Errorf("approve: %v", err)
	}
	d.Round(ctx)
	d.Used(addr("bob@partner.example"), keys.Selection{}, entity.SMIME, r.now)
	d.Harvest(ctx, message.Envelope{}, &entity.Opened{}, addr("bob@partner.example"))
	if d.Revoked(ctx, r.now, true) != nil || len(r.events) != 0 {
		t.Errorf("events %v", r.events)
	}
}

// TestDecisions: a key of a partner waits, is approved, chosen, exported and taken
// out of use; each with a reason in the log, and the flow hears of each.
func TestDecisions(t *testing.T) {
	r := newRoom(t)
	ctx, bob := context.Background(), addr("bob@partner.example")
	c := r.partner("bob@partner.example")
	fp := smime.Fingerprint(c)
	if _, err := r.book.Learn(bob, keybook.Entry{Source: keys.Mail, Trust: keys.Waiting, Cert: c.Raw, Why: "test"}, r.now); err != nil {
		t.Fatal(err)
	}
	if s := r.stateOf(fp); s != keys.ErrWaiting.Error() || len(r.desk.Ways(bob, r.now)) != 0 {
		t.Errorf("waits: %s", s)
	}
	for _, reason := range []string{"", " \n"} {
		if err := r.desk.ApproveKey(ctx, fp, reason); !errors.Is(err, message.ErrNoReason) {
			t.Errorf("without a reason: %v", err)
		}
	}
	if err := r.desk.ApproveKey(ctx, "00ff", "because"); !errors.Is(err, queue.ErrNotFound) || len(r.events) != 0 {
		t.Errorf("approve what is not there: %v %v", err, r.events)
	}
	if err := r.desk.ApproveKey(ctx, fp, " called him "); err != nil {
		t.Fatal(err)
	}
	if got := r.told("reason"); !slices.Equal(got, []string{"called him"}) || len(r.arrived) != 1 || !r.arrived[0].IsNull() {
		t.Errorf("told %q, arrived %v", got, r.arrived)
	}
	answer, err := r.desk.FindKey(ctx, bob, false)
	if err != nil || !slices.Equal(answer.Ways, []string{"smime"}) || len(answer.Keys) != 1 || !answer.Keys[0].Chosen {
		t.Errorf("%+v %v", answer, err)
	}
	if out, err := r.desk.ExportKey(ctx, fp); err != nil || !bytes.Contains(out, []byte("BEGIN CERTIFICATE")) {
		t.Errorf("export: %v", err)
	}
	if err := r.desk.RevokeKey(ctx, fp, time.Time{}, "lost"); err != nil {
		t.Fatal(err)
	}
	if s := r.stateOf(fp); s != keys.ErrEnded.Error() || len(r.desk.Ways(bob, r.now)) != 0 {
		t.Errorf("revoked: %s", s)
	}
	if got := r.told("what"); !slices.Equal(got, []string{"revoked"}) {
		t.Errorf("told %q", got)
	}
}

// TestOwnKeyEnds: a key of an authority that is taken out of use still opens old
// mail, and a folder that is broken leaves the keys as they were.
func TestOwnKeyEnds(t *testing.T) {
	r := newRoom(t)
	ctx := context.Background()
	own, k := issue(t, "bau@bl.example", r.now.AddDate(-1, 0, 0), r.now.AddDate(1, 0, 0), nil, nil)
	r.put("own/bau/seal", own, k)
	if s := r.stateOf(smime.Fingerprint(own)); s != "usable" {
		t.Fatal(s)
	}
	if err := r.desk.RevokeKey(ctx, smime.Fingerprint(own), r.now.AddDate(0, 6, 0), "replaced"); err != nil {
		t.Fatal(err)
	}
	r.now = r.now.Add(time.Second)
	if s := r.stateOf(smime.Fingerprint(own)); s != "opens old mail only" {
		t.Errorf("state %q", s)
	}
	r.broken = true
	if err := r.desk.ReloadKeys(ctx, "x.crt"); err == nil || !strings.Contains(err.Error(), "the old keys stay") {
		t.Errorf("%v", err)
	}
	r.broken, r.events = false, nil
	if err := r.desk.ReloadKeys(ctx, "x.crt"); err != nil || !slices.Equal(r.told("key"), []string{"x.crt"}) {
		t.Errorf("%v", err)
	}
	r.full = errors.New("disk full")
	if err := r.desk.ReloadKeys(ctx, "x.crt"); !errors.Is(err, r.full) {
		t.Errorf("what is not written down: %v", err)
	}
}

// TestRound: thirty, fourteen, seven days and one before its end a key is told,
// each once.
func TestRound(t *testing.T) {
	r := newRoom(t)
	own, k := issue(t, "bau@bl.example", r.now.AddDate(-1, 0, 0), r.now.Add(40*24*time.Hour), nil, nil)
	r.put("own/bau/seal", own, k)
	for range 41 * 4 {
		r.desk.Round(context.Background())
		r.now = r.now.Add(6 * time.Hour)
	}
	if got := r.told("days"); !slices.Equal(got, []string{"30", "14", "7", "1"}) {
		t.Errorf("told %q days before", got)
	}
}

// TestForgotten: a key that nobody has used for the time of Keep goes.
func TestForgotten(t *testing.T) {
	r := newRoom(t)
	bob := addr("bob@partner.example")
	if _, err := r.book.Learn(bob, keybook.Entry{Source: keys.Mail, Trust: keys.Anchored, Cert: r.partner("bob@partner.example").Raw}, r.now); err != nil {
		t.Fatal(err)
	}
	r.desk.Round(context.Background())
	if len(r.desk.Learned(bob)) != 1 {
		t.Fatal("forgotten too early")
	}
	r.now = r.now.AddDate(1, 1, 0)
	r.desk.Round(context.Background())
	if n := len(r.desk.Learned(bob)); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

// TestKeysFound: what a lookup brings is told unless it was known, and the flow
// hears that the address was asked for in any case.
func TestKeysFound(t *testing.T) {
	r := newRoom(t)
	bob := addr("bob@partner.example")
	r.desk.KeysFound(bob, []keysources.Attempt{{Source: keys.WKD, Learned: []keybook.Outcome{keybook.Known, keybook.Conflict}}, {Source: keys.DANE}})
	if got := r.told("what"); !slices.Equal(got, []string{string(keybook.Conflict)}) || len(r.arrived) != 1 || r.arrived[0].Key() != bob.Key() {
		t.Errorf("told %q, arrived %v", got, r.arrived)
	}
}

// open opens signed mail from an address as the flow does.
func (r *room) read(from string, c *x509.Certificate, k *ecdsa.PrivateKey) *entity.Opened {
	r.t.Helper()
	raw := "From: " + from + "\r\nContent-Type: text/plain\r\n\r\nGuten Tag\r\n"
	id := smime.Identity{Cert: c, Key: k}
	p, err := smime.Protect(strings.NewReader(raw), int64(len(raw)), smime.Options{Signer: id.Signer(), Time: r.now})
	if err != nil {
		r.t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := p.WriteTo(&b); err != nil {
		r.t.Fatal(err)
	}
	op, err := entity.Open(bytes.NewReader(b.Bytes()), int64(b.Len()), entity.Options{
		Openers: r.desk.Ring().Openers(keys.Reader{Authority: "bau", At: r.now}), At: r.now,
		Spool: func(limit int64) entity.Spool { return entity.NewSpool(r.t.TempDir(), limit) },
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { op.Close() })
	return op
}

// TestHarvestOnlyOfTheAuthor: a signature teaches the key of its author, once;
// never that of one of our own addresses, of somebody else, or when nothing is to be
// learned.
func TestHarvestOnlyOfTheAuthor(t *testing.T) {
	r := newRoom(t)
	ctx, bob := context.Background(), addr("bob@partner.example")
	ca, by := issue(t, "", r.now.AddDate(-1, 0, 0), r.now.AddDate(9, 0, 0), nil, nil)
	r.put("roots/zertes/ca", ca, nil)
	c, k := issue(t, "bob@partner.example", r.now.AddDate(-1, 0, 0), r.now.AddDate(1, 0, 0), ca, by)
	inside, ours := issue(t, "bau@bl.example", r.now.AddDate(-1, 0, 0), r.now.AddDate(1, 0, 0), ca, by)
	r.desk.Harvest(ctx, message.Envelope{}, r.read("eve@partner.example", c, k), addr("eve@partner.example"))
	r.desk.Harvest(ctx, message.Envelope{}, r.read("bau@bl.example", inside, ours), addr("bau@bl.example"))
	r.open(keydesk.Sources{Book: r.book}).Harvest(ctx, message.Envelope{}, r.read("bob@partner.example", c, k), bob)
	if len(r.events) != 0 || len(r.arrived) != 0 {
		t.Errorf("learned: %v", r.events)
	}
	for range 2 {
		r.desk.Harvest(ctx, message.Envelope{}, r.read("bob@partner.example", c, k), bob)
	}
	if got := r.told("key"); !slices.Equal(got, []string{smime.Fingerprint(c)}) || !slices.Equal(r.desk.Ways(bob, r.now), []string{"smime"}) {
		t.Errorf("learned %q", got)
	}
}
