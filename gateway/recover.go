package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"gatewayd/audit"
	"gatewayd/message"
	"gatewayd/queue"
)

// recover brings the ledger up to what the vault has and settles what a crash
// left open (docs/flow.md, crash table).
func (g *Gateway) recover(ctx context.Context) error {
	if err := g.replay(ctx); err != nil {
		return fmt.Errorf("replay vault: %w", err)
	}
	if err := g.tellDamage(ctx); err != nil {
		return fmt.Errorf("damage: %w", err)
	}
	if err := g.reopenSending(ctx); err != nil {
		return fmt.Errorf("open attempts: %w", err)
	}
	items, err := g.o.Store.Counts(ctx)
	if err != nil {
		return err
	}
	broken, err := g.continues(ctx)
	if err != nil {
		return err
	}
	restored, err := g.newEpoch(ctx, len(items) == 0, broken)
	if err != nil {
		return fmt.Errorf("epoch: %w", err)
	}
	if restored {
		g.o.Log.Warn("ledger, vault and audit log do not belong together: everything that would still be sent is held")
	}
	return nil
}

// continues writes the first event of this run into the day files and reports
// whether the ledger does not continue them: then one of the two is a backup,
// even within one epoch.
func (g *Gateway) continues(ctx context.Context) (broken bool, err error) {
	err = g.o.Store.Apply(ctx, queue.Change{Events: []message.Event{{At: g.now(), Kind: message.EventStarted}}})
	if err != nil {
		return false, err
	}
	_, err = g.o.Audit.Drain(ctx, g.o.Store)
	if errors.Is(err, audit.ErrBroken) {
		return true, nil
	}
	return false, err
}

// replay indexes the accept records that the ledger does not have.
func (g *Gateway) replay(ctx context.Context) error {
	marks, err := g.o.Store.Marks(ctx)
	if err != nil {
		return err
	}
	records := 0
	var batch []queue.Accepted
	next := map[uint64]int64{}
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := g.o.Store.Index(ctx, batch, next)
		batch, next = batch[:0], map[uint64]int64{}
		return err
	}
	err = g.o.Vault.Replay(marks, func(ref message.Ref, meta []byte) error {
		a, err := queue.Decode(meta)
		if err != nil {
			return fmt.Errorf("record at %s/%d/%d: %w", ref.Day, ref.Segment, ref.Offset, err)
		}
		a.Envelope.Body = ref
		batch, next[ref.Segment], records = append(batch, a), ref.End, records+1
		if len(batch) < indexBatch {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	if records > 0 {
		g.o.Log.Info("replayed mail that the ledger did not have yet", "records", records)
	}
	return nil
}

// epoch is written beside the vault at every start. The ledger carries the same
// value; a ledger or a vault from a backup does not.
type epoch struct {
	Current  string `json:"current"`
	Previous string `json:"previous"`
}

// newEpoch reports whether vault and ledger do not belong together, and gives
// both a new common epoch. A crash between the two writes leaves the ledger at
// Previous, which is no restore; Previous is forgotten as soon as both are
// written, so that a ledger from just before is one. fresh means that the
// ledger has no items: without a mark beside it the folder is new, or its first
// start was cut off.
func (g *Gateway) newEpoch(ctx context.Context, fresh, broken bool) (restored bool, err error) {
	path := filepath.Join(g.o.Data, "epoch")
	e, err := readEpoch(path)
	if err != nil {
		return false, err
	}
	ledger, err := g.o.Store.Epoch(ctx)
	if err != nil {
		return false, err
	}
	switch {
	case broken:
		restored = true
	case e.Current == "":
		restored = !fresh
	default:
		restored = ledger != e.Current && ledger != e.Previous
	}
	if restored {
		// Hold first: a crash before the new epoch is written must find the
		// mismatch again.
		if err := g.holdAll(ctx); err != nil {
			return restored, err
		}
	}
	var b [16]byte
	rand.Read(b[:])
	next := epoch{Current: hex.EncodeToString(b[:]), Previous: ledger}
	if err := writeEpoch(path, next); err != nil {
		return restored, err
	}
	if err := g.o.Store.SetEpoch(ctx, next.Current); err != nil {
		return restored, err
	}
	return restored, writeEpoch(path, epoch{Current: next.Current})
}

func readEpoch(path string) (e epoch, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return e, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &e)
	}
	if err != nil {
		return e, fmt.Errorf("%s: %w", path, err)
	}
	return e, nil
}

func writeEpoch(path string, e epoch) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return writeSynced(path, text)
}

// writeSynced replaces a file so that after a crash it is the old or the new one.
// What a crash leaves behind the next call uses again.
func writeSynced(path string, text []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// reopenSending: an attempt that is open at start may or may not have reached
// the next system. One that cannot be read keeps nobody from starting; it stays
// as it is, and Check names it.
func (g *Gateway) reopenSending(ctx context.Context) error {
	return g.each(ctx, message.Sending, func(item message.Item) error {
		err := g.once(ctx, item.Key, g.foundSending)
		if err != nil && hopeless(err) {
			g.o.Log.Error("an open attempt cannot be settled", "item", item.Key.String(), "error", err)
			return nil
		}
		return err
	})
}

// each calls fn for every item in a state. fn may change its state.
func (g *Gateway) each(ctx context.Context, state message.State, fn func(message.Item) error) error {
	q := queue.Query{State: state, Limit: 500}
	for {
		items, next, err := g.o.Store.Find(ctx, q)
		if err != nil {
			return err
		}
		for _, item := range items {
			if err := fn(item); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		q.After = next
	}
}

func (g *Gateway) foundSending(ctx context.Context, item *message.Item) (queue.Change, error) {
	now := g.now()
	env, _, err := g.o.Store.Message(ctx, item.Key.Message)
	if err != nil {
		return queue.Change{}, err
	}
	event := message.Event{At: now, Kind: message.EventUnclear, Authority: env.Authority, Message: env.ID, Item: item.Key.N, Data: map[string]string{"reason": "the attempt was open when the gateway stopped"}}
	switch {
	case item.Decision.Via == viaMailbox:
		// Nothing left this machine: laying mail into a mailbox is repeated.
		item.State, item.NextTry, event.Kind = message.Waiting, now, message.EventRetry
	default:
		item.Unclears++
		item.State, item.NextTry = message.Unclear, now
		if item.Decision.Class == message.Registered {
			item.NextTry = now.Add(g.receiptWait(item.Decision.Via))
		}
	}
	return queue.Change{Events: []message.Event{event}}, nil
}

// restoredAlarm stands on everything that a restore holds.
const restoredAlarm = "restored from a backup: it may have left already; release or drop it"

// holdAll holds everything that would still leave, or go back to its sender as
// not sent: after a restore nobody knows what has left already. Mail for a
// mailbox goes on: nothing leaves, and receipts tell what had left.
func (g *Gateway) holdAll(ctx context.Context) error {
	for _, state := range []message.State{message.Waiting, message.Unclear, message.Held} {
		if err := g.each(ctx, state, func(item message.Item) error { return g.once(ctx, item.Key, g.holdRestored) }); err != nil {
			return err
		}
	}
	return nil
}

func (g *Gateway) holdRestored(ctx context.Context, item *message.Item) (queue.Change, error) {
	env, _, err := g.o.Store.Message(ctx, item.Key.Message)
	if err != nil {
		return queue.Change{}, err
	}
	if item.Alarm == restoredAlarm || env.Direction != message.Outbound {
		return queue.Change{}, nil
	}
	item.State, item.NextTry, item.Told, item.Alarm = message.Held, time.Time{}, g.now(), restoredAlarm
	return queue.Change{Events: []message.Event{{
		At: g.now(), Kind: message.EventHeld, Authority: env.Authority, Message: env.ID, Item: item.Key.N, Data: map[string]string{"reason": item.Alarm},
	}}}, nil
}

func digestOf(b []byte) message.Digest { return sha256.Sum256(b) }
