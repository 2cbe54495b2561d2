package bolt_test

import (
	"bytes"
	"context"
	"errors"
	"os"
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

// TestRepair: whatever row is damaged, the repaired ledger is sound and has
// every message that was not touched; the old file is kept.
func TestRepair(t *testing.T) {
	for name, change := range damages() {
		t.Run(name, func(t *testing.T) {
			dir, corrupt := t.TempDir(), t.TempDir()
			filled(t, dir)
			damage(t, dir, change)
			o := options(t, dir)
			rep, err := bolt.Repair(context.Background(), bolt.Unsynced(o), corrupt)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range rep.Lost {
				if strings.Contains(line, "example") || strings.Contains(line, "BL-") {
					t.Errorf("the report names somebody: %s", line)
				}
			}
			if _, err := os.Stat(rep.Old); err != nil || filepath.Dir(rep.Old) != corrupt {
				t.Errorf("the old file: %v", err)
			}
			s, err := bolt.Open(o)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if name != "last link gone" && name != "link removed" { // the chain cannot be mended, only told
				checked(t, s)
			}
			there := 0
			for i := range uint64(51) {
				a := storetest.Accepted(i+1, 2)
				if i == 0 {
					a = storetest.Registered(1, 2)
				}
				switch _, items, err := s.Message(context.Background(), a.Envelope.ID); {
				case err == nil:
					there++
					if len(items) == 0 {
						t.Errorf("message %d has no items", i)
					}
				case !errors.Is(err, queue.ErrNotFound):
					t.Errorf("message %d: %v", i, err)
				}
			}
			// One damaged row concerns one message; a decision, all that share it.
			if want := 50; there < want && !strings.HasPrefix(name, "decision") {
				t.Errorf("%d of 51 messages are there, lost: %q", there, rep.Lost)
			}
			if there != rep.Messages {
				t.Errorf("%d messages, reported are %d", there, rep.Messages)
			}
			leased, err := s.Lease(context.Background(), storetest.Now().AddDate(1, 0, 0), 1000, nil)
			if err != nil || len(leased) != rep.Items {
				t.Errorf("%d of %d items can be leased: %v", len(leased), rep.Items, err)
			}
		})
	}
}

// TestRepairOfPages: pages full of noise end what they hold, never the repair.
func TestRepairOfPages(t *testing.T) {
	for page := range int64(12) {
		dir, corrupt := t.TempDir(), t.TempDir()
		filled(t, dir)
		o := options(t, dir)
		f, err := os.OpenFile(o.Path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, 4096), (page+2)*4096); err != nil {
			t.Fatal(err)
		}
		f.Close()
		rep, err := bolt.Repair(context.Background(), bolt.Unsynced(o), corrupt)
		if err != nil {
			if _, statErr := os.Stat(o.Path); statErr != nil {
				t.Errorf("page %d: the repair failed (%v) and the file is gone", page+2, err)
			}
			continue
		}
		s, err := bolt.Open(o)
		if err != nil {
			t.Errorf("page %d: %v", page+2, err)
			continue
		}
		if err := s.Check(context.Background(), func(p string) {
			if !strings.HasPrefix(p, "audit link") && !strings.HasPrefix(p, "events of") {
				t.Errorf("page %d: %s (lost: %q)", page+2, p, rep.Lost)
			}
		}); err != nil {
			t.Error(err)
		}
		s.Close()
	}
}

// TestRepairKeepsEndedWindows: what only its destroyed key keeps shut stays until
// it is purged.
func TestRepairKeepsEndedWindows(t *testing.T) {
	dir := t.TempDir()
	a := filled(t, dir)
	o := options(t, dir)
	if err := o.Keys.Destroy(seal.Log, a.Envelope.LogDay); err != nil {
		t.Fatal(err)
	}
	rep, err := bolt.Repair(context.Background(), bolt.Unsynced(o), t.TempDir())
	if err != nil || rep.Messages != 51 || rep.Items != 102 || len(rep.Lost) > 0 {
		t.Errorf("%+v, %v", rep, err)
	}
	s, err := bolt.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if n, err := s.Counts(context.Background()); err != nil || n[message.Waiting] != 102 {
		t.Errorf("counts %v, %v", n, err)
	}
	if err := s.Purge(context.Background(), a.Envelope.LogDay); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Counts(context.Background()); err != nil || len(n) != 0 {
		t.Errorf("after the purge: %v, %v", n, err)
	}
}

// TestRepairNeedsTheFileAlone: not under a running gateway.
func TestRepairNeedsTheFileAlone(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir)
	db, err := bbolt.Open(filepath.Join(dir, "ledger.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := bolt.Repair(context.Background(), options(t, dir), t.TempDir()); err == nil {
		t.Error("repaired an open ledger")
	}
}
