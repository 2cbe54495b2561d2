package gateway_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatewayd/api"
	"gatewayd/directory"
	"gatewayd/gateway"
	"gatewayd/message"
	"gatewayd/queue"
)

// door is the HTTP API in front of a rig, with a token of every right for each
// authority.
type door struct {
	*rig
	api     *api.HTTP
	server  *httptest.Server
	secrets map[string]string // authority → secret
	log     *lockedBuffer
}

func newDoor(t *testing.T, r *rig) *door {
	t.Helper()
	d := &door{rig: r, secrets: map[string]string{}, log: &lockedBuffer{}}
	var lines []string
	for _, authority := range []string{"bau", "steuer"} {
		secret, line, err := directory.NewToken(authority+"-app", authority, directory.Rights()...)
		if err != nil {
			t.Fatal(err)
		}
		d.secrets[authority] = secret
		lines = append(lines, line)
	}
	path := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, problems := directory.LoadTokens(path)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var err error
	d.api, err = api.NewHTTP(api.HTTPOptions{
		Hostname: "gateway.bl.example", Now: r.w.time, Rate: 1e6, Burst: 1e6, MaxSize: 1 << 20,
		CursorKey: func(a string) ([]byte, error) { return []byte("secret of " + a), nil },
		Log:       slog.New(slog.NewTextHandler(d.log, nil)),
	}, gateway.NewPrograms(r.g), tokens)
	if err != nil {
		t.Fatal(err)
	}
	d.server = httptest.NewServer(d.api)
	t.Cleanup(d.server.Close)
	return d
}

// ask sends one request of an authority's program.
func (d *door) ask(authority, method, path string, header map[string]string, body io.Reader) (int, http.Header, string) {
	d.t.Helper()
	req, err := http.NewRequest(method, d.server.URL+path, body)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+d.secrets[authority])
	req.Header.Set("Gatewayd-Purpose", "operation")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(text)
}

func (d *door) get(authority, path string) (int, http.Header, string) {
	d.t.Helper()
	return d.ask(authority, http.MethodGet, path, nil, nil)
}

// fetch reads a JSON answer.
func (d *door) fetch(authority, path string, into any) {
	d.t.Helper()
	status, _, text := d.get(authority, path)
	if status != http.StatusOK {
		d.t.Fatalf("GET %s: %d %s", path, status, text)
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		d.t.Fatalf("GET %s: %v", path, err)
	}
}

// raw sends a message that the client wrote.
func (d *door) raw(authority, idem, to, text string) (int, string) {
	d.t.Helper()
	header := map[string]string{"Content-Type": "message/rfc822", "Gatewayd-From": authority + "@bl.example", "Gatewayd-To": to}
	if idem != "" {
		header["Idempotency-Key"] = idem
	}
	status, _, answer := d.ask(authority, http.MethodPost, "/v1/messages", header, strings.NewReader(text))
	return status, idOf(answer, answer)
}

// idOf returns the id in an answer, or or.
func idOf(answer, or string) string {
	var a api.Accepted
	if json.Unmarshal([]byte(answer), &a) == nil && a.ID != "" {
		return a.ID
	}
	return or
}

// file is an attachment.
type file struct{ name, kind, text string }

// form sends a message that the gateway is to write.
func (d *door) form(authority, idem string, wish any, files ...file) (int, string) {
	d.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	text, err := json.Marshal(wish)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := w.WriteField("envelope", string(text)); err != nil {
		d.t.Fatal(err)
	}
	for _, f := range files {
		h := textproto.MIMEHeader{}
		h.Set("Content-Disposition", fmt.Sprintf(`form-data; name="attachment"; filename="%s"`, f.name))
		if f.kind != "" {
			h.Set("Content-Type", f.kind)
		}
		p, err := w.CreatePart(h)
		if err != nil {
			d.t.Fatal(err)
		}
		_, _ = io.WriteString(p, f.text)
	}
	w.Close()
	header := map[string]string{"Content-Type": w.FormDataContentType()}
	if idem != "" {
		header["Idempotency-Key"] = idem
	}
	status, _, answer := d.ask(authority, http.MethodPost, "/v1/messages", header, &body)
	return status, idOf(answer, answer)
}

func wish(authority string, to ...string) api.Wish {
	return api.Wish{From: authority + "@bl.example", To: to, Subject: "Baugesuch Müller", Text: "Guten Tag\nSiehe Anhang."}
}

// TestReadYourOwnWrite: right after 202 the message is there, although the
// ledger is far behind.
func TestReadYourOwnWrite(t *testing.T) {
	s := &waitingStore{}
	s.stuck.Store(true)
	d := newDoor(t, newRig(t, rigOptions{wrap: func(q queue.Store) queue.Store { s.Store = q; return s }}))
	status, id := d.raw("bau", "k1", "x@example.org", letter("Hallo", "a"))
	if status != http.StatusAccepted {
		t.Fatalf("POST: %d %s", status, id)
	}
	var m api.Message
	d.fetch("bau", "/v1/messages/"+id, &m)
	if m.ID != id || len(m.Recipients) != 1 || m.Recipients[0].To != "x@example.org" || len(m.Events) < 2 {
		t.Errorf("right after 202: %+v", m)
	}
	if status, other := d.raw("bau", "k1", "x@example.org", letter("Hallo", "a")); status != http.StatusOK || other != id {
		t.Errorf("again, from the tail: %d %s, want 200 %s", status, other, id)
	}
	if status, _ := d.raw("bau", "k1", "x@example.org", letter("Anders", "a")); status != http.StatusUnprocessableEntity {
		t.Errorf("other content, from the tail: %d", status)
	}
	if status, _, text := d.get("steuer", "/v1/messages/"+id); status != http.StatusNotFound {
		t.Errorf("another authority, from the tail: %d %s", status, text)
	}
	s.stuck.Store(false)
	parsed, _ := message.ParseID(id)
	d.becomes(parsed, message.Done)
	d.fetch("bau", "/v1/messages/"+id, &m)
	if m.Recipients[0].State != "done" || m.Events[len(m.Events)-1].Kind != "handed" {
		t.Errorf("at the end: %+v", m)
	}
}

// waitingStore does not index while it is stuck.
type waitingStore struct {
	queue.Store
	stuck flag
}

type flag struct {
	mu sync.Mutex
	on bool
}

func (f *flag) Store(on bool) { f.mu.Lock(); defer f.mu.Unlock(); f.on = on }
func (f *flag) Load() bool    { f.mu.Lock(); defer f.mu.Unlock(); return f.on }

func (s *waitingStore) Index(ctx context.Context, batch []queue.Accepted, marks map[uint64]int64) error {
	if s.stuck.Load() {
		return fmt.Errorf("stuck")
	}
	return s.Store.Index(ctx, batch, marks)
}

func (s *waitingStore) IndexAndLease(ctx context.Context, batch []queue.Accepted, marks map[uint64]int64, now time.Time, take func(message.Item) bool) ([]queue.Leased, error) {
	if s.stuck.Load() {
		return nil, fmt.Errorf("stuck")
	}
	return s.Store.IndexAndLease(ctx, batch, marks, now, take)
}

func TestIdempotency(t *testing.T) {
	d := newDoor(t, newRig(t, rigOptions{}))
	attachment := file{"plan.pdf", "application/pdf", strings.Repeat("%PDF", 5000)}
	if status, _ := d.form("bau", "form 1", wish("bau", "x@example.org"), attachment); status != http.StatusUnprocessableEntity {
		t.Errorf("a key with a space: %d", status)
	}
	status, first := d.form("bau", "form-1", wish("bau", "x@example.org"), attachment)
	if status != http.StatusAccepted {
		t.Fatalf("POST: %d %s", status, first)
	}
	id, _ := message.ParseID(first)
	d.becomes(id, message.Done)
	d.pass(time.Hour)
	other := wish("bau", "x@example.org")
	other.Subject = "Anders"
	to := wish("bau", "x@example.org", "y@example.org")
	class := wish("bau", "x@example.org")
	class.Class = "private"
	tests := map[string]struct {
		authority, key string
		wish           api.Wish
		file           file
		status         int
		same           bool
	}{
		"again":                  {"bau", "form-1", wish("bau", "x@example.org"), attachment, 200, true},
		"another subject":        {"bau", "form-1", other, attachment, 422, false},
		"another recipient":      {"bau", "form-1", to, attachment, 422, false},
		"another class":          {"bau", "form-1", class, attachment, 422, false},
		"another file name":      {"bau", "form-1", wish("bau", "x@example.org"), file{"plan2.pdf", "application/pdf", attachment.text}, 422, false},
		"another file":           {"bau", "form-1", wish("bau", "x@example.org"), file{"plan.pdf", "application/pdf", attachment.text + "x"}, 422, false},
		"another key":            {"bau", "form-2", wish("bau", "x@example.org"), attachment, 202, false},
		"no key":                 {"bau", "", wish("bau", "x@example.org"), attachment, 202, false},
		"the key of another one": {"steuer", "form-1", wish("steuer", "x@example.org"), attachment, 202, false},
	}
	for name, tt := range tests {
		status, got := d.form(tt.authority, tt.key, tt.wish, tt.file)
		if status != tt.status || (got == first) != tt.same {
			t.Errorf("%s: %d %s, want %d, the first id %v", name, status, got, tt.status, tt.same)
		}
	}
	if status, got := d.raw("bau", "form-1", "x@example.org", letter("a", "b")); status != http.StatusUnprocessableEntity {
		t.Errorf("the same key, raw: %d %s", status, got)
	}
	d2 := newDoor(t, d.again(rigOptions{}))
	if status, got := d2.form("bau", "form-1", wish("bau", "x@example.org"), attachment); status != http.StatusOK || got != first {
		t.Errorf("after a restart: %d %s, want 200 %s", status, got, first)
	}
	if n := len(d2.list(queue.Query{Authority: "bau"})); n != 3 {
		t.Errorf("%d messages, want 3", n)
	}
}

// TestIdempotencyInFlight: while the first is on its way, the second hears 409
// and nothing is stored twice.
func TestIdempotencyInFlight(t *testing.T) {
	d := newDoor(t, newRig(t, rigOptions{}))
	r, w := io.Pipe()
	done := make(chan int)
	text := letter("Hallo", "a")
	req, err := http.NewRequest(http.MethodPost, d.server.URL+"/v1/messages", r)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{
		"Authorization": "Bearer " + d.secrets["bau"], "Content-Type": "message/rfc822", "Gatewayd-From": "bau@bl.example", "Gatewayd-To": "x@example.org",
		"Idempotency-Key": "k", "Expect": "100-continue", // the first octet is read from the pipe only when the gateway asks for it
	} {
		req.Header.Set(k, v)
	}
	go func() {
		client := http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Hour}}
		res, err := client.Do(req)
		if err != nil {
			t.Error(err)
			done <- 0
			return
		}
		res.Body.Close()
		done <- res.StatusCode
	}()
	if _, err := io.WriteString(w, text[:20]); err != nil {
		t.Fatal(err)
	}
	if status, _ := d.raw("bau", "k", "x@example.org", text); status != http.StatusConflict {
		t.Errorf("while the first is being sent: %d", status)
	}
	_, _ = io.WriteString(w, text[20:])
	w.Close()
	if status := <-done; status != http.StatusAccepted {
		t.Errorf("the first: %d", status)
	}
	if status, _ := d.raw("bau", "k", "x@example.org", text); status != http.StatusOK {
		t.Errorf("the second, later: %d", status)
	}
}

// filledDoor has something of every kind for both authorities: a sent decision
// with a receipt, a received mail, a notice.
func filledDoor(t *testing.T) (*door, map[string]string) {
	t.Helper()
	edit, _ := sealing(t)
	d := newDoor(t, newRig(t, rigOptions{edit: edit}))
	own := map[string]string{}
	for _, a := range []string{"bau", "steuer"} {
		status, id := d.form(a, "first", wish(a, "x@example.org"), file{"a.txt", "text/plain", "geheim von " + a})
		if status != http.StatusAccepted {
			t.Fatalf("POST: %d %s", status, id)
		}
		parsed, _ := message.ParseID(id)
		d.becomes(parsed, message.Done)
		in, err := d.inbound("buerger@example.ch", strings.ReplaceAll(letter("Frage an "+a, "in-"+a), "bau@", "x@"), a+"@bl.example")
		if err != nil {
			t.Fatal(err)
		}
		d.becomes(in, message.Done)
		held := wish(a, "z@example.org")
		held.Class = "confidential"
		if status, id := d.form(a, "", held); status != http.StatusAccepted {
			t.Fatalf("POST: %d %s", status, id)
		}
		d.until("a notice", func() bool { return len(d.notes(a)) > 0 })
		doc := []byte("%PDF receipt for " + a)
		ref, err := d.vault.PutBlob(context.Background(), "log", "2027-05-24", doc)
		if err != nil {
			t.Fatal(err)
		}
		receipt := message.Receipt{
			ID: message.NewID(d.w.time()), Item: key(parsed, 1), Authority: a, Kind: message.Abgabequittung, Platform: "incamail", Received: d.w.time(),
			Verdict: message.Verified, Document: ref, Digest: digest(doc), FileName: "Abgabe\"quittung\r\n.pdf", MediaType: "application/pdf",
		}
		decision := d.item(key(parsed, 1))
		decision.Decision.Class = message.Registered // with a delivery case
		if err := d.store.Apply(context.Background(), queue.Change{Items: []message.Item{decision}, Receipts: []message.Receipt{receipt}}); err != nil {
			t.Fatal(err)
		}
		own[a] = id
	}
	return d, own
}

func digest(b []byte) message.Digest { return sha256.Sum256(b) }

func TestMailbox(t *testing.T) {
	d, own := filledDoor(t)
	count := map[string]int{}
	for _, direction := range []string{"", "in", "out", "notice"} {
		path := "/v1/mailboxes/bau/messages?limit=1"
		if direction != "" {
			path += "&direction=" + direction
		}
		var last string
		for page := path; ; {
			var got api.Messages
			d.fetch("bau", page, &got)
			for _, m := range got.Messages {
				count[direction]++
				if direction != "" && m.Direction != direction || m.ID <= last {
					t.Errorf("direction %q: %s %s behind %s", direction, m.Direction, m.ID, last)
				}
				last = m.ID
				if m.Subject != "" {
					t.Errorf("a subject that nobody asked for: %q", m.Subject)
				}
				if m.Direction == "in" {
					status, _, opened := d.get("bau", "/v1/mailboxes/bau/messages/"+m.ID+"?form=opened")
					if status != http.StatusOK || m.Protection == nil || m.Protection.Verdict != "unsigned" || !strings.HasPrefix(opened, "X-Gatewayd-Verdict: unsigned; ") {
						t.Errorf("%d %+v, opened %q", status, m.Protection, opened)
					}
				}
				if m.ID == own["bau"] && (len(m.Receipts) != 1 || m.Receipts[0].Verdict != "verified") {
					t.Errorf("receipts in the list: %+v", m.Receipts)
				}
			}
			if got.Next == "" {
				break
			}
			page = path + "&after=" + got.Next
		}
	}
	if count["in"] != 1 || count["out"] != 2 || count["notice"] != 1 || count[""] != 4 {
		t.Errorf("messages: %v", count)
	}
	var subjects api.Messages
	d.fetch("bau", "/v1/mailboxes/bau/messages?subjects=true", &subjects)
	if !slices.ContainsFunc(subjects.Messages, func(m api.Message) bool { return m.Subject == "Baugesuch Müller" }) {
		t.Errorf("subjects: %+v", subjects)
	}
	path := "/v1/mailboxes/bau/messages/" + own["bau"]
	status, header, text := d.get("bau", path)
	sent := d.w.links["smtp"].seen()
	if status != http.StatusOK || header.Get("Content-Type") != "message/rfc822" || len(sent) != 2 || text != sent[0].body {
		t.Errorf("the message: %d %v, %d octets, want what was sent", status, header, len(text))
	}
	if !strings.Contains(text, "Subject: Baugesuch =?UTF-8?Q?M=C3=BCller?=\r\n") || strings.Contains(text, "\n\n") {
		t.Errorf("the composed message:\n%s", text)
	}
	d.pass(70 * 24 * time.Hour)
	if status, _, text := d.get("bau", path); status != http.StatusGone {
		t.Errorf("past erase-by: %d %s", status, text)
	}
}

func TestReceiptDocument(t *testing.T) {
	d, own := filledDoor(t)
	var m api.Message
	d.fetch("bau", "/v1/messages/"+own["bau"], &m)
	if len(m.Receipts) != 1 {
		t.Fatalf("receipts: %+v", m.Receipts)
	}
	for _, path := range []string{m.Receipts[0].Document, "/v1/messages/" + own["bau"] + "/receipts/1"} {
		status, header, text := d.get("bau", path)
		if status != http.StatusOK || text != "%PDF receipt for bau" || header.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(header.Get("Content-Disposition"), "attachment") {
			t.Errorf("%s: %d %v %q", path, status, header, text)
		}
	}
	if status, _, _ := d.get("bau", "/v1/messages/"+own["bau"]+"/receipts/2"); status != http.StatusNotFound {
		t.Errorf("a receipt that is not there: %d", status)
	}
}

// TestEventFeed: every event of the authority, once, in order, from every
// cursor, in the same order as the audit log has them.
func TestEventFeed(t *testing.T) {
	d, own := filledDoor(t)
	read := func(authority, after string, limit int) []api.Event {
		var all []api.Event
		for {
			var page api.Events
			d.fetch(authority, fmt.Sprintf("/v1/events?limit=%d&after=%s", limit, after), &page)
			all = append(all, page.Events...)
			if after = page.Next; !page.More {
				return all
			}
		}
	}
	all := read("bau", "", 2)
	kinds := map[string]int{}
	for i, e := range all {
		kinds[e.Kind]++
		if rest := read("bau", e.ID, 100); len(rest) != len(all)-i-1 || len(rest) > 0 && rest[0].ID != all[i+1].ID {
			t.Errorf("behind event %d: %d events, want %d", i, len(rest), len(all)-i-1)
		}
	}
	if kinds["accepted"] != 3 || kinds["handed"] != 1 || kinds["held"] == 0 || kinds["mailbox"] == 0 || kinds["notice"] != 1 {
		t.Errorf("kinds: %v", kinds)
	}
	id, _ := message.ParseID(own["bau"])
	story, err := d.g.Story(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	var m api.Message
	d.fetch("bau", "/v1/messages/"+own["bau"], &m)
	if len(m.Events) != len(story.Events) {
		t.Errorf("the timeline has %d events, the audit log %d", len(m.Events), len(story.Events))
	}
	for i, e := range story.Events {
		if string(e.Kind) != m.Events[i].Kind || !e.At.Equal(m.Events[i].At) {
			t.Errorf("event %d: %+v, in the audit log %+v", i, m.Events[i], e)
		}
	}
	for _, bad := range []string{"x", read("steuer", "", 100)[0].ID, "AAAAAAAAAAAAAAAAAAAAAA"} {
		if status, _, text := d.get("bau", "/v1/events?after="+bad); status != http.StatusBadRequest {
			t.Errorf("cursor %q: %d %s", bad, status, text)
		}
	}
	began := time.Now()
	done := make(chan api.Events)
	go func() {
		var page api.Events
		d.fetch("bau", "/v1/events?wait=10&after="+all[len(all)-1].ID, &page)
		done <- page
	}()
	time.Sleep(50 * time.Millisecond)
	d.raw("bau", "", "new@example.org", letter("neu", "neu"))
	if page := <-done; len(page.Events) == 0 || page.Events[0].Kind != "accepted" || time.Since(began) > time.Minute {
		t.Errorf("long poll after %v: %+v", time.Since(began), page)
	}
}
