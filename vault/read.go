package vault

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gatewayd/crypto/seal"
	"gatewayd/message"
)

var (
	errMissing = errors.New("body file is missing")
	errNoFrame = errors.New("no frame there")
)

// BodyReader reads the plain octets of a stored body: io.Reader, io.ReaderAt,
// io.Seeker, Size. Damage shows as ErrCorrupt, never as other octets.
type BodyReader struct {
	*seal.Reader
	file *os.File
}

// Close implements io.Closer.
func (r *BodyReader) Close() error { return r.file.Close() }

// OpenBody opens the body of an accept record or a blob. ErrGone when it was
// erased, by its slot or with its day; ErrCorrupt when it is damaged.
func (v *Vault) OpenBody(ref message.Ref) (*BodyReader, error) {
	r, err := v.openBody(ref)
	if err != nil {
		return nil, fmt.Errorf("body %s/%x/%d: %w", ref.Day, ref.Segment, ref.Offset, err)
	}
	return r, nil
}

func (v *Vault) openBody(ref message.Ref) (*BodyReader, error) {
	if !seal.ValidDay(ref.Day) {
		return nil, errors.New("not a reference to a body")
	}
	file, err := os.Open(v.segPath(ref.Day, ref.Segment))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, v.whyMissing(ref.Day)
	}
	if err != nil {
		return nil, err
	}
	f, err := readHead(file, ref)
	if errors.Is(err, errNoFrame) && wasDropped(file, ref) {
		err = ErrGone
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	r, err := v.openFrame(file, ref.Day, f)
	if err != nil || f.inFile {
		file.Close()
	}
	return r, err
}

// whyMissing tells an erased day from a lost segment. When the content of a day
// has gone its folder may stay for what is kept for the log window to the same
// day; of that a lost segment counts as erased then, two days before it is.
func (v *Vault) whyMissing(day string) error {
	_, err := os.Stat(filepath.Join(v.o.Dir, day))
	if errors.Is(err, fs.ErrNotExist) || v.o.Keys.Destroyed(seal.Content, day) {
		return ErrGone
	}
	return fmt.Errorf("segment is missing: %w", ErrCorrupt)
}

func readHead(r io.ReaderAt, ref message.Ref) (*frame, error) {
	var head [headLen]byte
	if _, err := r.ReadAt(head[:], ref.Offset); err != nil && err != io.EOF {
		return nil, err
	}
	f, ok := decodeHead(head[:])
	if !ok || f.segment != ref.Segment || f.offset != ref.Offset || f.kind != kindAccept && f.kind != kindBlob {
		return nil, fmt.Errorf("%w: %w", errNoFrame, ErrCorrupt)
	}
	return &f, nil
}

// openFrame opens the body that a frame names. The reader takes the segment over,
// unless the body has a file of its own.
func (v *Vault) openFrame(segment *os.File, day string, f *frame) (*BodyReader, error) {
	if f.slot.erased() || v.o.Over != nil && v.o.Over(f.family, day) {
		return nil, ErrGone
	}
	aead, err := v.o.Keys.Lookup(f.family, day)
	if errors.Is(err, seal.ErrDestroyed) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, err
	}
	key, err := f.slot.unwrap(aead, f.id)
	if err != nil {
		return nil, fmt.Errorf("key slot: %w", err)
	}
	file, data := segment, io.ReaderAt(io.NewSectionReader(segment, f.offset+f.bodyAt(), f.bodyLen))
	if f.inFile {
		if file, err = v.openFile(day, f); err != nil {
			return nil, err
		}
		data = file
	}
	r, err := seal.NewReader(data, f.bodyLen, key)
	if err != nil {
		if f.inFile {
			file.Close()
		}
		return nil, err
	}
	return &BodyReader{Reader: r, file: file}, nil
}

// openFile opens a body's own file, which may be renamed at this moment.
func (v *Vault) openFile(day string, f *frame) (*os.File, error) {
	path := filepath.Join(v.o.Dir, day, f.id.String())
	for _, ext := range []string{bodyExt, partExt, bodyExt} {
		file, err := os.Open(path + ext)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		st, err := file.Stat()
		if err == nil && st.Size() != f.bodyLen {
			err = fmt.Errorf("body file of %d octets, written were %d: %w", st.Size(), f.bodyLen, ErrCorrupt)
		}
		if err != nil {
			file.Close()
			return nil, err
		}
		return file, nil
	}
	return nil, fmt.Errorf("%w: %w", errMissing, ErrCorrupt)
}

// segFile is a segment found on the disk.
type segFile struct {
	day string
	num uint64
}

func (v *Vault) path(s segFile) string { return v.segPath(s.day, s.num) }

// segments lists every segment, by number.
func (v *Vault) segments() ([]segFile, error) {
	files, err := v.files(segExt)
	if err != nil {
		return nil, err
	}
	var all []segFile
	for _, f := range files {
		if num, ok := segNumber(f.name); ok {
			all = append(all, segFile{f.day, num})
		}
	}
	slices.SortFunc(all, func(a, b segFile) int { return cmp.Compare(a.num, b.num) })
	return all, nil
}

// dayFile is a file in the folder of a day.
type dayFile struct{ day, name string }

// files lists the files of all days with that extension.
func (v *Vault) files(ext string) ([]dayFile, error) {
	days, err := os.ReadDir(v.o.Dir)
	if err != nil {
		return nil, err
	}
	var all []dayFile
	for _, d := range days {
		if !d.IsDir() || !seal.ValidDay(d.Name()) {
			continue
		}
		files, err := os.ReadDir(filepath.Join(v.o.Dir, d.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // erased meanwhile
			return nil, err
		}
		for _, f := range files {
			if strings.HasSuffix(f.Name(), ext) {
				all = append(all, dayFile{d.Name(), f.Name()})
			}
		}
	}
	return all, nil
}

// parseID reads the name of a body file.
func parseID(name, ext string) (id frameID, ok bool) {
	raw, err := hex.DecodeString(strings.TrimSuffix(name, ext))
	if err != nil || len(raw) != len(id) {
		return id, false
	}
	return frameID(raw), true
}

// Replay hands every accept record behind its segment's mark to fn, segment by
// segment in the order of their numbers, record by record as they were accepted.
// A mark is the End of a record.
// meta is valid during the call. Records whose log day key was destroyed are over
// and left out. Damage is set aside and counted in Recovered; a lost log key is
// an error, because without it everything would seem damaged.
func (v *Vault) Replay(marks map[uint64]int64, fn func(ref message.Ref, meta []byte) error) error {
	all, err := v.segments()
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	limits := v.limits()
	for _, s := range all {
		limit, open := limits[s.num]
		if !open {
			limit = -1
		}
		if err := v.replaySegment(s, marks[s.num], limit, fn); err != nil {
			return fmt.Errorf("replay segment %s/%x: %w", s.day, s.num, err)
		}
	}
	return nil
}

// replaySegment reads from mark to limit; -1: to the end of the file.
func (v *Vault) replaySegment(s segFile, mark, limit int64, fn func(message.Ref, []byte) error) error {
	v.dropping.RLock()
	defer v.dropping.RUnlock()
	file, err := os.Open(v.path(s))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // erased meanwhile
	}
	if err != nil {
		return err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return err
	}
	size := st.Size()
	if limit >= 0 {
		size = min(size, limit)
	}
	last := size
	if end, ok := endOf(file, s.num, size); ok {
		last = int64(end.a) //nolint:gosec // an offset
	}
	if mark > last { // the ledger has seen more than there is
		v.note(Damage{Day: s.day, Segment: s.num, Offset: last, Length: mark - last})
	}
	if mark >= last {
		return nil
	}
	if mark, err = behindGone(file, s.num, size, mark); err != nil {
		return err
	}
	_, err = scan(file, s.num, mark, size, func(x found) error {
		if x.bad {
			v.setAside(file, s, x.from, x.to)
			return nil
		}
		if x.frame.kind != kindAccept {
			return nil
		}
		meta, err := v.openMeta(&x)
		switch {
		case errors.Is(err, seal.ErrDestroyed):
			return nil
		case errors.Is(err, errMeta):
			v.setAside(file, s, x.from, x.to)
			return nil
		case err != nil:
			return err
		}
		return fn(message.Ref{Day: s.day, Segment: s.num, Offset: x.from, End: x.to}, meta)
	})
	return err
}

// errMeta marks a meta that its checksum calls good and its seal does not.
var errMeta = errors.New("meta was changed")

func (v *Vault) openMeta(x *found) ([]byte, error) {
	aead, err := v.o.Keys.Lookup(seal.Log, x.frame.logDay)
	if err != nil {
		return nil, err
	}
	meta, err := seal.OpenRecord(aead, x.meta, metaAAD(x.frame.id))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMeta, err)
	}
	return meta, nil
}
