package audit

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"gatewayd/calendar"
	"gatewayd/crypto/seal"
	"gatewayd/message"
)

// Report is what Verify found.
type Report struct {
	Files  int            // day files
	Links  int            // good links in them
	Sealed int            // days that were sealed and are there
	Erased int            // days of which only the seal stays
	Gone   uint64         // links of erased days, vouched for by their seals
	First  uint64         // number of the first link, of an erased day too
	Last   uint64         // number of the last good link
	Head   message.Digest // its hash
	Opened int            // links whose event was opened too; the keys of the others are gone or were not given
	Torn   []string       // files with an unfinished last line: a crash, repaired when gatewayd starts
	Bad    *Bad           // the first bad record; nil: the chain is whole
}

// OK reports whether the chain is whole.
func (r Report) OK() bool { return r.Bad == nil }

// EndsAt reports whether the files end at that link: with the link before the
// first one that still waits in the ledger, or, when none waits, with the
// ledger's head. This is what shows that the end of the newest file was cut off.
func (r Report) EndsAt(seq uint64, hash message.Digest) bool { return r.Last == seq && r.Head == hash }

// Bad names a record that breaks the chain.
type Bad struct {
	File   string // name in the audit folder
	Line   int    // from 1
	Seq    uint64 // the number that the record gives itself; 0: it cannot be read
	Reason string // for a person, without contents
}

// Error implements error.
func (b *Bad) Error() string {
	return fmt.Sprintf("%s line %d (link %d): %s", b.File, b.Line, b.Seq, b.Reason)
}

// Verify is the function of that name on the folder of l. What it finds bad
// while others write is looked at once more while nobody does.
func (l *Log) Verify(keys *seal.Keyring) (Report, error) {
	r, err := Verify(l.dir, keys)
	if err == nil && r.OK() {
		return r, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return Verify(l.dir, keys)
}

// Verify reads all day files and checks that the chain is complete, unchanged
// and in order, and, when keys are given, that every seal holds the event of its
// own link. Sealed days are held against their seals; of erased days the seals
// stand in for the links. It stops at the first bad record. The error is for files that cannot
// be read.
//
// Nobody may write meanwhile: a reader that has passed the end of one file and
// finds in another what was written since would miss links. Log.Verify sees to
// that.
func Verify(dir string, keys *seal.Keyring) (Report, error) {
	v := verifier{keys: keys}
	defer v.close()
	if keys != nil {
		key, err := keys.SigningKey()
		if err != nil {
			return v.report, fmt.Errorf("verify audit log: %w", err)
		}
		v.public = key.Public().(ed25519.PublicKey)
	}
	days, err := daysIn(dir)
	if err != nil {
		return v.report, fmt.Errorf("verify audit log: %w", err)
	}
	for _, day := range days {
		if err := v.open(dir, day); err != nil {
			return v.report, fmt.Errorf("verify audit log: %w", err)
		}
	}
	for _, f := range v.files {
		if f.done && v.report.Bad == nil {
			v.report.Bad = f.againstSeal() // an empty one
		}
	}
	for v.report.Bad == nil {
		f := v.first()
		if f == nil {
			return v.report, nil
		}
		if v.report.Bad = v.take(f); v.report.Bad == nil {
			if err := v.advance(f); err != nil {
				return v.report, fmt.Errorf("verify audit log: %w", err)
			}
		}
		if v.report.Bad == nil && f.done {
			v.report.Bad = f.againstSeal()
		}
	}
	return v.report, nil
}

// verifier merges the day files in the order of the chain: around midnight an
// event can be committed after one of the next day.
type verifier struct {
	keys   *seal.Keyring
	public ed25519.PublicKey // whose seals count; nil: those of the first seal's key
	files  []*dayFile
	report Report
}

// dayFile is a file with its next piece of the chain: a link, or, of an erased
// day, a run of the seal.
type dayFile struct {
	day   calendar.Day
	name  string
	file  io.Closer
	lines *lines // nil: only the seal is there
	link  message.Link
	run   Run   // what link or seal say about the place in the chain
	bad   error // why the next line is no good link
	done  bool

	seal *Seal // of a sealed day
	next int   // number of runs taken from it
	own  sealer
}

func (v *verifier) open(dir string, day calendar.Day) error {
	path := fileOf(dir, day)
	f := &dayFile{day: day, name: filepath.Base(path)}
	v.files = append(v.files, f)
	if path != pathOf(dir, day) || !exists(path) { // sealed
		if path = v.openSeal(f, dir, path); path == "" {
			return v.advance(f)
		}
	}
	v.report.Files++
	file, err := openFile(path)
	if errors.Is(err, errZip) {
		f.bad = errZip
		return nil
	}
	if err != nil {
		return err
	}
	f.file, f.lines = file, newLines(file)
	return v.advance(f)
}

// openSeal reads the seal of a day and returns the path of its compressed file,
// or "" when it was erased.
func (v *verifier) openSeal(f *dayFile, dir, path string) string {
	seal, err := readSeal(sealOf(dir, f.day), f.day, v.public)
	if err != nil {
		f.name, f.bad = filepath.Base(sealOf(dir, f.day)), errSeal
		return ""
	}
	v.public, f.seal = seal.PublicKey, &seal
	if exists(zipOf(dir, f.day)) {
		v.report.Sealed++
		return path
	}
	f.name = filepath.Base(sealOf(dir, f.day))
	v.report.Erased++
	return ""
}

func (v *verifier) close() {
	for _, f := range v.files {
		if f.file != nil {
			f.file.Close()
		}
	}
}

// advance reads the next piece of a file.
func (v *verifier) advance(f *dayFile) error {
	if f.lines == nil {
		f.nextRun()
		return nil
	}
	line, err := f.lines.next()
	switch {
	case errors.Is(err, io.EOF):
		f.done = true
	case errors.Is(err, errTorn) && f.seal == nil:
		f.done = true
		v.report.Torn = append(v.report.Torn, f.name)
	case errors.Is(err, errLong):
		f.link, f.run, f.bad = message.Link{}, Run{}, err
	case err != nil && f.seal != nil:
		f.link, f.run, f.bad = message.Link{}, Run{}, errZip
	case err != nil:
		return err
	default:
		f.link, f.bad = parseLine(line, f.day)
		f.run = Run{f.link.Seq, f.link.Hash, f.link.Prev, f.link.Seq, f.link.Hash}
	}
	return nil
}

func (f *dayFile) nextRun() {
	if f.bad != nil {
		return
	}
	if f.done = f.next == len(f.seal.Runs); !f.done {
		f.run = f.seal.Runs[f.next]
		f.next++
	}
}

// againstSeal holds a sealed day that was read to its end against its seal.
func (f *dayFile) againstSeal() *Bad {
	if f.seal == nil || f.lines == nil {
		return nil
	}
	f.own.seal.Root = f.own.tree.root()
	if f.own.seal.Count != f.seal.Count || f.own.seal.Root != f.seal.Root || !slices.Equal(f.own.seal.Runs, f.seal.Runs) {
		return &Bad{File: f.name, Line: f.lines.n, Seq: f.run.Last, Reason: "the day is not as it was sealed"}
	}
	return nil
}

// first returns the file whose next piece has the smallest number; a line that is
// no link comes when the others have no link to go on with.
func (v *verifier) first() *dayFile {
	var good, bad *dayFile
	for _, f := range v.files {
		switch {
		case f.done:
		case f.bad != nil:
			if bad == nil {
				bad = f
			}
		case good == nil || f.run.First < good.run.First:
			good = f
		}
	}
	if bad != nil && (good == nil || good.run.First != v.report.Last+1) {
		return bad
	}
	return good
}

// take checks the next piece of a file against the chain so far.
func (v *verifier) take(f *dayFile) *Bad {
	r := &v.report
	bad := func(format string, args ...any) *Bad {
		line := 0
		if f.lines != nil {
			line = f.lines.n
		}
		return &Bad{File: f.name, Line: line, Seq: f.run.First, Reason: fmt.Sprintf(format, args...)}
	}
	switch run := f.run; {
	case f.bad != nil:
		return bad("%v", f.bad)
	case r.Last == 0 && run.First == 1 && run.Prev != (message.Digest{}):
		return bad("the first link continues another chain")
	case run.First <= r.Last:
		return bad("it stands twice or out of order: link %d came before", r.Last)
	case run.First > r.Last+1:
		return bad("links %d to %d are missing before it", r.Last+1, run.First-1)
	case run.Prev != r.Head:
		return bad("it does not continue link %d", r.Last)
	}
	r.First = 1
	if f.lines == nil {
		r.Gone += f.run.Last - f.run.First + 1
		r.Last, r.Head = f.run.Last, f.run.LastHash
		return nil
	}
	if v.keys != nil {
		e, err := openEvent(v.keys, f.link)
		if err != nil {
			return bad("%v", err)
		}
		if e != nil {
			r.Opened++
		}
	}
	f.own.add(f.link)
	r.Links++
	r.Last, r.Head = f.link.Seq, f.link.Hash
	return nil
}
