package audit

import (
	"cmp"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatewayd/calendar"
	"gatewayd/crypto/seal"
	"gatewayd/message"
)

// Report is what Verify found.
type Report struct {
	Files      int            `json:"files"`  // day files
	Links      int            `json:"links"`  // good links in them
	Sealed     int            `json:"sealed"` // days that were sealed and are there
	Erased     int            `json:"erased"` // days of which only the seal stays
	Gone       uint64         `json:"gone"`   // links of erased days, vouched for by their seals
	First      uint64         `json:"first"`  // number of the first link, of an erased day too
	Last       uint64         `json:"last"`   // number of the last good link
	Head       message.Digest `json:"head"`   // its hash
	Opened     int            `json:"opened"` // links whose event was opened too; the keys of the others are gone or were not given
	Checkpoint *Checkpoint    `json:"checkpoint,omitempty"`
	PublicKey  string         `json:"public_key,omitempty"` // whose seals and checkpoints were believed, in hexadecimal
	Torn       []string       `json:"torn,omitempty"`       // files with an unfinished last line: a crash, repaired when gatewayd starts
	Unproven   []uint64       `json:"unproven,omitempty"`   // marks inside days that were erased: they can no longer be held against anything
	Bad        *Bad           `json:"bad,omitempty"`        // the first bad record; nil: the chain is whole
}

// OK reports whether the chain is whole.
func (r Report) OK() bool { return r.Bad == nil }

// EndsAt reports whether the files end at that link.
func (r Report) EndsAt(seq uint64, hash message.Digest) bool { return r.Last == seq && r.Head == hash }

// Bad names a record that breaks the chain.
type Bad struct {
	Day    calendar.Day `json:"date,omitzero"`
	File   string       `json:"file"`   // name in the audit folder
	Line   int          `json:"line"`   // from 1; 0: a seal or checkpoint, which has one
	Offset int64        `json:"offset"` // where the line begins in the text of the day, in octets; of a compressed file: as zcat prints it
	Seq    uint64       `json:"link"`   // the number that the record gives itself; 0: it cannot be read
	Reason string       `json:"reason"` // for a person, without contents
}

// Error implements error.
func (b *Bad) Error() string {
	return fmt.Sprintf("%s line %d, octet %d (link %d): %s", b.File, b.Line, b.Offset, b.Seq, b.Reason)
}

// Mark is a place through which the chain must pass, as somebody else knows it:
// the ledger, a checkpoint that was kept elsewhere, a syslog collector.
type Mark struct {
	Seq  uint64
	Hash message.Digest
	From string // who says so, for people: "the ledger"
}

// String returns the mark as UnmarshalText reads it.
func (m Mark) String() string { return fmt.Sprintf("%d:%s", m.Seq, m.Hash) }

// UnmarshalText reads "123:" and the hash in hexadecimal, and behind a space who
// says so, if that is known.
func (m *Mark) UnmarshalText(text []byte) error {
	place, from, _ := strings.Cut(string(text), " ")
	n, hash, _ := strings.Cut(place, ":")
	seq, err := strconv.ParseUint(n, 10, 64)
	if err != nil || seq == 0 {
		return errors.New("a mark is LINK:HASH, as 123:9f86…")
	}
	*m = Mark{Seq: seq, From: cmp.Or(from, "the mark that was given")}
	if err := m.Hash.UnmarshalText([]byte(hash)); err != nil {
		return errors.New("a mark is LINK:HASH, the hash in 64 hexadecimal digits")
	}
	return nil
}

// Options say against what a folder is verified.
type Options struct {
	Keys   *seal.Keyring     // to open events, too, and as whose seals and checkpoints count; nil: neither
	Public ed25519.PublicKey // whose seals and checkpoints count, without Keys; nil: those of the first one's key
	Marks  []Mark
}

// Verify is the function of that name on the folder of l, with its keys. What it
// finds bad while others write is looked at once more while nobody does.
func (l *Log) Verify(o Options) (Report, error) {
	o.Keys = l.keys
	r, err := Verify(l.dir, o)
	if err == nil && r.OK() {
		return r, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return Verify(l.dir, o)
}

// Verify reads all day files and checks that the chain is complete, unchanged
// and in order, that it passes through every mark and the folder's own
// checkpoint, and, when keys are given, that every sealed event is the one of its
// own link. Sealed days are held against their seals; of erased days the seals
// stand in for the links. It stops at the first bad record. The error is for
// files that cannot be read. A mark of link 0 is none.
//
// Nobody may write meanwhile: a reader that has passed the end of one file and
// finds in another what was written since would miss links. Log.Verify sees to
// that.
func Verify(dir string, o Options) (Report, error) {
	v := verifier{keys: o.Keys, public: o.Public, erased: map[calendar.Day]bool{}}
	defer v.close()
	if err := v.prepare(dir, o); err != nil {
		return v.report, fmt.Errorf("verify audit log: %w", err)
	}
	for _, f := range v.files {
		if f.done && v.report.Bad == nil {
			v.report.Bad = f.againstSeal() // an empty one
		}
	}
	for v.report.Bad == nil {
		f := v.first()
		if f == nil {
			v.report.Bad = v.tooShort()
			break
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
	v.report.PublicKey = hex.EncodeToString(v.public)
	return v.report, nil
}

// prepare opens every file of the folder.
func (v *verifier) prepare(dir string, o Options) error {
	if o.Keys != nil {
		key, err := o.Keys.SigningKey()
		if err != nil {
			return err
		}
		v.public = key.Public().(ed25519.PublicKey)
	}
	days, err := daysIn(dir)
	if err != nil {
		return err
	}
	v.checkpoint(dir)
	for _, m := range o.Marks {
		if m.Seq > 0 {
			v.marks = append(v.marks, m)
		}
	}
	for _, day := range days {
		if err := v.open(dir, day); err != nil {
			return err
		}
	}
	slices.SortStableFunc(v.marks, func(a, b Mark) int { return cmp.Compare(a.Seq, b.Seq) })
	return nil
}

// checkpoint reads the folder's own checkpoint; one that is not there proves
// nothing.
func (v *verifier) checkpoint(dir string) {
	c, err := readCheckpoint(dir, v.public)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		v.report.Bad = &Bad{File: checkpointName, Reason: errCheckpoint.Error()}
	default:
		v.public, v.report.Checkpoint = c.PublicKey, &c
		v.marks = append(v.marks, Mark{c.Seq, c.Hash, "the checkpoint of " + c.At.Format(time.RFC3339)})
	}
}

// verifier merges the day files in the order of the chain: around midnight an
// event can be committed after one of the next day.
type verifier struct {
	keys   *seal.Keyring
	public ed25519.PublicKey // whose seals count; nil: those of the first seal's key
	marks  []Mark            // not passed yet, in order
	files  []*dayFile
	erased map[calendar.Day]bool // their lines may stand in a later file, when they came late
	last   *dayFile              // of the newest link
	report Report
}

// dayFile is a file with its next piece of the chain: a link, or, of an erased
// day, a run of the seal.
type dayFile struct {
	day   calendar.Day
	start time.Time // of the day
	name  string
	file  io.Closer
	lines *lines   // nil: only the seal is there
	zip   *zipFile // nil: not compressed
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
	f := &dayFile{day: day, start: day.Start(), name: filepath.Base(path)}
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
	f.zip, _ = file.(*zipFile)
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
	if f.name = filepath.Base(sealOf(dir, f.day)); seal.Erased.IsZero() {
		f.name, f.bad = filepath.Base(zipOf(dir, f.day)), errGone
		return ""
	}
	v.report.Erased++
	v.erased[f.day] = true
	return ""
}

var errGone = errors.New("the file of the day is gone, and its seal does not say that it was erased")

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
		if f.bad == nil && f.link.At.Before(f.start) && !v.erased[calendar.DayOf(f.link.At)] {
			f.bad = errWrong
		}
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
		return f.named("the day is not as it was sealed")
	}
	if digest, err := f.zip.digest(); err != nil || digest != f.seal.File {
		return f.named("the compressed file is not, octet for octet, the one that was sealed")
	}
	return nil
}

// named names the place to which a file was read.
func (f *dayFile) named(format string, args ...any) *Bad {
	b := &Bad{Day: f.day, File: f.name, Seq: f.run.First, Reason: fmt.Sprintf(format, args...)}
	if f.lines != nil {
		b.Line, b.Offset = f.lines.n, f.lines.at
	}
	return b
}

// tooShort names the place where the files end before a mark.
func (v *verifier) tooShort() *Bad {
	if len(v.marks) == 0 {
		return nil
	}
	m := v.marks[len(v.marks)-1]
	reason := fmt.Sprintf("the files end at link %d, %s names link %d", v.report.Last, m.From, m.Seq)
	f := v.last
	if n := len(v.files); n > 0 && (f == nil || v.files[n-1].seal == nil) {
		f = v.files[n-1] // the day that goes on
	}
	if f == nil {
		return &Bad{Reason: reason}
	}
	b := f.named("%s", reason)
	b.Seq = v.report.Last
	if f.lines != nil && !slices.Contains(v.report.Torn, f.name) {
		b.Line, b.Offset = f.lines.n+1, f.lines.end // where the next one should stand
	}
	return b
}

// passes holds what was taken last against the marks that lie there.
func (v *verifier) passes(f *dayFile) *Bad {
	for len(v.marks) > 0 && v.marks[0].Seq <= f.run.Last {
		m := v.marks[0]
		v.marks = v.marks[1:]
		hash := f.run.LastHash
		switch m.Seq {
		case f.run.Last:
		case f.run.First:
			hash = f.run.FirstHash
		default:
			v.report.Unproven = append(v.report.Unproven, m.Seq)
			continue
		}
		if hash != m.Hash {
			b := f.named("it is not the link %d that %s names", m.Seq, m.From)
			b.Seq = m.Seq
			return b
		}
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
	switch run := f.run; {
	case f.bad != nil:
		return f.named("%v", f.bad)
	case r.Last == 0 && run.First == 1 && run.Prev != (message.Digest{}):
		return f.named("the first link continues another chain")
	case run.First <= r.Last:
		return f.named("it stands twice or out of order: link %d came before", r.Last)
	case run.First > r.Last+1:
		return f.named("links %d to %d are missing before it", r.Last+1, run.First-1)
	case run.Prev != r.Head:
		return f.named("it does not continue link %d", r.Last)
	}
	r.First = 1
	if f.lines == nil {
		r.Gone += f.run.Last - f.run.First + 1
	} else if bad := v.takeLink(f); bad != nil {
		return bad
	}
	r.Last, r.Head, v.last = f.run.Last, f.run.LastHash, f
	return v.passes(f)
}

func (v *verifier) takeLink(f *dayFile) *Bad {
	if v.keys != nil {
		e, err := openEvent(v.keys, f.link)
		if err != nil {
			return f.named("%v", err)
		}
		if e != nil {
			v.report.Opened++
		}
	}
	f.own.add(f.link)
	v.report.Links++
	return nil
}
