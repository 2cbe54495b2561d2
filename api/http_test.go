package api_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatewayd/api"
	"gatewayd/crypto/entity"
	"gatewayd/directory"
	"gatewayd/evidence"
	"gatewayd/legal"
	"gatewayd/message"
	"gatewayd/queue"
)

// flow is a Service that keeps what it is given.
type flow struct {
	mu     sync.Mutex
	got    []message.Submission
	texts  []string
	err    error
	events []message.Event
	said   []string // about cases
	reads  []string // that were noted
	mute   error    // cannot note
}

func (f *flow) Acts(token, authority string) []directory.Right {
	if token == "all" && authority == "steuer" {
		return []directory.Right{directory.RightSend, directory.RightRead}
	}
	return nil
}

func (f *flow) Owns(authority string, from message.Address) bool {
	return from.Domain == authority+".example"
}

func (f *flow) Submit(_ context.Context, s message.Submission, content func(message.ID) io.ReadCloser) (message.ID, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := message.NewID(time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC))
	body := content(id)
	defer body.Close()
	text, err := io.ReadAll(body)
	if err == nil {
		err = f.err
	}
	if err != nil {
		return message.ID{}, false, err
	}
	f.got, f.texts = append(f.got, s), append(f.texts, string(text))
	return id, false, nil
}

func (f *flow) Story(context.Context, string, message.ID) (message.Story, error) {
	return message.Story{}, f.err
}

func (f *flow) Mailbox(context.Context, string, message.Direction, string, int) ([]message.Story, string, error) {
	return nil, "", f.err
}

func (f *flow) Body(context.Context, string, message.ID) (message.Envelope, io.ReadCloser, error) {
	return message.Envelope{}, io.NopCloser(strings.NewReader("")), f.err
}

func (f *flow) Delivered(context.Context, string, message.ID) (interface {
	io.WriterTo
	io.Closer
}, error,
) {
	return struct {
		io.WriterTo
		io.Closer
	}{strings.NewReader("opened"), io.NopCloser(nil)}, f.err
}

func (f *flow) DeliveredWithOriginal(ctx context.Context, authority string, id message.ID) (interface {
	io.WriterTo
	io.Closer
}, error,
) {
	return f.Delivered(ctx, authority, id)
}

func (f *flow) Subjects(context.Context, []message.Story) {}

func (f *flow) Contents(context.Context, string, message.ID) (entity.Contents, error) {
	return entity.Contents{}, f.err
}

func (f *flow) Document(context.Context, string, message.ID, string) (message.Receipt, []byte, error) {
	return message.Receipt{FileName: "a\r\nX: y\";b.pdf", MediaType: "text/html\r\nX: y"}, []byte("doc"), f.err
}

func (f *flow) HandOver(_ context.Context, authority string, id message.ID, said message.Filing) (message.Filing, error) {
	f.said = append(f.said, fmt.Sprintln(authority, id, said.Disposition, said.Ref, said.SHA256, said.By))
	return said, f.err
}

func (f *flow) Unfiled(_ context.Context, authority, after string, limit int) ([]message.Unfiled, string, error) {
	f.said = append(f.said, fmt.Sprintln(authority, after, limit))
	return []message.Unfiled{{Class: message.Normal}}, "more", f.err
}

func (f *flow) Cases(context.Context, string, message.ID) ([]legal.Case, error) {
	return []legal.Case{{Item: message.ItemKey{N: 1}, State: legal.NotServed}}, f.err
}

func (f *flow) Evidence(_ context.Context, authority string, key message.ItemKey, r message.Reading) (*evidence.Bundle, error) {
	f.said = append(f.said, fmt.Sprintln(authority, key.N, r.By, r.Purpose))
	return nil, cmp.Or(f.err, evidence.ErrNoSeal)
}

func (f *flow) Person(_ context.Context, authority string, r message.Reading, a message.Address) ([]byte, error) {
	f.said = append(f.said, fmt.Sprintln("person", authority, r.By, r.Purpose, a))
	return []byte("{}\n"), f.err
}

func (f *flow) CloseTask(_ context.Context, authority string, key message.ItemKey, code, reason, by string) error {
	f.said = append(f.said, fmt.Sprintln(authority, key.N, code, reason, by))
	return f.err
}

func (f *flow) SayExpected(_ context.Context, authority string, key message.ItemKey, a legal.Answer, reason, by string) error {
	f.said = append(f.said, fmt.Sprintln(authority, key.N, a, reason, by))
	return f.err
}

func (f *flow) NoteRead(_ context.Context, r message.Reading, authority, door, asked string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads = append(f.reads, fmt.Sprintf("%s %s %s %s %s", r.By, r.Purpose, authority, door, asked))
	return f.mute
}

func (f *flow) Feed(_ context.Context, authority string, after uint64, limit int) ([]message.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []message.Event
	for _, e := range f.events {
		if e.Authority == authority && e.Seq > after && len(all) < limit {
			all = append(all, e)
		}
	}
	return all, f.err
}

// door is the API on a test server.
type door struct {
	t       testing.TB
	flow    *flow
	handler http.Handler
	server  *httptest.Server // nil: the handler is called without a network
	log     *bytes.Buffer
	secrets map[string]string // right → secret
	now     time.Time
}

func newDoor(t testing.TB, edit func(*api.HTTPOptions)) *door {
	t.Helper()
	d := &door{t: t, flow: &flow{}, log: &bytes.Buffer{}, secrets: map[string]string{}, now: time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)}
	var lines []string
	for name, rights := range map[string][]directory.Right{"all": directory.Rights(), "send": {directory.RightSend}, "read": {directory.RightRead}, "handover": {directory.RightHandover}} {
		secret, line, err := directory.NewToken(name, "bau", rights...)
		if err != nil {
			t.Fatal(err)
		}
		d.secrets[name] = secret
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
	o := api.HTTPOptions{
		Hostname: "gateway.example", MaxSize: 1 << 20, Now: func() time.Time { return d.now }, Rate: 1e6, Burst: 1e6,
		CursorKey: func(a string) ([]byte, error) { return []byte(a), nil }, Log: slog.New(slog.NewTextHandler(d.log, nil)),
	}
	if edit != nil {
		edit(&o)
	}
	h, err := api.NewHTTP(o, d.flow, tokens)
	if err != nil {
		t.Fatal(err)
	}
	d.handler = h
	if _, fuzzes := t.(*testing.F); !fuzzes { // thousands of connections a second would use up all ports
		d.server = httptest.NewServer(h)
		t.Cleanup(d.server.Close)
	}
	return d
}

// do sends a request over the network or to the handler itself.
func (d *door) do(req *http.Request) (*http.Response, error) {
	if d.server == nil {
		w := httptest.NewRecorder()
		d.handler.ServeHTTP(w, req)
		return w.Result(), nil
	}
	return http.DefaultClient.Do(req)
}

func (d *door) url() string {
	if d.server == nil {
		return "http://gateway.example"
	}
	return d.server.URL
}

// ask sends a request; header pairs follow the body.
func (d *door) ask(token, method, path, body string, header ...string) (int, http.Header, string) {
	d.t.Helper()
	req, err := http.NewRequest(method, d.url()+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+d.secrets[token])
	}
	req.Header.Set("Gatewayd-Purpose", "operation")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1]) // empty: as if it were not there
	}
	res, err := d.do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	if res.StatusCode >= 400 {
		var p struct{ Status int }
		if err := json.Unmarshal(text, &p); err != nil || p.Status != res.StatusCode || res.Header.Get("Content-Type") != "application/problem+json" {
			d.t.Errorf("%s %s: %d is no problem+json: %s %s", method, path, res.StatusCode, res.Header.Get("Content-Type"), text)
		}
	}
	return res.StatusCode, res.Header, string(text)
}

const (
	someID  = "06h0gzfcg1vgw0pr624bez8wnm"
	someRaw = "From: a@bau.example\r\nSubject: x\r\n\r\nText\r\n"
)

func TestRights(t *testing.T) {
	d := newDoor(t, nil)
	tests := []struct{ right, method, path string }{
		{"send", "POST", "/v1/messages"},
		{"read", "GET", "/v1/messages/" + someID},
		{"read", "GET", "/v1/messages/" + someID + "/receipts/1"},
		{"read", "GET", "/v1/mailboxes/bau/messages"},
		{"read", "GET", "/v1/mailboxes/bau/messages/" + someID},
		{"read", "GET", "/v1/events"},
		{"handover", "POST", "/v1/messages/" + someID + "/handover"},
		{"handover", "GET", "/v1/handovers"},
	}
	for _, tt := range tests {
		for _, token := range []string{"send", "read", "handover", "all"} {
			status, _, text := d.ask(token, tt.method, tt.path, "")
			if may := token == tt.right || token == "all"; (status == http.StatusForbidden) == may {
				t.Errorf("%s %s with the right %s: %d %s", tt.method, tt.path, token, status, text)
			}
		}
		for _, wrong := range []string{"", "Bearer", "Bearer ", "Bearer gwd_x", "Basic " + d.secrets["all"], d.secrets["all"]} {
			status, header, _ := d.ask("", tt.method, tt.path, "", "Authorization", wrong)
			if status != http.StatusUnauthorized || header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s with %q: %d", tt.method, tt.path, wrong, status)
			}
		}
	}
	if len(d.flow.got) > 0 {
		t.Error("something was accepted")
	}
}

func TestPathsAndMethods(t *testing.T) {
	d := newDoor(t, nil)
	tests := []struct {
		method, path string
		want         int
	}{
		{"GET", "/", 404},
		{"GET", "/v1", 404},
		{"GET", "/v1/messages", 405},
		{"PUT", "/v1/messages/" + someID, 405},
		{"DELETE", "/v1/events", 405},
		{"GET", "/v1/messages/xyz", 404},
		{"GET", "/v1/messages/" + strings.Repeat("a", 100), 422},
		{"GET", "/v1/mailboxes/steuer/messages", 404},
		{"GET", "/v1/mailboxes/bau/messages?limit=0", 422},
		{"GET", "/v1/mailboxes/bau/messages?limit=501", 422},
		{"GET", "/v1/mailboxes/bau/messages?direction=up", 422},
		{"GET", "/v1/mailboxes/bau/messages?what=1", 422},
		{"GET", "/v1/events?limit=x", 422},
		{"GET", "/v1/events?wait=31", 422},
		{"GET", "/v1/events?after=" + strings.Repeat("A", 22), 400},
		{"GET", "/openapi.json", 200},
		{"GET", "/docs", 404},
		{"GET", "/schemas/Message.json", 404},
	}
	for _, tt := range tests {
		if status, _, text := d.ask("all", tt.method, tt.path, ""); status != tt.want {
			t.Errorf("%s %s: %d %s, want %d", tt.method, tt.path, status, text, tt.want)
		}
	}
}

func TestErrors(t *testing.T) {
	d := newDoor(t, nil)
	tests := map[string]struct {
		err  error
		want int
	}{
		"refusal":         {&message.Refusal{Code: 550, Enhanced: "5.7.1", Text: "no"}, 422},
		"temporary":       {&message.Refusal{Code: 452, Enhanced: "4.3.1", Text: "later"}, 503},
		"too large":       {&message.Refusal{Code: 552, Enhanced: "5.3.4", Text: "large"}, 413},
		"not found":       {fmt.Errorf("x: %w", queue.ErrNotFound), 404},
		"in flight":       {queue.ErrKeyInFlight, 409},
		"reused":          {queue.ErrKeyReused, 422},
		"conflict":        {fmt.Errorf("x: %w", queue.ErrConflict), 409},
		"anything":        {errors.New("a secret detail"), 503},
		"client gone":     {context.Canceled, 400},
		"cut":             {io.ErrUnexpectedEOF, 400},
		"too slow":        {os.ErrDeadlineExceeded, 408},
		"cursor":          {queue.ErrMalformed, 400},
		"ledger is full":  {queue.ErrFull, 503},
		"ledger is ended": {queue.ErrClosed, 503},
	}
	for name, tt := range tests {
		d.flow.err = tt.err
		status, _, text := d.ask("all", "POST", "/v1/messages", someRaw, "Content-Type", "message/rfc822", "Gatewayd-From", "a@bau.example", "Gatewayd-To", "x@example.org")
		if status != tt.want || strings.Contains(text, "secret") {
			t.Errorf("%s: %d %s, want %d", name, status, text, tt.want)
		}
	}
}

func TestDocument(t *testing.T) {
	d := newDoor(t, nil)
	_, header, text := d.ask("all", "GET", "/v1/messages/"+someID+"/receipts/1", "")
	if text != "doc" || header.Get("X") != "" || header.Get("Content-Type") != "application/octet-stream" || header.Get("X-Content-Type-Options") != "nosniff" ||
		!strings.HasPrefix(header.Get("Content-Disposition"), "attachment; filename=") {
		t.Errorf("%q %v", text, header)
	}
}

func TestRate(t *testing.T) {
	d := newDoor(t, func(o *api.HTTPOptions) { o.Rate, o.Burst = 0.5, 3 })
	ask := func(token string) (int, string) {
		status, header, _ := d.ask(token, "GET", "/v1/events", "")
		return status, header.Get("Retry-After")
	}
	for range 3 {
		if status, _ := ask("read"); status != http.StatusOK {
			t.Fatalf("within the burst: %d", status)
		}
	}
	if status, after := ask("read"); status != http.StatusTooManyRequests || after != "2" {
		t.Errorf("above: %d, Retry-After %q", status, after)
	}
	if status, _ := ask("all"); status != http.StatusOK {
		t.Errorf("another token: %d", status)
	}
	d.now = d.now.Add(2 * time.Second)
	if status, _ := ask("read"); status != http.StatusOK {
		t.Errorf("after the pause: %d", status)
	}
	d.now = d.now.Add(-time.Hour)
	if status, _ := ask("read"); status != http.StatusTooManyRequests {
		t.Errorf("the clock went back: %d", status)
	}
}

// TestLogIsSilent sends what must never stand in a log.
func TestLogIsSilent(t *testing.T) {
	d := newDoor(t, nil)
	d.ask("all", "POST", "/v1/messages?from=planted-from@bau.example&to=planted-to@example.org", "Subject: planted-subject\r\n\r\nplanted-body\r\n", "Content-Type", "message/rfc822", "Idempotency-Key", "planted-key")
	d.ask("all", "GET", "/v1/events?after=planted-cursor", "")
	d.ask("", "GET", "/planted-path?planted-query", "", "Authorization", "Bearer planted-secret", "Cookie", "planted-cookie")
	d.ask("all", "PLANTED-METHOD", "/v1/events", "")
	d.ask("all", "POST", "/v1/messages?from=planted%0A@bau.example", "", "Content-Type", "message/rfc822")
	if log := d.log.String(); strings.Contains(strings.ToLower(log), "planted") || strings.Contains(log, d.secrets["all"]) || !strings.Contains(log, "token=all") {
		t.Errorf("the log:\n%s", log)
	}
}

// TestSlowClient: who sends nothing is cut off; nothing is accepted.
func TestSlowClient(t *testing.T) {
	d := newDoor(t, func(o *api.HTTPOptions) { o.ReadWait = 200 * time.Millisecond })
	c, err := net.Dial("tcp", strings.TrimPrefix(d.server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began := time.Now()
	fmt.Fprintf(c, "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: message/rfc822\r\nGatewayd-From: a@bau.example\r\nGatewayd-To: x@example.org\r\nContent-Length: 1000\r\n\r\nSubject: x\r\n", d.secrets["send"])
	answer, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 408") || time.Since(began) > time.Minute {
		t.Errorf("after %v: %v %s", time.Since(began), err, answer)
	}
	if len(d.flow.got) > 0 {
		t.Error("accepted")
	}
}

func TestNewHTTPNeeds(t *testing.T) {
	if _, err := api.NewHTTP(api.HTTPOptions{}, nil, nil); err == nil {
		t.Error("nothing is wired, and that is no error")
	}
}

// TestServe: the server ends when it is told, after what is open.
func TestServe(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	file, problems := directory.LoadTokens(tokens)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	h, err := api.NewHTTP(api.HTTPOptions{Hostname: "x", Now: time.Now, Log: slog.New(slog.DiscardHandler), CursorKey: func(string) ([]byte, error) { return nil, nil }}, &flow{}, file)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- h.Serve(ctx, func(s *http.Server) error { return s.Serve(l) }) }()
	res, err := http.Get("http://" + l.Addr().String() + "/openapi.json")
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%v %v", res, err)
	}
	res.Body.Close()
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
