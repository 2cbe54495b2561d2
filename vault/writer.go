package vault

import (
	"bufio"
	"os"
	"runtime"
	"slices"
	"time"

	"gatewayd/message"
)

// Limits of a group, so that nobody waits for a sync of endless data.
const (
	maxGroup      = 1024
	maxGroupBytes = 16 << 20
	writeBuffer   = 256 << 10
)

// Where syncs are slow, groups are written by several writers at once, each into
// segments of its own: while one waits for the disk, the next group need not.
const (
	maxWriters      = 4
	defaultSlowSync = time.Millisecond
)

// request is a record on its way into the journal. From submit to done it
// belongs to a writer.
type request struct {
	day       string
	frame     frame
	meta      []byte // sealed
	body      []byte // sealed, inline
	part      string // path of the body file, without extension; "" if inline
	committed func(message.Ref)

	seg  *segment
	ref  message.Ref
	err  error
	done chan struct{}
}

// submit hands r to a writer and waits for its outcome.
func (v *Vault) submit(r *request) error {
	r.done = make(chan struct{})
	v.mu.Lock()
	if v.closed {
		v.mu.Unlock()
		return ErrClosed
	}
	v.waiting = append(v.waiting, r)
	v.work.Signal()
	if v.slow() {
		v.more.Signal()
	}
	v.mu.Unlock()
	<-r.done
	return r.err
}

// slow reports whether syncs take so long that more than one writer pays. The
// caller holds the lock.
func (v *Vault) slow() bool { return v.syncTime >= v.o.SlowSync }

// writer writes groups into segments of its own.
type writer struct {
	v      *Vault
	first  bool                // the others only help
	open   map[string]*segment // by day
	groups uint64
}

// write takes whatever waits, makes it durable with one sync, and answers
// everybody. There is no delay: while one sync runs, the next group gathers.
func (w *writer) write() {
	buf := bufio.NewWriterSize(nil, writeBuffer)
	for {
		group := w.take()
		if group == nil {
			break
		}
		w.v.writing.RLock()
		w.commit(group, buf)
		w.v.writing.RUnlock()
	}
	for _, s := range w.open {
		w.closeSegment(s)
	}
}

// take waits for records; nil when the vault is closed and nothing waits.
func (w *writer) take() []*request {
	v := w.v
	v.mu.Lock()
	defer v.mu.Unlock()
	if !w.await() {
		return nil
	}
	if w.first && !v.slow() {
		// Whoever is ready to run may join the group (7 records per sync instead of
		// 5 with ten clients); a lone record is not delayed. Meanwhile syncs may have
		// become slow and another writer may have taken everything.
		v.mu.Unlock()
		runtime.Gosched()
		v.mu.Lock()
		if !w.await() {
			return nil
		}
	}
	n, bytes := 0, 0
	for n < len(v.waiting) && n < maxGroup && bytes < maxGroupBytes {
		bytes += len(v.waiting[n].meta) + len(v.waiting[n].body)
		n++
	}
	group := v.waiting[:n:n]
	v.waiting = v.waiting[n:]
	if len(v.waiting) == 0 {
		v.waiting = nil
	}
	return group
}

// await waits until something waits for this writer; false when the vault is
// closed and nothing will. The caller holds the lock.
func (w *writer) await() bool {
	v := w.v
	for len(v.waiting) == 0 || !w.first && !v.slow() {
		if v.closed && (len(v.waiting) == 0 || !w.first) {
			return false
		}
		if w.first {
			v.work.Wait()
		} else {
			v.more.Wait()
		}
	}
	return true
}

// commit writes one group. Records of different days lie in different segments;
// each segment has its own sync and its own fate.
func (w *writer) commit(group []*request, buf *bufio.Writer) {
	v := w.v
	w.groups++
	for _, s := range w.place(group) {
		from := s.batch[0].frame.offset
		if err := w.flush(s, buf, from); err != nil {
			w.abandon(s, err)
			continue
		}
		v.settle(s)
	}
	var parts []string
	for _, r := range group {
		if r.err == nil {
			r.err = r.seg.err
		}
		if r.err != nil {
			continue
		}
		if r.part != "" {
			parts = append(parts, r.part)
		}
		if r.committed != nil {
			r.committed(r.ref)
		}
	}
	for _, r := range group {
		close(r.done)
	}
	for _, p := range parts { // readers try both names; recovery finishes what is missing
		_ = v.disk.rename(p+partExt, p+bodyExt)
	}
}

// flush writes and syncs a segment's batch, and measures the sync.
func (w *writer) flush(s *segment, buf *bufio.Writer, from int64) error {
	took, err := s.flush(w.v.disk, buf, from)
	if err != nil {
		return err
	}
	v := w.v
	v.mu.Lock()
	defer v.mu.Unlock()
	v.syncTime += (took - v.syncTime) / 8
	return nil
}

// place gives every record its segment and offset. It returns the segments in
// which there is something to write.
func (w *writer) place(group []*request) (touched []*segment) {
	for _, r := range group {
		s, err := w.segmentFor(r.day)
		if err != nil {
			r.err = err
			continue
		}
		if len(s.batch) == 0 {
			touched = append(touched, s)
		}
		r.seg, r.frame.segment, r.frame.offset, r.frame.synced = s, s.num, s.end, s.synced
		r.ref = message.Ref{Day: r.day, Segment: s.num, Offset: s.end, End: r.frame.end()}
		s.batch, s.end, s.used = append(s.batch, r), r.frame.end(), w.groups
	}
	return touched
}

// settle notes that everything in the segment is durable.
func (v *Vault) settle(s *segment) {
	for _, r := range s.batch {
		if r.frame.kind == kindAccept {
			s.accept = r.frame.end()
		}
		s.parts = s.parts || r.part != ""
	}
	s.batch = nil
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(s.cuts) > 0 {
		v.cuts[s.day] = slices.DeleteFunc(v.cuts[s.day], func(c cut) bool { return slices.Contains(s.cuts, c) })
		s.cuts = nil
	}
	s.synced = s.end
}

// abandon gives a segment up after a failed write or sync: a second sync that
// succeeds would prove nothing, because the kernel may have dropped the pages.
func (w *writer) abandon(s *segment, cause error) {
	v := w.v
	s.err = diskError("write segment "+s.day+"/"+segName(s.num), cause)
	delete(w.open, s.day)
	v.mu.Lock()
	delete(v.open, s.num)
	v.failed[s.num] = s.synced
	v.mu.Unlock()
	_ = v.disk.truncate(s.f, s.synced) // if that fails too, the cut frame still holds
	s.f.Close()
	if s.synced == 0 {
		os.Remove(s.f.Name())
	}
	v.mu.Lock()
	v.cuts[s.day] = append(v.cuts[s.day], cut{s.num, s.synced})
	v.mu.Unlock()
}
