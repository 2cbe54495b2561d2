package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"sync/atomic"
	"time"

	"gatewayd/calendar"
	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/retention"
)

// Over reports whether bodies of that family and day may no longer be read,
// whatever a sweep has come to: for vault.Options.Over.
func Over(now func() time.Time) func(seal.Family, string) bool {
	return func(_ seal.Family, day string) bool {
		d, err := calendar.ParseDay(day)
		return err == nil && !now().Before(d.End())
	}
}

// Latest returns the wall clock, or its mark where that is later: what was over once
// does not become readable again because somebody sets the clock back.
func (r *Retention) Latest() time.Time {
	now := r.g.now()
	if high := r.high.Load(); high > 0 && now.Before(time.Unix(0, high)) {
		return time.Unix(0, high)
	}
	return now
}

// proven is the latest instant that a platform has signed in a receipt, as far as
// this process has seen it; the sweep takes it as a witness of the time.
type proven struct{ at atomic.Int64 }

func (p *proven) saw(r message.Receipt) {
	if r.Verdict != message.Verified || r.At.IsZero() {
		return
	}
	for at := r.At.UnixNano(); ; {
		old := p.at.Load()
		if at <= old || p.at.CompareAndSwap(old, at) {
			return
		}
	}
}

// askStampEvery is the pause between two questions to the time-stamping authority
// while the clock is in doubt.
const askStampEvery = 10 * time.Minute

// witnesses vouch for the clock, the cheapest first.
func (r *Retention) witnesses() []func(context.Context, retention.Reading) (retention.Witness, error) {
	var asked time.Duration
	return []func(context.Context, retention.Reading) (retention.Witness, error){
		func(_ context.Context, look retention.Reading) (w retention.Witness, _ error) {
			if r.o.Machine.Synced != nil && r.o.Machine.Synced() {
				w = retention.Witness{By: retention.ByTimeService, At: look.Now, Most: retention.ServiceTrust}
			}
			return w, nil
		},
		func(context.Context, retention.Reading) (w retention.Witness, _ error) {
			if at := r.g.proven.at.Load(); at > 0 {
				w = retention.Witness{By: retention.ByReceipt, At: time.Unix(0, at)}
			}
			return w, nil
		},
		func(ctx context.Context, _ retention.Reading) (w retention.Witness, err error) {
			steady := r.o.Machine.Steady()
			if r.g.o.Evidence.Time == nil || asked > 0 && steady-asked < askStampEvery {
				return w, nil
			}
			asked = max(steady, 1)
			w.By = retention.ByStamp
			w.At, err = r.g.o.Evidence.Time(ctx, bytes.NewReader([]byte(rand.Text()))) // a fresh question: nobody can have an answer to it already
			return w, err
		},
	}
}
