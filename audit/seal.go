package audit

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
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
	Runs      []Run          `json:"runs"`            // stretches without a gap, in order; mostly one
	Root      message.Digest `json:"merkle_root"`     // over the hashes of the links, in the order of the file
	File      message.Digest `json:"file_sha256"`     // of the compressed file, octet for octet
	Erased    time.Time      `json:"erased,omitzero"` // when the file was erased; without it the file must be there
	PublicKey []byte         `json:"public_key"`      // Ed25519, the gateway's
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
// seal written beside it. It returns how many days it sealed. Of the day that
// goes on it signs from time to time how far it has come (Checkpoint).
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
	errs = append(errs, l.checkpoint(now))
	return n, errors.Join(errs...)
}

// Erase erases every day that is over at now, but for its seal, which then says
// so, and returns these days. A day that was not sealed yet is sealed first.
func (l *Log) Erase(now time.Time, over func(calendar.Day) bool) ([]string, error) {
	days, err := daysIn(l.dir)
	if err != nil {
		return nil, fmt.Errorf("erase audit log: %w", err)
	}
	var erased []string
	for _, day := range days {
		if !over(day) || !exists(pathOf(l.dir, day)) && !exists(zipOf(l.dir, day)) {
			continue
		}
		if err := l.eraseDay(day, now); err != nil {
			return erased, fmt.Errorf("erase audit day %s: %w", day, err)
		}
		erased = append(erased, day.String())
	}
	return erased, nil
}

func (l *Log) eraseDay(day calendar.Day, now time.Time) error {
	key, err := l.keys.SigningKey()
	if err != nil {
		return err
	}
	own := key.Public().(ed25519.PublicKey)
	stated, err := readSeal(sealOf(l.dir, day), day, own)
	if err != nil || exists(pathOf(l.dir, day)) {
		if err := l.sealDay(day, true); err != nil {
			return err
		}
		if stated, err = readSeal(sealOf(l.dir, day), day, own); err != nil {
			return err
		}
	}
	stated.Erased = now.UTC()
	text, err := l.sign(&stated)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if exists(pathOf(l.dir, day)) {
		return nil // a late line: the next call has it sealed
	}
	if err := l.replace(sealOf(l.dir, day), text); err != nil {
		return err
	}
	if err := syncDir(l.dir); err != nil {
		return err
	}
	l.step("erasing")
	if err := os.Remove(zipOf(l.dir, day)); err != nil {
		return err
	}
	l.step("erased")
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
	l.step("compressed")
	text, err := l.sign(seal)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if again, now, err := sizeOf(l.dir, day); err != nil || again != source || now != size {
		return err
	}
	if err := l.replace(sealOf(l.dir, day), text); err != nil {
		return err
	}
	l.step("sealed")
	if err := os.Rename(zipOf(l.dir, day)+newExt, zipOf(l.dir, day)); err != nil {
		return err
	}
	l.step("packed")
	if err := syncDir(l.dir); err != nil {
		return err
	}
	if err := os.Remove(pathOf(l.dir, day)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l.step("removed")
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

// zipLevel: what is sealed is random, so there is little to find beside the
// letters of base64 and the hash of the line before. The usual level saves 2 % of
// the size for three times the work.
const zipLevel = gzip.BestSpeed

// compress writes the compressed file under a passing name and gathers what the
// seal says.
func (l *Log) compress(day calendar.Day, source string, erase bool) (*Seal, error) {
	f, err := os.OpenFile(zipOf(l.dir, day)+newExt, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sum := sha256.New()
	zip, err := gzip.NewWriterLevel(io.MultiWriter(f, sum), zipLevel)
	if err != nil {
		return nil, err
	}
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
	s.seal.Root, s.seal.File = s.tree.root(), message.Digest(sum.Sum(nil))
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

func (m *merkle) add(hash message.Digest) { m.addLeaf(leafOf(hash)) }

func (m *merkle) addLeaf(leaf message.Digest) {
	m.stack = append(m.stack, leaf)
	m.n++
	for len(m.stack) > bits.OnesCount64(m.n) { // one subtree for each power of two in n
		m.fold()
	}
}

func (m *merkle) fold() {
	n := len(m.stack)
	m.stack = append(m.stack[:n-2], nodeOf(m.stack[n-2], m.stack[n-1]))
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

// sealLabel keeps the signature of a seal apart from every other one of that key.
const sealLabel = "gatewayd audit seal 2\x00"

func (l *Log) sign(s *Seal) ([]byte, error) {
	key, err := l.keys.SigningKey()
	if err != nil {
		return nil, err
	}
	s.PublicKey, s.Signature = key.Public().(ed25519.PublicKey), nil
	bare, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	s.Signature = ed25519.Sign(key, append([]byte(sealLabel), bare...))
	return json.Marshal(s)
}

// readSeal reads a seal and checks its form and signature; public may be nil.
func readSeal(path string, day calendar.Day, public ed25519.PublicKey) (Seal, error) {
	text, err := readSmall(path)
	if err != nil {
		return Seal{}, err
	}
	var s Seal
	if err := json.Unmarshal(text, &s); err != nil {
		return s, errSeal
	}
	if again, err := json.Marshal(s); err != nil || !bytes.Equal(again, text) {
		return s, errSeal // every octet counts
	}
	bare := s
	bare.Signature = nil
	signed, err := json.Marshal(bare)
	if err != nil {
		return s, err
	}
	if s.Day != day || !s.sound() || !signedBy(public, s.PublicKey, s.Signature, sealLabel, signed) {
		return s, errSeal
	}
	return s, nil
}

// signedBy checks a signature by the key that stands beside it, which must be
// the expected one; nil: any.
func signedBy(expected, stated ed25519.PublicKey, signature []byte, label string, text []byte) bool {
	return len(stated) == ed25519.PublicKeySize && (expected == nil || bytes.Equal(expected, stated)) &&
		ed25519.Verify(stated, append([]byte(label), text...), signature)
}

// maxSmall bounds a seal or a checkpoint: a seal of a day with so many runs that
// it is longer has not been written by this program.
const maxSmall = 16 << 20

// readSmall reads a small file.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSmall+1))
	if err == nil && len(text) > maxSmall {
		err = errSeal
	}
	return text, err
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
	if err != nil {
		return err
	}
	l.step("unpacked")
	if err := os.Rename(path+newExt, path); err != nil {
		return err
	}
	l.step("reopened")
	if err := syncDir(l.dir); err != nil {
		return err
	}
	if err := os.Remove(zipOf(l.dir, day)); err != nil {
		return err
	}
	l.step("unsealed")
	return errors.Join(os.Remove(sealOf(l.dir, day)), syncDir(l.dir))
}

// openFile opens a day file, compressed or not.
func openFile(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil || filepath.Ext(path) != ".gz" {
		return f, err
	}
	z := &zipFile{file: f, sum: sha256.New()}
	z.raw = bufio.NewReaderSize(io.TeeReader(f, z.sum), 64<<10)
	if z.Reader, err = gzip.NewReader(z.raw); err != nil {
		f.Close()
		return nil, errZip
	}
	z.Multistream(false) // we write one; what else is there belongs to somebody else
	return z, nil
}

var errZip = errors.New("the compressed file is damaged")

// zipFile is a compressed day file while it is read.
type zipFile struct {
	*gzip.Reader
	file *os.File
	raw  *bufio.Reader
	sum  hash.Hash
}

// digest reads the file to its end and returns the digest of all of it.
func (z *zipFile) digest() (message.Digest, error) {
	_, err := io.Copy(io.Discard, z.raw)
	return message.Digest(z.sum.Sum(nil)), err
}

// Close implements io.Closer.
func (z *zipFile) Close() error { return z.file.Close() }

// replace replaces a small file durably, but for the folder's own sync.
func (l *Log) replace(path string, text []byte) error {
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
	l.step("written")
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
