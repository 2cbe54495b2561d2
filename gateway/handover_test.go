package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"gatewayd/api"
	"gatewayd/message"
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
