package gateway_test

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/api"
	"gatewayd/gateway"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/retention"
)

// file says what became of a message, over the API.
func (d *door) file(id, body string) (int, string) {
	d.t.Helper()
	status, _, text := d.ask("bau", http.MethodPost, "/v1/messages/"+id+"/handover", map[string]string{"Content-Type": "application/json"}, strings.NewReader(body))
	return status, text
}

// unfiled lists the ids that wait to be filed.
func (d *door) unfiled() map[string]api.Unfiled {
	d.t.Helper()
	all := map[string]api.Unfiled{}
	for after := ""; ; {
		var page api.UnfiledPage
		d.fetch("bau", "/v1/handovers?limit=1&after="+after, &page)
		for _, u := range page.Messages {
			all[u.ID] = u
		}
		if after = page.Next; after == "" {
			return all
		}
	}
}

// TestHandOver: an authority says once what became of a message; what it says
// stands on the item and in the log, and the message waits no more.
func TestHandOver(t *testing.T) {
	d, _ := filledDoor(t)
	inbound, err := d.inbound("wer@example.org", letter("Gesuch", "gesuch"), "bau@bl.example")
	if err != nil {
		t.Fatal(err)
	}
	d.becomes(inbound, message.Done)
	id := inbound.String()
	u, ok := d.unfiled()[id]
	if !ok || u.Open || u.Export.Sub(u.EraseBy) != -5*24*time.Hour || u.Filed != nil {
		t.Errorf("waits to be filed: %v %+v", ok, u)
	}
	for _, bad := range []string{``, `{}`, `{"reference":""}`, `{"reference":"Hans Muster"}`, `{"reference":"muster"}`, `{"reference":"a@b.ch1"}`, `{"reference":"BIT-1","disposition":"standing_agreement"}`, `{"reference":"BIT-1","sha256":"00"}`} {
		if status, text := d.file(id, bad); status < 400 || status >= 500 {
			t.Errorf("%s: %d %s", bad, status, text)
		}
	}
	if status, text := d.file(id, `{"reference":"BIT-2026-17","sha256":"`+strings.Repeat("0", 64)+`"}`); status != http.StatusUnprocessableEntity || !strings.Contains(text, "other octets") {
		t.Errorf("another content: %d %s", status, text)
	}
	if item := d.item(key(inbound, 1)); !item.Filed.IsZero() || !item.HandedOver.IsZero() {
		t.Errorf("something was recorded: %+v", item)
	}
	if status, text := d.file(id, `{"reference":"StABL-2026-9","disposition":"offered_archive"}`); status != http.StatusOK || strings.Contains(text, "handed_over\":\"2") {
		t.Errorf("offered: %d %s", status, text)
	}
	if u := d.unfiled()[id]; u.Filed == nil || u.Filed.Reference != "StABL-2026-9" {
		t.Errorf("offered only, and waits: %+v", u)
	}
	first := ""
	for _, ref := range []string{"BIT-2026-17", "BIT-2026-17", "anders-1"} {
		status, text := d.file(id, `{"reference":"`+ref+`","sha256":"`+strings.ToUpper(u.SHA256)+`"}`)
		if status != http.StatusOK || first != "" && text != first {
			t.Errorf("hand-over: %d %s, before %s", status, text, first)
		}
		first = text
		d.pass(time.Minute)
	}
	item := d.item(key(inbound, 1))
	if item.HandedOver.IsZero() || item.Filed.Disposition != message.HandedOverGEVER || item.Filed.Ref != "BIT-2026-17" || item.Filed.By == "" || !item.Filed.At.Equal(item.HandedOver) {
		t.Errorf("item: %+v", item)
	}
	if n := d.events(inbound, message.EventHandedOver); n != 2 {
		t.Errorf("%d events, want 2: offered, handed over", n)
	}
	if _, waits := d.unfiled()[id]; waits {
		t.Error("it still waits to be filed")
	}
	d.w.links["smtp"].fails(errLater)
	_, waiting := d.raw("bau", "", "later@example.org", letter("a", "later"))
	if status, text := d.file(waiting, `{"reference":"BIT-2026-18"}`); status != http.StatusConflict {
		t.Errorf("hand-over of what is on its way: %d %s", status, text)
	}
}

// TestReminders: an authority is told 14 and 7 days before the limit what nobody
// has filed, and at five that it was exported: once each, also over a restart, by
// mail and in its feed. What a standing agreement covers is filed by it, goes
// early, and is neither reminded of nor exported.
func TestReminders(t *testing.T) {
	w := newWorld(t)
	f := &office{start: w.now, over: true}
	f.terms = []retention.Agreement{{ID: "StABL-2026-7", Authorities: []string{"bau"}, Classes: []string{"registered"}, Directions: []string{"out"}}}
	f.fallback(t)
	f.open(t, w, filepath.Join(fastDir(t), "data"))
	f.run()
	t.Cleanup(func() { f.close() })
	in, sent := f.plant("inbound", "ungelesen"), f.plant("registered", "vereinbart")
	f.becomes(in.id, message.Done)
	f.becomes(sent.id, message.Handed)
	item := f.item(key(sent.id, 1))
	item.State = message.Done // its receipts have come
	if err := f.store.Apply(context.Background(), queue.Change{Items: []message.Item{item}}); err != nil {
		t.Fatal(err)
	}
	limit := retention.Default().EraseBy(f.start)
	for _, step := range []struct {
		before          int // days before the limit
		filed, reminded int
	}{{60, 0, 0}, {46, 1, 0}, {20, 0, 0}, {14, 0, 1}, {13, 0, 0}, {7, 0, 1}, {5, 0, 1}, {4, 0, 0}} {
		f.to(limit.AddDate(0, 0, -step.before))
		did := f.sweep()
		if again := f.sweep(); again.Reminded+again.Filed > 0 || did.Filed != step.filed || did.Reminded != step.reminded {
			t.Errorf("%d days before the limit: %+v, again %+v", step.before, did, again)
		}
		f.quiet()
		f.close()
		f.open(t, f.w, f.dir)
		f.run()
		if did := f.sweep(); did.Reminded+did.Filed > 0 {
			t.Errorf("after a restart: %+v", did)
		}
	}
	var told []string
	for _, n := range f.notes("bau") {
		if n.about.Message.IsZero() {
			told = append(told, n.text)
		}
	}
	if len(told) != 3 || !strings.Contains(told[0], in.id.String()) || strings.Contains(strings.Join(told, ""), sent.id.String()) || strings.Contains(strings.Join(told, ""), in.subject) {
		t.Errorf("%d reminders: %q", len(told), told)
	}
	feed, err := gateway.NewPrograms(f.g).Feed(context.Background(), "bau", 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]int{}
	for _, e := range feed {
		if e.Kind == message.EventUnfiled {
			said[e.Data["exported"]]++
		}
	}
	if said["false"] != 2 || said["true"] != 1 {
		t.Errorf("the feed says %v", said)
	}
	if got := f.item(key(sent.id, 1)); got.Filed.Disposition != message.StandingAgreement || got.Filed.Ref != "StABL-2026-7" || got.Erased.IsZero() {
		t.Errorf("filed by agreement: %+v", got)
	}
	if page, _, err := f.g.Unfiled(context.Background(), "bau", "", 100); err != nil || len(page) != 1 || page[0].ID != in.id || !page[0].Exported {
		t.Errorf("waits: %+v %v", page, err)
	}
}
