package gateway_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatewayd/audit"
	"gatewayd/crypto/cms"
	"gatewayd/crypto/tsp"
	"gatewayd/evidence"
	"gatewayd/gateway"
	"gatewayd/gateway/cases"
	"gatewayd/legal"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/simulator"
)

// sealing lets a gateway make evidence bundles; ca issues seal and stamps.
func sealing(t testing.TB) (edit func(*gateway.Options), ca *simulator.CA) {
	t.Helper()
	ca, err := simulator.NewCA("Evidence CA")
	if err != nil {
		t.Fatal(err)
	}
	seal, err := ca.Client("gateway seal")
	if err != nil {
		t.Fatal(err)
	}
	tsa, err := ca.TSA("stamps")
	if err != nil {
		t.Fatal(err)
	}
	return func(o *gateway.Options) {
		authority := &simulator.TSA{Cert: tsa, Now: o.Now}
		o.Evidence = cases.Sealing{
			Software: "gatewayd test", Seal: cms.Signer{Cert: seal.Leaf, Key: seal.Key},
			Stamp: func(_ context.Context, r io.Reader) ([]byte, error) {
				q, err := tsp.NewRequest(r)
				if err != nil {
					return nil, err
				}
				return authority.Stamp(q)
			},
		}
	}, ca
}

// verified writes the bundle of a case and verifies it.
func (r *rig) verified(k message.ItemKey, roots *x509.CertPool) evidence.Result {
	r.t.Helper()
	var b bytes.Buffer
	path := filepath.Join(r.t.TempDir(), "bundle.zip")
	if err := errors.Join(r.g.Evidence(context.Background(), message.Reading{By: "test", Purpose: message.ForAudit}, k, &b), os.WriteFile(path, b.Bytes(), 0o600)); err != nil {
		r.t.Fatal(err)
	}
	res, err := evidence.Verify(path, evidence.Options{Roots: roots})
	if err != nil || res.Verdict != evidence.Accepted {
		r.t.Fatalf("%v, %s: %+v", err, res.Verdict, res.Problems)
	}
	r.proofs = proofsIn(r.t, b.Bytes())
	return res
}

// proofsIn reads the proofs of a bundle: each must hold.
func proofsIn(t testing.TB, bundle []byte) (kinds []message.EventKind) {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(bundle), int64(len(bundle)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range z.File {
		if !strings.HasPrefix(f.Name, "audit/") {
			continue
		}
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		p, err := audit.ParseProof(text)
		if err == nil {
			err = p.Verify(nil)
		}
		if err != nil || p.Event == nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		kinds = append(kinds, p.Event.Kind)
	}
	return kinds
}

// TestEvidence: the bundle of a collected item holds message and receipts; after
// erasure it holds the hash. Each export stands in the audit log.
func TestEvidence(t *testing.T) {
	t.Parallel()
	edit, ca := sealing(t)
	r := newRig(t, rigOptions{edit: edit})
	r.w.know(t, expectingText)
	id, item := r.registered()
	k := key(id, 1)
	for _, kind := range []string{"Abgabequittung", "Abholquittung"} {
		r.receives(r.w.receipt(t, kind, item.Reference, "buerger@example.ch"))
		r.pass(time.Minute)
	}
	r.itemBecomes(k, message.Done)
	roots := ca.Pool()
	roots.AddCert(r.w.seal.issuer)
	got := r.verified(k, roots)
	rec := got.Record
	if rec.Content.Form != evidence.FileMessage || len(rec.Receipts) != 2 || rec.Case.Service.Date.String() != "2026-11-23" || rec.Event != "COLLECTED" || len(rec.Chain) < 3 {
		t.Errorf("%+v", rec)
	}
	if len(r.proofs) != 0 {
		t.Errorf("proofs of a day that is not sealed: %v", r.proofs)
	}
	if n := r.events(id, message.EventEvidence); n != 1 {
		t.Errorf("%d events, want one", n)
	}
	if _, err := gateway.NewPrograms(r.g).HandOver(context.Background(), "bau", id, message.Filing{By: "test", Disposition: message.HandedOverGEVER, Ref: "G-1"}); err != nil {
		t.Fatal(err)
	}
	r.pass(70 * 24 * time.Hour) // the window of the content is over; that of the log is not
	if _, err := r.audit.Drain(context.Background(), r.store); err != nil {
		t.Fatal(err)
	}
	if n, err := r.audit.Rotate(r.w.time()); err != nil || n == 0 {
		t.Fatalf("%d days sealed, %v", n, err)
	}
	first := rec
	rec = r.verified(k, roots).Record
	if p := rec.Previous; first.Version != 1 || first.Previous.ID != "" || rec.Version != 2 || p.ID != first.ID || p.Evidence == (message.Digest{}) || p.Manifest == (message.Digest{}) || p.Evidence == p.Manifest {
		t.Errorf("version %d after %d supersedes %+v", rec.Version, first.Version, p)
	}
	story, err := r.g.Story(context.Background(), id)
	if err != nil || !slices.ContainsFunc(story.Events, func(e message.Event) bool {
		return e.Kind == message.EventEvidence && e.Data["evidence"] == first.ID && e.Data["evidence_sha256"] == rec.Previous.Evidence.String()
	}) {
		t.Errorf("the log does not say what the bundle says: %v", err)
	}
	if rec.Content.Form != "hash only" || rec.Content.SHA256 == (message.Digest{}) || len(rec.Receipts) != 2 || len(rec.Content.Parts) != 0 {
		t.Errorf("after erasure: %+v", rec.Content)
	}
	for _, kind := range []message.EventKind{message.EventAccepted, message.EventDecided, message.EventHanded, message.EventReceipt} {
		if !slices.Contains(r.proofs, kind) {
			t.Errorf("no proof of %s: %v", kind, r.proofs)
		}
	}
}

// TestStampLater: while the time-stamping authority does not answer a bundle has no
// stamp; the gateway asks again by itself, also after a restart of the authority
// that took days, and has the stamp then.
func TestStampLater(t *testing.T) {
	t.Parallel()
	edit, ca := sealing(t)
	var up atomic.Bool
	var asked atomic.Int64
	r := newRig(t, rigOptions{edit: func(o *gateway.Options) {
		edit(o)
		stamp := o.Evidence.Stamp
		o.Evidence.Stamp = func(ctx context.Context, c io.Reader) ([]byte, error) {
			if asked.Add(1); !up.Load() {
				return nil, errors.New("nobody answers")
			}
			return stamp(ctx, c)
		}
	}})
	id, item := r.registered()
	k := key(id, 1)
	reading := message.Reading{By: "test", Purpose: message.ForAudit}
	var b bytes.Buffer
	if err := r.g.Evidence(context.Background(), reading, k, &b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bundle.zip")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	res, err := evidence.Verify(path, evidence.Options{Roots: ca.Pool()})
	if err != nil || res.Verdict != evidence.Unstamped {
		t.Fatalf("%v, %s: %+v", err, res.Verdict, res.Problems)
	}
	r.until("the gateway asks by itself", func() bool { return asked.Load() >= 2 })
	if _, err := r.g.Seal(context.Background(), reading, k, res.Record.ID); err == nil || !strings.Contains(err.Error(), "nobody answers") {
		t.Errorf("no stamp yet: %v", err)
	}
	made := 1
	for ; made < 20 && err == nil; made++ {
		err = r.g.Evidence(context.Background(), reading, k, io.Discard)
	}
	if !errors.Is(err, evidence.ErrManyWait) || made > 10 {
		t.Errorf("%d bundles without a stamp: %v", made, err)
	}
	waiting := r.events(id, message.EventEvidence)
	up.Store(true)
	r.until("the stamps", func() bool { r.pass(time.Hour); return r.events(id, message.EventStamped) == waiting })
	if err := r.g.Evidence(context.Background(), reading, k, io.Discard); err != nil {
		t.Errorf("after the stamps: %v", err)
	}
	seal, err := r.g.Seal(context.Background(), reading, k, res.Record.ID)
	if err != nil {
		t.Fatal(err)
	}
	var done bytes.Buffer
	if err := errors.Join(evidence.Complete(&done, path, seal), os.WriteFile(path, done.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	if res, err = evidence.Verify(path, evidence.Options{Roots: ca.Pool()}); err != nil || res.Verdict != evidence.Accepted {
		t.Errorf("%v, %s: %+v", err, res.Verdict, res.Problems)
	}
	if _, err := r.g.Seal(context.Background(), reading, k, "another"); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("another bundle: %v", err)
	}
	if _, err := r.g.Seal(context.Background(), message.Reading{By: "test"}, k, res.Record.ID); !errors.Is(err, message.ErrNoPurpose) {
		t.Errorf("no purpose: %v", err)
	}
	r.receives(r.w.receipt(t, "Abgabequittung", item.Reference, "buerger@example.ch")) // the case goes on
	if n := r.events(id, message.EventStamped); n != waiting {
		t.Errorf("%d stamps of %d", n, waiting)
	}
}

// TestEvidenceRefused: no seal, no case, no such item.
func TestEvidenceRefused(t *testing.T) {
	t.Parallel()
	edit, _ := sealing(t)
	r := newRig(t, rigOptions{edit: func(o *gateway.Options) {
		edit(o)
		o.Evidence.Seals = map[string]cms.Signer{"steuer": {}}
	}})
	id, _ := r.registered()
	plain := r.send("ordinary", "x@example.org")
	r.becomes(plain, message.Done)
	for name, c := range map[string]struct {
		k    message.ItemKey
		want string
	}{
		"no case": {key(plain, 1), cases.ErrNoCase.Error()},
		"no item": {key(id, 9), queue.ErrNotFound.Error()}, "no message": {key(message.ID{1}, 1), queue.ErrNotFound.Error()},
	} {
		var b bytes.Buffer
		if err := r.g.Evidence(context.Background(), message.Reading{By: "test", Purpose: message.ForAudit}, c.k, &b); err == nil || !strings.Contains(err.Error(), c.want) || b.Len() > 0 {
			t.Errorf("%s: %v, %d octets written", name, err, b.Len())
		}
	}
	if n := r.events(id, message.EventEvidence); n != 0 {
		t.Errorf("%d events about what was not made", n)
	}
}

// TestEvidenceMismatch: a receipt with a good seal that names something else than
// was sent moves nothing (law.md C-05), and a person is told; once it names what
// was sent, the case goes on.
func TestEvidenceMismatch(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	r.w.know(t, expectingText)
	id, item := r.registered()
	k := key(id, 1)
	env, _, err := r.store.Message(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	r.receives(r.w.receipt(t, "Abholquittung", item.Reference, "buerger@example.ch", "SHA-256: "+strings.Repeat("ab", 32)))
	if i := r.item(k); i.Case == message.CaseCollected || !strings.Contains(i.Alarm, "something else than was sent") {
		t.Errorf("case %s, alarm %q", i.Case, i.Alarm)
	}
	if c := r.theCase(k); c.State != legal.EvidenceInvalid || !c.Service.Date.IsZero() {
		t.Errorf("%s %+v", c.State, c.Service)
	}
	r.pass(time.Minute)
	r.receives(r.w.receipt(t, "Abholquittung", item.Reference, "buerger@example.ch", "Anhang: fremd.pdf, SHA-256 "+strings.Repeat("cd", 32)))
	rs, err := r.store.Receipts(context.Background(), id)
	if err != nil || len(rs) != 2 || !slices.ContainsFunc(rs, func(x message.Receipt) bool { return strings.Contains(x.Mismatch, "attachment fremd.pdf") }) {
		t.Errorf("%v, %+v", err, rs)
	}
	r.pass(time.Minute)
	r.receives(r.w.receipt(t, "Abholquittung", item.Reference, "buerger@example.ch", "SHA-256: "+env.Content.Body.String()))
	if i := r.item(k); i.Case != message.CaseCollected || i.State != message.Done {
		t.Errorf("case %s, state %s", i.Case, i.State)
	}
	rs, _ = r.store.Receipts(context.Background(), id)
	if !slices.ContainsFunc(rs, func(x message.Receipt) bool { return x.Fits == "body" && x.Mismatch == "" }) {
		t.Errorf("%+v", rs)
	}
}
