package gateway_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/audit"
	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/retention"
	"gatewayd/vault"
)

// shut closes an office that does not run.
func (f *office) shut() {
	f.t.Helper()
	if err := errors.Join(f.bolt.Close(), f.vault.Close()); err != nil {
		f.t.Error(err)
	}
}

// sweepPlate is a copy of the folder as it was just before a step.
type sweepPlate struct {
	step string
	dir  string
	at   time.Time
}

// TestSweepCrash copies the folder before every step of the sweeps that end a
// content day and a log day, as a power cut would leave it, and has the gateway
// go on from each copy.
func TestSweepCrash(t *testing.T) {
	f := newOffice(t)
	f.run()
	var all []planted
	for _, kind := range []string{"registered", "normal", "inbound", "inbound"} {
		all = append(all, f.plant(kind, fmt.Sprintf("crash-%d", len(all))))
	}
	f.quiet()
	f.confirm(all[3].id)
	for i := range all {
		env, _, err := f.store.Message(context.Background(), all[i].id)
		if err != nil {
			t.Fatal(err)
		}
		all[i].ref = env.Body
	}
	f.close()
	f.open(t, f.w, f.dir)
	var plates []sweepPlate
	root := fastDir(t)
	f.hook = func(step string) error {
		p := sweepPlate{step, filepath.Join(root, fmt.Sprint(len(plates))), f.w.time()}
		copyTree(t, f.dir, p.dir)
		plates = append(plates, p)
		return nil
	}
	begin, w := f.w.time(), retention.Default()
	limit, logEnd := w.EraseBy(begin), w.LogDay(begin).End()
	for _, at := range []time.Time{begin.Add(25 * time.Hour), limit.Add(-5 * 24 * time.Hour), limit.Add(-3 * 24 * time.Hour), limit.Add(-2 * 24 * time.Hour), logEnd} {
		f.w.set(at)
		f.sweep()
	}
	f.shut()
	steps := map[string]bool{}
	for i, p := range plates {
		steps[p.step] = true
		t.Run(fmt.Sprintf("%d %s", i, p.step), func(t *testing.T) { f.goOn(t, p, all, limit, logEnd) })
	}
	for _, want := range []string{"release", "export", "expire", "doom", "list", "destroy", "unlink", "protocol", "purge", "erase audit"} {
		if !steps[want] {
			t.Errorf("no crash before step %q", want)
		}
	}
}

func (w *world) set(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = at
}

// goOn starts from a sweepPlate: nothing was erased early, and the sweeps that
// follow end what was begun.
func (f *office) goOn(t *testing.T, p sweepPlate, all []planted, limit, logEnd time.Time) {
	w := &world{now: p.at, links: f.w.links, seal: f.w.seal}
	w.people.Store(f.w.people.Load())
	o := &office{start: f.start, over: true, cert: f.cert}
	o.open(t, w, p.dir)
	o.checkBodies(all, limit.Add(-3*24*time.Hour), p)
	for _, at := range []time.Time{p.at, p.at.Add(time.Minute), limit.Add(-2*24*time.Hour + time.Minute), logEnd.Add(time.Hour)} {
		if at.Before(w.time()) {
			continue
		}
		w.set(at)
		o.sweep()
		if !at.Before(limit.Add(-2 * 24 * time.Hour)) {
			for _, pl := range all {
				if _, err := o.vault.OpenBody(pl.ref); !errors.Is(err, vault.ErrGone) {
					t.Errorf("%s at %s: %v", pl.kind, at, err)
				}
			}
		}
	}
	for f, ds := range map[seal.Family][]string{seal.Content: o.keys.Days(seal.Content), seal.Log: o.keys.Days(seal.Log)} {
		for _, d := range ds {
			if !w.time().Before(parseDay(t, d).End()) {
				t.Errorf("%s key of %s is still there", f, d)
			}
		}
	}
	o.checkWhole(all)
	o.shut()
}

// checkBodies: what is kept to its window reads until it is doomed.
func (f *office) checkBodies(all []planted, doom time.Time, p sweepPlate) {
	f.t.Helper()
	for _, i := range []int{0, 2} {
		body, err := f.vault.OpenBody(all[i].ref)
		if early := p.at.Before(doom) || p.step == "export" && p.at.Equal(doom); early && err != nil {
			f.t.Errorf("%s before %s at %s: %v", all[i].kind, p.step, p.at, err)
		}
		if err == nil {
			body.Close()
		}
	}
}

func (f *office) checkWhole(all []planted) {
	f.t.Helper()
	ctx := context.Background()
	if _, err := f.g.VerifyAudit(ctx, nil); err != nil { // drains
		f.t.Error(err)
	}
	rep, err := f.audit.Verify(audit.Options{})
	if err != nil || !rep.OK() || rep.Erased == 0 {
		f.t.Errorf("audit: %v %v %+v", err, rep.Bad, rep)
	}
	if problems, err := f.g.Check(ctx); err != nil || len(problems) > 0 {
		f.t.Errorf("check: %v %q", err, problems)
	}
	for _, p := range all {
		if _, _, err := f.store.Message(ctx, p.id); !errors.Is(err, queue.ErrNotFound) {
			f.t.Errorf("%s is still in the ledger: %v", p.kind, err)
		}
	}
	key, err := f.keys.SigningKey()
	if err != nil {
		f.t.Fatal(err)
	}
	dir := filepath.Join(f.dir, "protocols")
	if n, err := retention.VerifyProtocols(dir, key.Public().(ed25519.PublicKey), nil); err != nil || !n.OK() || n.Protocols < 3 {
		f.t.Errorf("%+v protocols: %v", n, err)
	}
	if got, err := f.ret.VerifyProtocols(); err != nil || !got.OK() { // each destroyed key has its protocol
		f.t.Errorf("%+v %v", got, err)
	}
	if parts, _ := filepath.Glob(filepath.Join(dir, "*.part")); len(parts) > 0 {
		f.t.Errorf("unfinished protocols: %v", parts)
	}
}

// TestExport: before the limit the authority gets what it has not confirmed, with
// the receipts, in a form that OpenSSL opens; the protocol says by which
// disposition each message went.
func TestExport(t *testing.T) {
	f := newOffice(t)
	f.run()
	reg, in := f.plant("registered", "export-1"), f.plant("inbound", "export-2")
	done, normal := f.plant("inbound", "export-3"), f.plant("normal", "export-4")
	f.quiet()
	f.confirm(done.id)
	doc, err := f.vault.PutBlob(context.Background(), seal.Log, retention.Default().LogDay(f.w.time()).String(), []byte("%PDF QUITTUNG"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.store.Apply(context.Background(), queue.Change{Receipts: []message.Receipt{{
		ID: message.NewID(f.w.time()), Item: key(reg.id, 1), Kind: message.Abgabequittung, Received: f.w.time(), Document: doc, Digest: message.Digest{1},
	}}}); err != nil {
		t.Fatal(err)
	}
	f.close()
	f.open(t, f.w, f.dir)
	limit := retention.Default().EraseBy(f.start)
	f.sweep()
	f.w.set(limit.Add(-5*24*time.Hour - time.Second))
	if did := f.sweep(); did.Exported != 0 {
		t.Errorf("exported early: %+v", did)
	}
	f.w.set(limit.Add(-5 * 24 * time.Hour))
	if did := f.sweep(); did.Exported != 2 {
		t.Errorf("exported %d, want the unconfirmed two\n%s", did.Exported, f.log)
	}
	folder := filepath.Join(f.dir, "export", "bau", retention.Default().ContentDay(f.start).String())
	opened := f.openExport(filepath.Join(folder, reg.id.String()+".p7m"))
	for _, want := range []string{reg.body, reg.subject, reg.file, "QUITTUNG", `"kind": "abgabequittung"`} {
		if !bytes.Contains(opened, []byte(want)) {
			t.Errorf("the export has no %q", want)
		}
	}
	if opened := f.openExport(filepath.Join(folder, in.id.String()+".p7m")); !bytes.Contains(opened, []byte(in.body)) {
		t.Error("the export has no body")
	}
	f.w.set(limit.Add(-3 * 24 * time.Hour))
	f.sweep()
	f.w.set(limit.Add(-2 * 24 * time.Hour))
	f.sweep()
	want := map[string]string{reg.kind: "export_forced", "normal": "no_record"}
	f.checkProtocol(want, done, normal)
	f.shut()
}

func (f *office) openExport(path string) []byte {
	f.t.Helper()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CI") != "" {
			f.t.Fatalf("needs openssl: apt-get install openssl")
		}
		f.t.Skipf("needs openssl: apt-get install openssl")
	}
	der, err := x509.MarshalPKCS8PrivateKey(f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	dir := f.t.TempDir()
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.cert.Raw})...)
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), text, 0o600); err != nil {
		f.t.Fatal(err)
	}
	cmd := exec.Command(openssl, "cms", "-decrypt", "-inform", "DER", "-in", path, "-recip", filepath.Join(dir, "key.pem"), "-inkey", filepath.Join(dir, "key.pem"))
	var out, trouble bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &trouble
	if err := cmd.Run(); err != nil {
		f.t.Fatalf("openssl: %v %s", err, trouble.String())
	}
	return out.Bytes()
}

func (f *office) checkProtocol(want map[string]string, _ ...planted) {
	f.t.Helper()
	names, err := filepath.Glob(filepath.Join(f.dir, "protocols", "*-content-*.jsonl"))
	if err != nil || len(names) != 1 {
		f.t.Fatalf("%v %v", names, err)
	}
	file, err := os.Open(names[0])
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	text, err := io.ReadAll(file)
	if err != nil {
		f.t.Fatal(err)
	}
	head, list, tail, err := protocolOf(text, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	var got []string
	for _, d := range list {
		got = append(got, d.Disposition)
		if len(d.Object) != 64 || len(d.SHA256) != 64 || d.Method == "" {
			f.t.Errorf("%+v", d)
		}
	}
	slices.Sort(got)
	// two exported, one confirmed, one relay that kept nothing; and the notice on
	// the registered one that no receipt came for, if there was one
	if n := strings.Join(got, " "); !strings.HasPrefix(n, "export_forced export_forced handed_over_gever") || !strings.Contains(n, want["normal"]) {
		f.t.Errorf("dispositions: %s", n)
	}
	if !tail.Key.Gone || tail.Folder.Records == 0 || tail.Objects != len(list) || head.LegalBasis == "" || len(head.Residual) == 0 || len(head.RunKey) == 0 {
		f.t.Errorf("%+v %+v", head, tail)
	}
	for i := 0; i < len(text); i += 97 { // any change breaks the signature
		bad := bytes.Clone(text)
		bad[i] ^= 1
		if _, _, _, err := protocolOf(bad, nil); err == nil {
			f.t.Fatalf("a change at %d is not noticed", i)
		}
	}
}

// protocolOf reads a protocol of destruction with its list.
func protocolOf(text []byte, public ed25519.PublicKey) (h retention.Head, list []retention.Destroyed, t retention.Tail, err error) {
	h, t, err = retention.ReadProtocol(bytes.NewReader(text), public, func(d retention.Destroyed) error {
		list = append(list, d)
		return nil
	})
	return h, list, t, err
}

// TestClockGuard: a clock that went back refuses mail and erases nothing; one that
// jumped ahead erases nothing until it has been steady for a day.
func TestClockGuard(t *testing.T) {
	f := newOffice(t)
	f.run()
	p := f.plant("inbound", "clock")
	f.quiet()
	env, _, err := f.store.Message(context.Background(), p.id)
	if err != nil {
		t.Fatal(err)
	}
	f.close()
	f.open(t, f.w, f.dir)
	f.sweep()
	steady := time.Duration(0)
	f.ret, err = f.g.NewRetention(f.retention(func() time.Duration { return steady }))
	if err != nil {
		t.Fatal(err)
	}
	look := func(wall time.Time, passed time.Duration) (retention.Result, error) {
		f.w.set(wall)
		steady += passed
		return f.ret.Sweep(context.Background())
	}
	ahead := f.start.AddDate(1, 0, 0)
	for _, passed := range []time.Duration{0, time.Hour, 22 * time.Hour} {
		ahead = ahead.Add(passed)
		did, err := look(ahead, passed)
		if err != nil || len(did.Destroyed)+len(did.Doomed)+did.Expired+did.Exported > 0 {
			t.Errorf("after %s: %+v %v", passed, did, err)
		}
	}
	if did, err := look(f.start.Add(23*time.Hour), 0); err != nil || len(did.Destroyed) > 0 || f.ret.Room() != nil {
		t.Errorf("right again: %+v %v %v", did, err, f.ret.Room())
	}
	if body, err := f.vault.OpenBody(env.Body); err != nil {
		t.Errorf("the jump has cost a body: %v", err)
	} else {
		body.Close()
	}
	var refusal *message.Refusal
	if did, err := look(f.start.AddDate(-1, 0, 0), time.Hour); !errors.Is(err, retention.ErrClockBehind) || did.Released > 0 {
		t.Errorf("a year back: %+v %v", did, err)
	}
	if err := f.ret.Room(); !errors.As(err, &refusal) || refusal.Code != 451 {
		t.Errorf("a year back: %v", err)
	}
	if err := f.ret.ResetClock(context.Background(), "was set by hand"); err != nil || f.ret.Room() != nil {
		t.Errorf("after the reset: %v %v", err, f.ret.Room())
	}
	f.shut()
}

func TestReport(t *testing.T) {
	f := newOffice(t)
	f.run()
	f.plant("inbound", "report-1")
	f.plant("registered", "report-2")
	f.quiet()
	at := retention.Default().EraseBy(f.start).Add(-4 * 24 * time.Hour)
	rep, err := f.ret.Report(context.Background(), at)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range rep.Days {
		if d.Family == retention.Content && (d.Stage != retention.Exports || d.Messages != 2 || d.Unconfirmed != 2 || d.Open != 1 || d.Bytes == 0) {
			t.Errorf("%+v", d)
		}
		if d.Family == retention.Log && (d.Stage != retention.Keeps || d.Messages != 2) {
			t.Errorf("%+v", d)
		}
	}
	if len(rep.Days) != 2 || len(f.keys.Days(seal.Content)) != 1 {
		t.Errorf("%+v", rep)
	}
	f.close()
}
