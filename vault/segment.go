package vault

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxOpen bounds the segments that a writer has open: two days around midnight,
// content and log, and some air.
const maxOpen = 8

// numberBlock is how many segment numbers are reserved with one write.
const numberBlock = 64

const (
	segExt  = ".seg"
	bodyExt = ".body"
	partExt = ".part"
)

// segment is a segment open for writing; its writer owns it.
type segment struct {
	day    string
	num    uint64
	f      *os.File
	end    int64 // where the next frame goes
	synced int64 // durable up to here; under Vault.mu
	accept int64 // end of the last accept frame
	cuts   []cut // named by its first frames, not durable yet
	parts  bool  // a body file of one of its frames may still have its first name on the disk
	batch  []*request
	used   uint64 // group that used it last
	err    error  // why it was abandoned
}

// cut says that an abandoned segment ends at an offset.
type cut struct {
	num uint64
	at  int64
}

func segName(num uint64) string { return fmt.Sprintf("%016x%s", num, segExt) }

func segNumber(name string) (uint64, bool) {
	text, ok := strings.CutSuffix(name, segExt)
	if !ok || len(text) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 16, 64)
	return n, err == nil
}

func (v *Vault) segPath(day string, num uint64) string {
	return filepath.Join(v.o.Dir, day, segName(num))
}

// segmentFor returns the segment that takes the next frame of that day.
func (w *writer) segmentFor(day string) (*segment, error) {
	if s := w.open[day]; s != nil {
		if s.end < w.v.o.SegmentSize || len(s.batch) > 0 {
			return s, nil
		}
		w.closeSegment(s)
	}
	w.closeIdle()
	return w.createSegment(day)
}

// closeIdle makes room for one more open segment.
func (w *writer) closeIdle() {
	for len(w.open) >= maxOpen {
		var oldest *segment
		for _, s := range w.open {
			if len(s.batch) == 0 && (oldest == nil || s.used < oldest.used) {
				oldest = s
			}
		}
		if oldest == nil {
			return // one group with that many days: let it pass
		}
		w.closeSegment(oldest)
	}
}

// createSegment makes a segment whose first frames tell where abandoned segments
// of that day end. They become durable together with its first records.
func (w *writer) createSegment(day string) (*segment, error) {
	v := w.v
	dir, err := v.dayDir(day)
	if err != nil {
		return nil, err
	}
	num, err := v.number()
	if err != nil {
		return nil, diskError("reserve segment number", err)
	}
	object := "create segment " + day + "/" + segName(num)
	f, err := v.disk.create(v.segPath(day, num))
	if err != nil {
		return nil, diskError(object, err)
	}
	v.mu.Lock()
	s := &segment{day: day, num: num, f: f, cuts: slices.Clone(v.cuts[day])}
	v.mu.Unlock()
	err = s.writeCuts(v.disk)
	if err == nil {
		err = v.disk.syncDir(dir)
	}
	if err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, diskError(object, err)
	}
	w.open[day] = s
	v.mu.Lock()
	v.open[num] = s
	v.mu.Unlock()
	return s, nil
}

func (s *segment) writeCuts(d disk) error {
	for _, c := range s.cuts {
		f := frame{kind: kindCut, family: familyOf(1), segment: s.num, offset: s.end, a: c.num, b: uint64(c.at)} //nolint:gosec // an offset
		f.sumMeta(nil)
		if err := d.writeAt(s.f, f.encode(), s.end); err != nil {
			return err
		}
		s.end += f.length()
	}
	return nil
}

// number returns a segment number that was never used, and makes sure that no
// later process uses it: the ledger's marks are by number.
func (v *Vault) number() (uint64, error) {
	v.numbers.Lock()
	defer v.numbers.Unlock()
	if v.next > v.reserved {
		to := v.next + numberBlock - 1
		if err := v.disk.replace(filepath.Join(v.o.Dir, "next"), []byte(strconv.FormatUint(to, 10)+"\n")); err != nil {
			return 0, err
		}
		v.reserved = to
	}
	n := v.next
	v.next++
	return n, nil
}

// closeSegment closes a segment in order, so that the next start need not read
// it. If that fails it is only left open-ended: everything in it is durable.
func (w *writer) closeSegment(s *segment) {
	v := w.v
	delete(w.open, s.day)
	v.mu.Lock()
	delete(v.open, s.num)
	v.failed[s.num] = s.synced // until the end frame is durable
	v.mu.Unlock()
	err := v.writeEnd(s.f, filepath.Dir(s.f.Name()), s.num, s.synced, s.accept, s.parts)
	s.f.Close()
	if err == nil {
		v.mu.Lock()
		delete(v.failed, s.num)
		v.mu.Unlock()
	}
}

// writeEnd makes the names of body files durable and appends the end frame.
func (v *Vault) writeEnd(f *os.File, dir string, num uint64, end, accept int64, parts bool) error {
	if parts {
		if err := v.disk.syncDir(dir); err != nil {
			return err
		}
	}
	last := frame{kind: kindEnd, family: familyOf(1), segment: num, offset: end, synced: end, a: uint64(accept)} //nolint:gosec // an offset
	last.sumMeta(nil)
	if err := v.disk.writeAt(f, last.encode(), end); err != nil {
		return err
	}
	return v.disk.sync(f)
}

// flush writes the batch behind the durable part and forces it to the disk; it
// tells how long that took.
func (s *segment) flush(d disk, buf *bufio.Writer, from int64) (time.Duration, error) {
	if err := call(d.hooks.BeforeWrite, s.f.Name()); err != nil {
		return 0, err
	}
	buf.Reset(io.NewOffsetWriter(s.f, from))
	var pad [align]byte
	for _, r := range s.batch {
		buf.Write(r.frame.encode()) // bufio keeps the first error for Flush
		buf.Write(r.meta)
		buf.Write(r.body)
		n := headLen + int64(len(r.meta)) + int64(len(r.body))
		buf.Write(pad[:alignUp(n)-n])
	}
	if err := buf.Flush(); err != nil {
		return 0, err
	}
	start := time.Now()
	err := d.sync(s.f)
	return time.Since(start), err
}

// endOf reads the end frame of a segment; ok only if it was closed in order.
func endOf(r io.ReaderAt, num uint64, size int64) (frame, bool) {
	if size < headLen || size%align != 0 {
		return frame{}, false
	}
	var head [headLen]byte
	if _, err := r.ReadAt(head[:], size-headLen); err != nil {
		return frame{}, false
	}
	f, ok := decodeHead(head[:])
	if !ok || f.kind != kindEnd || f.segment != num || f.offset != size-headLen || !f.metaGood(head[:], nil) {
		return frame{}, false
	}
	return f, true
}
