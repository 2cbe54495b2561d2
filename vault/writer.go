package vault

import (
	"bufio"
	"os"
	"runtime"
	"slices"

	"gatewayd/message"
)

// Limits of a group, so that nobody waits for a sync of endless data.
const (
	maxGroup      = 1024
	maxGroupBytes = 16 << 20
	writeBuffer   = 256 << 10
)

// request is a record on its way into the journal. From submit to done it
// belongs to the writer.
type request struct {
	day       string
	frame     frame
	meta      []byte // sealed
	body      []byte // sealed, inline
	part      string // path of the body file, without extension; "" if inline
	committed func(message.Ref)
	retire    bool // no record: close the segment of the day and forget the folder

	seg  *segment
	ref  message.Ref
	err  error
	done chan struct{}
}

// submit hands r to the writer and waits for its outcome.
func (v *Vault) submit(r *request) error {
	r.done = make(chan struct{})
	v.mu.Lock()
	if v.closed {
		v.mu.Unlock()
		return ErrClosed
	}
	v.waiting = append(v.waiting, r)
	v.work.Signal()
	v.mu.Unlock()
	<-r.done
	return r.err
}

// write is the writer goroutine: it takes whatever waits, makes it durable with
// one sync, and answers everybody. There is no delay: while one sync runs, the
// next group gathers.
func (v *Vault) write() {
	defer close(v.stopped)
	buf := bufio.NewWriterSize(nil, writeBuffer)
	for {
		group := v.take()
		if group == nil {
			break
		}
		v.commit(group, buf)
	}
	for _, s := range v.open {
		v.closeSegment(s)
	}
}

// take waits for records; nil when the vault is closed and nothing waits.
func (v *Vault) take() []*request {
	v.mu.Lock()
	defer v.mu.Unlock()
	for len(v.waiting) == 0 {
		if v.closed {
			return nil
		}
		v.work.Wait()
	}
	// Whoever is ready to run may join the group (7 records per sync instead of 5
	// with ten writers); a lone record is not delayed.
	v.mu.Unlock()
	runtime.Gosched()
	v.mu.Lock()
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

// commit writes one group. Records of different days lie in different segments;
// each segment has its own sync and its own fate.
func (v *Vault) commit(group []*request, buf *bufio.Writer) {
	v.groups++
	touched := v.place(group)
	for _, s := range touched {
		from := s.batch[0].frame.offset
		if err := s.flush(v.disk, buf, from); err != nil {
			v.abandon(s, err)
			continue
		}
		v.settle(s)
	}
	var parts []string
	for _, r := range group {
		if r.retire {
			v.retire(r.day)
			continue
		}
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

// place gives every record its segment and offset. It returns the segments in
// which there is something to write.
func (v *Vault) place(group []*request) (touched []*segment) {
	for _, r := range group {
		if r.retire {
			continue // when the others are settled
		}
		s, err := v.segmentFor(r.day)
		if err != nil {
			r.err = err
			continue
		}
		if len(s.batch) == 0 {
			touched = append(touched, s)
		}
		r.seg, r.frame.segment, r.frame.offset, r.frame.synced = s, s.num, s.end, s.synced
		r.ref = message.Ref{Day: r.day, Segment: s.num, Offset: s.end, End: r.frame.end()}
		s.batch, s.end, s.used = append(s.batch, r), r.frame.end(), v.groups
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
	if len(s.cuts) > 0 {
		v.cuts[s.day] = slices.DeleteFunc(v.cuts[s.day], func(c cut) bool { return slices.Contains(s.cuts, c) })
		s.cuts = nil
	}
	v.mu.Lock()
	s.synced = s.end
	v.mu.Unlock()
}

// abandon gives a segment up after a failed write or sync: a second sync that
// succeeds would prove nothing, because the kernel may have dropped the pages.
func (v *Vault) abandon(s *segment, cause error) {
	s.err = diskError("write segment "+s.day+"/"+segName(s.num), cause)
	v.mu.Lock()
	delete(v.open, s.day)
	v.failed[s.num] = s.synced
	v.mu.Unlock()
	_ = v.disk.truncate(s.f, s.synced) // if that fails too, the cut frame still holds
	s.f.Close()
	if s.synced == 0 {
		os.Remove(s.f.Name())
	}
	v.cuts[s.day] = append(v.cuts[s.day], cut{s.num, s.synced})
}
