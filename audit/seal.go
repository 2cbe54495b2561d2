package audit

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"path/filepath"
	"time"

	"gatewayd/calendar"
	"gatewayd/message"
)

// Extensions of a day's files: open, sealed, and the seal itself, which stays when
// the day is erased.
const (
	logExt  = ".log"
	zipExt  = ".log.gz"
	sealExt = ".seal"
	newExt  = ".new"
)

// sealAfter is how long after midnight a day is sealed: what was committed
// around midnight is written by then. A line that comes later opens the day again.
const sealAfter = 5 * time.Minute

// Seal is the signed statement about one ended day. It proves order and
// completeness of the chain when the day itself was erased, and names nobody.
type Seal struct {
	Day       calendar.Day   `json:"date"`
	Count     int            `json:"count"`
	Runs      []Run          `json:"runs"`        // stretches without a gap, in order; mostly one
	Root      message.Digest `json:"merkle_root"` // over the hashes of the links, in the order of the file
	PublicKey []byte         `json:"public_key"`  // Ed25519, the gateway's
	Signature []byte         `json:"signature,omitempty"`
}

// Run is a stretch of the chain without a gap.
type Run struct {
	First     uint64         `json:"first"`
	FirstHash message.Digest `json:"first_hash"`
	Prev      message.Digest `json:"prev"` // hash of the link before the first
	Last      uint64         `json:"last"`
	LastHash  message.Digest `json:"last_hash"`
}

// Rotate seals every day that has ended: its file is compressed, and a signed
// seal written beside it. It returns how many days it sealed.
func (l *Log) Rotate(now time.Time) (int, error) {
	days, err := daysIn(l.dir)
	if err != nil {
		return 0, fmt.Errorf("rotate audit log: %w", err)
	}
	n := 0
	var errs []error
	for _, day := range days {
		if now.Before(day.End().Add(sealAfter)) || !exists(pathOf(l.dir, day)) {
			continue
		}
		if err := l.sealDay(day, false); err != nil {
			errs = append(errs, fmt.Errorf("seal audit day %s: %w", day, err))
			continue
		}
		n++
	}
	return n, errors.Join(errs...)
}

// Erase erases every day that is over, but for its seal, and returns these days.
// A day that was not sealed yet is sealed first.
func (l *Log) Erase(over func(calendar.Day) bool) ([]string, error) {
	days, err := daysIn(l.dir)
	if err != nil {
		return nil, fmt.Errorf("erase audit log: %w", err)
	}
	var erased []string
	for _, day := range days {
		if !over(day) || !exists(pathOf(l.dir, day)) && !exists(zipOf(l.dir, day)) {
			continue
		}
		if err := l.eraseDay(day); err != nil {
			return erased, fmt.Errorf("erase audit day %s: %w", day, err)
		}
		erased = append(erased, day.String())
	}
	return erased, nil
}

func (l *Log) eraseDay(day calendar.Day) error {
	if exists(pathOf(l.dir, day)) || !exists(sealOf(l.dir, day)) {
		if err := l.sealDay(day, true); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if exists(pathOf(l.dir, day)) {
		return nil // a late line: the next call has it sealed
	}
	if err := os.Remove(zipOf(l.dir, day)); err != nil {
		return err
	}
	return syncDir(l.dir)
}

// sealDay compresses a day, writes its seal and removes the open file. Whatever a
// crash leaves, the open file counts as long as it is there. Compressing does not
// hold up the writer; a line that comes meanwhile leaves the day to the next call.
// A line that is no link is not sealed but left for Verify to name, unless the
// day is about to be erased: then it is left out, and stays missing for Verify.
func (l *Log) sealDay(day calendar.Day, erase bool) error {
	source, size, err := sizeOf(l.dir, day)
	if err != nil {
		return err
	}
	seal, err := l.compress(day, source, erase)
	defer os.Remove(zipOf(l.dir, day) + newExt)
	if err != nil {
		return err
	}
	text, err := l.sign(seal)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if again, now, err := sizeOf(l.dir, day); err != nil || again != source || now != size {
		return err
	}
	if err := writeFile(sealOf(l.dir, day), text); err != nil {
		return err
	}
	if err := os.Rename(zipOf(l.dir, day)+newExt, zipOf(l.dir, day)); err != nil {
		return err
	}
	if err := syncDir(l.dir); err != nil {
		return err
	}
	if err := os.Remove(pathOf(l.dir, day)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return syncDir(l.dir)
}

func sizeOf(dir string, day calendar.Day) (path string, size int64, err error) {
	path = pathOf(dir, day)
	if !exists(path) {
		path = zipOf(dir, day)
	}
	st, err := os.Stat(path)
	if err != nil {
		return "", 0, err
	}
	return path, st.Size(), nil
}

// compress writes the compressed file under a passing name and gathers what the
// seal says.
func (l *Log) compress(day calendar.Day, source string, erase bool) (*Seal, error) {
	f, err := os.OpenFile(zipOf(l.dir, day)+newExt, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	zip := gzip.NewWriter(f)
	s := sealer{seal: Seal{Day: day}}
	err = eachLine(source, func(_ int, line []byte) error {
		link, err := parseLine(line, day)
		if err != nil && erase {
			return nil
		}
		if err != nil {
			return err
		}
		s.add(link)
		_, err = zip.Write(append(line[:len(line):len(line)], '\n'))
		return err
	})
	if erase && unreadable(err) {
		err = nil // its window is over, whatever can still be read of it
	}
	if err == nil {
		err = errors.Join(zip.Close(), f.Sync())
	}
	s.seal.Root = s.tree.root()
	return &s.seal, err
}

// unreadable reports whether an error is the file's own, not the disk's.
func unreadable(err error) bool {
	var corrupt flate.CorruptInputError
	return errors.Is(err, errLong) || errors.Is(err, errZip) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &corrupt)
}

// sealer gathers a seal link by link.
type sealer struct {
	seal Seal
	tree merkle
}

func (s *sealer) add(link message.Link) {
	s.seal.Count++
	s.tree.add(link.Hash)
	runs := s.seal.Runs
	if n := len(runs); n > 0 && runs[n-1].Last+1 == link.Seq && runs[n-1].LastHash == link.Prev {
		runs[n-1].Last, runs[n-1].LastHash = link.Seq, link.Hash
		return
	}
	s.seal.Runs = append(runs, Run{link.Seq, link.Hash, link.Prev, link.Seq, link.Hash})
}

// merkle computes a Merkle tree hash over leaves that come one by one (RFC 9162
// section 2.1), holding one digest per level.
type merkle struct {
	n     uint64
	stack []message.Digest
}

func (m *merkle) add(leaf message.Digest) {
	m.stack = append(m.stack, sha256.Sum256(append([]byte{0}, leaf[:]...)))
	m.n++
	for len(m.stack) > bits.OnesCount64(m.n) { // one subtree for each power of two in n
		m.fold()
	}
}

func (m *merkle) fold() {
	n := len(m.stack)
	pair := append(append([]byte{1}, m.stack[n-2][:]...), m.stack[n-1][:]...)
	m.stack = append(m.stack[:n-2], sha256.Sum256(pair))
}

func (m *merkle) root() message.Digest {
	if m.n == 0 {
		return sha256.Sum256(nil)
	}
	for len(m.stack) > 1 {
		m.fold()
	}
	return m.stack[0]
}

func (l *Log) sign(s *Seal) ([]byte, error) {
	key, err := l.keys.SigningKey()
	if err != nil {
		return nil, err
	}
	s.PublicKey = key.Public().(ed25519.PublicKey)
	bare, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	s.Signature = ed25519.Sign(key, append([]byte("gatewayd audit seal 1\x00"), bare...))
	return json.Marshal(s)
}

// readSeal reads a seal and checks its form and signature; public may be nil.
func readSeal(path string, day calendar.Day, public ed25519.PublicKey) (Seal, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Seal{}, err
	}
	var s Seal
	if err := json.Unmarshal(text, &s); err != nil {
		return s, errSeal
	}
	bare := s
	bare.Signature = nil
	signed, err := json.Marshal(bare)
	if err != nil {
		return s, err
	}
	if public == nil {
		public = s.PublicKey
	}
	good := s.Day == day && len(s.PublicKey) == ed25519.PublicKeySize && bytes.Equal(public, s.PublicKey) && s.sound() &&
		ed25519.Verify(public, append([]byte("gatewayd audit seal 1\x00"), signed...), s.Signature)
	if !good {
		return s, errSeal
	}
	return s, nil
}

var errSeal = errors.New("the seal of the day is not as it was signed, or another gateway's")

// sound reports whether the runs add up to the count.
func (s Seal) sound() bool {
	n := uint64(0)
	for _, r := range s.Runs {
		if r.First == 0 || r.Last < r.First {
			return false
		}
		n += r.Last - r.First + 1
	}
	return n == uint64(s.Count) //nolint:gosec // not negative
}

// reopen turns a sealed day back into an open one, because a line for it came
// late.
func (l *Log) reopen(day calendar.Day) error {
	in, err := openFile(zipOf(l.dir, day))
	if err != nil {
		return err
	}
	defer in.Close()
	path := pathOf(l.dir, day)
	out, err := os.OpenFile(path+newExt, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, in); err == nil {
		err = out.Sync()
	}
	if e := out.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(path+newExt, path)
	}
	if err == nil {
		err = syncDir(l.dir)
	}
	if err != nil {
		return err
	}
	return errors.Join(os.Remove(zipOf(l.dir, day)), os.Remove(sealOf(l.dir, day)), syncDir(l.dir))
}

// openFile opens a day file, compressed or not.
func openFile(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil || filepath.Ext(path) != ".gz" {
		return f, err
	}
	zip, err := gzip.NewReader(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: %w", errZip, err)
	}
	return zipFile{zip, f}, nil
}

var errZip = errors.New("the compressed file is damaged")

type zipFile struct {
	*gzip.Reader
	file *os.File
}

// Close implements io.Closer.
func (z zipFile) Close() error { return z.file.Close() }

// writeFile replaces a small file durably.
func writeFile(path string, text []byte) error {
	f, err := os.OpenFile(path+newExt, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(path+newExt, path)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func zipOf(dir string, day calendar.Day) string  { return filepath.Join(dir, day.String()+zipExt) }
func sealOf(dir string, day calendar.Day) string { return filepath.Join(dir, day.String()+sealExt) }

// fileOf returns the file in which a day is: open, or sealed.
func fileOf(dir string, day calendar.Day) string {
	if path := pathOf(dir, day); exists(path) || !exists(zipOf(dir, day)) {
		return path
	}
	return zipOf(dir, day)
}
