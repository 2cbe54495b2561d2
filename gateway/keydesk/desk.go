// Package keydesk is the desk where the keys of the gateway are kept: which one is
// used for whom and why, what is learned of partners from mail and from sources on
// the network, what an administrator decides about them, and which end soon. What
// waits for a key is the flow's business: the desk only tells it that one came.
package keydesk

import (
	"context"
	"crypto/x509"
	"log/slog"
	"slices"
	"strconv"
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

// Sources is where keys come from. The zero Sources are none.
type Sources struct {
	Folder     func() *keys.Ring      // an administrator's folder as it is now; nil: none
	Reload     func() error           // reads it again; a faulty one leaves the old; nil: cannot be
	Book       *keybook.Book          // what is learned; nil: nothing is
	Order      []keys.Source          // which source is preferred; nil: keys.Sources
	Harvest    bool                   // learn from mail that came in
	Lookup     *keysources.Lookup     // who is asked; nil: nobody
	Revocation *keysources.Revocation // who is asked whether a certificate is revoked; nil: nobody
	Keep       time.Duration          // keys that were not used for so long are forgotten; 0: never
}

// Options is what a desk is wired with.
type Options struct {
	Sources Sources
	Ledger  Ledger
	Local   func(message.Address) bool // whether an address is one of ours: nothing is learned of it
	Arrived func(message.Address)      // there may be new keys: of an address, or of anybody (null)
	Now     func() time.Time
	Log     *slog.Logger
}

// Ledger is the part of queue.Store that takes the desk's events.
type Ledger interface {
	Apply(ctx context.Context, c queue.Change) error
}

// Desk keeps the keys of the gateway.
type Desk struct {
	o       Options
	none    keys.Ring
	decided decided
}

// New returns the desk; it reads nothing.
func New(o Options) *Desk { return &Desk{o: o} }

func (d *Desk) now() time.Time { return d.o.Now().UTC() }

// decided is the folder with administrators' decisions, as it was derived last.
type decided struct {
	mu      sync.Mutex
	folder  *keys.Ring
	changes uint64
	ring    *keys.Ring
}

// Ring returns the key ring as it is now; an empty one when none is configured.
func (d *Desk) Ring() *keys.Ring {
	folder := &d.none
	if d.o.Sources.Folder != nil {
		folder = d.o.Sources.Folder()
	}
	if d.o.Sources.Book == nil {
		return folder
	}
	last := &d.decided
	last.mu.Lock()
	defer last.mu.Unlock()
	if changes := d.o.Sources.Book.Changes(); last.ring == nil || last.folder != folder || last.changes != changes {
		last.folder, last.changes, last.ring = folder, changes, folder.With(d.o.Sources.Book.Decisions())
	}
	return last.ring
}

// Learned returns what the key book has of an address. A book that cannot be
// read is trouble of ours; then only the folder counts.
func (d *Desk) Learned(a message.Address) []keys.Partner {
	if d.o.Sources.Book == nil || a.IsNull() {
		return nil
	}
	list, err := d.o.Sources.Book.Partners(a)
	if err != nil {
		d.o.Log.Error("key book cannot be read", "error", err)
	}
	return list
}

// Selection says what can be used for a recipient. now: whether it is revoked is
// asked over the network; else only what is remembered counts.
func (d *Desk) Selection(ctx context.Context, to message.Address, at time.Time, now bool) keys.Selection {
	w := keys.Wish{To: to, At: at, Order: d.o.Sources.Order, Learned: d.Learned(to), Revoked: d.Revoked(ctx, at, now)}
	return d.Ring().Select(w)
}

// Revoked returns who is asked whether a certificate was revoked at an instant; nil:
// nobody. now: over the network.
func (d *Desk) Revoked(ctx context.Context, at time.Time, now bool) func(c, issuer *x509.Certificate) error {
	switch r := d.o.Sources.Revocation; {
	case r == nil:
		return nil
	case now:
		return r.Asker(ctx, at)
	default:
		return r.Remembered(at)
	}
}

// Ways lists the ways in which mail to an address can be encrypted by us.
func (d *Desk) Ways(to message.Address, now time.Time) []string {
	var ways []string
	s := d.Selection(context.Background(), to, now, false)
	if s.Certificate != nil {
		ways = append(ways, policy.ViaSMIME)
	}
	if s.OpenPGP != nil {
		ways = append(ways, policy.ViaOpenPGP)
	}
	return ways
}

// Used notes the use of a learned key, and lets its source be asked again now
// and then: it may have been revoked or replaced.
func (d *Desk) Used(a message.Address, s keys.Selection, t entity.Technique, now time.Time) {
	i := slices.IndexFunc(s.Reasons, func(r keys.Reason) bool { return r.Chosen && r.Technique == t })
	if i < 0 || s.Reasons[i].Source == keys.Manual || d.o.Sources.Book == nil {
		return
	}
	if err := d.o.Sources.Book.Used(a, s.Reasons[i].Fingerprint, now); err != nil {
		d.o.Log.Error("key book cannot note the use of a key", "error", err)
	}
	if s.Reasons[i].Source != keys.Mail && d.o.Sources.Lookup != nil {
		d.o.Sources.Lookup.Want(a)
	}
}

// KeysFound takes what a lookup in the background has found.
func (d *Desk) KeysFound(a message.Address, got []keysources.Attempt) {
	for _, attempt := range got {
		for _, outcome := range attempt.Learned {
			if outcome != keybook.Known {
				d.Note(context.Background(), message.Envelope{}, map[string]string{"what": string(outcome), "source": string(attempt.Source), "of": a.String()})
			}
		}
	}
	d.o.Arrived(a)
}

// Note writes into the audit log; trouble with it delays nothing.
func (d *Desk) Note(ctx context.Context, env message.Envelope, data map[string]string) {
	err := d.o.Ledger.Apply(ctx, queue.Change{Events: []message.Event{{At: d.now(), Kind: message.EventKey, Authority: env.Authority, Message: env.ID, Data: data}}})
	if err != nil {
		d.o.Log.Error("ledger does not take an event about a key", "error", err)
	}
}

// warnDays before a key ends it is told.
func warnDays() []int { return []int{30, 14, 7, 1} }

// Round does what is due once in a while: warns of keys that end, and forgets
// those that nobody uses.
func (d *Desk) Round(ctx context.Context) {
	book, now := d.o.Sources.Book, d.now()
	if book == nil {
		return
	}
	for _, l := range d.Ring().Expiring(now.AddDate(0, 0, warnDays()[0]+1)) {
		days := int(l.Until.Sub(now).Hours() / 24)
		warn, err := book.Warn(l.Fingerprint, days, warnDays())
		if err != nil {
			d.o.Log.Error("key book cannot note a warning", "error", err)
			return
		}
		if !warn {
			continue
		}
		d.o.Log.Warn("a key ends soon: renew it (gatewayd keys list)", "days", days, "key", l.Fingerprint, "own", l.Authority != "")
		err = d.o.Ledger.Apply(ctx, queue.Change{Events: []message.Event{{At: now, Kind: message.EventKey, Authority: l.Authority, Data: map[string]string{
			"what": "ends", "key": l.Fingerprint, "days": strconv.Itoa(days), "until": l.Until.UTC().Format(time.RFC3339), "source": string(l.Source),
		}}}})
		if err != nil {
			d.o.Log.Error("ledger does not take a warning about a key", "error", err)
		}
	}
	if d.o.Sources.Keep <= 0 {
		return
	}
	if n, err := book.Forget(now, d.o.Sources.Keep); err != nil {
		d.o.Log.Error("key book cannot forget", "error", err)
	} else if n > 0 {
		d.o.Log.Info("forgot keys that nobody uses", "keys", n)
	}
}
