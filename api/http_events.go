package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"gatewayd/directory"
	"gatewayd/message"
)

// askAgain is how often a long poll looks for new events.
const askAgain = 250 * time.Millisecond

type eventsInput struct {
	After string `query:"after" maxLength:"64" doc:"Cursor: the id of an event, or next of an earlier page; missing: from the beginning"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Wait  int    `query:"wait" minimum:"0" maximum:"30" doc:"Seconds to wait for the first event if there is none"`
}

type eventsOutput struct{ Body Events }

func (h *HTTP) registerEvents(routes huma.API) {
	op := operation(http.MethodGet, "/v1/events", "list-events", directory.RightRead,
		"The authority's events, in order and complete; the same cursor gives the same events again")
	op.Description += statesPurpose
	huma.Register(routes, op, h.events)
}

func (h *HTTP) events(ctx context.Context, in *eventsInput) (*eventsOutput, error) {
	authority := callerOf(ctx).Authority
	c, err := h.cursors(authority)
	if err != nil {
		return nil, h.failed(err)
	}
	after, err := c.read(in.After)
	if err != nil {
		return nil, h.failed(err)
	}
	until := time.Now().Add(time.Duration(in.Wait) * time.Second)
	for {
		page, _, err := feedPage(ctx, h.service, c, authority, after, pageSize(in.Limit))
		if err != nil {
			return nil, h.failed(err)
		}
		if len(page.Events) > 0 || !time.Now().Before(until) {
			return &eventsOutput{page}, nil
		}
		if !pause(ctx, askAgain) {
			return nil, h.failed(ctx.Err())
		}
	}
}

func (h *HTTP) cursors(authority string) (*cursors, error) {
	secret, err := h.o.CursorKey(authority)
	if err != nil {
		return nil, err
	}
	return newCursors(secret)
}

// Feeder is the part of Service that the event feed needs.
type Feeder interface {
	Feed(ctx context.Context, authority string, after uint64, limit int) ([]message.Event, error)
}

// feedPage reads a page of the feed and the place behind it.
func feedPage(ctx context.Context, f Feeder, c *cursors, authority string, after uint64, limit int) (Events, uint64, error) {
	events, err := f.Feed(ctx, authority, after, limit+1)
	if err != nil {
		return Events{}, after, err
	}
	page := Events{Events: []Event{}, More: len(events) > limit}
	for _, e := range events[:min(len(events), limit)] {
		page.Events = append(page.Events, event(e, c))
		after = e.Seq
	}
	page.Next = c.write(after)
	return page, after, nil
}

// pause waits; false: ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
