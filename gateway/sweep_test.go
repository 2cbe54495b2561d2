package gateway_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/audit"
	"gatewayd/calendar"
	"gatewayd/crypto/seal"
	"gatewayd/gateway"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/queue/bolt"
	"gatewayd/retention"
	"gatewayd/vault"
)

// office is a gateway with erasure wired, on a clock that a test moves.
type office struct {
	*rig
	keys   *seal.Keyring
	ret    *gateway.Retention
	bolt   *bolt.Store
	audit  *audit.Log
	start  time.Time
	hook   func(string) error
	over   bool
	boot   string // which run of the machine; empty: each process counts for itself
	synced bool   // a time service says that the clock is right
	terms  []retention.Agreement
	edit   func(*gateway.Options)
	// windows are those of Vo E-GovG BL where none stand here.
	windows retention.Windows
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
}

// fastDir is a folder in memory, where there is one: a year has many syncs.
func fastDir(t testing.TB) string {
	t.Helper()
	if st, err := os.Stat("/dev/shm"); err != nil || !st.IsDir() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "gatewayd-test-*")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func newOffice(t *testing.T) *office {
	t.Helper()
	w := newWorld(t)
	f := &office{start: w.now, over: true}
	f.fallback(t)
	f.open(t, w, filepath.Join(fastDir(t), "data"))
	return f
}

func (f *office) fallback(t *testing.T) {
	t.Helper()
	var err error
	if f.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Ersatz"}, NotAfter: time.Now().Add(1e6 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, f.key.Public(), f.key)
	if err == nil {
		f.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// open opens everything in a folder; nothing runs.
func (f *office) open(t testing.TB, w *world, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, w: w, dir: dir, log: &lockedBuffer{}}
	f.rig = r
	var err error
	if f.keys, err = seal.Open(filepath.Join(dir, "keys"), bytes.Repeat([]byte{7}, 32)); err != nil {
		t.Fatal(err)
	}
	vo := vault.Options{Dir: filepath.Join(dir, "vault"), Keys: f.keys}
	if f.over {
		vo.Over = gateway.Over(func() time.Time {
			if f.ret == nil {
				return w.time()
			}
			return f.ret.Latest()
		})
	}
	if r.vault, err = vault.Open(vo); err != nil {
		t.Fatal(err)
	}
	windows := f.windows
	if windows == (retention.Windows{}) {
		windows = retention.Default()
	}
	if f.bolt, err = bolt.Open(bolt.Options{
		Path: filepath.Join(dir, "ledger.db"), Keys: f.keys, Now: w.time,
		LogDay: func(at time.Time) string { return windows.LogDay(at).String() },
	}); err != nil {
		t.Fatal(err)
	}
	r.store = f.bolt
	if f.audit, err = audit.Open(filepath.Join(dir, "audit"), f.keys); err != nil {
		t.Fatal(err)
	}
	r.audit = f.audit
	options := w.options(t, r, f.audit, windows)
	options.Agreements = f.terms
	if f.edit != nil {
		f.edit(&options)
	}
	if r.g, err = gateway.New(options); err != nil {
		t.Fatal(err)
	}
	r.g.Sooner()
	if f.ret, err = r.g.NewRetention(f.retention(func() time.Duration { return w.time().Sub(f.start) })); err != nil {
		t.Fatal(err)
	}
}

func (f *office) retention(steady func() time.Duration) gateway.RetentionOptions {
	return gateway.RetentionOptions{
		Keys: f.keys, Ledger: f.bolt, Software: "test", Remind: retention.DefaultRemind(), Fallback: map[string]*x509.Certificate{"bau": f.cert, "steuer": f.cert}, Machine: gateway.Machine{Steady: steady, Boot: f.boot, Synced: func() bool { return f.synced }},
		Hook: func(step string) error {
			if f.hook != nil {
				return f.hook(step)
			}
			return nil
		},
	}
}

func parseDay(t *testing.T, s string) calendar.Day {
	t.Helper()
	d, err := calendar.ParseDay(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (f *office) sweep() retention.Result {
	f.t.Helper()
	did, err := f.ret.Sweep(context.Background())
	if err != nil {
		f.t.Fatalf("sweep at %s: %v\n%s", f.w.time(), err, f.log)
	}
	return did
}

// quiet waits until nothing is on its way.
func (f *office) quiet() {
	f.t.Helper()
	f.until("quiet", func() bool {
		// In this order: what was leased in between is counted as Sending.
		next, waiting, err2 := f.store.NextDue(context.Background())
		counts, err := f.store.Counts(context.Background())
		return err == nil && err2 == nil && counts[message.Sending] == 0 && (!waiting || next.After(f.w.time()))
	})
}

// to moves the clock to a day's hour.
func (f *office) to(at time.Time) { f.pass(at.Sub(f.w.time())) }

// planted is what must not be found again.
type planted struct {
	id                  message.ID
	kind                string
	at                  time.Time
	body, subject, file string
	address             string
	ref                 message.Ref
}

func (f *office) plant(kind, mark string) planted {
	f.t.Helper()
	p := planted{kind: kind, at: f.w.time(), body: "INHALT-" + mark, subject: "BETREFF-" + mark, file: "DATEI-" + mark + ".pdf", address: "adresse-" + mark + "@example.ch"}
	from, to := "bau@bl.example", p.address
	subject := p.subject
	switch kind {
	case "registered":
		subject, to = "<r> "+subject, "buerger@example.ch"
	case "inbound":
		from, to = p.address, "bau@bl.example"
	}
	text := "From: " + from + "\r\nSubject: " + subject + "\r\nMessage-ID: <" + mark + kind + "@bl.example>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=xx\r\n\r\n" +
		"--xx\r\n\r\n" + p.body + "\r\n--xx\r\nContent-Type: application/pdf; name=\"" + p.file + "\"\r\n\r\n%PDF\r\n--xx--\r\n"
	if kind == "inbound" {
		id, err := f.inbound(from, text, to)
		if err != nil {
			f.t.Fatal(err)
		}
		p.id = id
	} else {
		p.id = f.submit(submission(to), text)
	}
	f.until("indexed", func() bool { _, err := f.store.Item(context.Background(), key(p.id, 1)); return err == nil })
	return p
}

// found returns the first file below a folder with one of the marks in it.
func found(t testing.TB, dir string, marks ...string) string {
	t.Helper()
	hit := ""
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || hit != "" {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range marks {
			if bytes.Contains(b, []byte(m)) {
				hit = path + ": " + m
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return hit
}

func copyTree(t testing.TB, from, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", from+"/.", to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v %s", err, out)
	}
}

// TestBackup: a copy of the folder, taken on day 40, gives nothing back once what
// it held was erased: neither what expired nor what was handed over. Until then
// what must be kept is kept to its day.
func TestBackup(t *testing.T) {
	f := newOffice(t)
	f.run()
	t.Cleanup(func() { f.close() })
	windows := retention.Default()
	var all []planted
	backup := filepath.Join(fastDir(t), "old")
	first := calendar.DayOf(f.w.time())
	for n := range 112 {
		day := first.AddDays(n)
		f.to(day.Start().Add(9 * time.Hour))
		for _, kind := range []string{"registered", "normal", "inbound"} {
			if n > 45 && n%10 > 0 {
				break // nothing new in the copy
			}
			all = append(all, f.plant(kind, day.String()+"-"+kind))
		}
		f.quiet()
		if n%3 == 0 && n <= 45 { // the authority's file has this one
			f.confirm(all[len(all)-1].id)
		}
		f.sweep()
		f.checkDay(all, windows, n)
		if n == 44 { // through the compressed day files
			if s, err := f.g.Story(context.Background(), all[len(all)-3*40].id); err != nil || len(s.Events) < 2 {
				t.Fatalf("day %d: the story of day %d: %v %+v", n, n-40, err, s.Events)
			}
		}
		if n == 40 {
			for i := range all { // an old copy, with where everything lay
				if env, _, err := f.store.Message(context.Background(), all[i].id); err == nil {
					all[i].ref = env.Body
				}
			}
			f.close()
			copyTree(t, f.dir, backup)
			f.open(t, f.w, f.dir)
			f.run()
		}
	}
	f.close()
	f.checkEnd(all, windows)
	f.checkBackups(all, backup)
}

func (f *office) confirm(id message.ID) {
	f.t.Helper()
	_, items, err := f.store.Message(context.Background(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	for i := range items {
		items[i].HandedOver = f.w.time()
	}
	if err := f.store.Apply(context.Background(), queue.Change{Items: items}); err != nil {
		f.t.Fatal(err)
	}
}

// checkDay looks at messages around the edges of their windows.
func (f *office) checkDay(all []planted, w retention.Windows, n int) {
	f.t.Helper()
	now, ctx := f.w.time(), context.Background()
	for i := max(0, len(all)-3*190); i < len(all); i++ {
		p := &all[i]
		limit, logEnd := w.EraseBy(p.at), w.LogDay(p.at).End()
		near := now.Sub(limit).Abs() < 6*24*time.Hour || now.Sub(logEnd).Abs() < 3*24*time.Hour || now.Sub(p.at) < 24*time.Hour
		if !near {
			continue
		}
		env, items, err := f.store.Message(ctx, p.id)
		if there := !now.After(logEnd); there != (err == nil) {
			f.t.Fatalf("%s of %s at %s: the ledger says %v, its log window ends %s", p.kind, p.at, now, err, logEnd)
		}
		if err != nil {
			continue
		}
		body, err := f.vault.OpenBody(env.Body)
		letGo := p.kind == "normal" || !items[0].Erased.IsZero()
		switch kept := now.Before(limit.Add(-3*24*time.Hour)) && !letGo; {
		case kept && err != nil:
			f.t.Fatalf("%s of %s at %s: %v, but it is kept until %s", p.kind, p.at, now, err, limit)
		case !kept && !errors.Is(err, vault.ErrGone):
			f.t.Fatalf("%s of %s at %s: OpenBody says %v", p.kind, p.at, now, err)
		}
		if err == nil {
			body.Close()
		}
		if events, err := f.store.Events(ctx, p.id); err != nil || len(events) < 2 || !strings.Contains(events[0].Data["from"]+events[1].Data["to"], "@") {
			f.t.Fatalf("%s of %s at %s: no log data: %v", p.kind, p.at, now, err)
		}
		if !now.Before(limit.Add(-24*time.Hour)) && f.keys.Exists(seal.Content, w.ContentDay(p.at).String()) {
			f.t.Fatalf("at %s the content key of %s is still there", now, w.ContentDay(p.at))
		}
	}
	// Every day near the edges of the windows, else every tenth; with
	// GATEWAYD_LONG every day (25 s more).
	if n < 10 || n%10 == 0 || n > 178 && n < 195 || os.Getenv("GATEWAYD_LONG") != "" {
		f.checkAudit(n)
	}
}

func (f *office) checkAudit(n int) {
	f.t.Helper()
	rep, err := audit.Verify(filepath.Join(f.dir, "audit"), audit.Options{}) // nobody writes meanwhile
	if n%30 == 0 && err == nil && rep.OK() {
		rep, err = f.audit.Verify(audit.Options{})
	}
	if err != nil || !rep.OK() || rep.First != 1 {
		f.t.Fatalf("audit on day %d: %v %v %+v", n, err, rep.Bad, rep)
	}
}

func (f *office) checkEnd(all []planted, w retention.Windows) {
	f.t.Helper()
	now := f.w.time()
	if hit := found(f.t, f.dir, "INHALT-20", "BETREFF-20", "DATEI-20", "adresse-20", all[0].body); hit != "" {
		f.t.Errorf("in clear in the folder: %s", hit)
	}
	days := f.keys.Days(seal.Log)
	if len(days) == 0 || days[0] < calendar.DayOf(now).String() {
		f.t.Errorf("log keys %v, today is %s", days, calendar.DayOf(now))
	}
	entries, err := os.ReadDir(filepath.Join(f.dir, "vault"))
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range entries {
		if d, err := calendar.ParseDay(e.Name()); err == nil && d.Before(calendar.DayOf(now)) {
			f.t.Errorf("folder %s is still there", d)
		}
	}
	key, err := f.keys.SigningKey()
	if err != nil {
		f.t.Fatal(err)
	}
	n, err := retention.VerifyProtocols(filepath.Join(f.dir, "protocols"), key.Public().(ed25519.PublicKey), nil)
	if err != nil || !n.OK() || n.Protocols < 40 {
		f.t.Errorf("%+v protocols: %v", n, err)
	}
	if hit := found(f.t, filepath.Join(f.dir, "protocols"), all[0].id.String(), "example.ch"); hit != "" {
		f.t.Errorf("a protocol names a message: %s", hit)
	}
}

// checkBackups restores a copy of the folder from day 40, months later: first with
// the keys as they are now, as the design has it, then with the keys of that day.
func (f *office) checkBackups(all []planted, backup string) {
	f.t.Helper()
	mirrored := filepath.Join(fastDir(f.t), "mirrored")
	copyTree(f.t, backup, mirrored)
	if err := os.RemoveAll(filepath.Join(mirrored, "keys")); err != nil {
		f.t.Fatal(err)
	}
	copyTree(f.t, filepath.Join(f.dir, "keys"), filepath.Join(mirrored, "keys"))
	for _, over := range []bool{true, false} { // the keys alone are enough
		if n := f.readable(all, mirrored, over); n != 0 {
			f.t.Errorf("a restored copy with the keys of today gives %d bodies (reads refuse by the clock: %v)", n, over)
		}
	}
	if n := f.readable(all, backup, true); n != 0 {
		f.t.Errorf("a restored copy with its old keys gives %d bodies to the program", n)
	}
	// What no software can hold: old keys and old data together, read past the
	// program. The protocols name it as a residual risk.
	if n := f.readable(all, backup, false); n == 0 {
		f.t.Error("old keys with old data open nothing: then this test does not look where it should")
	}
	f.sweepBackup(all, backup)
}

// readable counts planted bodies that a copy of the folder gives.
func (f *office) readable(all []planted, dir string, over bool) (n int) {
	f.t.Helper()
	o := &office{start: f.start, over: over, cert: f.cert}
	o.open(f.t, f.w, dir)
	defer func() {
		if err := errors.Join(o.bolt.Close(), o.vault.Close()); err != nil {
			f.t.Error(err)
		}
	}()
	for _, p := range all {
		if p.ref.IsZero() {
			continue
		}
		body, err := o.vault.OpenBody(p.ref)
		if err != nil {
			continue
		}
		text, err := io.ReadAll(body)
		if body.Close(); err == nil && bytes.Contains(text, []byte(p.body)) {
			n++
		}
	}
	return n
}

// sweepBackup lets the gateway itself run on the old copy, old keys included:
// after a day of steady clock nothing is left.
func (f *office) sweepBackup(all []planted, backup string) {
	f.t.Helper()
	o := &office{start: f.start, over: true, cert: f.cert}
	o.open(f.t, f.w, backup)
	o.sweep()
	if did := o.sweep(); len(did.Destroyed) > 0 {
		f.t.Errorf("destroyed at once, on a clock that has not proven steady: %v", did.Destroyed)
	}
	o.pass(25 * time.Hour)
	o.sweep()
	if err := errors.Join(o.bolt.Close(), o.vault.Close()); err != nil {
		f.t.Fatal(err)
	}
	if n := f.readable(all, backup, false); n != 0 {
		f.t.Errorf("after the sweep the old copy gives %d bodies", n)
	}
}
