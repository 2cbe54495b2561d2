package gateway_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"gatewayd/audit"
	"gatewayd/calendar"
	"gatewayd/message"
	"gatewayd/queue"
)

func reading() message.Reading {
	return message.Reading{By: "administrator muster", Purpose: message.ForOperation}
}

// readsOf returns the events that say who has read.
func (r *rig) readsOf() []message.Event {
	r.t.Helper()
	if _, err := r.audit.Drain(context.Background(), r.store); err != nil {
		r.t.Fatal(err)
	}
	var reads []message.Event
	err := r.audit.Each(context.Background(), calendar.Day{}, func(_ message.Link, e *message.Event) error {
		if e != nil && e.Kind == message.EventRead {
			reads = append(reads, *e)
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return reads
}

// mute refuses to note that something was read.
type mute struct {
	queue.Store
	on *bool
}

var errMute = errors.New("the disk is full")

func (m mute) Apply(ctx context.Context, c queue.Change) error {
	for _, e := range c.Events {
		if e.Kind == message.EventRead && *m.on {
			return errMute
		}
	}
	return m.Store.Apply(ctx, c)
}

// TestReadingStatesItsPurpose: each way in which an administrator reads log data
// or others' mail needs a purpose, is noted before it answers, and shows nothing
// when it cannot be noted (Benutzungsreglement BL § 22).
func TestReadingStatesItsPurpose(t *testing.T) {
	silent := false
	r := newRig(t, rigOptions{wrap: func(s queue.Store) queue.Store { return mute{s, &silent} }})
	id, err := r.inbound("wer@example.org", letter("Auskunft", "geheim"), "bau@bl.example")
	if err != nil {
		t.Fatal(err)
	}
	r.becomes(id, message.Done)
	ctx, nobody := context.Background(), message.Reading{}
	for name, read := range map[string]func(message.Reading) (int, error){
		"message trace": func(w message.Reading) (int, error) {
			s, err := r.g.Trace(ctx, w, id.String())
			return len(s), err
		},
		"mailbox list": func(w message.Reading) (int, error) {
			s, _, err := r.g.Mailbox(ctx, w, "bau", "", "", 10, false)
			return len(s), err
		},
		"mailbox show": func(w message.Reading) (int, error) {
			var out strings.Builder
			err := r.g.Fetch(ctx, w, "bau", id, false, &out)
			return min(1, out.Len()), err
		},
		"audit list": func(w message.Reading) (n int, err error) {
			return n, r.g.ReadAudit(ctx, w, audit.Filter{Limit: 1}, func(audit.Entry) error { n++; return nil })
		},
		"receipts unmatched": func(w message.Reading) (int, error) {
			rs, err := r.g.Unmatched(ctx, w, 10)
			return len(rs), err
		},
	} {
		before := len(r.readsOf())
		if n, err := read(nobody); !errors.Is(err, message.ErrNoPurpose) || n > 0 {
			t.Errorf("%s without a purpose: %d, %v", name, n, err)
		}
		if n, err := read(message.Reading{Purpose: message.ForOperation}); err == nil || n > 0 {
			t.Errorf("%s by nobody: %d, %v", name, n, err)
		}
		silent = true
		if n, err := read(reading()); !errors.Is(err, errMute) || n > 0 {
			t.Errorf("%s that cannot be noted: %d, %v", name, n, err)
		}
		silent = false
		n, err := read(reading())
		reads := r.readsOf()
		if err != nil || len(reads) != before+1 {
			t.Fatalf("%s: %v, %d reads noted, want %d", name, err, len(reads), before+1)
		}
		d := reads[before].Data
		if d["door"] != name || d["by"] != reading().By || d["purpose"] != "operation" || d["count"] != map[bool]string{true: "1", false: "0"}[n == 1] {
			t.Errorf("%s (%d): noted is %v", name, n, d)
		}
	}
	if _, err := r.g.Prove(ctx, nobody, 1); !errors.Is(err, message.ErrNoPurpose) {
		t.Errorf("a proof without a purpose: %v", err)
	}
	before := len(r.readsOf())
	cut := errors.New("the reader has gone")
	if err := r.g.ReadAudit(ctx, reading(), audit.Filter{}, func(audit.Entry) error { return cut }); !errors.Is(err, cut) {
		t.Errorf("an export that breaks off: %v", err)
	}
	reads := r.readsOf()[before:]
	if len(reads) != 2 || reads[0].Data["door"] != "audit export, begun" || reads[1].Data["count"] != "1" {
		t.Errorf("an export that broke off is noted as %v", reads)
	}
	if _, _, err := r.g.Receipt(ctx, nobody, "bau", id, "1"); !errors.Is(err, message.ErrNoPurpose) {
		t.Errorf("receipt without a purpose: %v", err)
	}
}
