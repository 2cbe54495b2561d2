package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/audit"
	"gatewayd/calendar"
	"gatewayd/crypto/seal"
	"gatewayd/message"
)

// noon is a day in Zurich's winter.
func noon() time.Time { return time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC) }

const logDay = "2027-05-23"

// source is a ledger's outbox in memory that makes the chain by itself.
type source struct {
	t      testing.TB
	keys   *seal.Keyring
	links  []message.Link // pending
	head   message.Link
	forget error
}

func newSource(t testing.TB) *source {
	t.Helper()
	return sourceOf(t, filepath.Join(t.TempDir(), "keys"))
}

func (s *source) add(at time.Time, id message.ID) {
	s.t.Helper()
	e := message.Event{Seq: s.head.Seq + 1, At: at, Kind: message.EventHanded, Message: id, Data: map[string]string{"to": "planted.person@example.ch"}}
	plain, err := json.Marshal(e)
	if err != nil {
		s.t.Fatal(err)
	}
	aead, err := s.keys.AEAD(seal.Log, logDay)
	if err != nil {
		s.t.Fatal(err)
	}
	l := message.Link{Seq: e.Seq, At: at, Message: id, Day: logDay, Prev: s.head.Hash}
	l.Sealed = seal.SealRecord(aead, plain, l.SealedTo())
	l.Hash = l.ChainHash()
	s.links, s.head = append(s.links, l), l
}

func (s *source) Pending(_ context.Context, after uint64, max int) ([]message.Link, error) {
	i := 0
	for i < len(s.links) && s.links[i].Seq <= after {
		i++
	}
	return slices.Clone(s.links[i:min(len(s.links), i+max)]), nil
}

func (s *source) Forget(_ context.Context, upTo uint64) error {
	if s.forget != nil {
		return s.forget
	}
	for len(s.links) > 0 && s.links[0].Seq <= upTo {
		s.links = s.links[1:]
	}
	return nil
}

func open(t testing.TB, dir string, keys *seal.Keyring) *audit.Log {
	t.Helper()
	l, err := audit.Open(dir, keys)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func drain(t testing.TB, l *audit.Log, s audit.Source, want int) {
	t.Helper()
	if n, err := l.Drain(context.Background(), s); err != nil || n != want {
		t.Fatalf("Drain = %d, %v, want %d", n, err, want)
	}
}

func verify(t testing.TB, dir string, keys *seal.Keyring) audit.Report {
	t.Helper()
	r, err := audit.Verify(dir, audit.Options{Keys: keys})
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	return r
}

// filled returns a folder with three days: ten links each, and around each
// midnight a link of the day before among those of the next day.
func filled(t testing.TB) (string, *source) {
	t.Helper()
	s, dir := newSource(t), t.TempDir()
	fill(t, dir, s)
	return dir, s
}

func fill(t testing.TB, dir string, s *source) {
	t.Helper()
	for i := range 30 {
		at := noon().AddDate(0, 0, i/10).Add(time.Duration(i) * time.Minute)
		if i == 11 || i == 21 {
			at = at.AddDate(0, 0, -1)
		}
		s.add(at, message.ID{byte(i%3 + 1)})
	}
	drain(t, open(t, dir, s.keys), s, 30)
}

func TestDrainTraceEach(t *testing.T) {
	dir, s := filled(t)
	if len(s.links) != 0 {
		t.Errorf("%d links were not forgotten", len(s.links))
	}
	l := open(t, dir, s.keys)
	drain(t, l, s, 0)
	events, err := l.Trace(context.Background(), message.ID{2}, noon())
	if err != nil || len(events) != 10 {
		t.Fatalf("Trace = %d events, %v, want 10", len(events), err)
	}
	for i, e := range events {
		if want := uint64(3*i + 2); e.Seq != want || e.Data["to"] != "planted.person@example.ch" { //nolint:gosec // small
			t.Errorf("event %d has number %d, want %d", i, e.Seq, want)
		}
	}
	if events, err := l.Trace(context.Background(), message.ID{2}, noon().AddDate(0, 0, 2)); err != nil || len(events) != 3 {
		t.Errorf("Trace from the third day = %d events, %v, want 3", len(events), err)
	}
	n := 0
	err = l.Each(context.Background(), calendar.DayOf(noon()).AddDays(1), func(link message.Link, e *message.Event) error {
		n++
		if e == nil || e.Seq != link.Seq {
			t.Errorf("link %d comes with event %+v", link.Seq, e)
		}
		return nil
	})
	if err != nil || n != 19 {
		t.Errorf("Each = %d links, %v, want 19", n, err)
	}
	stop := errors.New("enough")
	if err := l.Each(context.Background(), calendar.Day{}, func(message.Link, *message.Event) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Each passes %v on, want the callback's error", err)
	}
}

func TestVerifyGood(t *testing.T) {
	dir, s := filled(t)
	for name, keys := range map[string]*seal.Keyring{"with keys": s.keys, "without": nil} {
		r := verify(t, dir, keys)
		opened := 0
		if keys != nil {
			opened = 30
		}
		if !r.OK() || r.Files != 3 || r.Links != 30 || r.First != 1 || r.Opened != opened || !r.EndsAt(30, s.head.Hash) || len(r.Torn) != 0 {
			t.Errorf("%s: Verify = %+v, %v", name, r, r.Bad)
		}
	}
	if r := verify(t, t.TempDir(), nil); !r.OK() || r.Links != 0 || !r.EndsAt(0, message.Digest{}) {
		t.Errorf("an empty folder: %+v", r)
	}
	if _, err := audit.Verify(filepath.Join(dir, "none"), audit.Options{}); err == nil {
		t.Error("Verify of a folder that does not exist gave no error")
	}
}

// tamper changes the lines of one day file.
func tamper(t *testing.T, dir string, day int, change func([][]byte) [][]byte) {
	t.Helper()
	path := filepath.Join(dir, calendar.DayOf(noon()).AddDays(day).String()+".log")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := bytes.SplitAfter(bytes.TrimSuffix(text, nil), []byte("\n"))
	all = change(all[:len(all)-1])
	if err := os.WriteFile(path, bytes.Join(all, nil), 0o600); err != nil {
		t.Fatal(err)
	}
}

// rehash changes a link and gives it the hash that then fits.
func rehash(t *testing.T, line []byte, change func(*message.Link)) []byte {
	t.Helper()
	var l message.Link
	if err := json.Unmarshal(line, &l); err != nil {
		t.Fatal(err)
	}
	change(&l)
	l.Hash = l.ChainHash()
	b, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

// TestVerifyTampered: each way to falsify a file leads to its first bad record.
// Day 0 has links 1–10 and 12, day 1 has 11, 13–20 and 22, day 2 has 21, 23–30.
func TestVerifyTampered(t *testing.T) {
	type ls = [][]byte
	tests := []struct {
		name   string
		day    int
		change func(ls) ls
		line   int
		seq    uint64
		reason string
	}{
		{"change a byte of the seal", 0, func(l ls) ls { l[4] = bytes.Replace(l[4], []byte(`"sealed":"`), []byte(`"sealed":"AAAA`), 1); return l }, 5, 5, "hash"},
		{"change the time", 0, func(l ls) ls { l[4] = bytes.Replace(l[4], []byte(`T11:04`), []byte(`T11:05`), 1); return l }, 5, 5, "hash"},
		{"change and rehash", 0, func(l ls) ls {
			l[4] = rehash(t, l[4], func(k *message.Link) { k.Message[0]++ })
			return l
		}, 5, 5, "seal"},
		{"add a space", 0, func(l ls) ls { l[4] = bytes.Replace(l[4], []byte(`,`), []byte(`, `), 1); return l }, 5, 5, "written"},
		{"not JSON", 1, func(l ls) ls { l[2] = []byte("x\n"); return l }, 3, 0, "written"},
		{"empty line", 1, func(l ls) ls { l[2] = []byte("\n"); return l }, 3, 0, "written"},
		{"overlong line", 1, func(l ls) ls { l[2] = append(bytes.Repeat([]byte("x"), 3<<20), '\n'); return l }, 3, 0, "long"},
		{"delete the first", 0, func(l ls) ls { return l[1:] }, 1, 2, "1 to 1 are missing"},
		{"delete one", 0, func(l ls) ls { return slices.Delete(l, 4, 5) }, 5, 6, "5 to 5 are missing"},
		{"delete two", 1, func(l ls) ls { return slices.Delete(l, 4, 6) }, 5, 18, "16 to 17 are missing"},
		{"delete the end of an earlier day", 1, func(l ls) ls { return l[:8] }, 1, 21, "20 to 20 are missing"},
		{"swap two", 2, func(l ls) ls { l[3], l[4] = l[4], l[3]; return l }, 4, 26, "25 to 25 are missing"},
		{"double one", 2, func(l ls) ls { return slices.Insert(l, 4, l[3]) }, 5, 25, "twice"},
		{"double the last", 2, func(l ls) ls { return append(l, l[len(l)-1]) }, 10, 30, "twice"},
		{"another chain", 2, func(l ls) ls {
			l[4] = rehash(t, l[4], func(k *message.Link) { k.Prev[0]++ })
			return l
		}, 5, 26, "does not continue link 25"},
		{"move to another day", 2, func(l ls) ls {
			l[4] = rehash(t, l[4], func(k *message.Link) { k.At = k.At.AddDate(0, 0, 1) })
			return l
		}, 5, 26, "another day"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, s := filled(t)
			tamper(t, dir, tt.day, tt.change)
			r := verify(t, dir, s.keys)
			file := calendar.DayOf(noon()).AddDays(tt.day).String() + ".log"
			if tt.name == "delete the end of an earlier day" {
				file = calendar.DayOf(noon()).AddDays(2).String() + ".log"
			}
			if b := r.Bad; b == nil || b.File != file || b.Line != tt.line || b.Seq != tt.seq || !strings.Contains(b.Error(), tt.reason) {
				t.Errorf("Verify names %v, want %s line %d link %d: …%s…", b, file, tt.line, tt.seq, tt.reason)
			}
		})
	}
}

// TestVerifyTruncated: the end of the newest file shows only against the ledger.
func TestVerifyTruncated(t *testing.T) {
	dir, s := filled(t)
	tamper(t, dir, 2, func(l [][]byte) [][]byte { return l[:len(l)-2] })
	r := verify(t, dir, s.keys)
	if !r.OK() || r.EndsAt(s.head.Seq, s.head.Hash) || r.Last != 28 {
		t.Errorf("Verify = %+v, want a chain that ends at 28 and not at the ledger's head", r)
	}
	s.add(noon().AddDate(0, 0, 2), message.ID{9})
	l := open(t, dir, s.keys)
	if n, err := l.Drain(context.Background(), s); n != 1 || !errors.Is(err, audit.ErrBroken) || len(s.links) != 0 {
		t.Errorf("Drain behind a gap = %d, %v, %d left; want the link written and ErrBroken", n, err, len(s.links))
	}
	if r := verify(t, dir, s.keys); r.OK() || r.Bad.Seq != 31 {
		t.Errorf("Verify behind a gap names %v", r.Bad)
	}
}

// TestTornLine: what a crash leaves half written is cut off at the next start
// and written again from the ledger.
func TestTornLine(t *testing.T) {
	for _, keep := range []int{0, 1, 40, 200, -1} {
		t.Run(fmt.Sprint(keep), func(t *testing.T) {
			s, dir := newSource(t), t.TempDir()
			for i := range 5 {
				s.add(noon(), message.ID{byte(i)})
			}
			all := slices.Clone(s.links)
			drain(t, open(t, dir, s.keys), s, 5)
			path := filepath.Join(dir, "2026-11-23.log")
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			last := bytes.LastIndexByte(text[:len(text)-1], '\n') + 1
			cut := last + keep
			if keep < 0 {
				cut = len(text) - 1 // only the line end is missing
			}
			if err := os.WriteFile(path, text[:cut], 0o600); err != nil {
				t.Fatal(err)
			}
			if r := verify(t, dir, s.keys); !r.OK() || r.Last != 4 || (len(r.Torn) == 1) != (keep != 0) {
				t.Errorf("Verify of a torn file = %+v, %v", r, r.Bad)
			}
			s.links = all
			drain(t, open(t, dir, s.keys), s, 1)
			if again, err := os.ReadFile(path); err != nil || !bytes.Equal(again, text) {
				t.Error("the repaired file is not the one from before the crash")
			}
		})
	}
}

// TestRepeats: links that the ledger could not forget are written once.
func TestRepeats(t *testing.T) {
	s, dir := newSource(t), t.TempDir()
	l := open(t, dir, s.keys)
	for i := range 2500 {
		s.add(noon().Add(time.Duration(i)*time.Minute), message.ID{1})
	}
	s.forget = errors.New("planted")
	if n, err := l.Drain(context.Background(), s); n != 1000 || !errors.Is(err, s.forget) {
		t.Fatalf("Drain = %d, %v, want the planted error", n, err)
	}
	s.forget = nil
	s.add(noon(), message.ID{2})
	drain(t, open(t, dir, s.keys), s, 1501)
	if r := verify(t, dir, s.keys); !r.OK() || !r.EndsAt(2501, s.head.Hash) {
		t.Errorf("Verify = %+v, %v", r, r.Bad)
	}
}

// TestForkIsKept: after the ledger came back from a backup, numbers repeat with
// other events. They are written all the same, and Verify names the place.
func TestForkIsKept(t *testing.T) {
	s, dir := newSource(t), t.TempDir()
	for range 5 {
		s.add(noon(), message.ID{1})
	}
	backup := s.links[2]
	drain(t, open(t, dir, s.keys), s, 5)
	s.head = backup
	s.add(noon(), message.ID{7})
	s.add(noon(), message.ID{7})
	l := open(t, dir, s.keys)
	if n, err := l.Drain(context.Background(), s); n != 2 || !errors.Is(err, audit.ErrBroken) {
		t.Errorf("Drain of a fork = %d, %v, want 2, ErrBroken", n, err)
	}
	if events, err := l.Trace(context.Background(), message.ID{7}, noon()); err != nil || len(events) != 2 {
		t.Errorf("Trace = %d events, %v, want those of the fork", len(events), err)
	}
	if r := verify(t, dir, s.keys); r.OK() || r.Bad.Line != 6 || r.Bad.Seq != 4 {
		t.Errorf("Verify names %v, want line 6", r.Bad)
	}
}

// TestFullDisk: what cannot be written stays in the ledger.
func TestFullDisk(t *testing.T) {
	s, dir := newSource(t), t.TempDir()
	l := open(t, dir, s.keys)
	s.add(noon(), message.ID{1})
	s.add(noon().AddDate(0, 0, 1), message.ID{1})
	s.add(noon(), message.ID{1})
	block := filepath.Join(dir, "2026-11-24.log")
	if err := os.Mkdir(block, 0o700); err != nil {
		t.Fatal(err)
	}
	if n, err := l.Drain(context.Background(), s); n != 1 || err == nil || len(s.links) != 3 {
		t.Errorf("Drain = %d, %v, %d left; want one written, none forgotten", n, err, len(s.links))
	}
	if err := os.Remove(block); err != nil {
		t.Fatal(err)
	}
	drain(t, l, s, 2)
	if r := verify(t, dir, s.keys); !r.OK() || r.Links != 3 {
		t.Errorf("Verify = %+v, %v", r, r.Bad)
	}
}

// TestDestroyedKey: the chain outlives its keys; the events do not.
func TestDestroyedKey(t *testing.T) {
	dir, s := filled(t)
	if err := s.keys.Destroy(seal.Log, logDay); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, dir, s.keys); !r.OK() || r.Links != 30 || r.Opened != 0 {
		t.Errorf("Verify = %+v, %v", r, r.Bad)
	}
	l := open(t, dir, s.keys)
	if events, err := l.Trace(context.Background(), message.ID{2}, noon()); err != nil || len(events) != 0 {
		t.Errorf("Trace = %d events, %v, want none", len(events), err)
	}
	err := l.Each(context.Background(), calendar.Day{}, func(_ message.Link, e *message.Event) error {
		if e != nil {
			t.Error("Each opened an event without its key")
		}
		return nil
	})
	if err != nil {
		t.Errorf("Each: %v", err)
	}
}

func TestNoPlaintext(t *testing.T) {
	dir, _ := filled(t)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 3 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("planted")) || bytes.Contains(text, []byte("example.ch")) || bytes.Contains(text, []byte("handed")) {
			t.Errorf("%s names somebody in clear", path)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v, want 0600", path, info.Mode(), err)
		}
	}
}

func TestErrorsNameNobody(t *testing.T) {
	dir, s := filled(t)
	tamper(t, dir, 0, func(l [][]byte) [][]byte {
		l[3] = []byte("{\"message\":\"planted\"}\n")
		return l
	})
	l := open(t, dir, s.keys)
	err := l.Each(context.Background(), calendar.Day{}, func(message.Link, *message.Event) error { return nil })
	if err == nil || strings.Contains(err.Error(), "planted") || !strings.Contains(err.Error(), "line 4") {
		t.Errorf("Each = %v, want line 4 and nothing of its contents", err)
	}
}

// FuzzVerify: whatever stands in a day file, nothing panics, and what Verify
// calls whole is what Each can read.
func FuzzVerify(f *testing.F) {
	dir, s := filled(f)
	for _, day := range []string{"2026-11-23", "2026-11-24"} {
		text, err := os.ReadFile(filepath.Join(dir, day+".log"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		f.Add(text[:len(text)/2])
	}
	f.Add([]byte("{}\n"))
	f.Add([]byte("\n\n"))
	work := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(work, "2026-11-23.log")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := audit.Verify(work, audit.Options{Keys: s.keys})
		if err != nil {
			t.Fatalf("Verify: %v", err)
		}
		n := 0
		err = open(t, work, s.keys).Each(context.Background(), calendar.Day{}, func(message.Link, *message.Event) error { n++; return nil })
		if r.OK() && (err != nil || n != r.Links) {
			t.Fatalf("Verify found %d good links, Each %d, %v", r.Links, n, err)
		}
	})
}

func BenchmarkDrain(b *testing.B) {
	s, dir := newSource(b), b.TempDir()
	l := open(b, dir, s.keys)
	for b.Loop() {
		b.StopTimer()
		for range 1000 {
			s.add(noon(), message.ID{1})
		}
		b.StartTimer()
		if _, err := l.Drain(context.Background(), s); err != nil {
			b.Fatal(err)
		}
	}
}

// TestVerifyWhileWriting: who verifies while a sealed day is opened again for
// late lines, and sealed anew, takes none for missing.
func TestVerifyWhileWriting(t *testing.T) {
	s := newSource(t)
	l := open(t, t.TempDir(), s.keys)
	next := noon().AddDate(0, 0, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range 15 {
			for range 5 {
				s.add(noon(), message.ID{1})
				s.add(next, message.ID{1})
			}
			_, err := l.Drain(t.Context(), s)
			if err == nil {
				_, err = l.Rotate(next)
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for writing := true; writing; {
		select {
		case <-ended:
			writing = false
		default:
		}
		if r, err := l.Verify(audit.Options{}); err != nil || !r.OK() {
			t.Fatalf("while writing: %v %v", err, r.Bad)
		}
	}
}
