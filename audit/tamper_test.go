package audit_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/audit"
	"gatewayd/message"
)

// museum is a folder with everything in it: a day that was erased, one that was
// sealed, one that goes on, and a checkpoint.
type museum struct {
	dir   string
	s     *source
	files map[string][]byte
	head  audit.Mark // as the ledger knows it
}

func newMuseum(t *testing.T) *museum {
	t.Helper()
	s, dir := newSource(t), t.TempDir()
	for i := range 12 {
		s.add(noon().AddDate(0, 0, i/4).Add(time.Duration(i)*time.Minute), message.ID{byte(i%3 + 1)})
	}
	l := open(t, dir, s.keys)
	drain(t, l, s, 12)
	rotate(t, l, dayOf(2).Start().Add(time.Hour), 2)
	erase(t, l, 0, "2026-11-23")
	s.add(noon().AddDate(0, 0, 2).Add(time.Hour), message.ID{9}) // behind the checkpoint
	drain(t, l, s, 1)
	m := &museum{dir: dir, s: s, files: map[string][]byte{}, head: audit.Mark{Seq: s.head.Seq, Hash: s.head.Hash, From: "the ledger"}}
	for _, name := range strings.Fields("2026-11-23.seal 2026-11-24.log.gz 2026-11-24.seal 2026-11-25.log checkpoint") {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		m.files[name] = text
	}
	return m
}

// verify verifies the folder with one file changed; nil: taken away.
func (m *museum) verify(t *testing.T, name string, text []byte) audit.Report {
	t.Helper()
	path := filepath.Join(m.dir, name)
	err := os.Remove(path)
	if text != nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	r, err := audit.Verify(m.dir, audit.Options{Keys: m.s.keys, Marks: []audit.Mark{m.head}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, m.files[name], 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

// names checks that a change of a file was found, and that its place is named.
func (m *museum) names(t *testing.T, what, name string, r audit.Report) {
	t.Helper()
	if r.Bad == nil {
		t.Errorf("%s: %s: not found", name, what)
		return
	}
	day, _, _ := strings.Cut(name, ".")
	if name != "checkpoint" && r.Bad.Day.String() != day || name == "checkpoint" && r.Bad.File != name || r.Bad.Reason == "" {
		t.Errorf("%s: %s: named is %v", name, what, r.Bad)
	}
}

// TestEveryByte changes single bytes of every file: each change is found, and
// its day named; in a file of lines also the line and where it begins. Every
// byte with GATEWAYD_LONG, else some of them.
func TestEveryByte(t *testing.T) {
	m := newMuseum(t)
	if r := m.verify(t, "checkpoint", m.files["checkpoint"]); !r.OK() || r.Checkpoint == nil || r.Erased != 1 || r.Sealed != 1 {
		t.Fatalf("%+v %v", r, r.Bad)
	}
	for _, name := range slices.Sorted(maps.Keys(m.files)) {
		text := m.files[name]
		some := rand.Perm(len(text))
		if os.Getenv("GATEWAYD_LONG") == "" {
			some = append(some[:min(len(some), 60)], 0, len(text)-1)
		}
		for _, at := range some {
			changed := bytes.Clone(text)
			changed[at] ^= byte(1 + rand.IntN(255))
			r := m.verify(t, name, changed)
			what := fmt.Sprintf("byte %d of %d from %q to %q", at, len(text), text[at], changed[at])
			m.names(t, what, name, r)
			if line := bytes.Count(text[:at], []byte("\n")); r.Bad != nil && strings.HasSuffix(name, ".log") {
				if begin := bytes.LastIndexByte(text[:at], '\n') + 1; r.Bad.Line != line+1 || r.Bad.Offset != int64(begin) || r.Bad.File != name {
					t.Errorf("%s in line %d that begins at %d: named is %v", what, line+1, begin, r.Bad)
				}
			}
		}
	}
}

// TestEveryLength cuts every file: at any length; and takes it away. A
// checkpoint that is not there proves nothing; the ledger still does.
func TestEveryLength(t *testing.T) {
	m := newMuseum(t)
	for _, name := range slices.Sorted(maps.Keys(m.files)) {
		text := m.files[name]
		some := rand.Perm(len(text))
		if os.Getenv("GATEWAYD_LONG") == "" {
			some = some[:min(len(some), 40)]
		}
		for i, c := range text {
			if c == '\n' && i+1 < len(text) {
				some = append(some, i, i+1)
			}
		}
		for _, n := range append(some, 0, len(text)-1) {
			m.names(t, fmt.Sprintf("cut at %d of %d", n, len(text)), name, m.verify(t, name, text[:n:n]))
		}
		m.names(t, "prolonged", name, m.verify(t, name, append(bytes.Clone(text), "\n"...)))
		if r := m.verify(t, name, nil); r.OK() != (name == "checkpoint") {
			t.Errorf("%s taken away: %v", name, r.Bad)
		}
	}
}

// TestEveryRecord removes, swaps and doubles every record, of a file with lines
// and of a compressed one.
func TestEveryRecord(t *testing.T) {
	m := newMuseum(t)
	for _, name := range []string{"2026-11-24.log.gz", "2026-11-25.log"} {
		text := m.files[name]
		if strings.HasSuffix(name, ".gz") {
			text = unzip(t, text)
		}
		all := bytes.SplitAfter(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
		all[len(all)-1] = append(bytes.Clone(all[len(all)-1]), '\n')
		try := func(what string, lines [][]byte, at int) {
			t.Helper()
			text := bytes.Join(lines, nil)
			if strings.HasSuffix(name, ".gz") {
				text = zipped(t, text)
			}
			r := m.verify(t, name, text)
			if r.Bad == nil || r.Bad.Line == 0 || r.Bad.Line > at+1 && strings.HasSuffix(name, ".log") {
				t.Errorf("%s: %s record %d: named is %v", name, what, at, r.Bad)
			}
		}
		for i := range all {
			try("without", slices.Delete(slices.Clone(all), i, i+1), i+1)
			try("twice", slices.Insert(slices.Clone(all), i, all[i]), i+2)
			for j := range i {
				swapped := slices.Clone(all)
				swapped[i], swapped[j] = swapped[j], swapped[i]
				try("swapped", swapped, j+1)
			}
		}
		try("none but", all[:1], 2)
	}
}

// TestAgainstOthers: what a checkpoint or a syslog collector has kept contradicts
// a chain that was made anew, although it is whole in itself.
func TestAgainstOthers(t *testing.T) {
	dir, s := filled(t)
	l := open(t, dir, s.keys)
	c, err := l.Checkpoint(noon().AddDate(0, 0, 3))
	if err != nil {
		t.Fatal(err)
	}
	kept := audit.Mark{Seq: c.Seq, Hash: c.Hash, From: "the collector"}
	other := &source{t: t, keys: s.keys}
	strange := t.TempDir()
	fill(t, strange, other)
	if r := verify(t, strange, s.keys); !r.OK() {
		t.Fatal(r.Bad)
	}
	r, err := audit.Verify(strange, audit.Options{Keys: s.keys, Marks: []audit.Mark{kept}})
	if err != nil || r.OK() || r.Bad.Seq != 30 || !strings.Contains(r.Bad.Reason, "the collector names") {
		t.Errorf("a chain made anew: %v %v", err, r.Bad)
	}
	rotate(t, l, dayOf(3).Start().Add(time.Hour), 3)
	erase(t, l, 1, "2026-11-23", "2026-11-24")
	in := audit.Mark{Seq: 5, Hash: message.Digest{1}, From: "nobody"}
	if r, err = audit.Verify(dir, audit.Options{Keys: s.keys, Marks: []audit.Mark{in, kept}}); err != nil || !r.OK() || len(r.Unproven) != 1 {
		t.Errorf("a mark inside an erased day: %v %+v", err, r)
	}
	if _, err := audit.ParseCheckpoint([]byte("{}"), nil); err == nil {
		t.Error("an empty checkpoint was believed")
	}
}

func unzip(t *testing.T, b []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func zipped(t *testing.T, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// FuzzFolder: whatever stands in the files of a folder, Verify neither panics
// nor gives up.
func FuzzFolder(f *testing.F) {
	s, dir := newSource(f), f.TempDir()
	fill(f, dir, s)
	l := open(f, dir, s.keys)
	if _, err := l.Rotate(dayOf(2).Start().Add(time.Hour)); err != nil {
		f.Fatal(err)
	}
	names := strings.Fields("2026-11-23.log.gz 2026-11-23.seal 2026-11-24.seal 2026-11-25.log checkpoint")
	var seed [5][]byte
	for i, name := range names {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			f.Fatal(err)
		}
		seed[i] = text
	}
	f.Add(seed[0], seed[1], seed[2], seed[3], seed[4])
	f.Add(seed[0], []byte("{}"), seed[1], []byte("{}\n"), []byte(""))
	work := f.TempDir()
	f.Fuzz(func(t *testing.T, zip, seal, other, log, checkpoint []byte) {
		for i, text := range [][]byte{zip, seal, other, log, checkpoint} {
			if err := os.WriteFile(filepath.Join(work, names[i]), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := audit.Verify(work, audit.Options{Keys: s.keys}); err != nil {
			t.Fatalf("Verify: %v", err)
		}
	})
}
