package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"gatewayd/calendar"
	"gatewayd/legal"
	"gatewayd/message"
	"gatewayd/queue"
)

// timeline prints events as they happen.
type timeline struct {
	out    io.Writer
	json   bool
	colour bool
	parts  *parts

	mu   sync.Mutex
	seen map[uint64]bool
	told []message.Story
}

func newTimeline(out io.Writer, asJSON bool, p *parts) *timeline {
	return &timeline{out: out, json: asJSON, colour: !asJSON && isTerminal(out), parts: p, seen: map[uint64]bool{}}
}

// isTerminal reports whether colours make sense (NO_COLOR is respected).
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// line is one event for programs.
type line struct {
	At        time.Time    `json:"at"`
	Message   string       `json:"message"`
	Recipient string       `json:"recipient"`
	Class     string       `json:"class"`
	Platform  string       `json:"platform"`
	Event     string       `json:"event"`
	Receipt   *lineReceipt `json:"receipt,omitempty"`
	State     string       `json:"state"`
	EraseBy   string       `json:"erase_by"`
}

type lineReceipt struct {
	Kind     string `json:"kind"`
	Verified bool   `json:"verified"`
}

// say prints a sentence between the events.
func (t *timeline) say(text string) {
	if t.json {
		return
	}
	t.catchUp(context.Background())
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, "\n%s\n", t.paint("1", text))
}

func (t *timeline) paint(code, text string) string {
	if !t.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// watch prints new events until ctx ends.
func (t *timeline) watch(ctx context.Context) {
	for ctx.Err() == nil {
		t.catchUp(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// catchUp prints what has happened since the last time.
func (t *timeline) catchUp(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	stories := t.read(ctx)
	if stories == nil {
		return
	}
	t.told = stories
	type found struct {
		e message.Event
		s message.Story
	}
	var fresh []found
	for _, s := range stories {
		for _, e := range s.Events {
			if !t.seen[e.Seq] {
				t.seen[e.Seq] = true
				fresh = append(fresh, found{e, s})
			}
		}
	}
	slices.SortFunc(fresh, func(a, b found) int { return int(a.e.Seq) - int(b.e.Seq) }) //nolint:gosec // small numbers
	for _, f := range fresh {
		t.print(f.e, f.s)
	}
}

// read returns the stories of every message of every authority.
func (t *timeline) read(ctx context.Context) []message.Story {
	var stories []message.Story
	seen := map[message.ID]bool{}
	for _, a := range t.parts.cfg.Authorities {
		items, _, err := t.parts.gateway.List(ctx, queue.Query{Authority: a.ID, Limit: 1000})
		if err != nil {
			return nil
		}
		for _, item := range items {
			if id := item.Key.Message; !seen[id] {
				seen[id] = true
				if s, err := t.parts.gateway.Story(ctx, id); err == nil && (len(s.Events) == 0 || s.Events[0].Seq > 0) {
					stories = append(stories, s)
				}
			}
		}
	}
	return stories
}

// stories returns what was read last.
func (t *timeline) stories() []message.Story {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.told
}

func (t *timeline) print(e message.Event, s message.Story) {
	l := line{At: e.At, Message: s.Envelope.ID.String(), Event: string(e.Kind), Recipient: e.Data["to"], State: e.Data["state"]}
	for _, item := range s.Items {
		if item.Key.N != e.Item && e.Item != 0 {
			continue
		}
		l.Class, l.EraseBy = string(item.Decision.Class), item.EraseBy.In(calendar.Zone()).Format(time.RFC3339)
		if e.Item != 0 {
			l.Recipient, l.Platform = item.Recipient.Address.String(), item.Decision.Via
			if l.State == "" {
				l.State = string(item.State)
			}
			break
		}
	}
	switch e.Kind {
	case message.EventReceipt, message.EventForged, message.EventUnmatched:
		l.Receipt = &lineReceipt{Kind: e.Data["kind"], Verified: e.Data["verdict"] == string(message.Verified)}
		l.Platform = e.Data["platform"]
	}
	if t.json {
		b, err := json.Marshal(l)
		if err == nil {
			fmt.Fprintf(t.out, "%s\n", b)
		}
		return
	}
	fmt.Fprintf(t.out, "  %s  %s  %-26s %-12s %s\n", e.At.In(calendar.Zone()).Format("02.01. 15:04:05"), t.paint("2", l.Message[len(l.Message)-6:]), l.Recipient, l.Platform, t.sentence(e))
}

// sentence says an event in words.
func (t *timeline) sentence(e message.Event) string {
	d := e.Data
	switch e.Kind {
	case message.EventAccepted:
		return fmt.Sprintf("accepted durably, %s octets, from %s", d["size"], d["from"])
	case message.EventDecided:
		if d["verdict"] != string(message.Deliver) {
			return t.paint("33", d["verdict"]+": "+d["because"])
		}
		return fmt.Sprintf("%s by %s (%s) %s", d["class"], d["via"], d["route"], d["reference"])
	case message.EventHanded:
		return "handed over: " + d["reply"]
	case message.EventReceipt:
		text := fmt.Sprintf("%s, %s, matched by %s", d["kind"], d["verdict"], d["matched_by"])
		if d["verdict"] == string(message.Verified) {
			return t.paint("32", text)
		}
		return t.paint("31", text)
	case message.EventUnmatched, message.EventForged:
		return t.paint("31", string(e.Kind)+": "+d["kind"]+" "+d["verdict"])
	case message.EventCase:
		return "case " + t.paint("36", d["case"]) + ", " + d["state"]
	case message.EventHeld:
		return t.paint("33", "held: "+d["reason"])
	case message.EventNotice:
		return "sender told: " + d["to"]
	case message.EventMailbox:
		return "laid into the mailbox"
	case message.EventAttempt:
		return "attempt " + d["attempt"] + " by " + d["via"]
	case message.EventAlarm:
		text := d["text"]
		if d["service"] != "" {
			text += "; service " + d["service"] + " by " + d["basis"]
		}
		return t.paint("33", "alarm: "+text)
	}
	return string(e.Kind) + " " + details(d)
}

// table ends the story.
func (t *timeline) table(ctx context.Context, ids ...message.ID) {
	if t.json {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintln(t.out)
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "RECIPIENT\tPLATFORM\tCLASS\tRECEIPTS VERIFIED\tSTATE\tCASE\tERASE BY")
	for _, id := range ids {
		s, err := t.parts.gateway.Story(ctx, id)
		if err != nil {
			continue
		}
		for _, item := range s.Items {
			good, all := 0, 0
			for _, r := range s.Receipts {
				if r.Item == item.Key {
					all++
					if r.Verdict == message.Verified {
						good++
					}
				}
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%d of %d\t%s\t%s\t%s\n", item.Recipient.Address, dash(item.Decision.Via), item.Decision.Class, good, all, item.State, dash(string(item.Case)), local(item.EraseBy))
		}
	}
	w.Flush()
}

// showCase shows a delivery case and where its evidence bundle lies.
func (t *timeline) showCase(c legal.Case, path string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.json {
		printCase(t.out, c)
		fmt.Fprintf(t.out, "    %-10s %s\n\n", "bundle", path)
		return
	}
	b, err := json.Marshal(struct {
		line
		Case     legal.Case `json:"case"`
		Evidence string     `json:"evidence"`
	}{line{At: c.Now, Message: c.Item.Message.String(), Recipient: c.Recipient, Class: string(message.Registered), Platform: c.Platform, Event: "case shown", State: string(c.State)}, c, path})
	if err == nil {
		fmt.Fprintf(t.out, "%s\n", b)
	}
}

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}
