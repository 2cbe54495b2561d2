package gateway_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gatewayd/calendar"
	"gatewayd/message"
	"gatewayd/retention"
)

// TestBackupLog: a copy from before the end of the log window, restored behind it with
// the keys as they are now, gives no address and no line of the log back; with the keys
// of its own time it does, so that this test looks where it should.
func TestBackupLog(t *testing.T) {
	f := newOffice(t)
	f.run()
	p := f.plant("inbound", "protokoll")
	f.quiet()
	f.drained()
	f.close()
	backup, mirrored := filepath.Join(fastDir(t), "old"), filepath.Join(fastDir(t), "mirrored")
	copyTree(t, f.dir, backup)
	f.open(t, f.w, f.dir)
	logEnd := retention.Default().LogDay(p.at).End()
	for _, at := range []time.Time{f.w.time(), f.w.time().Add(25 * time.Hour), logEnd} {
		f.w.set(at)
		f.sweep()
	}
	copyTree(t, backup, mirrored)
	if err := os.RemoveAll(filepath.Join(mirrored, "keys")); err != nil {
		t.Fatal(err)
	}
	copyTree(t, filepath.Join(f.dir, "keys"), filepath.Join(mirrored, "keys"))
	f.shut()
	for dir, want := range map[string]bool{mirrored: false, backup: true} {
		o := &office{start: f.start, over: true, cert: f.cert}
		o.open(t, f.w, dir)
		told, lines := false, 0
		if s, err := o.g.Story(context.Background(), p.id); err == nil {
			told = s.Envelope.From.String() == p.address
		}
		err := o.audit.Each(context.Background(), calendar.Day{}, func(_ message.Link, e *message.Event) error {
			if e != nil && e.Message == p.id {
				lines++
			}
			return nil
		})
		if told != want || (lines > 0) != want || err != nil {
			t.Errorf("%s: the address is there: %v, lines of the log that open: %d, want %v (%v)", filepath.Base(dir), told, lines, want, err)
		}
		if err := errors.Join(o.bolt.Close(), o.vault.Close()); err != nil {
			t.Error(err)
		}
	}
}
