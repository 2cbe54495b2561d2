package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gatewayd/calendar"
	"gatewayd/crypto/seal"
	"gatewayd/message"
)

// Report is what Verify found.
type Report struct {
	Files  int            // day files
	Links  int            // good links, from the first file on
	First  uint64         // number of the first link; more than 1 when older files were erased
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

// Verify reads all day files and checks that the chain is complete, unchanged
// and in order, and, when keys are given, that every seal holds the event of its
// own link. It stops at the first bad record. The error is for files that cannot
// be read.
func Verify(dir string, keys *seal.Keyring) (Report, error) {
	v := verifier{keys: keys}
	defer v.close()
	days, err := daysIn(dir)
	if err != nil {
		return v.report, fmt.Errorf("verify audit log: %w", err)
	}
	for _, day := range days {
		if err := v.open(dir, day); err != nil {
			return v.report, fmt.Errorf("verify audit log: %w", err)
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
	}
	return v.report, nil
}

// verifier merges the day files in the order of the chain: around midnight an
// event can be committed after one of the next day.
type verifier struct {
	keys   *seal.Keyring
	files  []*dayFile
	report Report
}

// dayFile is a file with its next link.
type dayFile struct {
	day   calendar.Day
	file  *os.File
	lines *lines
	link  message.Link
	bad   error // why the next line is no good link
	done  bool
}

func (v *verifier) open(dir string, day calendar.Day) error {
	file, err := os.Open(pathOf(dir, day))
	if err != nil {
		return err
	}
	f := &dayFile{day: day, file: file, lines: newLines(file)}
	v.files = append(v.files, f)
	v.report.Files++
	return v.advance(f)
}

func (v *verifier) close() {
	for _, f := range v.files {
		f.file.Close()
	}
}

// advance reads the next line of a file.
func (v *verifier) advance(f *dayFile) error {
	line, err := f.lines.next()
	switch {
	case errors.Is(err, io.EOF):
		f.done = true
	case errors.Is(err, errTorn):
		f.done = true
		v.report.Torn = append(v.report.Torn, filepath.Base(f.file.Name()))
	case errors.Is(err, errLong):
		f.link, f.bad = message.Link{}, err
	case err != nil:
		return err
	default:
		f.link, f.bad = parseLine(line, f.day)
	}
	return nil
}

// first returns the file whose next link has the smallest number; a line that is
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
		case good == nil || f.link.Seq < good.link.Seq:
			good = f
		}
	}
	if bad != nil && (good == nil || v.report.Links == 0 || good.link.Seq != v.report.Last+1) {
		return bad
	}
	return good
}

// take checks the next link of a file against the chain so far.
func (v *verifier) take(f *dayFile) *Bad {
	r := &v.report
	bad := func(format string, args ...any) *Bad {
		return &Bad{File: filepath.Base(f.file.Name()), Line: f.lines.n, Seq: f.link.Seq, Reason: fmt.Sprintf(format, args...)}
	}
	switch link := f.link; {
	case f.bad != nil:
		return bad("%v", f.bad)
	case r.Links == 0 && link.Seq == 1 && link.Prev != (message.Digest{}):
		return bad("the first link continues another chain")
	case r.Links == 0:
		r.First = link.Seq
	case link.Seq <= r.Last:
		return bad("it stands twice or out of order: link %d came before", r.Last)
	case link.Seq > r.Last+1:
		return bad("links %d to %d are missing before it", r.Last+1, link.Seq-1)
	case link.Prev != r.Head:
		return bad("it does not continue link %d", r.Last)
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
	r.Links++
	r.Last, r.Head = f.link.Seq, f.link.Hash
	return nil
}
