package vault

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"gatewayd/crypto/seal"
	"gatewayd/message"
)

// Wipe lets bodies go before their day: their key slots are overwritten with
// zeros and forced to the disk, then the bodies are punched out of their
// segments or their files unlinked. It returns the octets that became free. What
// is wiped already, or gone with its day, is no error; after an error some may be
// wiped and it can be repeated.
//
// Their records stay in the journal until the day, and Replay gives them still.
func (v *Vault) Wipe(refs []message.Ref) (freed int64, err error) { return v.wipe(refs, false) }

func (v *Vault) wipe(refs []message.Ref, drop bool) (freed int64, err error) {
	v.dropping.Lock()
	defer v.dropping.Unlock()
	refs = slices.Clone(refs)
	slices.SortFunc(refs, func(a, b message.Ref) int {
		return cmp.Or(cmp.Compare(a.Segment, b.Segment), cmp.Compare(a.Offset, b.Offset))
	})
	refs = slices.Compact(refs)
	for len(refs) > 0 {
		n := 1
		for n < len(refs) && refs[n].Segment == refs[0].Segment && refs[n].Day == refs[0].Day {
			n++
		}
		got, err := v.wipeIn(segFile{refs[0].Day, refs[0].Segment}, refs[:n], drop)
		freed += got
		if err != nil {
			return freed, fmt.Errorf("wipe in segment %s/%x: %w", refs[0].Day, refs[0].Segment, err)
		}
		refs = refs[n:]
	}
	return freed, nil
}

func (v *Vault) wipeIn(s segFile, refs []message.Ref, drop bool) (int64, error) {
	if !seal.ValidDay(s.day) {
		return 0, errors.New("not a reference to a body")
	}
	file, err := os.OpenFile(v.path(s), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer file.Close()
	frames := make([]frame, 0, len(refs))
	gone := int64(0) // end of the run that was met last: nothing in it is left
	for _, ref := range refs {
		if ref.Offset < gone {
			continue
		}
		f, err := readHead(file, ref)
		if errors.Is(err, errNoFrame) {
			if f, gone, err = v.readDropped(file, ref, err); f == nil && err == nil {
				continue
			}
		}
		if err != nil {
			return 0, err
		}
		frames = append(frames, *f)
	}
	return v.wipeFrames(file, s.day, frames, drop)
}

// wipeFrames overwrites all slots, syncs once, and lets the bodies go; with drop
// the records as well.
func (v *Vault) wipeFrames(file *os.File, day string, frames []frame, drop bool) (freed int64, err error) {
	dirty := false
	var gone []frame
	for i := range frames {
		f := &frames[i]
		if !f.slot.erased() {
			dirty = true
			if err := v.disk.writeAt(file, make([]byte, slotLen), f.offset+slotAt); err != nil {
				return 0, err
			}
		}
		if drop && f.droppable() {
			dirty = true
			g := *f
			g.kind = kindGone
			if err := v.disk.writeAt(file, g.encode()[:slotAt], f.offset); err != nil {
				return 0, err
			}
			gone = append(gone, *f)
		}
	}
	if dirty {
		if err := v.disk.sync(file); err != nil {
			return 0, err
		}
	}
	for i := range frames {
		n, err := v.letGo(file, day, &frames[i], drop && frames[i].droppable())
		freed += n
		if err != nil {
			return freed, err
		}
	}
	return freed, v.join(file, gone)
}

// letGo frees what a body takes on the disk; its key is gone. What lies in a run
// goes with it.
func (v *Vault) letGo(file *os.File, day string, f *frame, inRun bool) (int64, error) {
	if f.inFile {
		return v.unlinkBody(day, f.id)
	}
	if f.bodyLen == 0 || inRun {
		return f.bodyLen, nil
	}
	if err := v.disk.punch(file, f.offset+f.bodyAt(), f.bodyLen); err != nil {
		return 0, err
	}
	return f.bodyLen, nil
}

func (v *Vault) unlinkBody(day string, id frameID) (freed int64, err error) {
	for _, ext := range []string{bodyExt, partExt, bodyExt} { // it may be renamed at this moment
		path := filepath.Join(v.o.Dir, day, id.String()+ext)
		st, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = v.disk.remove(path)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return freed, err
		}
		freed += st.Size()
	}
	return freed, nil
}

// Erased tells what EraseDay has removed.
type Erased struct {
	Records  int   // frames of that family, wiped ones too
	Segments int   // segment files unlinked
	Kept     int   // segment files that hold records of the other family: only this one's were wiped
	Bytes    int64 // octets in the unlinked files and wiped bodies
}

// EraseDay unlinks everything of one family that lies in the folder of that
// day. Call it when the day key is destroyed. A segment that also holds records
// of the other family stays until that one's turn, with this one's slots and
// bodies wiped. It may be repeated after a crash or an error.
func (v *Vault) EraseDay(family seal.Family, day string) (Erased, error) {
	var e Erased
	if !seal.ValidDay(day) {
		return e, fmt.Errorf("erase day: %q is not a day", day)
	}
	if err := v.retire(day); err != nil {
		return e, err
	}
	if err := v.eraseDay(family, day, &e); err != nil {
		return e, fmt.Errorf("erase day %s: %w", day, err)
	}
	return e, nil
}

func (v *Vault) eraseDay(family seal.Family, day string, e *Erased) error {
	all, err := v.segments()
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.day != day {
			continue
		}
		if err := v.eraseSegment(s, family, e); err != nil {
			return fmt.Errorf("segment %x: %w", s.num, err)
		}
	}
	dir := filepath.Join(v.o.Dir, day)
	if e.Kept > 0 {
		return v.disk.removeAll(filepath.Join(dir, "corrupt")) // sealed, but whose is not known
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := v.disk.removeAll(dir); err != nil {
		return err
	}
	return v.disk.syncDir(v.o.Dir)
}

func (v *Vault) eraseSegment(s segFile, family seal.Family, e *Erased) error {
	file, err := os.OpenFile(v.path(s), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	frames, others, dropped, err := bodiesIn(file, s.num, family)
	if err != nil {
		return err
	}
	e.Records += len(frames) + dropped
	if others > 0 {
		n, err := v.wipeFrames(file, s.day, frames, false)
		e.Kept, e.Bytes = e.Kept+1, e.Bytes+n
		return err
	}
	for i := range frames {
		if frames[i].inFile {
			n, err := v.unlinkBody(s.day, frames[i].id)
			if err != nil {
				return err
			}
			e.Bytes += n
		}
	}
	st, err := file.Stat()
	if err != nil {
		return err
	}
	e.Segments, e.Bytes = e.Segments+1, e.Bytes+st.Size()
	return v.disk.remove(file.Name())
}

// bodiesIn reads the heads of a segment: the frames of one family that may have
// a body, how many of the other still have one, and how many of the first were
// dropped.
func bodiesIn(file *os.File, num uint64, family seal.Family) (mine []frame, others, dropped int, err error) {
	st, err := file.Stat()
	if err != nil {
		return nil, 0, 0, err
	}
	var head [headLen]byte
	for off := int64(0); off+headLen <= st.Size(); {
		if _, err := file.ReadAt(head[:], off); err != nil {
			return nil, 0, 0, err
		}
		f, ok := decodeHead(head[:])
		if !ok || f.segment != num || f.offset != off {
			off += align // damage: go on at the next frame
			continue
		}
		switch {
		case f.kind == kindGone && f.family == family:
			dropped += int(f.dropped())
		case f.kind != kindAccept && f.kind != kindBlob:
		case f.family == family:
			mine = append(mine, f)
		case !f.slot.erased():
			others++
		}
		off = f.end()
	}
	return mine, others, dropped, nil
}

// Days lists the days that have a folder, in order.
func (v *Vault) Days() ([]string, error) {
	entries, err := os.ReadDir(v.o.Dir)
	if err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	var days []string
	for _, e := range entries {
		if e.IsDir() && seal.ValidDay(e.Name()) {
			days = append(days, e.Name())
		}
	}
	return days, nil // os.ReadDir sorts
}

// retire closes the segments of a day in order and forgets its folder; a later
// record would make it anew. No writer writes meanwhile.
func (v *Vault) retire(day string) error {
	v.writing.Lock()
	defer v.writing.Unlock()
	v.mu.Lock()
	closed := v.closed
	v.mu.Unlock()
	if closed {
		return ErrClosed
	}
	for _, w := range v.writers {
		if s := w.open[day]; s != nil {
			w.closeSegment(s)
		}
	}
	v.mu.Lock()
	delete(v.days, day)
	v.mu.Unlock()
	return nil
}

// punch gives the octets of a stretch back to the file system; what cannot be
// given back is only sealed data without a key.
func (d disk) punch(f *os.File, off, n int64) error {
	if err := call(d.hooks.BeforePunch, f.Name()); err != nil {
		return err
	}
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n) //nolint:gosec // a descriptor
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return err
}

func (d disk) remove(path string) error {
	if err := call(d.hooks.BeforeRemove, path); err != nil {
		return err
	}
	return os.Remove(path)
}

func (d disk) removeAll(path string) error {
	if err := call(d.hooks.BeforeRemove, path); err != nil {
		return err
	}
	return os.RemoveAll(path)
}
