package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// load is what the clients do: messages of one size from so many sessions, for
// a time, up to a number, or both.
type load struct {
	entrance
	sessions int
	size     int           // octets of the body
	count    int64         // messages; 0: no limit
	time     time.Duration // required
}

// perConnection messages go over one connection, as between two busy servers.
const perConnection = 20

// maxTrouble failures in a row end a session; a temporary refusal does not
// count, it is only waited for.
const maxTrouble = 20

// tally is what the clients saw.
type tally struct {
	ok, failed  int64
	first, last time.Time       // beginning; last acceptance
	took        []time.Duration // from MAIL to the reply, of what was accepted
	errors      map[string]int
}

func (t *tally) perSecond() float64 { return perSecond(t.ok, t.last.Sub(t.first)) }

func perSecond(n int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// trouble names the most frequent failure.
func (t *tally) trouble() string {
	worst := ""
	for e := range t.errors {
		if worst == "" || t.errors[e] > t.errors[worst] || t.errors[e] == t.errors[worst] && e < worst {
			worst = e
		}
	}
	return worst
}

// body makes base64-looking lines of together size octets; none begins with a
// dot.
func body(size int) []byte {
	raw := make([]byte, 57<<10)
	rand.New(rand.NewSource(7)).Read(raw) //nolint:gosec // any noise will do, the same each time
	var b bytes.Buffer
	line := make([]byte, 78)
	for i := 0; b.Len()+len(line) <= max(size, len(line)); i++ {
		at := i % (1 << 10) * 57
		base64.StdEncoding.Encode(line, raw[at:at+57])
		copy(line[76:], "\r\n")
		b.Write(line)
	}
	return b.Bytes()
}

// run sends. It ends with its time, its count, or ctx.
func (l load) run(ctx context.Context) *tally {
	text, started := body(l.size), time.Now()
	t := &tally{first: started, errors: map[string]int{}}
	var mu sync.Mutex
	var sessions sync.WaitGroup
	var next atomic.Int64
	run := strconv.FormatInt(started.UnixNano(), 36)
	take := func() (letter, bool) {
		if ctx.Err() != nil || time.Since(started) > l.time {
			return letter{}, false
		}
		n := next.Add(1)
		return letter{n, run, text}, l.count == 0 || n <= l.count
	}
	for range l.sessions {
		sessions.Go(func() {
			s := session{load: l, take: take, errors: map[string]int{}}
			s.run()
			mu.Lock()
			defer mu.Unlock()
			t.add(s)
		})
	}
	sessions.Wait()
	return t
}

func (t *tally) add(s session) {
	t.ok += int64(len(s.took))
	t.took = append(t.took, s.took...)
	if s.last.After(t.last) {
		t.last = s.last
	}
	for e, n := range s.errors {
		t.errors[e] += n
		t.failed += int64(n)
	}
}

// session is one client that comes again and again.
type session struct {
	load
	take   func() (letter, bool)
	took   []time.Duration
	last   time.Time
	errors map[string]int
}

func (s *session) run() {
	var c *client
	used := 0
	defer func() {
		if c != nil {
			c.quit()
		}
	}()
	for bad := 0; bad < maxTrouble; {
		l, more := s.take()
		if !more {
			return
		}
		err := error(nil)
		if c == nil {
			c, err = dial(s.entrance)
			used = 0
		}
		begun := time.Now()
		if err == nil {
			err = c.send(s.entrance, l)
		}
		if err == nil {
			s.last = time.Now()
			s.took = append(s.took, s.last.Sub(begun))
			used, bad = used+1, 0
		} else {
			bad += s.failed(err)
		}
		if c != nil && (err != nil || used == perConnection) {
			c.quit()
			c = nil
		}
	}
}

// failed notes a failure, waits a little, and returns 1 if it counts.
func (s *session) failed(err error) int {
	s.errors[plain(err)]++
	time.Sleep(5 * time.Millisecond)
	if r, ok := errors.AsType[replyError](err); ok && r.temporary() {
		return 0
	}
	return 1
}

// plain makes equal troubles equal: ports and ids differ each time.
func plain(err error) string {
	text := fmt.Sprint(err)
	if _, ok := errors.AsType[replyError](err); ok {
		return text[:min(len(text), 40)]
	}
	if i := bytes.LastIndexByte([]byte(text), ':'); i >= 0 {
		return text[i+1:]
	}
	return text
}

// quantile of the values, which are sorted thereby; 0 of none.
func quantile[T cmp.Ordered](values []T, q float64) (v T) {
	if len(values) == 0 {
		return v
	}
	slices.Sort(values)
	return values[int(q*float64(len(values)-1))]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
