package gateway

import (
	"context"
	"strings"
	"sync"
	"time"

	"gatewayd/gateway/targets"
	"gatewayd/message"
	"gatewayd/policy"
	"gatewayd/queue"
)

// keyPatience is how long the sender of a held message hears nothing while its
// recipient's key is looked for.
const keyPatience = 30 * time.Second

// patience returns when the sender of a held message is to be told.
func (g *Gateway) patience(d message.Decision, to message.Address, now time.Time) time.Time {
	if g.o.Keys.Lookup != nil && policy.LacksKey(d) && g.o.Keys.Lookup.Asks(to) {
		return now.Add(keyPatience)
	}
	return now
}

// lookFor asks for the keys that messages are held for want of. The ledger has
// them: an answer finds what it lets go.
func (g *Gateway) lookFor(batch []queue.Accepted) {
	if g.o.Keys.Lookup == nil {
		return
	}
	for _, a := range batch {
		for _, item := range a.Items {
			to := item.Recipient.Address
			if !waitsForKey(item) || g.o.Keys.Lookup.Want(to) {
				continue
			}
			if len(g.Ways(to, g.now())) > 0 { // the answer to an earlier question came meanwhile
				g.KeysArrived(to)
			}
		}
	}
}

// KeyAgent tells the flow whether the agent that has the private keys can be reached
// (nil), and that its keys may be others now. While it cannot, what needs one of
// them waits, and goes on by itself afterwards.
func (g *Gateway) KeyAgent(ctx context.Context, err error) {
	if was := g.agentAway.Swap(err != nil); was != (err != nil) {
		what := map[string]string{"what": "agent_back"}
		if err != nil {
			g.o.Log.Error("the key agent is out of reach: mail that needs a private key waits (systemctl status gatewayd-keyagent)", "error", err)
			what = map[string]string{"what": "agent_away", "reason": message.Bounded(err.Error())}
		} else {
			g.o.Log.Info("the key agent is back")
		}
		g.Note(context.WithoutCancel(ctx), message.Envelope{}, what)
	}
	if err == nil {
		g.KeysArrived(message.Address{})
		g.Wake()
	}
}

// room says how many attempts a destination may have now.
func (g *Gateway) room(destination string, now time.Time) queue.Room {
	if g.lacksOwnKeys(destination) {
		return queue.Room{Again: now.Add(targets.AskAgain)}
	}
	return g.inFlight.Room(destination, now)
}

// lacksOwnKeys reports whether nobody knows the authorities' own keys with which
// mail to a destination is signed: then it is not even tried.
func (g *Gateway) lacksOwnKeys(destination string) bool {
	way, _, _ := strings.Cut(destination, ":")
	return (way == policy.ViaSMIME || way == policy.ViaOpenPGP) && !strings.HasSuffix(destination, queue.Unsigned) && g.Ring().Away() != nil
}

// KeysArrived tells the flow that there may be new keys: for one address, or for
// the null address anywhere (the folder was read again, a person decided).
func (g *Gateway) KeysArrived(a message.Address) {
	g.arrivals.note(a)
	select {
	case g.keysMoved <- struct{}{}:
	default:
	}
}

// arrivals gathers for whom there are new keys.
type arrivals struct {
	mu  sync.Mutex
	all bool
	of  map[string]bool // Address.Key
}

// maxArrivals of single addresses; beyond that everybody may have new keys.
const maxArrivals = 10_000

func (r *arrivals) note(a message.Address) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = map[string]bool{}
	}
	r.of[a.Key()] = true
	r.all = r.all || a.IsNull() || len(r.of) > maxArrivals
}

// take returns what was gathered, and begins anew.
func (r *arrivals) take() (all bool, of map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all, of = r.all, r.of
	r.all, r.of = false, nil
	return all, of
}
