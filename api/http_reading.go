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

// purposeHeader says what a program reads for. A delegate, who reads what is not
// its own, must say it with each request; a program that reads what its own
// authority sent and received does so for the orderly operation unless it says
// otherwise.
const purposeHeader = "Gatewayd-Purpose"

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
	if !token.Delegate {
		said = cmp.Or(said, message.ForOperation)
	}
	reading := message.Reading{By: token.Name, Purpose: said}
	if err := reading.Check(); err != nil {
		return problem{Title: "no purpose", Status: http.StatusBadRequest, Detail: "header " + purposeHeader + ": " + message.ErrNoPurpose.Error()}
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
