package smtprelay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatewayd/connectors"
	"gatewayd/connectors/smtpclient"
)

// counted is a lookup that takes a second and counts.
type counted struct {
	n   atomic.Int64
	err error
}

func (c *counted) lookUp(ctx context.Context, _ string) ([]*smtpclient.Client, error) {
	c.n.Add(1)
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, &connectors.Error{Step: connectors.StepRoute, Err: ctx.Err()}
	}
	return nil, c.err
}

func TestRoutesKeep(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		keep time.Duration
	}{
		"found":    {nil, 5 * time.Minute},
		"refused":  {connectors.Refuse(connectors.StepRoute, "5.1.2", "no"), time.Minute},
		"failed":   {&connectors.Error{Step: connectors.StepRoute, Err: errors.New("timeout")}, 10 * time.Second},
		"whatever": {errors.New("odd"), 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, look := newRoutes(), counted{err: c.err}
				find := func() {
					t.Helper()
					if _, err := r.find(t.Context(), "example.ch", look.lookUp); !errors.Is(err, c.err) {
						t.Errorf("error %v, want %v", err, c.err)
					}
				}
				var wg sync.WaitGroup
				for range 20 {
					wg.Go(find)
				}
				wg.Wait()
				if n := look.n.Load(); n != 1 {
					t.Errorf("%d lookups for 20 messages at once, want 1", n)
				}
				time.Sleep(c.keep - time.Second)
				find()
				if n := look.n.Load(); n != 1 {
					t.Errorf("%d lookups before the time is over, want 1", n)
				}
				time.Sleep(2 * time.Second)
				find()
				if n := look.n.Load(); n != 2 {
					t.Errorf("%d lookups after it, want 2", n)
				}
			})
		})
	}
}

// TestRoutesCancelled: the end of one message's context is not the answer to
// another one, and who waits is not held.
func TestRoutesCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, look := newRoutes(), counted{}
		first, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := r.find(first, "example.ch", look.lookUp); !errors.Is(err, context.Canceled) {
				t.Errorf("the first: error %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if _, err := r.find(t.Context(), "example.ch", look.lookUp); err != nil {
				t.Errorf("the second: %v", err)
			}
		})
		impatient, giveUp := context.WithCancel(t.Context())
		wg.Go(func() {
			if _, err := r.find(impatient, "example.ch", look.lookUp); !errors.Is(err, context.Canceled) {
				t.Errorf("the third: error %v", err)
			}
		})
		synctest.Wait()
		giveUp()
		cancel()
		wg.Wait()
		if n := look.n.Load(); n != 2 {
			t.Errorf("%d lookups, want 2", n)
		}
	})
}

func TestRoutesBounded(t *testing.T) {
	r := newRoutes()
	for i := range 3 * maxRoutes {
		domain := fmt.Sprintf("d%d.example", i)
		if _, err := r.find(t.Context(), domain, func(context.Context, string) ([]*smtpclient.Client, error) { return nil, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.known); n > maxRoutes {
		t.Errorf("%d domains are kept, want at most %d", n, maxRoutes)
	}
}
