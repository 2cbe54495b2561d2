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

	"gatewayd/message"
	"gatewayd/queue"
)

// recover brings the ledger up to what the vault has and settles what a crash
// left open (docs/flow.md, crash table).
func (g *Gateway) recover(ctx context.Context) error {
	if err := g.replay(ctx); err != nil {
		return fmt.Errorf("replay vault: %w", err)
	}
	if err := g.reopenSending(ctx); err != nil {
		return fmt.Errorf("open attempts: %w", err)
	}
	restored, err := g.newEpoch(ctx)
	if err != nil {
		return fmt.Errorf("epoch: %w", err)
	}
	return g.o.Store.Apply(ctx, queue.Change{Events: []message.Event{{At: g.now(), Kind: message.EventStarted, Data: map[string]string{"restored": fmt.Sprint(restored)}}}})
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
// Previous, which is no restore.
func (g *Gateway) newEpoch(ctx context.Context) (restored bool, err error) {
	path := filepath.Join(g.o.Data, "epoch")
	var e epoch
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return false, err
	default:
		if err := json.Unmarshal(text, &e); err != nil {
			return false, fmt.Errorf("%s: %w", path, err)
		}
	}
	ledger, err := g.o.Store.Epoch(ctx)
	if err != nil {
		return false, err
	}
	if e.Current != "" {
		restored = ledger != e.Current && ledger != e.Previous
	}
	var b [16]byte
	rand.Read(b[:])
	next := epoch{Current: hex.EncodeToString(b[:]), Previous: ledger}
	if text, err = json.Marshal(next); err != nil {
		return restored, err
	}
	if restored {
		// Hold first: a crash before the new epoch is written must find the
		// mismatch again.
		if err := g.holdAll(ctx); err != nil {
			return restored, err
		}
	}
	if err := writeSynced(path, text); err != nil {
		return restored, err
	}
	return restored, g.o.Store.SetEpoch(ctx, next.Current)
}

// writeSynced replaces a file so that after a crash it is the old or the new one.
func writeSynced(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".epoch-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
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
// the next system.
func (g *Gateway) reopenSending(ctx context.Context) error {
	for {
		items, err := g.o.Store.Sending(ctx)
		if err != nil || len(items) == 0 {
			return err
		}
		for _, item := range items {
			if err := g.once(ctx, item.Key, g.foundSending); err != nil {
				return err
			}
		}
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

// holdAll holds everything that would still be sent: after a restore nobody
// knows what has left already.
func (g *Gateway) holdAll(ctx context.Context) error {
	for _, state := range []message.State{message.Waiting, message.Unclear} {
		if err := g.holdState(ctx, state); err != nil {
			return err
		}
	}
	return nil
}

func (g *Gateway) holdState(ctx context.Context, state message.State) error {
	for {
		items, _, err := g.o.Store.Find(ctx, queue.Query{State: state, Limit: 500})
		if err != nil || len(items) == 0 {
			return err
		}
		for _, item := range items {
			err := g.once(ctx, item.Key, func(_ context.Context, it *message.Item) (queue.Change, error) {
				it.State, it.NextTry, it.Told = message.Held, time.Time{}, g.now()
				it.Alarm = "restored from a backup: it may have left already; release or drop it"
				return queue.Change{Events: []message.Event{{At: g.now(), Kind: message.EventHeld, Message: it.Key.Message, Item: it.Key.N, Data: map[string]string{"reason": it.Alarm}}}}, nil
			})
			if err != nil {
				return err
			}
		}
	}
}

func digestOf(b []byte) message.Digest { return sha256.Sum256(b) }
