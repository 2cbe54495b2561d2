package gateway_test

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
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
	"gatewayd/crypto/keys"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/smime"
	"gatewayd/gateway"
	"gatewayd/gateway/keydesk"
	"gatewayd/keybook"
	"gatewayd/keysources"
	"gatewayd/message"
	"gatewayd/policy"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// issuer makes certificates.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(at time.Time) issuer {
	k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotBefore: at.AddDate(-1, 0, 0), NotAfter: at.AddDate(9, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	return issuer{must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, tpl, tpl, k.Public(), k)))), k}
}

func (i issuer) issue(mail string, until time.Time) smime.Identity {
	k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tpl := &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, big.NewInt(1<<60))), NotBefore: until.AddDate(-2, 0, 0), NotAfter: until, EmailAddresses: []string{mail},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement,
	}
	c := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, tpl, i.cert, k.Public(), i.key))))
	return smime.Identity{Cert: c, Chain: []*x509.Certificate{i.cert}, Key: k}
}

// published is a source of keys that says what a test wants.
type published struct {
	mu  sync.Mutex
	say map[string][]keybook.Entry
	ask int
}

func (p *published) Name() keys.Source { return keys.WKD }

func (p *published) Find(_ context.Context, a message.Address) ([]keybook.Entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ask++
	return p.say[a.Key()], nil
}

func (p *published) publish(address string, e ...keybook.Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.say[address] = append(p.say[address], e...)
}

func (p *published) asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ask
}

// keyRig is a gateway that encrypts, with everything about keys in reach.
type keyRig struct {
	*rig
	folder string
	ring   atomic.Pointer[keys.Ring]
	book   *keybook.Book
	web    *published
	ca     issuer
}

func newKeyRig(t *testing.T, edits ...func(*gateway.Options)) *keyRig {
	t.Helper()
	w := newWorld(t)
	for _, name := range []string{"smime", "openpgp"} {
		w.links[name] = &link{name: name}
	}
	k := &keyRig{folder: t.TempDir(), web: &published{say: map[string][]keybook.Entry{}}, ca: newIssuer(w.time())}
	k.reload(t)
	k.rig = newRigAt(t, w, filepath.Join(t.TempDir(), "data"), rigOptions{edit: func(o *gateway.Options) {
		k.wire(t, o)
		for _, edit := range edits {
			edit(o)
		}
	}})
	return k
}

func (k *keyRig) wire(t *testing.T, o *gateway.Options) {
	rules, errs := policy.Compile(policy.Options{GiveUpLimit: o.Windows.GiveUpLimit(), Routes: []policy.Route{
		{Name: "vertraulich", When: `message.class == "confidential"`, Via: []string{"smime", "openpgp"}},
		{Name: "extern", When: `message.class == "normal"`, Via: []string{"smtp"}},
	}})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	o.Policy = rules
	var err error
	if k.book, err = keybook.Open(filepath.Join(o.Data, "keybook"), bytes.Repeat([]byte{5}, 32)); err != nil {
		t.Fatal(err)
	}
	lookup := keysources.New(keysources.Options{
		Sources: []keysources.Asked{{Source: k.web, Vouches: true}}, Book: k.book, Now: o.Now, Log: slog.New(slog.DiscardHandler),
		Arrived: func(a message.Address, got []keysources.Attempt) { k.g.KeysFound(a, got) },
	})
	o.Keys = keydesk.Sources{Folder: k.ring.Load, Book: k.book, Harvest: true, Lookup: lookup}
}

// reload reads the key folder again.
func (k *keyRig) reload(t *testing.T) {
	t.Helper()
	ring, problems := keys.Load(k.folder)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	k.ring.Store(ring)
	if k.rig != nil {
		k.g.KeysArrived(message.Address{})
	}
}

func (k *keyRig) put(t *testing.T, name string, data []byte) {
	t.Helper()
	path := filepath.Join(k.folder, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
		t.Fatal(err)
	}
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func keyPEM(id smime.Identity) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(id.Key))})
}

func confidential(id string) string {
	return "From: bau@bl.example\r\nSubject: x\r\nSensitivity: Company-Confidential\r\nMessage-ID: <" + id + "@bl.example>\r\n\r\ngeheim\r\n"
}

// data returns what stands in the first event of a kind about a message.
func (k *keyRig) data(id message.ID, kind message.EventKind) map[string]string {
	k.t.Helper()
	s, err := k.g.Story(k.t.Context(), id)
	if err != nil {
		k.t.Fatal(err)
	}
	for _, e := range s.Events {
		if e.Kind == kind {
			return e.Data
		}
	}
	return nil
}

// TestKeyIsLookedFor: a message without a key is held, its recipient's key is
// asked for, the message goes on by itself, and nobody was bothered.
func TestKeyIsLookedFor(t *testing.T) {
	t.Parallel()
	k := newKeyRig(t)
	bob := k.ca.issue("bob@partner.example", k.w.time().AddDate(1, 0, 0))
	k.web.publish("bob@partner.example", keybook.Entry{Cert: bob.Cert.Raw})
	id := k.submit(submission("bob@partner.example"), confidential("1"))
	k.becomes(id, message.Done)
	if d := k.data(id, message.EventReleased); d["by"] != "gateway" || d["via"] != "smime" || d["reason"] == "" {
		t.Errorf("released: %v", d)
	}
	if n := k.events(id, message.EventNotice); n != 0 {
		t.Errorf("%d notices", n)
	}
	if seen := k.w.links["smime"].seen(); len(seen) != 1 || strings.Contains(seen[0].body, "geheim") {
		t.Errorf("left: %+v", seen)
	}
	again := k.submit(submission("bob@partner.example"), confidential("2"))
	k.becomes(again, message.Done)
	if k.events(again, message.EventReleased) != 0 || k.web.asked() != 1 {
		t.Errorf("asked %d times for a key that is known", k.web.asked())
	}
	used := false
	err := k.book.Each(func(_, _ string, e keybook.Entry) bool {
		used = !e.LastUsed.IsZero()
		return true
	})
	if err != nil || !used {
		t.Errorf("its use is not noted: %v", err)
	}
}

// TestNoKeyAnywhere: the sender is told after the time of the search, and a key
// that is put into the folder lets the message go.
func TestNoKeyAnywhere(t *testing.T) {
	t.Parallel()
	k := newKeyRig(t)
	id := k.submit(submission("bob@partner.example"), confidential("1"))
	item := k.becomes(id, message.Held)
	if item.NextTry.Sub(k.w.time()) != 30*time.Second {
		t.Errorf("told at %s", item.NextTry)
	}
	k.until("the question", func() bool { return k.web.asked() == 1 })
	k.stays()
	if k.events(id, message.EventNotice) != 0 {
		t.Error("told at once")
	}
	k.pass(time.Minute)
	k.told(key(id, 1), 1)
	byHand := k.submit(submission("bob@partner.example"), confidential("2"))
	k.becomes(byHand, message.Held)
	if err := k.g.Drop(t.Context(), key(byHand, 1), "test"); err != nil {
		t.Fatal(err)
	}
	k.put(t, "partners/bob@partner.example.crt", certPEM(k.ca.issue("bob@partner.example", k.w.time().AddDate(1, 0, 0)).Cert))
	k.reload(t)
	k.becomes(id, message.Done)
	if k.item(key(byHand, 1)).State != message.Dropped {
		t.Error("a dropped item came back")
	}
}

// TestPersonHolds: what a person holds does not go on by itself.
func TestPersonHolds(t *testing.T) {
	t.Parallel()
	k := newKeyRig(t)
	k.put(t, "partners/bob@partner.example.crt", certPEM(k.ca.issue("bob@partner.example", k.w.time().AddDate(1, 0, 0)).Cert))
	k.reload(t)
	k.w.links["smime"].fails(errLater)
	id := k.submit(submission("bob@partner.example"), confidential("1"))
	k.until("an attempt", func() bool { return k.item(key(id, 1)).Attempts > 0 && k.item(key(id, 1)).State == message.Waiting })
	if err := k.g.Hold(t.Context(), key(id, 1), "test"); err != nil {
		t.Fatal(err)
	}
	k.reload(t)
	k.stays()
	if s := k.item(key(id, 1)).State; s != message.Held {
		t.Errorf("%s", s)
	}
}

// TestRevokedByHand: a key out of use holds what was decided on it.
func TestRevokedByHand(t *testing.T) {
	t.Parallel()
	k := newKeyRig(t)
	bob := k.ca.issue("bob@partner.example", k.w.time().AddDate(1, 0, 0))
	k.put(t, "partners/bob@partner.example.crt", certPEM(bob.Cert))
	k.reload(t)
	k.w.links["smime"].fails(errLater)
	id := k.submit(submission("bob@partner.example"), confidential("1"))
	k.until("an attempt", func() bool { return k.item(key(id, 1)).State == message.Waiting && k.item(key(id, 1)).Attempts > 0 })
	if err := k.book.Revoke(smime.Fingerprint(bob.Cert), k.w.time()); err != nil {
		t.Fatal(err)
	}
	k.w.links["smime"].on(nil)
	k.pass(time.Hour)
	item := k.becomes(id, message.Held)
	if !strings.Contains(item.Reply, policy.NoKey) {
		t.Errorf("held: %q", item.Reply)
	}
	k.put(t, "partners/bob@partner.example.2028.crt", certPEM(k.ca.issue("bob@partner.example", k.w.time().AddDate(2, 0, 0)).Cert))
	k.reload(t)
	k.becomes(id, message.Done)
}

func signed(from string, id smime.Identity, at time.Time) string {
	raw := "From: " + from + "\r\nTo: bau@bl.example\r\nSubject: x\r\nContent-Type: text/plain\r\n\r\nGuten Tag\r\n"
	p := must(smime.Protect(strings.NewReader(raw), int64(len(raw)), smime.Options{Signer: id.Signer(), Time: at}))
	var b bytes.Buffer
	must(p.WriteTo(&b))
	return b.String()
}

// TestHarvest: who writes with a signature can be answered encrypted, at once
// under a known issuer, and after its approval under another; and only he.
func TestHarvest(t *testing.T) {
	t.Parallel()
	k := newKeyRig(t)
	now := k.w.time()
	k.put(t, "roots/zertes/ca.crt", certPEM(k.ca.cert))
	k.reload(t)
	other := newIssuer(now)
	bob, carol, eve := k.ca.issue("bob@partner.example", now.AddDate(1, 0, 0)), other.issue("carol@partner.example", now.AddDate(1, 0, 0)), k.ca.issue("eve@partner.example", now.AddDate(1, 0, 0))
	for _, m := range []struct {
		from, header string
		by           smime.Identity
		verdict      string
	}{
		{"bob@partner.example", "bob@partner.example", bob, "valid"},
		{"carol@partner.example", "carol@partner.example", carol, "valid-but-untrusted"},
		{"dan@partner.example", "dan@partner.example", eve, "valid-but-untrusted"},
	} {
		id, err := k.inbound(m.from, signed(m.header, m.by, now), "bau@bl.example")
		if err != nil {
			t.Fatal(err)
		}
		k.becomes(id, message.Done)
		d := k.data(id, message.EventMailbox)
		if d["verdict"] != m.verdict || (d["signer_is_from"] == "true") != (m.by.Cert != eve.Cert) || (d["anchor"] == "zertes") != (m.by.Cert != carol.Cert) {
			t.Errorf("%s: %v", m.from, d)
		}
	}
	ok := k.submit(submission("bob@partner.example"), confidential("1"))
	k.becomes(ok, message.Done)
	waits := k.submit(submission("carol@partner.example"), confidential("2"))
	k.becomes(waits, message.Held)
	for _, a := range []string{"dan@partner.example", "eve@partner.example"} {
		if list := must(k.book.Partners(addr(a))); len(list) != 0 {
			t.Errorf("learned for %s: %d", a, len(list))
		}
	}
	if roots := k.book.Roots(); len(roots) != 1 {
		t.Fatalf("%d issuers wait", len(roots))
	}
	if err := k.book.ApproveRoot(smime.Fingerprint(other.cert), now); err != nil {
		t.Fatal(err)
	}
	k.g.KeysArrived(message.Address{})
	k.becomes(waits, message.Done)
}

func openPGPKey(mail string, at time.Time) (public keybook.Entry, private openpgp.Key) {
	e := must(pgp.NewEntity("", "", mail, &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return at.AddDate(-1, 0, 0) }}))
	var b bytes.Buffer
	if err := e.SerializePrivate(&b, nil); err != nil {
		panic(err)
	}
	private = must(openpgp.ParseKeys(b.Bytes()))[0]
	return keybook.Entry{OpenPGP: must(private.Packets())}, private
}

// TestSenderIsLookedFor: a signature by an unknown key is judged as soon as the
// key is found.
func TestSenderIsLookedFor(t *testing.T) {
	t.Parallel()
	k := newKeyRig(t)
	now := k.w.time()
	public, private := openPGPKey("bob@partner.example", now)
	k.web.publish("bob@partner.example", public)
	raw := "From: bob@partner.example\r\nContent-Type: text/plain\r\n\r\nGuten Tag\r\n"
	p := must(openpgp.Protect(strings.NewReader(raw), int64(len(raw)), openpgp.Options{Signer: &private, Time: now}))
	var b bytes.Buffer
	must(p.WriteTo(&b))
	id, err := k.inbound("bob@partner.example", b.String(), "bau@bl.example")
	if err != nil {
		t.Fatal(err)
	}
	k.becomes(id, message.Done)
	if d := k.data(id, message.EventMailbox); d["verdict"] != "unchecked" || d["signature"] != "unknown_key" {
		t.Errorf("%v", d)
	}
	k.until("the verdict", func() bool { return k.events(id, message.EventOpened) == 1 })
	if d := k.data(id, message.EventOpened); d["verdict"] != "valid" {
		t.Errorf("%v", d)
	}
	if w := k.book.Waiting(); len(w) != 0 {
		t.Errorf("still waits: %+v", w)
	}
}

// TestOwnKeyComesLater: mail that nobody can open stays as it is, and is opened
// when the key is imported, also over a restart.
func TestOwnKeyComesLater(t *testing.T) {
	t.Parallel()
	k := newKeyRig(t)
	now := k.w.time()
	own := k.ca.issue("bau@bl.example", now.AddDate(1, 0, 0))
	raw := "From: bob@partner.example\r\nContent-Type: text/plain\r\n\r\nGeheim\r\n"
	p := must(smime.Protect(strings.NewReader(raw), int64(len(raw)), smime.Options{Recipients: []*x509.Certificate{own.Cert}, Time: now}))
	var b bytes.Buffer
	must(p.WriteTo(&b))
	id, err := k.inbound("bob@partner.example", b.String(), "bau@bl.example")
	if err != nil {
		t.Fatal(err)
	}
	if item := k.becomes(id, message.Done); !strings.Contains(item.Alarm, "import it") {
		t.Errorf("alarm %q", item.Alarm)
	}
	k.reload(t) // another key: nothing happens
	k.stays()
	if k.events(id, message.EventOpened) != 0 || len(k.book.Waiting()) != 1 {
		t.Error("opened without a key")
	}
	k.put(t, "own/bau/seal.crt", certPEM(own.Cert))
	k.put(t, "own/bau/seal.key", keyPEM(own))
	ring, _ := keys.Load(k.folder)
	k.ring.Store(ring)
	next := &keyRig{folder: k.folder, web: k.web, ca: k.ca}
	next.ring.Store(ring)
	next.rig = k.again(rigOptions{edit: func(o *gateway.Options) { next.wire(t, o) }})
	next.until("the opening", func() bool { return next.events(id, message.EventOpened) == 1 })
	if d := next.data(id, message.EventOpened); d["encryption"] != string(entity.Malleable) || d["encrypted_by"] != "smime" {
		t.Errorf("%v", d)
	}
	if item := next.item(key(id, 1)); item.Alarm != "" || item.State != message.Done {
		t.Errorf("%+v", item)
	}
	next.until("nothing waits", func() bool { return len(next.book.Waiting()) == 0 })
	var out bytes.Buffer
	if err := next.g.Fetch(t.Context(), reading(), "bau", id, true, &out); err != nil || !strings.Contains(out.String(), "Geheim") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// TestKeyAgent: while nobody knows the authorities' own keys nothing that must be
// signed is tried, and sealed mail that came in waits; the rest goes on.
func TestKeyAgent(t *testing.T) {
	t.Parallel()
	k := newKeyRig(t)
	own := k.ca.issue("bau@bl.example", k.w.time().AddDate(1, 0, 0))
	bob := k.ca.issue("bob@partner.example", k.w.time().AddDate(1, 0, 0))
	k.put(t, "own/bau/seal.crt", certPEM(own.Cert))
	k.put(t, "own/bau/seal.key", keyPEM(own))
	k.put(t, "partners/bob@partner.example.crt", certPEM(bob.Cert))
	k.reload(t)
	whole, gone := k.ring.Load(), fmt.Errorf("nobody listens: %w", cms.ErrKeyAway)
	k.ring.Store(whole.WithOwn(nil, gone))
	k.g.KeyAgent(t.Context(), gone)
	id := k.submit(submission("bob@partner.example"), confidential("1"))
	sealed, err := smime.Protect(strings.NewReader(letter("x", "1")), int64(len(letter("x", "1"))), smime.Options{Recipients: []*x509.Certificate{own.Cert}, Time: k.w.time()})
	if err != nil {
		t.Fatal(err)
	}
	var raw bytes.Buffer
	if _, err := sealed.WriteTo(&raw); err != nil {
		t.Fatal(err)
	}
	in, err := k.inbound("bob@partner.example", raw.String(), "bau@bl.example")
	if err != nil {
		t.Fatal(err)
	}
	k.until("the sealed mail waits", func() bool {
		item := k.item(key(in, 1))
		return item.State == message.Waiting && strings.Contains(item.Reply, "out of reach")
	})
	k.becomes(k.submit(submission("wer@example.org"), letter("x", "2")), message.Done)
	if item := k.item(key(id, 1)); item.State != message.Waiting || item.Attempts != 0 {
		t.Errorf("%s after %d attempts: %s", item.State, item.Attempts, item.Reply)
	}
	k.ring.Store(whole)
	k.g.KeyAgent(t.Context(), nil)
	k.pass(2 * time.Minute)
	k.becomes(id, message.Done)
	k.becomes(in, message.Done)
	if d := k.data(in, message.EventMailbox); d["encryption"] != string(entity.Malleable) {
		t.Errorf("%v", d)
	}
}

// TestWarnings: thirty days before its end a key is told once.
func TestWarnings(t *testing.T) {
	t.Parallel()
	k := newKeyRig(t)
	own := k.ca.issue("bau@bl.example", k.w.time().Add(29*24*time.Hour))
	k.put(t, "own/bau/seal.crt", certPEM(own.Cert))
	k.put(t, "own/bau/seal.key", keyPEM(own))
	k.reload(t)
	warned := func() (days []string) {
		list, err := k.store.Feed(t.Context(), "bau", 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if e.Kind == message.EventKey && e.Data["what"] == "ends" && e.Data["key"] == smime.Fingerprint(own.Cert) {
				days = append(days, e.Data["days"])
			}
		}
		return days
	}
	for _, c := range []struct {
		pass time.Duration
		want string
	}{{2 * time.Hour, "28"}, {24 * time.Hour, "28"}, {14 * 24 * time.Hour, "28 13"}, {13 * 24 * time.Hour, "28 13 0"}} {
		k.pass(c.pass)
		k.g.KeysArrived(message.Address{})
		k.until("warnings "+c.want, func() bool { return strings.Join(warned(), " ") == c.want })
	}
}

// TestHarvestPreferred: of several certificates in a mail the one counts by which
// its author wants to be answered.
func TestHarvestPreferred(t *testing.T) {
	t.Parallel()
	k := newKeyRig(t)
	now := k.w.time()
	k.put(t, "roots/ca.crt", certPEM(k.ca.cert))
	k.reload(t)
	sign, open := k.ca.issue("dora@partner.example", now.AddDate(1, 0, 0)), k.ca.issue("dora@partner.example", now.AddDate(0, 6, 0))
	signer := sign.Signer()
	signer.Encryption = open.Cert
	raw := "From: dora@partner.example\r\nContent-Type: text/plain\r\n\r\nGuten Tag\r\n"
	var b bytes.Buffer
	must(must(smime.Protect(strings.NewReader(raw), int64(len(raw)), smime.Options{Signer: signer, Time: now})).WriteTo(&b))
	id, err := k.inbound("dora@partner.example", b.String(), "bau@bl.example")
	if err != nil {
		t.Fatal(err)
	}
	k.becomes(id, message.Done)
	list := must(k.book.Partners(addr("dora@partner.example")))
	if len(list) != 1 || !list[0].Cert.Equal(open.Cert) || !list[0].Method.GCM {
		t.Errorf("learned %+v", list)
	}
}
