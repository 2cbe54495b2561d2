package vault

import (
	"encoding/binary"
	"errors"
	"io"
	"os"

	"gatewayd/crypto/seal"
	"gatewayd/message"
)

// Drop is Wipe for records that the ledger has and that have nothing left to
// tell: they leave the journal as well. Neighbours become one gone frame, whose
// inside is given back to the file system. Replay does not give them again.
func (v *Vault) Drop(refs []message.Ref) (freed int64, err error) { return v.wipe(refs, true) }

// A record is dropped in three steps. First its frame becomes a gone frame: its
// slot and one octet of its header change. When that is durable a run of
// neighbours becomes one gone frame: the header of the first is overwritten, which
// lies in one sector, and what is left of the run becomes its body. When that is
// durable the body is given back. So the frames are whole whenever the power goes,
// and no live frame ever lies within a run. The last octets of a run tell where
// it begins, so that the next one can be joined to it. They are a hint: lost, the
// two stay two.
const (
	goneMagic = "gwdgone\n"
	blockLen  = 64 << 10 // at most what file systems give back as a whole
	hintLen   = 32       // magic 8, segment 8, begin 8, zero 4, CRC-32C of that 4
)

// run is a stretch of neighbouring records that are dropped.
type run struct {
	frame
	back int64 // from here on to the end it is given back
	to   int64
}

// runsOf joins neighbours, and the runs beside them.
func runsOf(r io.ReaderAt, frames []frame) []run {
	var runs []run
	for i := range frames {
		f := &frames[i]
		if n := len(runs); n > 0 && runs[n-1].to == f.offset {
			runs[n-1].add(f)
		} else {
			runs = append(runs, begin(r, f))
		}
		last := &runs[len(runs)-1]
		for next, ok := goneAt(r, last.segment, last.to); ok; next, ok = goneAt(r, last.segment, last.to) {
			last.add(&next)
		}
	}
	for i := range runs {
		f := &runs[i].frame
		f.kind, f.run, f.inFile = kindGone, true, false
		f.metaLen, f.bodyLen = 0, runs[i].to-f.offset-headLen
		f.sumMeta(nil)
	}
	return runs
}

// begin makes a run of one frame, or goes on with the one before it.
func begin(r io.ReaderAt, f *frame) run {
	if before, ok := goneBefore(r, f); ok {
		before.bodySum = before.dropped() + 1
		return run{frame: before, back: max(before.offset+headLen, (f.offset-hintLen)&^(blockLen-1)), to: f.end()}
	}
	next := run{frame: *f, back: f.offset + headLen, to: f.end()}
	next.bodySum = 1
	return next
}

// add takes in the frame behind the run.
func (r *run) add(f *frame) {
	r.bodySum += f.dropped()
	r.to = f.end()
}

// dropped is how many records a frame stands for once it is gone.
func (f *frame) dropped() uint32 {
	if f.run {
		return f.bodySum
	}
	return 1
}

// goneAt reads the run at an offset, if one is there.
func goneAt(r io.ReaderAt, segment uint64, off int64) (frame, bool) {
	var head [headLen]byte
	if _, err := r.ReadAt(head[:], off); err != nil {
		return frame{}, false
	}
	f, ok := decodeHead(head[:])
	return f, ok && f.kind == kindGone && f.run && f.segment == segment && f.offset == off && f.metaGood(head[:], nil)
}

// goneBefore finds the run that ends where f begins, by its hint.
func goneBefore(r io.ReaderAt, f *frame) (frame, bool) {
	var b [hintLen]byte
	if f.offset < headLen+hintLen {
		return frame{}, false
	}
	if _, err := r.ReadAt(b[:], f.offset-hintLen); err != nil {
		return frame{}, false
	}
	be := binary.BigEndian
	if string(b[:8]) != goneMagic || be.Uint32(b[28:]) != sum(b[:28]) || be.Uint64(b[8:]) != f.segment {
		return frame{}, false
	}
	g, ok := goneAt(r, f.segment, int64(be.Uint64(b[16:]))) //nolint:gosec // goneAt compares
	return g, ok && g.end() == f.offset
}

func (r *run) hint() []byte {
	b := make([]byte, hintLen)
	copy(b, goneMagic)
	be := binary.BigEndian
	be.PutUint64(b[8:], r.segment)
	be.PutUint64(b[16:], uint64(r.offset)) //nolint:gosec // an offset
	be.PutUint32(b[28:], sum(b[:28]))
	return b
}

// join makes gone frames that are durable one per run, and gives back what is
// behind its head.
func (v *Vault) join(file *os.File, frames []frame) error {
	runs := runsOf(file, frames)
	if len(runs) == 0 {
		return nil
	}
	for i := range runs {
		if err := v.disk.writeAt(file, runs[i].encode()[:slotAt], runs[i].offset); err != nil {
			return err
		}
	}
	if err := v.disk.sync(file); err != nil {
		return err
	}
	for i := range runs {
		r := &runs[i]
		if err := v.disk.punch(file, r.back, r.to-r.back); err != nil {
			return err
		}
		if err := v.disk.writeAt(file, r.hint(), r.to-hintLen); err != nil {
			return err
		}
	}
	return nil
}

// droppable reports whether a frame may be dropped: a record or blob of the
// content family, whose day the folder bears.
func (f *frame) droppable() bool {
	return (f.kind == kindAccept || f.kind == kindBlob) && f.family == seal.Content && f.length() >= headLen+hintLen
}

var errFound = errors.New("found")

// goneAround finds the gone frame in which an offset lies.
func goneAround(r io.ReaderAt, segment uint64, size, off int64) (g frame, ok bool, err error) {
	_, err = scan(r, segment, 0, size, func(x found) error {
		if x.to <= off {
			return nil
		}
		if !x.bad && x.frame.kind == kindGone && x.from <= off {
			g, ok = x.frame, true
		}
		return errFound
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return g, ok, err
}

// readDropped reads the head of a gone frame: a crash may have come before
// everything of it was let go. Nil for what lies in a run, with the end of that; why,
// for what is neither.
func (v *Vault) readDropped(r *os.File, ref message.Ref, why error) (f *frame, end int64, err error) {
	var head [headLen]byte
	if _, err := r.ReadAt(head[:], ref.Offset); err != nil {
		return nil, 0, why
	}
	if f, ok := decodeHead(head[:]); ok && f.kind == kindGone && !f.run && f.segment == ref.Segment && f.offset == ref.Offset {
		return &f, 0, nil
	}
	st, err := r.Stat()
	if err != nil {
		return nil, 0, why
	}
	if end, ok := droppedTo(r, st.Size(), ref); ok {
		return nil, end, nil
	}
	return nil, 0, why
}

// wasDropped reports whether the place that a reference names lies in what was
// dropped.
func wasDropped(file *os.File, ref message.Ref) bool {
	st, err := file.Stat()
	if err != nil {
		return false
	}
	_, ok := droppedTo(file, st.Size(), ref)
	return ok
}

// droppedTo finds the end of the gone frame in which the place lies that a reference
// names. Only where no run begins at that place the segment is read up to it.
func droppedTo(r io.ReaderAt, size int64, ref message.Ref) (end int64, ok bool) {
	if g, ok := goneAt(r, ref.Segment, ref.Offset); ok {
		return g.end(), true
	}
	g, ok, err := goneAround(r, ref.Segment, size, ref.Offset)
	return g.end(), ok && err == nil
}

// behindGone returns the offset itself, or the end of the gone frame in which it
// lies: a ledger from a backup may have a mark there.
func behindGone(r io.ReaderAt, segment uint64, size, off int64) (int64, error) {
	var head [headLen]byte
	if _, err := r.ReadAt(head[:], off); err != nil || off == 0 {
		return off, nil //nolint:nilerr // scan meets it again
	}
	if f, ok := decodeHead(head[:]); ok && f.offset == off {
		return off, nil
	}
	g, ok, err := goneAround(r, segment, size, off)
	if ok {
		off = g.end()
	}
	return off, err
}
