package vault

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Report tells what recovery found. The zero Report is what a start in order
// gives.
type Report struct {
	Segments int      // segments that were not closed in order and were read through
	Records  int      // good records in them
	Cut      int64    // octets cut behind the last good record: nobody had got an answer for them
	Voided   int      // records taken back because their body did not arrive whole: nobody had got an answer
	Orphans  int      // body files removed that no record named
	Damaged  []Damage // bad stretches with good records behind them, and damaged bodies
}

// Damage is one bad stretch of a segment.
type Damage struct {
	Day     string
	Segment uint64
	Offset  int64
	Length  int64
	File    string // the copy under corrupt/; empty if there is none
}

// recovery is the state of Open.
type recovery struct {
	v     *Vault
	cuts  map[uint64]int64            // where abandoned segments end
	named map[string]map[frameID]bool // day → body files that records of unclosed segments name
	open  []*unclosed
}

// unclosed is a segment that was not closed in order.
type unclosed struct {
	segFile
	file    *os.File
	end     int64 // behind the last record that stays
	mark    int64 // highest synced mark
	accept  int64 // end of the last accept frame
	records int
	suspect []frame // whose body is not whole
}

// recover brings the folder into order; see the package comment.
func (v *Vault) recover() error {
	if err := v.readNumbers(); err != nil {
		return err
	}
	all, err := v.segments()
	if err != nil {
		return err
	}
	r := &recovery{v: v, cuts: map[uint64]int64{}, named: map[string]map[frameID]bool{}}
	defer r.close()
	for _, s := range all {
		v.next = max(v.next, s.num+1)
		if err := r.look(s); err != nil {
			return fmt.Errorf("segment %s/%x: %w", s.day, s.num, err)
		}
	}
	for _, u := range r.open {
		if err := r.read(u); err != nil {
			return fmt.Errorf("segment %s/%x: %w", u.day, u.num, err)
		}
	}
	if err := r.parts(); err != nil {
		return err
	}
	for _, u := range r.open {
		if err := r.finish(u); err != nil {
			return fmt.Errorf("segment %s/%x: %w", u.day, u.num, err)
		}
	}
	return nil
}

func (r *recovery) close() {
	for _, u := range r.open {
		u.file.Close()
	}
}

// readNumbers reads which segment numbers may have been used.
func (v *Vault) readNumbers() error {
	text, err := os.ReadFile(filepath.Join(v.o.Dir, "next"))
	if errors.Is(err, fs.ErrNotExist) {
		v.next = 1
		return nil
	}
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return fmt.Errorf("file next holds no number: write there one that is higher than every segment ever was: %w", ErrCorrupt)
	}
	v.next, v.reserved = n+1, n
	return nil
}

// look finds out whether a segment was closed in order, and reads its cut frames.
func (r *recovery) look(s segFile) error {
	file, err := os.OpenFile(r.v.path(s), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	st, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	var head [headLen]byte
	for off := int64(0); ; off += headLen {
		if _, err := file.ReadAt(head[:], off); err != nil {
			break // shorter: no cut frame there
		}
		f, ok := decodeHead(head[:])
		if !ok || f.kind != kindCut || f.segment != s.num || f.offset != off || !f.metaGood(head[:], nil) {
			break
		}
		r.cuts[f.a] = int64(f.b) //nolint:gosec // an offset
	}
	if _, ok := endOf(file, s.num, st.Size()); ok {
		return file.Close()
	}
	r.open = append(r.open, &unclosed{segFile: s, file: file})
	return nil
}

// read goes through a segment and decides where it ends.
func (r *recovery) read(u *unclosed) error {
	st, err := u.file.Stat()
	if err != nil {
		return err
	}
	size := st.Size()
	if at, ok := r.cuts[u.num]; ok {
		size = min(size, at)
	}
	var bad []found
	_, err = scan(u.file, u.num, 0, size, func(x found) error {
		if x.bad {
			bad = append(bad, x)
			return nil
		}
		return r.frame(u, &x.frame)
	})
	if err != nil {
		return err
	}
	if err := r.judge(u); err != nil {
		return err
	}
	for _, x := range bad {
		if x.from < u.end {
			r.v.setAside(u.file, u.segFile, x.from, x.to)
		}
	}
	rep := &r.v.report
	rep.Segments, rep.Records, rep.Cut = rep.Segments+1, rep.Records+u.records, rep.Cut+max(0, st.Size()-u.end)
	return nil
}

// frame takes in one good frame, or puts it among the suspects.
func (r *recovery) frame(u *unclosed, f *frame) error {
	u.mark = max(u.mark, f.synced)
	switch f.kind {
	case kindCut:
		u.end = max(u.end, f.end())
		return nil
	case kindGone: // the ledger has what it stands for
		u.end, u.accept = max(u.end, f.end()), max(u.accept, f.end())
		return nil
	case kindEnd, kindVoid:
		return nil
	}
	whole, err := r.whole(u, f)
	if err != nil {
		return err
	}
	if !whole {
		u.suspect = append(u.suspect, *f)
		return nil
	}
	r.keep(u, f)
	return nil
}

func (r *recovery) keep(u *unclosed, f *frame) {
	u.records++
	u.end = max(u.end, f.end())
	if f.kind == kindAccept {
		u.accept = max(u.accept, f.end())
	}
	if f.inFile {
		if r.named[u.day] == nil {
			r.named[u.day] = map[frameID]bool{}
		}
		r.named[u.day][f.id] = true
	}
}

// whole reports whether the body of a frame is there; its octets in the segment
// are proven by their checksum, those of a file were synced before the frame.
func (r *recovery) whole(u *unclosed, f *frame) (bool, error) {
	if !f.slot.good() {
		return false, nil
	}
	if f.slot.erased() {
		return true, nil
	}
	if f.inFile {
		file, err := r.v.openFile(u.day, f)
		if errors.Is(err, ErrCorrupt) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		return true, file.Close()
	}
	got, err := bodySum(u.file, f)
	return got == f.bodySum, err
}

func bodySum(r io.ReaderAt, f *frame) (uint32, error) {
	h := crc32.New(castagnoli)
	_, err := io.Copy(h, io.NewSectionReader(r, f.offset+f.bodyAt(), f.inline()))
	return h.Sum32(), err
}

// judge decides about frames whose body is not whole: before the mark they were
// acknowledged and stay, so that somebody hears of them; beyond it they are torn.
func (r *recovery) judge(u *unclosed) error {
	for i := range u.suspect {
		f := &u.suspect[i]
		if f.end() <= u.mark {
			r.keep(u, f)
			r.v.setAside(u.file, u.segFile, f.offset, f.end())
		}
	}
	for i := range u.suspect {
		f := &u.suspect[i]
		if f.end() <= u.mark {
			continue
		}
		r.v.report.Voided++
		if f.offset >= u.end {
			continue // is cut
		}
		f.kind = kindVoid
		if err := r.v.disk.writeAt(u.file, f.encode()[:slotAt], f.offset); err != nil {
			return err
		}
	}
	return nil
}

// parts gives body files that a record names their final name and removes the
// others. A part file can only be named by a record of an unclosed segment.
func (r *recovery) parts() error {
	parts, err := r.v.files(partExt)
	if err != nil {
		return err
	}
	for _, p := range parts {
		path := filepath.Join(r.v.o.Dir, p.day, p.name)
		if id, ok := parseID(p.name, partExt); ok && r.named[p.day][id] {
			err = r.v.disk.rename(path, strings.TrimSuffix(path, partExt)+bodyExt)
		} else {
			err = os.Remove(path)
			r.v.report.Orphans++
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// finish cuts a segment and closes it in order, so that the next start need not
// read it. A segment without records is removed. On a full disk it stays as it is.
func (r *recovery) finish(u *unclosed) error {
	if u.end == 0 {
		return os.Remove(u.file.Name())
	}
	if err := r.v.disk.truncate(u.file, u.end); err != nil {
		return err
	}
	dir := filepath.Dir(u.file.Name())
	err := r.v.writeEnd(u.file, dir, u.num, u.end, u.accept, true)
	if err == nil {
		return nil
	}
	if err = diskError("end frame", err); errors.Is(err, ErrFull) {
		return r.v.disk.truncate(u.file, u.end)
	}
	return err
}

// note adds damage to the report, once.
func (v *Vault) note(d Damage) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, old := range v.report.Damaged {
		if old.Segment == d.Segment && old.Offset == d.Offset {
			return
		}
	}
	v.report.Damaged = append(v.report.Damaged, d)
}

// setAside copies a bad stretch to corrupt/ and counts it. The segment keeps it
// too, so a copy that fails (full disk) loses nothing.
func (v *Vault) setAside(r io.ReaderAt, s segFile, from, to int64) {
	d := Damage{Day: s.day, Segment: s.num, Offset: from, Length: to - from}
	dir := filepath.Join(v.o.Dir, s.day, "corrupt")
	path := filepath.Join(dir, fmt.Sprintf("%016x-%d.bad", s.num, from))
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = copyStretch(path, io.NewSectionReader(r, from, to-from))
	}
	if err == nil {
		d.File = path
	}
	v.note(d)
}

func copyStretch(path string, r io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		os.Remove(path)
	}
	return err
}
