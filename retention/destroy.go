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
	err = s.o.Messages.Due(ctx, day, false, func(o Object) error {
		if err := s.expire(ctx, o, r); err != nil {
			return err
		}
		return p.add(o, destroyed(o))
	})
	if err = errors.Join(err, p.sync()); err != nil {
		return err
	}
	if err := s.step("destroy"); err != nil {
		return err
	}
	if err := s.o.Keys.Destroy(Content, plan.Day); err != nil {
		return err
	}
	return s.finish(ctx, plan, doomed, p.list, r)
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
		d.Disposition, d.Failed = "none", "neither confirmed nor exported"
	}
	if o.Open {
		d.Failed += " (an item had not ended)"
	}
	return d
}
