package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"gatewayd/calendar"
	"gatewayd/crypto/seal"
	"gatewayd/message"
)

// Source is the outbox of the chain, part of the ledger (queue.Store).
type Source interface {
	Pending(ctx context.Context, after uint64, max int) ([]message.Link, error)
	Forget(ctx context.Context, upTo uint64) error
}

// drainBatch bounds how many links are written and synced together.
const drainBatch = 1000

// ErrBroken is returned by Drain when what it wrote does not continue the day
// files: links are missing in between, or another chain stands there because
// the ledger or the files come from a backup. The links were written and
// forgotten all the same; Verify names the place from now on.
var ErrBroken = errors.New("the ledger does not continue the audit files")

// Log is the folder of day files, open for writing. It may be used by several
// goroutines.
type Log struct {
	dir  string
	keys *seal.Keyring

	mu     sync.Mutex
	last   message.Link // newest link in the files
	signed Checkpoint   // the newest one
	doubt  bool         // a write failed: the files may have what the ledger still offers

	onStep func(string) // tests only: called between two steps of what a crash may cut in two
}

// Open opens the folder and creates it if there is none. A last line that a
// crash has torn is cut off: its link still waits in the ledger.
func Open(dir string, keys *seal.Keyring) (*Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	if err := removeUnfinished(dir); err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	days, err := daysIn(dir)
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	l := &Log{dir: dir, keys: keys}
	for _, day := range days {
		path := pathOf(dir, day)
		if !exists(path) {
			l.continueSeal(day)
			continue
		}
		line, err := repair(path)
		if err != nil {
			return nil, fmt.Errorf("open audit log %s: %w", path, err)
		}
		// A line that does not read is left to Verify: writing must go on.
		if link, err := parseLine(line, day); err == nil && link.Seq > l.last.Seq {
			l.last = link
		}
	}
	l.signed, _ = readCheckpoint(dir, nil) // a bad one is left to Verify, and replaced in time
	return l, nil
}

// removeUnfinished removes what a crash left under a passing name: it may hold
// lines, and nothing would erase them when their window is over.
func removeUnfinished(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, "*"+newExt))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

func (l *Log) step(name string) {
	if l.onStep != nil {
		l.onStep(name)
	}
}

// continueSeal takes the newest link of a sealed day from its seal.
func (l *Log) continueSeal(day calendar.Day) {
	seal, err := readSeal(sealOf(l.dir, day), day, nil)
	if err != nil {
		return // left to Verify, as above
	}
	for _, run := range seal.Runs {
		if run.Last > l.last.Seq {
			l.last = message.Link{Seq: run.Last, Hash: run.LastHash}
		}
	}
}

// repair cuts off an unfinished last line and returns the last whole one.
func repair(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	tail, err := tailOf(f, info.Size())
	if err != nil {
		return nil, err
	}
	whole := bytes.LastIndexByte(tail, '\n') + 1
	if torn := int64(len(tail) - whole); torn > 0 {
		if err := errors.Join(f.Truncate(info.Size()-torn), f.Sync()); err != nil {
			return nil, err
		}
	}
	if whole == 0 {
		return nil, nil
	}
	return tail[bytes.LastIndexByte(tail[:whole-1], '\n')+1 : whole-1], nil
}

// tailOf reads the end of a file: enough for a whole line and a torn one behind
// it. What the crash left may be of any length when it has no line end.
func tailOf(f *os.File, size int64) ([]byte, error) {
	for want := int64(2 * maxLine); ; want *= 2 {
		want = min(want, size)
		tail := make([]byte, want)
		if _, err := f.ReadAt(tail, size-want); err != nil {
			return nil, err
		}
		if want == size || bytes.Count(tail, []byte("\n")) > 1 {
			return tail, nil
		}
	}
}

// Drain writes every link that waits in the ledger into the day files, syncs
// them, and lets the ledger forget them. It returns how many it has written.
// Links that a crash between sync and forgetting left in both are written once.
func (l *Log) Drain(ctx context.Context, src Source) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	written, broken := 0, error(nil)
	for {
		links, err := src.Pending(ctx, 0, drainBatch)
		if err != nil {
			return written, fmt.Errorf("read audit outbox: %w", err)
		}
		if len(links) == 0 {
			return written, broken
		}
		fresh, err := l.fresh(links)
		if err != nil {
			return written, err
		}
		n, err := l.write(fresh)
		written += n
		if errors.Is(err, ErrBroken) {
			broken, err = err, nil
		}
		if err != nil {
			return written, err
		}
		if err := src.Forget(ctx, links[len(links)-1].Seq); err != nil {
			return written, fmt.Errorf("forget audit outbox: %w", err)
		}
	}
}

// fresh returns the links that the files do not have. A link whose number stands
// there with another hash is no repeat: the ledger came from a backup.
func (l *Log) fresh(links []message.Link) ([]message.Link, error) {
	if links[0].Seq > l.last.Seq && !l.doubt {
		return links, nil
	}
	have := map[message.Digest]bool{}
	days := map[calendar.Day]bool{}
	for _, link := range links {
		if day := calendar.DayOf(link.At); !erased(l.dir, day) {
			days[day] = true
			continue
		}
		all, err := daysIn(l.dir) // late: it may stand in any later file
		if err != nil {
			return nil, fmt.Errorf("read audit log: %w", err)
		}
		for _, day := range all {
			days[day] = true
		}
	}
	for day := range days {
		err := eachLine(fileOf(l.dir, day), func(_ int, line []byte) error {
			if link, err := parseLine(line, day); err == nil && link.Seq >= links[0].Seq {
				have[link.Hash] = true
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read audit log: %w", err)
		}
	}
	var fresh []message.Link
	for _, link := range links {
		if !have[link.Hash] {
			fresh = append(fresh, link)
		}
	}
	return fresh, nil
}

// write appends links in the order of the chain. Before it turns to another file
// the first one is synced, so that after a crash no file is ahead of another.
func (l *Log) write(links []message.Link) (int, error) {
	written, broken := 0, error(nil)
	for len(links) > 0 {
		own, last := calendar.DayOf(links[0].At), l.last
		day, err := l.fileDay(own)
		if err != nil {
			return written, fmt.Errorf("write audit log: %w", err)
		}
		var text []byte
		n := 0
		for ; n < len(links) && calendar.DayOf(links[n].At) == own; n++ {
			if err := l.continues(links[n]); err != nil {
				broken = err
			}
			text, l.last = append(appendLink(text, links[n]), '\n'), links[n]
		}
		if err := l.append(day, text); err != nil {
			l.last, l.doubt = last, true
			return written, fmt.Errorf("write audit log: %w", err)
		}
		written += n
		links = links[n:]
	}
	l.doubt = false
	return written, broken
}

// fileDay returns the day in whose file a line of that day is written: its own, or,
// when that was erased before the line came, the newest one that was not. There it
// keeps its own time, and the chain goes on; nobody can read it any more, because its
// key was destroyed with its day.
func (l *Log) fileDay(day calendar.Day) (calendar.Day, error) {
	if !erased(l.dir, day) {
		return day, nil
	}
	days, err := daysIn(l.dir)
	if err != nil {
		return day, err
	}
	newest := days[len(days)-1] // its own has a seal there
	for _, d := range slices.Backward(days) {
		if d.After(day) && !erased(l.dir, d) {
			return d, nil
		}
	}
	return newest.AddDays(1), nil
}

// erased reports whether only the seal of a day is there.
func erased(dir string, day calendar.Day) bool {
	return !exists(pathOf(dir, day)) && !exists(zipOf(dir, day)) && exists(sealOf(dir, day))
}

func (l *Log) continues(link message.Link) error {
	if l.last.Seq == 0 || link.Seq == l.last.Seq+1 && link.Prev == l.last.Hash {
		return nil
	}
	return fmt.Errorf("audit link %d after link %d: %w", link.Seq, l.last.Seq, ErrBroken)
}

// append adds whole lines to a day file, durably or not at all.
func (l *Log) append(day calendar.Day, text []byte) error {
	path := pathOf(l.dir, day)
	if !exists(path) && exists(zipOf(l.dir, day)) {
		if err := l.reopen(day); err != nil {
			return err
		}
	}
	fresh := !exists(path)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	if err != nil { // a full disk may have taken half a line
		return errors.Join(err, f.Truncate(info.Size()))
	}
	if fresh {
		return syncDir(l.dir)
	}
	return nil
}

func pathOf(dir string, day calendar.Day) string {
	return filepath.Join(dir, day.String()+logExt)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
