package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"gatewayd/message"
)

// Hook is where an authority wants its events.
type Hook struct {
	Authority string
	URL       string // https; http only to a loopback address. No user, query or fragment: secrets do not belong into URLs
	Secret    []byte // of the signature; at least 16 octets, shared with the receiver
}

// WebhookOptions configures webhooks. Zero durations get the defaults named.
type WebhookOptions struct {
	Dir        string // of the cursor files; created if absent
	Hooks      []Hook // at most one for each authority
	CursorKey  func(authority string) ([]byte, error)
	Roots      *x509.CertPool // whom we trust; nil: the system's
	Poll       time.Duration  // how often we look for new events; 1 s
	Timeout    time.Duration  // of one try; 15 s
	QuickWait  time.Duration  // pause before a quick repetition, of which there are two; 200 ms
	RetryFirst time.Duration  // pause after the quick tries have failed; doubles; 5 s
	RetryMax   time.Duration  // longest pause; 15 min
	Log        *slog.Logger
}

// Webhooks posts every event to its authority, in order, again and again until
// the receiver answers 2xx. What was answered is written down before the next
// is sent, so that after a crash at most the last post is repeated; the ids of
// the events tell.
//
// A post has the form of a page of GET /v1/events, and the header
//
//	Gatewayd-Signature: t=<Unix time>,v1=<hex HMAC-SHA-256 of "<t>.<body>">
type Webhooks struct {
	o     WebhookOptions
	feed  Feeder
	hooks []*hook
}

type hook struct {
	Hook
	cursors *cursors
	file    string
	after   uint64
	client  *retryablehttp.Client
}

const (
	quickTries = 2   // repetitions at once, by the client
	perPost    = 100 // events
	minSecret  = 16  // octets
	maxReply   = 4 << 10
)

// NewWebhooks checks the hooks and reads their cursors. Nothing is sent yet.
func NewWebhooks(o WebhookOptions, f Feeder) (*Webhooks, error) {
	if o.CursorKey == nil || o.Log == nil || o.Dir == "" || f == nil {
		return nil, errors.New("webhooks: folder, cursor key, log and feed are needed")
	}
	o.Poll, o.Timeout = cmp.Or(o.Poll, time.Second), cmp.Or(o.Timeout, 15*time.Second)
	o.QuickWait = cmp.Or(o.QuickWait, 200*time.Millisecond)
	o.RetryFirst, o.RetryMax = cmp.Or(o.RetryFirst, 5*time.Second), cmp.Or(o.RetryMax, 15*time.Minute)
	w := &Webhooks{o: o, feed: f}
	seen := map[string]bool{}
	for _, h := range o.Hooks {
		if h.Authority == "" || seen[h.Authority] {
			return nil, fmt.Errorf("webhook of authority %q: exactly one for an authority", h.Authority)
		}
		seen[h.Authority] = true
		made, err := w.open(h)
		if err != nil {
			return nil, fmt.Errorf("webhook of authority %s: %w", h.Authority, err)
		}
		w.hooks = append(w.hooks, made)
	}
	return w, nil
}

func (w *Webhooks) open(h Hook) (*hook, error) {
	loopback, err := checkURL(h.URL)
	if err != nil {
		return nil, err
	}
	if len(h.Secret) < minSecret {
		return nil, fmt.Errorf("its secret needs at least %d octets", minSecret)
	}
	secret, err := w.o.CursorKey(h.Authority)
	if err != nil {
		return nil, err
	}
	c, err := newCursors(secret)
	if err != nil {
		return nil, err
	}
	made := &hook{Hook: h, cursors: c, file: cursorFile(w.o.Dir, h.Authority), client: w.client(loopback)}
	made.after, err = readCursor(made.file)
	return made, err
}

// checkURL accepts https, and http to a loopback address. Its errors never
// quote the URL.
func checkURL(s string) (loopback bool, err error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return false, errors.New("its URL cannot be read")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return false, errors.New("its URL must have neither user nor query nor fragment: secrets do not belong into URLs")
	case u.Scheme == "https":
		return false, nil
	case u.Scheme == "http":
		if ip := net.ParseIP(u.Hostname()); ip != nil && ip.IsLoopback() {
			return true, nil
		}
	}
	return false, errors.New("its URL must begin with https://")
}

var errPlace = errors.New("this address is not allowed")

// client never follows a redirect, uses no proxy from the environment and
// reaches no address that is none of a receiver.
func (w *Webhooks) client(loopback bool) *retryablehttp.Client {
	d := net.Dialer{Timeout: w.o.Timeout, Control: func(_, address string, _ syscall.RawConn) error {
		host, _, err := net.SplitHostPort(address)
		ip := net.ParseIP(host)
		if err != nil || ip == nil || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() || loopback && !ip.IsLoopback() {
			return errPlace
		}
		return nil
	}}
	c := retryablehttp.NewClient()
	c.Logger = nil // its own would print URLs
	c.RetryMax, c.RetryWaitMin, c.RetryWaitMax = quickTries, w.o.QuickWait, 2*w.o.QuickWait
	c.Backoff = retryablehttp.LinearJitterBackoff // does not obey a Retry-After of an hour
	c.CheckRetry = func(ctx context.Context, res *http.Response, err error) (bool, error) {
		if errors.Is(err, errPlace) {
			return false, nil
		}
		return retryablehttp.DefaultRetryPolicy(ctx, res, err)
	}
	c.ErrorHandler = retryablehttp.PassthroughErrorHandler
	c.HTTPClient = &http.Client{
		Timeout:       w.o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: d.DialContext, TLSClientConfig: &tls.Config{RootCAs: w.o.Roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 16 << 10, MaxConnsPerHost: 2, IdleConnTimeout: time.Minute,
		},
	}
	return c
}

// Run posts until ctx ends.
func (w *Webhooks) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, h := range w.hooks {
		all.Go(func() { w.follow(ctx, h) })
	}
	all.Wait()
}

func (w *Webhooks) follow(ctx context.Context, h *hook) {
	wait := w.o.RetryFirst
	for ctx.Err() == nil {
		switch sent, err := w.step(ctx, h); {
		case err != nil && ctx.Err() == nil:
			w.o.Log.Warn("webhook: will be tried again", "authority", h.Authority, "reason", err.Error(), "in", wait)
			pause(ctx, wait-wait/10+rand.N(wait/5+1)) //nolint:gosec // jitter
			wait = min(2*wait, w.o.RetryMax)
		case err == nil && sent:
			wait = w.o.RetryFirst
		case err == nil:
			pause(ctx, w.o.Poll)
		}
	}
}

// step posts what is new; false: nothing is. Its errors tell neither URL nor
// content.
func (w *Webhooks) step(ctx context.Context, h *hook) (sent bool, err error) {
	events, err := w.feed.Feed(ctx, h.Authority, h.after, perPost)
	if err != nil || len(events) == 0 {
		return false, err
	}
	if err := w.post(ctx, h, events); err != nil {
		return false, err
	}
	after := events[len(events)-1].Seq
	if err := writeCursor(h.file, after); err != nil {
		return false, fmt.Errorf("write webhook cursor: %w", err)
	}
	h.after = after
	return true, nil
}

func (w *Webhooks) post(ctx context.Context, h *hook, events []message.Event) error {
	page := Events{Next: h.cursors.write(events[len(events)-1].Seq)}
	for _, e := range events {
		page.Events = append(page.Events, event(e, h.cursors))
	}
	body, err := json.Marshal(page)
	if err != nil {
		return err
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, h.URL, body)
	if err != nil {
		return errors.New("the request cannot be made")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "gatewayd")
	req.Header.Set("Idempotency-Key", page.Events[0].ID+"."+page.Next)
	req.Header.Set("Gatewayd-Signature", sign(h.Secret, time.Now(), body))
	res, err := h.client.Do(req)
	if err != nil {
		return why(err)
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, maxReply) // so that the connection can be used again
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("the receiver answered %d", res.StatusCode)
	}
	return nil
}

// sign returns the value of Gatewayd-Signature. The time is signed, too, so that
// a receiver can refuse what is old.
func sign(secret []byte, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	m := hmac.New(sha256.New, secret)
	m.Write(bytes.Join([][]byte{[]byte(t), body}, []byte(".")))
	return "t=" + t + ",v1=" + hex.EncodeToString(m.Sum(nil))
}

// why names a failure without the URL that net/http writes into its errors.
func why(err error) error {
	var cert *tls.CertificateVerificationError
	var slow net.Error
	switch {
	case errors.Is(err, errPlace):
		return errPlace
	case errors.As(err, &cert):
		return errors.New("the receiver's certificate is not trusted")
	case errors.As(err, &slow) && slow.Timeout():
		return errors.New("the receiver does not answer in time")
	}
	return errors.New("no connection to the receiver")
}
