// Package targets knows the destinations of this process: how many attempts are open
// to each, which rest after failures, and which a person has paused. It holds nothing
// that a restart must find again.
package targets

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"gatewayd/connectors"
	"gatewayd/message"
	"gatewayd/queue"
)

// How a destination that cannot be reached rests: the first time restFirst, then
// twice as long with each further failure, up to restMax. Afterwards one attempt
// is made, and with each success twice as many run at once.
const (
	restFirst = 5 * time.Second
	restMax   = 5 * time.Minute
	AskAgain  = 5 * time.Second // longest time for which a destination is not looked at
)

// Targets knows the destinations of this process: their open attempts, whether
// they rest after failures, and which ones a person has paused. One that is slow
// or dead cannot take every worker, and costs the others nothing.
type Targets struct {
	mu     sync.Mutex
	of     map[string]*target
	all    int
	items  map[message.ItemKey]bool // open attempts, also those whose outcome could not be recorded
	paused []Paused
	limit  int // attempts at once for one destination
}

// Paused is a destination to which nothing goes until a person resumes it.
type Paused struct {
	Destination string    `json:"destination"`
	Since       time.Time `json:"since"`
	Reason      string    `json:"reason"`
}

// target is one destination with open attempts or a failure not yet overcome.
type target struct {
	open  int
	fails int       // in a row
	rest  time.Time // not before
	width int       // attempts at once while it recovers; 0: the limit
}

// New returns targets of which each takes so many attempts at once.
func New(limit int) *Targets {
	return &Targets{of: map[string]*target{}, items: map[message.ItemKey]bool{}, limit: limit}
}

// Room says how many more attempts a destination may have now.
func (t *Targets) Room(name string, now time.Time) queue.Room {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.roomOf(name, now)
}

func (t *Targets) roomOf(name string, now time.Time) queue.Room {
	if t.pausedBy(name) != nil {
		return queue.Room{Again: now.Add(AskAgain)}
	}
	d := t.of[name]
	if d == nil {
		return queue.Room{Free: t.limit}
	}
	if now.Before(d.rest) {
		again := d.rest
		if latest := now.Add(AskAgain); again.After(latest) {
			again = latest
		}
		return queue.Room{Again: again}
	}
	width := t.limit
	if d.width > 0 {
		width = min(width, d.width)
	}
	return queue.Room{Free: width - d.open}
}

// pausedBy tells by what a destination is paused: by its own name, or by that of
// its way ("smtp" pauses every "smtp:domain"); nil: it is not.
func (t *Targets) pausedBy(name string) *Paused {
	way, _, _ := strings.Cut(name, ":")
	for i, p := range t.paused {
		if p.Destination == name || p.Destination == way || p.Destination+queue.Unsigned == name {
			return &t.paused[i]
		}
	}
	return nil
}

// SetPaused says what is paused from now on.
func (t *Targets) SetPaused(list []Paused) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.paused = list
}

// Paused returns what is paused.
func (t *Targets) Paused() []Paused {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.paused)
}

// List tells what is known, in the order of the names.
func (t *Targets) List(now time.Time) []message.Destination {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []message.Destination
	for name, d := range t.of {
		one := message.Destination{Name: name, Open: d.open, Failures: d.fails}
		if now.Before(d.rest) {
			one.Rests = d.rest
		}
		if p := t.pausedBy(name); p != nil {
			one.Paused, one.Reason = p.Since, p.Reason
		}
		all = append(all, one)
	}
	for _, p := range t.paused {
		if t.of[p.Destination] == nil {
			all = append(all, message.Destination{Name: p.Destination, Paused: p.Since, Reason: p.Reason})
		}
	}
	slices.SortFunc(all, func(a, b message.Destination) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Begin counts an attempt that is open already.
func (t *Targets) Begin(item message.Item) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(item)
}

// Take begins an attempt if there is room for it.
func (t *Targets) Take(item message.Item, now time.Time, all int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all >= all || t.roomOf(queue.Destination(item), now).Free <= 0 {
		return false
	}
	t.add(item)
	return true
}

func (t *Targets) add(item message.Item) {
	t.all++
	t.items[item.Key] = true
	name := queue.Destination(item)
	d := t.of[name]
	if d == nil {
		d = &target{}
		t.of[name] = d
	}
	d.open++
}

// End closes an attempt. One that is not recorded stays known until the program
// ends: nobody may take it for one that was never made.
func (t *Targets) End(item message.Item, recorded bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all--
	if recorded {
		delete(t.items, item.Key)
	}
	name := queue.Destination(item)
	if d := t.of[name]; d != nil {
		if d.open--; d.open == 0 && d.fails == 0 && d.width == 0 {
			delete(t.of, name)
		}
	}
}

// Tried notes how the way to a destination was.
func (t *Targets) Tried(item message.Item, err error, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.of[queue.Destination(item)]
	switch {
	case d == nil:
	case connectors.LinkDown(err):
		if now.Before(d.rest) {
			return // others of the same moment failed, too
		}
		d.fails++
		wait := min(restFirst<<min(d.fails-1, 10), restMax)
		d.rest, d.width = now.Add(wait*9/10+rand.N(wait/5)), 1
	case err == nil:
		d.fails, d.rest = 0, time.Time{}
		if d.width > 0 {
			if d.width *= 2; d.width >= t.limit {
				d.width = 0
			}
		}
	}
}

// Total is how many attempts are open.
func (t *Targets) Total() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all
}

// Has reports whether an attempt at an item is open, or was not recorded.
func (t *Targets) Has(key message.ItemKey) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.items[key]
}
