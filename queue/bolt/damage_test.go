package bolt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/queue/bolt"
	"gatewayd/queue/storetest"
)

// filled makes a ledger with a bit of everything and closes it.
func filled(t *testing.T, dir string) (a queue.Accepted) {
	t.Helper()
	s, err := bolt.Open(options(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	batch := all()
	a = batch[0]
	if err := s.Index(ctx, batch, map[uint64]int64{1: 2}); err != nil {
		t.Fatal(err)
	}
	receipt := message.Receipt{ID: message.ID{1}, Item: a.Items[0].Key, Received: storetest.Now()}
	if err := s.Apply(ctx, queue.Change{Receipts: []message.Receipt{receipt}}); err != nil {
		t.Fatal(err)
	}
	checked(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return a
}

// all is what filled accepts.
func all() []queue.Accepted {
	batch := []queue.Accepted{storetest.Registered(1, 2)}
	for i := range uint64(50) {
		batch = append(batch, storetest.Accepted(i+2, 2))
	}
	return batch
}

// damage changes the closed file through bbolt itself, as a bad disk or a thief
// with a program would.
func damage(t *testing.T, dir string, change func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(dir, "ledger.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(change); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// bucketAt returns a bucket; an empty name in the path is the first one there.
func bucketAt(tx *bbolt.Tx, path string) *bbolt.Bucket {
	name, rest, more := strings.Cut(path, "/")
	b := tx.Bucket([]byte(name))
	for more {
		name, rest, more = strings.Cut(rest, "/")
		k := []byte(name)
		if name == "" {
			k, _ = b.Cursor().First()
		}
		b = b.Bucket(k)
	}
	return b
}

// flip returns a copy with the last bit changed.
func flip(v []byte) []byte {
	v = bytes.Clone(v)
	v[len(v)-1] ^= 1
	return v
}

// damages is every kind of damage that a row can have.
func damages() map[string]func(*bbolt.Tx) error {
	first := func(path string, change func(b *bbolt.Bucket, k, v []byte) error) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error {
			b := bucketAt(tx, path)
			k, v := b.Cursor().First()
			return change(b, bytes.Clone(k), bytes.Clone(v))
		}
	}
	flipped := func(b *bbolt.Bucket, k, v []byte) error { return b.Put(k, flip(v)) }
	removed := func(b *bbolt.Bucket, k, _ []byte) error { return b.Delete(k) }
	moved := func(b *bbolt.Bucket, k, v []byte) error {
		return errors.Join(b.Delete(k), b.Put(flip(k), v))
	}
	short := func(b *bbolt.Bucket, k, _ []byte) error { return b.Put(k, []byte("x")) }
	return map[string]func(*bbolt.Tx) error{
		"envelope flipped": first("days//messages", flipped),
		"envelope removed": first("days//messages", removed),
		"envelope short":   first("days//messages", short),
		"item flipped":     first("days//items", flipped),
		"item removed":     first("days//items", removed),
		"item short":       first("days//items", short),
		"items swapped": func(tx *bbolt.Tx) error {
			b := bucketAt(tx, "days//items")
			c := b.Cursor()
			k1, v1 := c.First()
			k2, v2 := c.Next()
			k1, v1, k2, v2 = bytes.Clone(k1), bytes.Clone(v1), bytes.Clone(k2), bytes.Clone(v2)
			return errors.Join(b.Put(k1, v2), b.Put(k2, v1))
		},
		"receipt flipped":  first("days//receipts", flipped),
		"receipt moved":    first("days//receipts", moved),
		"index row gone":   first("days//index", removed),
		"index row moved":  first("days//index", moved),
		"index row more":   first("days//index", func(b *bbolt.Bucket, k, v []byte) error { return b.Put(append(k, 1), v) }),
		"decision flipped": first("days//decisions", flipped),
		"decision removed": first("days//decisions", removed),
		"decision moved":   first("days//decisions", moved),
		"head changed": first("days//items", func(b *bbolt.Bucket, k, v []byte) error {
			v[len("2006-01-02")+16+2] ^= 1 // next try
			return b.Put(k, v)
		}),
		"due row gone":   first("due", removed),
		"due row more":   first("due", func(b *bbolt.Bucket, k, v []byte) error { return b.Put(flip(k), v) }),
		"erase row gone": first("days//erase", removed),
		"erase row more": first("days//erase", func(b *bbolt.Bucket, k, v []byte) error { return b.Put(flip(k), v) }),
		"event flipped":  first("days//feed", flipped),
		"event removed":  first("days//feed", removed),
		"link flipped":   first("outbox", flipped),
		"link removed":   first("outbox", func(b *bbolt.Bucket, _, _ []byte) error { return b.Delete([]byte{0, 0, 0, 0, 0, 0, 0, 5}) }),
		"last link gone": first("outbox", func(b *bbolt.Bucket, _, _ []byte) error { k, _ := b.Cursor().Last(); return b.Delete(bytes.Clone(k)) }),
		"mark flipped":   first("marks", flipped),
		"counts flipped": func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte("meta"))
			return b.Put([]byte("counts"), flip(b.Get([]byte("counts"))))
		},
	}
}

// TestCheckFinds: Check names every kind of damage.
func TestCheckFinds(t *testing.T) {
	for name, change := range damages() {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			filled(t, dir)
			damage(t, dir, change)
			s, err := bolt.Open(options(t, dir))
			if err != nil {
				t.Fatalf("Open: %v", err)
			}
			defer s.Close()
			var problems []string
			if err := s.Check(context.Background(), func(p string) { problems = append(problems, p) }); err != nil || len(problems) == 0 {
				t.Errorf("Check found nothing, %v", err)
			}
			for _, p := range problems {
				if strings.Contains(p, "example") || strings.Contains(p, "BL-") {
					t.Errorf("Check names somebody: %s", p)
				}
			}
		})
	}
}

// TestDamagedItemIsPassedOver: one bad item stops nobody else, and is reported.
func TestDamagedItemIsPassedOver(t *testing.T) {
	dir := t.TempDir()
	a := filled(t, dir)
	damage(t, dir, func(tx *bbolt.Tx) error {
		b := bucketAt(tx, "days//items")
		k, v := b.Cursor().Seek(a.Envelope.ID[:])
		return b.Put(bytes.Clone(k), flip(v))
	})
	o := options(t, dir)
	var heard []string
	o.Damaged = func(p string) { heard = append(heard, p) }
	s, err := bolt.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	for range 2 {
		items, err := s.Lease(ctx, storetest.Now().Add(time.Hour), 60, nil)
		if err != nil || len(items) == 0 {
			t.Errorf("Lease beside a damaged item = %d, %v", len(items), err)
		}
	}
	if _, err := s.Item(ctx, a.Items[0].Key); err == nil || errors.Is(err, queue.ErrNotFound) {
		t.Errorf("Item(damaged) = %v, want its own error", err)
	}
	if len(heard) != 1 || !strings.Contains(heard[0], a.Items[0].Key.String()) {
		t.Errorf("Damaged heard %q, want the item once", heard)
	}
}

// TestDestroyedKey: past the log window nothing opens, nothing fails, and the
// invariants still hold.
func TestDestroyedKey(t *testing.T) {
	dir := t.TempDir()
	a := filled(t, dir)
	o := options(t, dir)
	o.Damaged = func(p string) { t.Errorf("damaged: %s", p) }
	o.Now = func() time.Time { return storetest.Now().AddDate(0, 7, 0) }
	if err := o.Keys.Destroy(seal.Log, a.Envelope.LogDay); err != nil {
		t.Fatal(err)
	}
	s, err := bolt.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	if _, _, err := s.Message(ctx, a.Envelope.ID); !errors.Is(err, seal.ErrDestroyed) {
		t.Errorf("Message = %v, want ErrDestroyed", err)
	}
	if items, err := s.Lease(ctx, storetest.Now().Add(time.Hour), 10, nil); err != nil || len(items) != 0 {
		t.Errorf("Lease = %d, %v, want none", len(items), err)
	}
	if rs, err := s.Receipts(ctx, a.Envelope.ID); err != nil || len(rs) != 0 {
		t.Errorf("Receipts = %d, %v, want none", len(rs), err)
	}
	// A vault from a backup brings a message whose window is over: it stays out,
	// leaves a trace, and does not stop the one behind it.
	late, next := storetest.Accepted(999, 1), storetest.Accepted(1000, 1)
	next.Envelope.LogDay = storetest.LogDay(o.Now())
	for i := range next.Events {
		next.Events[i].At = o.Now()
	}
	before, _, err := s.Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Index(ctx, []queue.Accepted{late, next}, map[uint64]int64{9: 9}); err != nil {
		t.Errorf("Index = %v", err)
	}
	if _, _, err := s.Message(ctx, late.Envelope.ID); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("Message(late) = %v, want ErrNotFound", err)
	}
	if _, _, err := s.Message(ctx, next.Envelope.ID); err != nil {
		t.Errorf("Message(next) = %v", err)
	}
	if seq, _, err := s.Head(ctx); err != nil || seq != before+3 {
		t.Errorf("%d new events, %v, want 1 and 2", seq-before, err)
	}
	checked(t, s)
}

func TestSecondOpen(t *testing.T) {
	dir := t.TempDir()
	o := options(t, dir)
	s, err := bolt.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	start := time.Now()
	if _, err := bolt.Open(o); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("second Open = %v", err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("the second Open took %v", took)
	}
}

func TestOpenRefuses(t *testing.T) {
	whole := t.TempDir()
	filled(t, whole)
	text, err := os.ReadFile(filepath.Join(whole, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	used := len(bytes.TrimRight(text, "\x00")) // bbolt makes the file larger than it needs
	noMeta := bytes.Clone(text)
	clear(noMeta[:8192])
	for name, tt := range map[string]struct {
		text []byte
		want string
	}{
		"truncated to 60 %":     {text[:used*6/10], "truncated"},
		"truncated to one page": {text[:4096], "truncated"},
		"no meta page":          {noMeta, "no valid meta"},
		"text":                  {[]byte("this is no ledger"), "no valid meta"},
	} {
		dir := t.TempDir()
		o := options(t, dir)
		if err := os.WriteFile(o.Path, tt.text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := bolt.Open(o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Open = %v, want …%s…", name, err, tt.want)
		}
	}
	other := options(t, t.TempDir()) // its own index keys
	other.Path = filepath.Join(whole, "ledger.db")
	if _, err := bolt.Open(other); err == nil || !strings.Contains(err.Error(), "these keys") {
		t.Errorf("Open with other keys = %v", err)
	}
	if _, err := bolt.Open(bolt.Options{Path: other.Path}); err == nil {
		t.Error("Open without keys gave no error")
	}
	if _, err := bolt.Open(func() bolt.Options { o := options(t, t.TempDir()); o.Path = "/nonexistent/ledger.db"; return o }()); err == nil {
		t.Error("Open in a folder that does not exist gave no error")
	}
}

// TestOneMetaPage: with one meta page torn by a crash the other one counts.
func TestOneMetaPage(t *testing.T) {
	for page := range int64(2) {
		dir := t.TempDir()
		filled(t, dir)
		f, err := os.OpenFile(filepath.Join(dir, "ledger.db"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(make([]byte, 40), page*4096+16); err != nil {
			t.Fatal(err)
		}
		f.Close()
		s, err := bolt.Open(options(t, dir))
		if err != nil {
			t.Errorf("Open without meta page %d: %v", page, err)
			continue
		}
		checked(t, s)
		s.Close()
	}
}

// TestCutWhileOpen: a file that is cut under the running process gives errors;
// the process lives.
func TestCutWhileOpen(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir)
	s, err := bolt.Open(options(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	path := filepath.Join(dir, "ledger.db")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 2*4096); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if _, _, err := s.Find(ctx, queue.Query{}); err == nil {
		t.Error("Find in a cut file gave no error")
	}
	if err := s.Apply(ctx, queue.Change{Events: []message.Event{{Kind: message.EventStarted}}}); err == nil {
		t.Error("Apply in a cut file gave no error")
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Find(ctx, queue.Query{}); err != nil {
		t.Errorf("Find after the file came back = %v", err)
	}
}

// TestReopen: what was committed is there after Close.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	a := filled(t, dir)
	var epoch string
	for i := range 3 {
		s, err := bolt.Open(options(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		got, err := s.Epoch(ctx)
		if err != nil || i > 0 && got != epoch {
			t.Errorf("Epoch = %q, %v, want %q", got, err, epoch)
		}
		epoch = got
		if _, items, err := s.Message(ctx, a.Envelope.ID); err != nil || len(items) != 2 {
			t.Errorf("Message after reopening = %d items, %v", len(items), err)
		}
		checked(t, s)
		s.Close()
	}
}

// TestSlowDestination: thousands of items for a full destination keep nobody
// behind them from being leased, and cost a call nothing.
func TestSlowDestination(t *testing.T) {
	o := options(t, t.TempDir())
	s, err := bolt.Open(bolt.Unsynced(o))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	slow := storetest.Registered(1, 500)
	for _, a := range []queue.Accepted{slow, storetest.Accepted(700_000, 3)} {
		if err := s.Index(ctx, []queue.Accepted{a}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for i := range uint64(12) {
		if err := s.Index(ctx, []queue.Accepted{storetest.Registered(i+2, 500)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	now := storetest.Now().Add(time.Hour)
	asked, got := 0, 0
	for range 4 {
		items, err := s.Lease(ctx, now, 10, func(destination string) queue.Room {
			asked++
			if destination == "incamail" {
				return queue.Room{}
			}
			return queue.Room{Free: 10}
		})
		if err != nil {
			t.Fatal(err)
		}
		got += len(items)
	}
	if got != 3 || asked > 8 {
		t.Errorf("%d of 3 items leased, room was asked for %d times", got, asked)
	}
	if items, err := s.Lease(ctx, now, 2, nil); err != nil || fmt.Sprint(items[0].Item.Key) != fmt.Sprint(slow.Items[0].Key) {
		t.Errorf("then leased %v, %v, want the first of the slow ones", items, err)
	}
}

// TestTurnsSurviveReopen: destinations are found again at start, also those of
// items that were waiting for later.
func TestTurnsSurviveReopen(t *testing.T) {
	o := options(t, t.TempDir())
	ctx := context.Background()
	s, err := bolt.Open(bolt.Unsynced(o))
	if err != nil {
		t.Fatal(err)
	}
	later := storetest.Now().Add(time.Hour)
	for i := range uint64(7) {
		a := storetest.Accepted(i, 2)
		a.Items[1].NextTry = later
		if err := s.Index(ctx, []queue.Accepted{a}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = bolt.Open(bolt.Unsynced(o)); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if next, ok, err := s.NextDue(ctx); err != nil || !ok || !next.Equal(storetest.Now()) {
		t.Errorf("NextDue = %v, %v, %v", next, ok, err)
	}
	for _, step := range []struct {
		at   time.Time
		want int
	}{{later.Add(-time.Minute), 7}, {later.Add(-time.Second), 0}, {later, 7}, {later.Add(time.Hour), 0}} {
		if items, err := s.Lease(ctx, step.at, 100, nil); err != nil || len(items) != step.want {
			t.Errorf("at %v: %d leased, %v, want %d", step.at, len(items), err, step.want)
		}
	}
}
