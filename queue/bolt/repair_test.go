package bolt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// TestRepairOfPages: a page full of noise, or two, costs what lay there, never
// the repair; and what the vault has still can be mended. Every page in use in
// turn with GATEWAYD_LONG, else every few.
func TestRepairOfPages(t *testing.T) {
	sound := t.TempDir()
	filled(t, sound)
	pages := used(t, filepath.Join(sound, "ledger.db"))
	step := max(1, len(pages)/12)
	if os.Getenv("GATEWAYD_LONG") != "" {
		step = 1
	}
	for i := 0; i < len(pages); i += step {
		for _, noise := range [][]int{{pages[i]}, {pages[i], pages[(i+len(pages)/2)%len(pages)]}} {
			t.Run(fmt.Sprint(noise), func(t *testing.T) { repairPages(t, sound, noise) })
		}
	}
}

// used lists the pages that hold rows.
func used(t *testing.T, path string) (pages []int) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		for i := 2; ; i++ {
			p, err := tx.Page(i)
			if p == nil || err != nil {
				return err
			}
			if p.Type == "leaf" || p.Type == "branch" {
				pages = append(pages, i)
			}
		}
	})
	if err != nil || len(pages) < 20 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	return pages
}

func repairPages(t *testing.T, sound string, noise []int) {
	dir, ctx := t.TempDir(), context.Background()
	if err := os.CopyFS(dir, os.DirFS(sound)); err != nil {
		t.Fatal(err)
	}
	o := bolt.Unsynced(options(t, dir))
	f, err := os.OpenFile(o.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range noise {
		if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, os.Getpagesize()), int64(page)*int64(os.Getpagesize())); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	rep, err := bolt.Repair(ctx, o, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, err := bolt.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	whole := func(when string) {
		if err := s.Check(ctx, func(p string) {
			if !strings.HasPrefix(p, "audit link") && !strings.HasPrefix(p, "events of") { // the chain cannot be mended, only told
				t.Errorf("%s: %s (lost: %q)", when, p, rep.Lost)
			}
		}); err != nil {
			t.Error(err)
		}
	}
	whole("repaired")
	items := 0
	for _, a := range all() {
		n, err := s.Mend(ctx, a)
		if err != nil {
			t.Fatal(err)
		}
		items += n
		if _, there, err := s.Message(ctx, a.Envelope.ID); err != nil || len(there) != len(a.Items) {
			t.Errorf("message %s: %d of %d items, %v", a.Envelope.ID, len(there), len(a.Items), err)
		}
	}
	if items+rep.Items != 102 {
		t.Errorf("%d items repaired and %d mended, want 102 together", rep.Items, items)
	}
	whole("mended")
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
