package api_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatewayd/api"
	"gatewayd/message"
)

var hookSecret = []byte("0123456789abcdef-planted-secret")

// receiver is an authority's program that gets posts.
type receiver struct {
	mu     sync.Mutex
	ids    []string // of events taken, in order
	keys   map[string]int
	posts  int
	answer func(post int) int // status; nil: 200
	bad    []string
}

// ServeHTTP implements http.Handler: it checks the signature as the
// documentation says.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.posts++
	body, _ := io.ReadAll(req.Body)
	t, mac, _ := strings.Cut(req.Header.Get("Gatewayd-Signature"), ",v1=")
	t = strings.TrimPrefix(t, "t=")
	m := hmac.New(sha256.New, hookSecret)
	fmt.Fprintf(m, "%s.%s", t, body)
	unix, err := strconv.ParseInt(t, 10, 64)
	if err != nil || time.Since(time.Unix(unix, 0)).Abs() > time.Minute || mac != hex.EncodeToString(m.Sum(nil)) {
		r.bad = append(r.bad, "signature "+req.Header.Get("Gatewayd-Signature"))
	}
	if r.keys == nil {
		r.keys = map[string]int{}
	}
	r.keys[req.Header.Get("Idempotency-Key")]++
	if r.answer != nil {
		if status := r.answer(r.posts); status != http.StatusOK {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(status)
			return
		}
	}
	var page api.Events
	if err := json.Unmarshal(body, &page); err != nil {
		r.bad = append(r.bad, err.Error())
	}
	for _, e := range page.Events {
		r.ids = append(r.ids, e.ID)
	}
}

func (r *receiver) got() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ids)
}

func hookOptions(dir, url string, log io.Writer) api.WebhookOptions {
	return api.WebhookOptions{
		Dir: dir, Hooks: []api.Hook{{Authority: "bau", URL: url, Secret: hookSecret}}, CursorKey: func(a string) ([]byte, error) { return []byte(a), nil },
		Poll: 5 * time.Millisecond, QuickWait: time.Millisecond, RetryFirst: 10 * time.Millisecond, RetryMax: 20 * time.Millisecond, Timeout: 2 * time.Second, Log: slog.New(slog.NewTextHandler(log, nil)),
	}
}

func happened(n int) []message.Event {
	var all []message.Event
	for i := range n {
		e := message.Event{Seq: uint64(i + 1), Kind: message.EventHanded, Authority: "bau"} //nolint:gosec // small
		if i%3 == 2 {
			e.Authority = "steuer"
		}
		all = append(all, e)
	}
	return all
}

// deliver runs webhooks until the receiver has n events.
func deliver(t *testing.T, o api.WebhookOptions, f *flow, r *receiver, n int) {
	t.Helper()
	hooks, err := api.NewWebhooks(o, f)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { hooks.Run(ctx); close(ended) }()
	for end := time.Now().Add(time.Minute); r.got() < n && time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
	}
	time.Sleep(20 * time.Millisecond) // what must not come
	stop()
	<-ended
	if got := r.got(); got != n {
		t.Errorf("%d events came, want %d", got, n)
	}
	if len(r.bad) > 0 {
		t.Errorf("bad posts: %q", r.bad)
	}
}

// TestWebhook: every event of the authority once and in order, over failures of
// the receiver and a restart; another authority's never.
func TestWebhook(t *testing.T) {
	r := &receiver{answer: func(post int) int {
		return []int{500, 429, 302, 503, 200, 200, 410, 200}[post%8]
	}}
	server := httptest.NewServer(r)
	defer server.Close()
	dir := filepath.Join(t.TempDir(), "hooks")
	var log bytes.Buffer
	f := &flow{events: happened(900)}
	deliver(t, hookOptions(dir, server.URL+"/planted-path", &log), f, r, 600)
	first := append([]string(nil), r.ids...)
	f.events = happened(1200)
	deliver(t, hookOptions(dir, server.URL+"/planted-path", &log), f, r, 800)
	seen := map[string]bool{}
	for i, id := range r.ids {
		if seen[id] || i < len(first) && id != first[i] {
			t.Fatalf("event %d came twice or out of order", i)
		}
		seen[id] = true
	}
	for key, n := range r.keys {
		if key == "" || n < 1 {
			t.Errorf("key %q: %d posts", key, n)
		}
	}
	if strings.Contains(log.String(), "planted") || strings.Contains(log.String(), server.URL) || !strings.Contains(log.String(), "authority=bau") {
		t.Errorf("the log:\n%s", log.String())
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("files: %v %v", left, err)
	}
}

// TestWebhookTLS: the receiver's certificate must be trusted.
func TestWebhookTLS(t *testing.T) {
	r := &receiver{}
	server := httptest.NewTLSServer(r)
	defer server.Close()
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	o := hookOptions(t.TempDir(), server.URL, io.Discard)
	if log := fails(t, o, &flow{events: happened(2)}, r); !strings.Contains(log, "not trusted") || strings.Contains(log, server.URL) {
		t.Errorf("the log: %s", log)
	}
	o.Roots = x509.NewCertPool()
	o.Roots.AddCert(server.Certificate())
	deliver(t, o, &flow{events: happened(2)}, r, 2)
}

// told is a log that says when something was written.
type told struct {
	bytes.Buffer
	first chan struct{}
	once  sync.Once
}

// Write implements io.Writer; slog calls it under its own lock.
func (l *told) Write(p []byte) (int, error) {
	defer l.once.Do(func() { close(l.first) })
	return l.Buffer.Write(p)
}

// fails runs webhooks until the first failure is logged and returns the log;
// nothing may come.
func fails(t *testing.T, o api.WebhookOptions, f *flow, r *receiver) string {
	t.Helper()
	log := &told{first: make(chan struct{})}
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	hooks, err := api.NewWebhooks(o, f)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	go func() { <-log.first; stop() }()
	hooks.Run(ctx)
	if r.posts > 0 {
		t.Errorf("%d posts came", r.posts)
	}
	return log.String()
}

func TestWebhookRefuses(t *testing.T) {
	for name, url := range map[string]string{
		"empty": "", "http to a name": "http://localhost/", "http elsewhere": "http://192.0.2.1/", "user": "https://u:planted@h.example/", "query": "https://h.example/?token=planted",
		"fragment": "https://h.example/#planted", "file": "file:///etc/planted", "opaque": "https:planted", "no host": "https:///planted", "not a URL": "https://h.example/%zz\x00planted", "ftp": "ftp://h.example/planted",
	} {
		_, err := api.NewWebhooks(hookOptions(t.TempDir(), url, io.Discard), &flow{})
		if err == nil || strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: %v", name, err)
		}
	}
	o := hookOptions(t.TempDir(), "https://h.example/", io.Discard)
	o.Hooks[0].Secret = []byte("short")
	if _, err := api.NewWebhooks(o, &flow{}); err == nil {
		t.Error("a short secret is no error")
	}
	o = hookOptions(t.TempDir(), "https://h.example/", io.Discard)
	o.Hooks = append(o.Hooks, o.Hooks[0])
	if _, err := api.NewWebhooks(o, &flow{}); err == nil {
		t.Error("two hooks of one authority are no error")
	}
	o = hookOptions(t.TempDir(), "https://h.example/", io.Discard)
	if err := os.WriteFile(filepath.Join(o.Dir, "bau.cursor"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := api.NewWebhooks(o, &flow{}); err == nil {
		t.Error("a broken cursor file is no error")
	}
	// A link-local address, where cloud machines keep their secrets, is never dialled.
	o = hookOptions(t.TempDir(), "https://169.254.169.254/", io.Discard)
	if log := fails(t, o, &flow{events: happened(1)}, &receiver{}); !strings.Contains(log, "not allowed") {
		t.Errorf("the log: %s", log)
	}
}
