package api

import (
	"cmp"
	"context"
	"net/http"
	"sync"

	"gatewayd/calendar"
	"gatewayd/directory"
	"gatewayd/message"
)

// purposeHeader says what a program reads for. Whoever reads log data must say it
// with each request, and so must a delegate, who reads what is not its own; a
// program that fetches the mail of its own authority does so for the orderly
// operation unless it says otherwise.
const purposeHeader = "Gatewayd-Purpose"

// Ways in which a reading of log data is noted.
type noting int

const (
	notLog  noting = iota // mail of the authority: the first one of a day
	byDay                 // the feed, which is asked every few seconds: likewise
	byCause               // what became of one message: each
)

// logData says which routes give out log data (Benutzungsreglement BL § 22): who
// did what when with a message.
func logData(pattern string) noting {
	switch pattern {
	case "GET /v1/events":
		return byDay
	case "GET /v1/messages/{id}", "GET /v1/messages/{id}/evidence":
		return byCause
	}
	return notLog
}

// statesPurpose is for the description of a route that gives out log data.
const statesPurpose = " Gives out log data: the header " + purposeHeader + " must say what for (security, operation, protection, audit or access)."

// readers remembers of which reading this day has a note already: a program asks
// for its events every few seconds.
type readers struct {
	mu    sync.Mutex
	day   calendar.Day
	noted map[message.Reading]bool
}

// first reports whether that reading is the first one of its day.
func (n *readers) first(day calendar.Day, r message.Reading) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.day != day || n.noted == nil {
		n.day, n.noted = day, map[message.Reading]bool{}
	}
	if n.noted[r] {
		return false
	}
	n.noted[r] = true
	return true
}

// forget has the next such reading noted.
func (n *readers) forget(r message.Reading) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.noted, r)
}

// noteReading writes down that a token reads (Benutzungsreglement BL § 22), before
// it gets an answer: of a delegate each request, of a program that reads its own
// authority's the first one of a day.
func (h *HTTP) noteReading(ctx context.Context, r *http.Request, token directory.Token) error {
	if r.Method != http.MethodGet || !token.May(directory.RightRead) {
		return nil
	}
	_, pattern := h.mux.Handler(r)
	if pattern == "" {
		return nil
	}
	said := message.Purpose(r.Header.Get(purposeHeader))
	kind := logData(pattern)
	if !token.Delegate && kind == notLog {
		said = cmp.Or(said, message.ForOperation)
	}
	reading := message.Reading{By: token.Name, Purpose: said}
	if err := reading.Check(); err != nil {
		return problem{Title: "no purpose", Status: http.StatusBadRequest, Detail: "send the header " + purposeHeader + ": " + message.ErrNoPurpose.Error()}
	}
	if !token.Delegate && kind == byCause { // not in the authority's feed: it would hear of itself
		return h.service.NoteRead(ctx, reading, "", pattern, token.Authority+" "+r.URL.Path)
	}
	if token.Delegate {
		return h.service.NoteRead(ctx, reading, token.Authority, pattern, r.URL.Path)
	}
	if !h.readers.first(calendar.DayOf(h.o.Now()), reading) {
		return nil
	}
	err := h.service.NoteRead(ctx, reading, "", "HTTP API, from now to the end of the day", token.Authority)
	if err != nil {
		h.readers.forget(reading)
	}
	return err
}
