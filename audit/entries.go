package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatewayd/calendar"
	"gatewayd/message"
)

// Entry is one line of the log with its event.
type Entry struct {
	message.Event
	Hash   message.Digest `json:"hash"`             // of the link
	Sealed bool           `json:"sealed,omitempty"` // its key was destroyed: kind and data cannot be read any more
}

// Filter selects lines of the log. Every field that is set must match. There is
// none for a person: what is kept about one is asked for as such.
type Filter struct {
	From, Until calendar.Day // days of the events; zero: no bound
	Kinds       []message.EventKind
	Authority   string
	Message     message.ID
	After       uint64 // links with a greater number
	Limit       int    // 0: all
}

// String tells the filter as it stands in the log.
func (f Filter) String() string {
	var parts []string
	add := func(name, value string, set bool) {
		if set {
			parts = append(parts, name+"="+value)
		}
	}
	add("from", f.From.String(), !f.From.IsZero())
	add("until", f.Until.String(), !f.Until.IsZero())
	for _, k := range f.Kinds {
		add("kind", string(k), true)
	}
	add("authority", f.Authority, f.Authority != "")
	add("message", f.Message.String(), !f.Message.IsZero())
	add("after", fmt.Sprint(f.After), f.After > 0)
	add("limit", fmt.Sprint(f.Limit), f.Limit > 0)
	if len(parts) == 0 {
		return "everything"
	}
	return strings.Join(parts, " ")
}

func (f Filter) takes(e Entry) bool {
	return e.Seq > f.After && (len(f.Kinds) == 0 || slices.Contains(f.Kinds, e.Kind)) && (f.Authority == "" || e.Authority == f.Authority) &&
		(f.Message.IsZero() || e.Message == f.Message)
}

// errEnough ends a reading that has what it wanted.
var errEnough = errors.New("enough")

// Entries calls fn with every line that the filter takes, in the order of the
// chain. A line that does not read ends it with an error.
func (l *Log) Entries(ctx context.Context, f Filter, fn func(Entry) error) error {
	n := 0
	err := l.reader(f.After, span{f.From, f.Until}).links(ctx, func(link message.Link) error {
		if !f.Message.IsZero() && link.Message != f.Message {
			return nil
		}
		entry, err := l.entry(link)
		if err != nil || !f.takes(entry) {
			return err
		}
		if err := fn(entry); err != nil {
			return err
		}
		if n++; n == f.Limit {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func (l *Log) entry(link message.Link) (Entry, error) {
	e, err := openEvent(l.keys, link)
	if err != nil {
		return Entry{}, err
	}
	if e == nil {
		return Entry{Event: message.Event{Seq: link.Seq, At: link.At, Message: link.Message}, Hash: link.Hash, Sealed: true}, nil
	}
	return Entry{Event: *e, Hash: link.Hash}, nil
}

// span is a stretch of days, both ends included; a zero end is open.
type span struct{ from, until calendar.Day }

func since(at time.Time) span { return span{from: calendar.DayOf(at)} }

func (s span) has(day calendar.Day) bool {
	return !day.Before(s.from) && (s.until.IsZero() || !day.After(s.until))
}
