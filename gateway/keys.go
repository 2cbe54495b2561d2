package gateway

import (
	"context"
	"crypto/x509"
	"slices"
	"strings"
	"sync"
	"time"

	"gatewayd/crypto/entity"
	"gatewayd/crypto/keys"
	"gatewayd/keybook"
	"gatewayd/keysources"
	"gatewayd/message"
	"gatewayd/policy"
	"gatewayd/queue"
)

// Keys is where keys come from. The zero Keys are none.
type Keys struct {
	Folder     func() *keys.Ring      // an administrator's folder as it is now; nil: none
	Reload     func() error           // reads it again; a faulty one leaves the old; nil: cannot be
	Book       *keybook.Book          // what is learned; nil: nothing is
	Order      []keys.Source          // which source is preferred; nil: keys.Sources
	Harvest    bool                   // learn from mail that came in
	Lookup     *keysources.Lookup     // who is asked; nil: nobody
	Revocation *keysources.Revocation // who is asked whether a certificate is revoked; nil: nobody
	Keep       time.Duration          // keys that were not used for so long are forgotten; 0: never
}

// decided is the folder with administrators' decisions, as it was derived last.
type decided struct {
	mu      sync.Mutex
	folder  *keys.Ring
	changes uint64
	ring    *keys.Ring
}

// ring returns the key ring as it is now; an empty one when none is configured.
func (g *Gateway) ring() *keys.Ring {
	folder := &g.noKeys
	if g.o.Keys.Folder != nil {
		folder = g.o.Keys.Folder()
	}
	if g.o.Keys.Book == nil {
		return folder
	}
	d := &g.decided
	d.mu.Lock()
	defer d.mu.Unlock()
	if changes := g.o.Keys.Book.Changes(); d.ring == nil || d.folder != folder || d.changes != changes {
		d.folder, d.changes, d.ring = folder, changes, folder.With(g.o.Keys.Book.Decisions())
	}
	return d.ring
}

// learned returns what the key book has of an address. A book that cannot be
// read is trouble of ours; then only the folder counts.
func (g *Gateway) learned(a message.Address) []keys.Partner {
	if g.o.Keys.Book == nil || a.IsNull() {
		return nil
	}
	list, err := g.o.Keys.Book.Partners(a)
	if err != nil {
		g.o.Log.Error("key book cannot be read", "error", err)
	}
	return list
}

// selection says what can be used for a recipient. now: whether it is revoked is
// asked over the network; else only what is remembered counts.
func (g *Gateway) selection(ctx context.Context, to message.Address, at time.Time, now bool) keys.Selection {
	w := keys.Wish{To: to, At: at, Order: g.o.Keys.Order, Learned: g.learned(to), Revoked: g.revoked(ctx, at, now)}
	return g.ring().Select(w)
}

func (g *Gateway) revoked(ctx context.Context, at time.Time, now bool) func(c, issuer *x509.Certificate) error {
	switch r := g.o.Keys.Revocation; {
	case r == nil:
		return nil
	case now:
		return r.Asker(ctx, at)
	default:
		return r.Remembered(at)
	}
}

// keysFor lists the ways in which mail to an address can be encrypted by us.
func (g *Gateway) keysFor(to message.Address, now time.Time) []string {
	var ways []string
	s := g.selection(context.Background(), to, now, false)
	if s.Certificate != nil {
		ways = append(ways, policy.ViaSMIME)
	}
	if s.OpenPGP != nil {
		ways = append(ways, policy.ViaOpenPGP)
	}
	return ways
}

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
			if len(g.keysFor(to, g.now())) > 0 { // the answer to an earlier question came meanwhile
				g.KeysArrived(to)
			}
		}
	}
}

// keyUsed notes the use of a learned key, and lets its source be asked again now
// and then: it may have been revoked or replaced.
func (g *Gateway) keyUsed(a message.Address, s keys.Selection, t entity.Technique, now time.Time) {
	i := slices.IndexFunc(s.Reasons, func(r keys.Reason) bool { return r.Chosen && r.Technique == t })
	if i < 0 || s.Reasons[i].Source == keys.Manual || g.o.Keys.Book == nil {
		return
	}
	if err := g.o.Keys.Book.Used(a, s.Reasons[i].Fingerprint, now); err != nil {
		g.o.Log.Error("key book cannot note the use of a key", "error", err)
	}
	if s.Reasons[i].Source != keys.Mail && g.o.Keys.Lookup != nil {
		g.o.Keys.Lookup.Want(a)
	}
}

// KeysFound takes what a lookup in the background has found.
func (g *Gateway) KeysFound(a message.Address, got []keysources.Attempt) {
	for _, attempt := range got {
		for _, outcome := range attempt.Learned {
			if outcome != keybook.Known {
				g.keyEvent(context.Background(), message.Envelope{}, map[string]string{"what": string(outcome), "source": string(attempt.Source), "of": a.String()})
			}
		}
	}
	g.KeysArrived(a)
}

// KeyAgent tells the flow whether the agent that has the private keys can be reached
// (nil), and that its keys may be others now. While it cannot, what needs one of
// them waits, and goes on by itself afterwards.
func (g *Gateway) KeyAgent(ctx context.Context, err error) {
	if was := g.agentAway.Swap(err != nil); was != (err != nil) {
		what := map[string]string{"what": "agent_back"}
		if err != nil {
			g.o.Log.Error("the key agent is out of reach: mail that needs a private key waits (systemctl status gatewayd-keyagent)", "error", err)
			what = map[string]string{"what": "agent_away", "reason": bounded(err.Error())}
		} else {
			g.o.Log.Info("the key agent is back")
		}
		g.keyEvent(context.WithoutCancel(ctx), message.Envelope{}, what)
	}
	if err == nil {
		g.KeysArrived(message.Address{})
		g.Wake()
	}
}

// room says how many attempts a destination may have now.
func (g *Gateway) room(destination string, now time.Time) queue.Room {
	if g.lacksOwnKeys(destination) {
		return queue.Room{Again: now.Add(askAgain)}
	}
	return g.inFlight.room(destination, now)
}

// lacksOwnKeys reports whether nobody knows the authorities' own keys with which
// mail to a destination is signed: then it is not even tried.
func (g *Gateway) lacksOwnKeys(destination string) bool {
	way, _, _ := strings.Cut(destination, ":")
	return (way == policy.ViaSMIME || way == policy.ViaOpenPGP) && g.ring().Away() != nil
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
