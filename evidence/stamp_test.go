package evidence_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatewayd/crypto/cms"
	"gatewayd/evidence"
	"gatewayd/message"
)

// unstamped is a sealer whose time-stamping authority does not answer.
func (w *world) unstamped() evidence.Sealer {
	s := w.sealer()
	s.Stamp = func(context.Context, io.Reader) ([]byte, error) { return nil, errors.New("nobody answers") }
	return s
}

// TestPendingStamp: without an answer of the authority a bundle is made, says so,
// is not accepted, and is completed later: nothing else in it changes.
func TestPendingStamp(t *testing.T) {
	w := theWorld(t)
	b, err := evidence.Prepare(t.Context(), w.input(true), w.unstamped())
	if err != nil || b.Pending == nil || !strings.Contains(b.Pending.Error(), "nobody answers") || b.Unstamped == nil {
		t.Fatalf("%v, pending %v", err, b.Pending)
	}
	var z bytes.Buffer
	if err := b.Write(&z); err != nil {
		t.Fatal(err)
	}
	path := w.file(z.Bytes())
	for name, c := range map[string]struct {
		roots   *x509.CertPool
		verdict string
	}{"anchors": {w.roots(), evidence.Unstamped}, "none": {nil, evidence.SelfConsistent}} {
		r, err := evidence.Verify(path, evidence.Options{Roots: c.roots})
		if err != nil || r.Verdict != c.verdict || !r.Unstamped || !r.Stamped.IsZero() || len(r.Problems) > 0 {
			t.Errorf("%s: %v, %s, %v\n%s", name, err, r.Verdict, r.Stamped, problems(r))
		}
	}
	stamped, err := w.sealer().Stamped(t.Context(), b.Unstamped)
	if err != nil {
		t.Fatal(err)
	}
	var done bytes.Buffer
	if err := evidence.Complete(&done, path, stamped); err != nil {
		t.Fatal(err)
	}
	whole := w.file(done.Bytes())
	if r, err := evidence.Verify(whole, evidence.Options{Roots: w.roots()}); err != nil || r.Verdict != evidence.Accepted || r.Unstamped || !r.Stamped.Equal(testDay()) {
		t.Errorf("completed: %v, %s\n%s", err, r.Verdict, problems(r))
	}
	before, after := unpack(t, path), unpack(t, whole)
	if len(after) != len(before)+1 {
		t.Errorf("%d files, then %d", len(before), len(after))
	}
	for _, e := range before {
		if e.name != evidence.FileSeal && !slices.ContainsFunc(after, func(a entry) bool { return a.name == e.name && bytes.Equal(a.text, e.text) }) {
			t.Errorf("%s has changed", e.name)
		}
	}
	if err := evidence.Complete(io.Discard, whole, stamped); !errors.Is(err, os.ErrExist) {
		t.Errorf("completed twice: %v", err)
	}
}

// TestCompleteRefuses: a seal of another bundle, or one without a stamp, completes
// nothing.
func TestCompleteRefuses(t *testing.T) {
	w := theWorld(t)
	prepare := func(content bool) *evidence.Bundle {
		b, err := evidence.Prepare(t.Context(), w.input(content), w.unstamped())
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	one, other := prepare(true), prepare(false)
	var z bytes.Buffer
	if err := one.Write(&z); err != nil {
		t.Fatal(err)
	}
	path := w.file(z.Bytes())
	foreign, err := w.sealer().Stamped(t.Context(), other.Unstamped)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path string
		seal []byte
		want string
	}{
		"another bundle's": {path, foreign, "belongs to another bundle"},
		"no stamp":         {path, one.Unstamped, "no time stamp"},
		"no seal":          {path, []byte("junk"), "not of one signer"},
		"no bundle":        {w.file([]byte("junk")), foreign, "neither a folder nor a ZIP"},
	} {
		if err := evidence.Complete(io.Discard, c.path, c.seal); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.sealer().Stamped(t.Context(), foreign); !errors.Is(err, cms.ErrUnsupported) {
		t.Errorf("stamped twice: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := evidence.Prepare(ctx, w.input(true), w.unstamped()); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits: %v", err)
	}
}

// TestStampInsideIsJudged: the stamp in the seal and its copy beside it must be the
// same, and about this signature.
func TestStampInsideIsJudged(t *testing.T) {
	w := theWorld(t)
	whole := unpack(t, w.write(w.input(true), w.sealer()))
	other := unpack(t, w.write(w.input(false), w.sealer()))
	last := len(whole) - 1
	seal, stamp := whole[last-1], whole[last]
	if seal.name != evidence.FileSeal || stamp.name != evidence.FileStamp {
		t.Fatal(seal.name, stamp.name)
	}
	r, err := cms.Verify(bytes.NewReader(seal.text), bytes.NewReader(whole[last-2].text), cms.VerifyOptions{})
	if err != nil || len(r.Signatures[0].Stamps) != 1 || !r.Signatures[0].ESS {
		t.Fatal(err)
	}
	foreign, err := cms.StampsIn(other[len(other)-2].text)
	if err != nil {
		t.Fatal(err)
	}
	waiting, err := evidence.Prepare(t.Context(), w.input(true), w.unstamped())
	if err != nil {
		t.Fatal(err)
	}
	moved, err := cms.WithStamp(waiting.Unstamped, foreign[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		seal, stamp []byte
		file, want  string
	}{
		"copy of another":  {seal.text, other[len(other)-1].text, evidence.FileStamp, "is not the stamp in"},
		"stamp of another": {moved, stamp.text, evidence.FileSeal, "no time proof"},
	} {
		list := slices.Clone(whole)
		list[last-1].text, list[last].text = c.seal, c.stamp
		if name == "stamp of another" {
			list = repack(t, w, waiting, c.seal)
		}
		r, err := evidence.Verify(w.file(pack(t, list)), evidence.Options{Roots: w.roots()})
		if err != nil || r.Verdict != evidence.Refused || !strings.Contains(problems(r), c.file+": "+c.want) {
			t.Errorf("%s: %v, %s\n%s", name, err, r.Verdict, problems(r))
		}
	}
}

// repack is a bundle with another seal and no copy of a stamp.
func repack(t *testing.T, w *world, b *evidence.Bundle, seal []byte) []entry {
	t.Helper()
	var z bytes.Buffer
	if err := b.Write(&z); err != nil {
		t.Fatal(err)
	}
	list := unpack(t, w.file(z.Bytes()))
	list[len(list)-1].text = seal
	return list
}

// TestFirstForm: a bundle of the first form, with the stamp beside the seal, is
// judged as it was when it was made.
func TestFirstForm(t *testing.T) {
	text, err := os.ReadFile("testdata/first-form.pem")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	path := filepath.Join("testdata", "first-form.zip")
	r, err := evidence.Verify(path, evidence.Options{Roots: roots})
	if err != nil || r.Verdict != evidence.Accepted || r.Record.Schema != "gatewayd-evidence/1" || r.Stamped.IsZero() {
		t.Fatalf("%v, %s\n%s", err, r.Verdict, problems(r))
	}
	w := theWorld(t)
	whole := unpack(t, path)
	for i, e := range whole {
		list := slices.Clone(whole)
		list[i].text = flip(e.text, len(e.text)/2)
		r, err := evidence.Verify(w.file(pack(t, list)), evidence.Options{Roots: roots})
		if err != nil || r.Verdict != evidence.Refused || !slices.ContainsFunc(r.Problems, func(p evidence.Problem) bool { return p.File == e.name }) {
			t.Errorf("%s: %v, %s\n%s", e.name, err, r.Verdict, problems(r))
		}
	}
	without := slices.DeleteFunc(slices.Clone(whole), func(e entry) bool { return e.name == evidence.FileStamp })
	if r, err := evidence.Verify(w.file(pack(t, without)), evidence.Options{Roots: roots}); err != nil || r.Verdict != evidence.Unstamped {
		t.Errorf("without its stamp: %v, %s", err, r.Verdict)
	}
}

// TestRecordFields: evidence.json has what docs/evidence.md (law.md § 10) lists.
func TestRecordFields(t *testing.T) {
	w := theWorld(t)
	in := w.input(true)
	in.UID, in.Version, in.Previous = "CHE-123.456.789", 2, evidence.Previous{ID: "0190-x", Evidence: message.Digest{1}, Manifest: message.Digest{2}}
	off := 0.25
	in.Clock = evidence.Clock{Source: "ntp.metas.ch", Offset: &off}
	path := w.write(in, w.sealer())
	for _, e := range unpack(t, path) {
		if e.name != evidence.FileEvidence {
			continue
		}
		var got map[string]any
		if err := json.Unmarshal(e.text, &got); err != nil {
			t.Fatal(err)
		}
		for _, where := range []string{
			"version", "policy_id", "evidence_id", "legal_profile", "event", "previous.supersedes", "previous.prev_evidence_sha256", "sender.uid", "sender.authority", "recipient.consent",
			"recipient.identified", "times.platform_time", "times.platform_time_source", "times.gateway_accepted", "times.gateway_clock.clock_offset_ms", "times.gateway_clock.ntp_source",
			"times.zone", "content.body_sha256|content.sha256", "route.mode", "case.service", "binding", "seal.quality",
		} {
			if !slices.ContainsFunc(strings.Split(where, "|"), func(at string) bool { return lookUp(got, at) }) {
				t.Errorf("%s is missing", where)
			}
		}
	}
	r, err := evidence.Verify(path, evidence.Options{Roots: w.roots()})
	if err != nil || r.Verdict != evidence.Accepted {
		t.Fatalf("%v\n%s", err, problems(r))
	}
	good, bad := r.Record.Receipts[0], r.Record.Receipts[1]
	if !good.SignatureOK || len(good.Chain) == 0 || good.SealQuality == "" || good.HashMatch != "not_stated" || good.StampOK != nil {
		t.Errorf("receipt %+v", good)
	}
	if bad.SignatureOK {
		t.Errorf("forged receipt %+v", bad)
	}
	if p := r.Record.Content.Parts; !p[1].Main || p[0].Main {
		t.Errorf("main document: %+v", p)
	}
}

func lookUp(v any, path string) bool {
	for _, name := range strings.Split(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return false
		}
		if v, ok = m[name]; !ok {
			return false
		}
	}
	return true
}

// TestFollows: a bundle names the one before by its digest, and no other passes for
// it.
func TestFollows(t *testing.T) {
	w := theWorld(t)
	o := evidence.Options{Roots: w.roots()}
	make := func(in evidence.Input) (*evidence.Bundle, evidence.Result) {
		t.Helper()
		b, err := evidence.Prepare(t.Context(), in, w.sealer())
		var z bytes.Buffer
		if err == nil {
			err = b.Write(&z)
		}
		if err != nil {
			t.Fatal(err)
		}
		r, err := evidence.Verify(w.file(z.Bytes()), o)
		if err != nil || r.Verdict != evidence.Accepted {
			t.Fatalf("%v\n%s", err, problems(r))
		}
		return b, r
	}
	b, first := make(w.input(true))
	in := w.input(false)
	in.Version, in.Previous = 2, evidence.Previous{ID: b.Record.ID, Evidence: b.Evidence, Manifest: b.Manifest}
	_, second := make(in)
	if err := second.Follows(first); err != nil {
		t.Error(err)
	}
	_, other := make(w.input(true))
	in.Previous.Evidence[0] ^= 1
	_, forged := make(in)
	for name, c := range map[string]struct {
		after, before evidence.Result
		want          string
	}{
		"another one": {second, other, "supersedes bundle"}, "the wrong way round": {first, second, "supersedes bundle"},
		"exchanged": {forged, first, "another evidence.json"}, "refused": {second, evidence.Result{Verdict: evidence.Refused}, "refused"},
	} {
		if err := c.after.Follows(c.before); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
