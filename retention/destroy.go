package retention

import (
	"cmp"
	"context"
	"errors"
	"time"

	"gatewayd/calendar"
)

// destroyContent writes down what goes, destroys the key, unlinks the folder and
// closes the protocol.
func (s *Sweeper) destroyContent(ctx context.Context, plan Schedule, day calendar.Day, doomed time.Time, r *Result) error {
	if err := s.step("list"); err != nil {
		return err
	}
	p, err := s.begin(plan, r.Clock.Now, Rows{})
	if err != nil {
		return err
	}
	lost, because := map[string]*Reminder{}, noExport
	if l := late(Content, plan.Limit, r.Clock); l != nil && l.Because == lateGap {
		because = lateGap
	}
	err = s.o.Messages.Due(ctx, day, false, func(o Object) error {
		if err := s.expire(ctx, o, r); err != nil {
			return err
		}
		d := destroyed(o)
		if d.Disposition == noDisposition {
			d.Failed += ": " + because
			s.lose(ctx, o, day, because, lost, r)
		}
		return p.add(o, d)
	})
	if err = errors.Join(err, p.sync()); err != nil {
		return err
	}
	if err := s.remind(ctx, lost, r); err != nil {
		s.o.Log.Error("an authority cannot be told what goes unexported", "error", err)
	}
	if err := s.step("destroy"); err != nil {
		return err
	}
	if err := s.o.Keys.Destroy(Content, plan.Day); err != nil {
		return err
	}
	return s.finish(ctx, plan, doomed, p.list, r)
}

// noDisposition stands in a protocol for what went without one: the limit is absolute
// (Vo E-GovG BL § 11 Abs. 1 lit. a), so it does not wait for an export that failed. That is an
// incident: event, alarm, mail to the authority, and a task until a person says what
// became of the matter (handover confirm).
const noDisposition = "none"

// noExport is why something has no disposition where the gateway did not stand still.
const noExport = "it could not be exported"

// lose notes what goes unexported. Nothing blocks a day key.
func (s *Sweeper) lose(ctx context.Context, o Object, day calendar.Day, because string, lost map[string]*Reminder, r *Result) {
	fresh, err := s.o.Messages.Lost(ctx, o, because, r.Clock.Now)
	if err != nil {
		s.o.Log.Error("the loss of a message cannot be noted; the protocol names it", "message", o.ID, "error", err)
	}
	if err != nil || !fresh {
		return
	}
	r.Lost++
	remember(lost, o, day)
	lost[o.Authority].Lost = true
}

// destroyed says what becomes of a message and by which disposition.
func destroyed(o Object) Destroyed {
	d := Destroyed{
		Authority: o.Authority, Class: o.Class, Bytes: o.Size, Start: calendar.DayOf(o.Start).String(), SHA256: o.SHA256,
		Method: "day key destroyed, folder unlinked",
	}
	if !o.Erased.IsZero() {
		d.Method = "key slot overwritten and body let go on " + calendar.DayOf(o.Erased).String() + "; day key destroyed"
	}
	switch {
	case o.Confirmed:
		d.Disposition, d.DispositionRef = cmp.Or(o.Filed, "handed_over_gever"), o.FiledRef
	case o.Exported:
		d.Disposition = "export_forced"
	case o.Agreement != "":
		d.Disposition, d.DispositionRef = "standing_agreement", o.Agreement
	case !o.Erased.IsZero() || o.NoRecord:
		d.Disposition, d.Skipped = "no_record", "its route keeps no body once it is delivered"
	default:
		d.Disposition, d.Failed = noDisposition, "neither confirmed nor exported"
	}
	if o.Open {
		d.Failed += " (an item had not ended)"
	}
	return d
}
