package gateway_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"gatewayd/crypto/seal"
	"gatewayd/gateway"
	"gatewayd/message"
	"gatewayd/queue/bolt"
	"gatewayd/retention"
)

// TestSalvage: rows of the ledger are damaged. After the repair the vault gives
// back what was lost; what may have left waits for a person, what came in is
// there, and the untouched goes on.
func TestSalvage(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	sent, _ := r.registered()
	normal := r.send("Auskunft", "a@example.net")
	r.becomes(normal, message.Done)
	in, err := r.inbound("wer@example.org", "Subject: Gesuch\r\n\r\nGesuch\r\n", "bau@bl.example")
	if err != nil {
		t.Fatal(err)
	}
	r.becomes(in, message.Done)
	untouched := r.send("[einschreiben] Entscheid", "firma@example.ch")
	r.heldTold(untouched)
	r.close()
	path := filepath.Join(r.dir, "ledger.db")
	harm(t, path, sent, in)
	ctx := context.Background()
	keys, err := seal.Open(filepath.Join(r.dir, "keys"), bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	rep, err := bolt.Repair(ctx, bolt.Options{
		Path: path, Keys: keys, Now: r.w.time, LogDay: func(at time.Time) string { return retention.Default().LogDay(at).String() },
	}, filepath.Join(r.dir, "corrupt"))
	if err != nil || len(rep.Lost) == 0 {
		t.Fatalf("repair: %+v, %v", rep, err)
	}
	r = openRig(t, r.w, r.dir, rigOptions{})
	if n, err := r.g.Salvage(ctx, r.store.(gateway.Mender)); err != nil || n != 2 {
		t.Errorf("salvaged %d items, %v, want 2", n, err)
	}
	if n, err := r.g.Salvage(ctx, r.store.(gateway.Mender)); err != nil || n != 0 {
		t.Errorf("salvaged %d more, %v", n, err)
	}
	r.run()
	t.Cleanup(r.close)
	r.becomes(in, message.Done)
	r.allHeld(2, sent)
	if item := r.item(key(normal, 1)); item.State != message.Done {
		t.Errorf("the untouched mail is %s", item.State)
	}
	if err := r.g.Drop(ctx, key(sent, 1), "die Plattform hat sie"); err != nil {
		t.Error(err)
	}
}

// harm flips a bit in the envelope of each message.
func harm(t *testing.T, path string, ids ...message.ID) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bbolt.Tx) error {
		days := tx.Bucket([]byte("days"))
		return days.ForEachBucket(func(day []byte) error {
			b := days.Bucket(day).Bucket([]byte("messages"))
			if b == nil {
				return nil
			}
			for _, id := range ids {
				v := bytes.Clone(b.Get(id[:]))
				v[len(v)-1] ^= 1
				if err := b.Put(id[:], v); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDamageIsTold: a stretch of the vault that does not read at start is set
// aside, and stands in the audit log.
func TestDamageIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	for range 3 {
		r.becomes(r.send("Auskunft", "a@example.net"), message.Done)
	}
	r.close()
	segments, err := filepath.Glob(filepath.Join(r.dir, "vault", "2027-01-*", "*.seg"))
	var segment string
	var text []byte
	for _, path := range segments { // where syncs are slow there are several
		some, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(some) > len(text) {
			segment, text = path, some
		}
	}
	if err != nil || len(text) == 0 {
		t.Fatalf("segments %v, %v", segments, err)
	}
	text = text[:len(text)-1] // not closed in order: the start reads it through
	text[len(text)/2] ^= 1
	if err := os.WriteFile(segment, text, 0o600); err != nil {
		t.Fatal(err)
	}
	r = newRigAt(t, r.w, r.dir, rigOptions{})
	r.damaged = true
	if rep := r.vault.Recovered(); len(rep.Damaged) != 1 {
		t.Fatalf("recovered %+v", rep)
	}
	told := 0
	events, err := r.store.Feed(context.Background(), "", 0, 1000)
	for _, e := range events {
		if e.Kind == message.EventDamaged && e.Data["file"] != "" {
			told++
		}
	}
	if err != nil || told != 1 {
		t.Errorf("%d damaged events, %v", told, err)
	}
}
