package smtprelay

import (
	"context"
	"sync"
	"time"

	"gatewayd/connectors"
	"gatewayd/connectors/smtpclient"
)

// How long an answer of the DNS is used again. The resolver does not tell the
// zone's own time to live, so these are short; a domain whose hosts can't be
// reached is looked up anew at once.
const (
	keepFound   = 5 * time.Minute
	keepRefused = time.Minute      // the domain does not exist, or takes no mail
	keepFailed  = 10 * time.Second // the resolver has no answer
	maxRoutes   = 1000             // domains
)

// routes remembers where domains take their mail, so that many messages to one
// domain cost one lookup, also when they come at the same moment.
type routes struct {
	mu    sync.Mutex
	known map[string]*route
}

// route is the outcome of one lookup.
type route struct {
	done  chan struct{} // closed: the rest is there
	hosts []*smtpclient.Client
	err   error
	until time.Time
}

func newRoutes() *routes { return &routes{known: map[string]*route{}} }

// find returns what is known of the domain, or looks it up. Who comes while
// another looks it up waits for that one; if its context ends, the next does it.
func (r *routes) find(ctx context.Context, domain string, lookUp func(context.Context, string) ([]*smtpclient.Client, error)) (*route, error) {
	for {
		to, ours := r.open(domain)
		if ours {
			to.hosts, to.err = lookUp(ctx, domain)
			to.until = time.Now().Add(keep(to.err))
			if ctx.Err() != nil {
				r.forget(domain, to)
			}
			close(to.done)
			return to, to.err
		}
		select {
		case <-to.done:
		case <-ctx.Done():
			return nil, &connectors.Error{Step: connectors.StepRoute, Err: context.Cause(ctx)}
		}
		if r.holds(domain, to) || ctx.Err() != nil {
			return to, to.err
		}
	}
}

func keep(err error) time.Duration {
	switch {
	case err == nil:
		return keepFound
	case connectors.KindOf(err) == connectors.Permanent:
		return keepRefused
	}
	return keepFailed
}

// open returns the domain's route; ours tells that it is a new one and the
// caller must fill it.
func (r *routes) open(domain string) (to *route, ours bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if to = r.known[domain]; to != nil && to.fresh() {
		return to, false
	}
	for name, old := range r.known {
		if len(r.known) < maxRoutes {
			break
		}
		if old.over() { // one that is being looked up has somebody waiting
			delete(r.known, name)
		}
	}
	to = &route{done: make(chan struct{})}
	r.known[domain] = to
	return to, true
}

// over reports whether the lookup has ended.
func (t *route) over() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// fresh reports whether the route may be used, now or when its lookup has ended.
func (t *route) fresh() bool { return !t.over() || time.Now().Before(t.until) }

// holds reports whether the route is still the domain's.
func (r *routes) holds(domain string, to *route) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[domain] == to
}

// forget makes the next message look the domain up again.
func (r *routes) forget(domain string, to *route) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[domain] == to {
		delete(r.known, domain)
	}
}
