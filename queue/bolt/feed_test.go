package bolt_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/queue/bolt"
	"gatewayd/queue/storetest"
)

// TestFeedDamage changes rows of the feed: neither Feed nor Events gives other
// events than those written, and Check finds each change.
func TestFeedDamage(t *testing.T) {
	tests := map[string]func(tx *bbolt.Tx) error{
		"row changed": func(tx *bbolt.Tx) error {
			k, v := bucketAt(tx, "days//feed").Cursor().First()
			v = append([]byte(nil), v...)
			v[len(v)-1] ^= 1
			return bucketAt(tx, "days//feed").Put(append([]byte(nil), k...), v)
		},
		"rows exchanged": func(tx *bbolt.Tx) error {
			c := bucketAt(tx, "days//feed").Cursor()
			k, _ := c.First()
			k = append([]byte(nil), k...)
			_, v := c.Next()
			return bucketAt(tx, "days//feed").Put(k, append([]byte(nil), v...))
		},
		"row lost": func(tx *bbolt.Tx) error {
			k, _ := bucketAt(tx, "days//feed").Cursor().First()
			return bucketAt(tx, "days//feed").Delete(append([]byte(nil), k...))
		},
		"way from the message lost": func(tx *bbolt.Tx) error {
			k, _ := tx.Bucket([]byte("stories")).Cursor().First()
			return tx.Bucket([]byte("stories")).Delete(append([]byte(nil), k...))
		},
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			filled(t, dir)
			change(t, filepath.Join(dir, "ledger.db"), damage)
			s, err := bolt.Open(options(t, dir))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var found []string
			if err := s.Check(context.Background(), func(p string) { found = append(found, p) }); err != nil {
				t.Fatal(err)
			}
			if len(found) == 0 || !strings.Contains(strings.Join(found, "\n"), "feed") && !strings.Contains(strings.Join(found, "\n"), "events") {
				t.Errorf("Check found %v", found)
			}
		})
	}
}

func change(t *testing.T, path string, fn func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(fn); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// TestFeedForgets: events whose log window is over are neither in the feed nor
// in the story of their message; those behind them are.
func TestFeedForgets(t *testing.T) {
	dir := t.TempDir()
	o := options(t, dir)
	s, err := bolt.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	a := storetest.Accepted(1, 1)
	late := message.Event{At: storetest.Now().AddDate(0, 0, 3), Kind: message.EventHandedOver, Authority: "bau", Message: a.Envelope.ID}
	a.Events = append(a.Events, late)
	if err := s.Index(ctx, []queue.Accepted{a}, nil); err != nil {
		t.Fatal(err)
	}
	if err := o.Keys.Destroy(seal.Log, storetest.LogDay(storetest.Now())); err != nil {
		t.Fatal(err)
	}
	feed, err := s.Feed(ctx, "bau", 0, 10)
	if err != nil || len(feed) != 1 || feed[0].Kind != late.Kind || feed[0].Seq != 3 {
		t.Errorf("Feed = %+v, %v, want the third event only", feed, err)
	}
	story, err := s.Events(ctx, a.Envelope.ID)
	if err != nil || len(story) != 1 {
		t.Errorf("Events = %+v, %v, want the third event only", story, err)
	}
	if err := s.Check(ctx, func(p string) { t.Errorf("Check: %s", p) }); err != nil {
		t.Error(err)
	}
}
