package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"gatewayd/directory"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/vault"
)

// ServeHTTP implements http.Handler: who asks, how often, then the route.
func (h *HTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := h.o.Now()
	conn := http.NewResponseController(w)
	out := &answer{ResponseWriter: w, conn: conn, wait: h.o.ReadWait, unread: r.ContentLength != 0}
	_ = conn.EnableFullDuplex() // a refusal goes out at once, not behind a body that may never come
	_ = conn.SetReadDeadline(time.Now().Add(h.o.ReadWait))
	out.Header().Set("X-Content-Type-Options", "nosniff")
	out.Header().Set("Cache-Control", "no-store")
	body := r.Body
	token, known := h.tokens.Check(bearer(r))
	own := token.Authority
	acts := known && h.actsFor(&token, r)
	switch wait, ok := time.Duration(0), true; {
	case r.URL.Path == documentPath:
		h.route(out, r)
	case !known:
		out.Header().Set("WWW-Authenticate", `Bearer realm="gatewayd"`)
		writeProblem(out, problem{Title: "not signed in", Status: http.StatusUnauthorized, Detail: "send Authorization: Bearer with a token of this gateway"})
	default:
		if wait, ok = h.rates.take(token.Name, began); !ok {
			out.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
			writeProblem(out, problem{Title: "too many requests", Status: http.StatusTooManyRequests, Detail: "this token asks more often than it may; try again after Retry-After seconds"})
			break
		}
		if !acts {
			writeProblem(out, problem{Title: "not a delegate", Status: http.StatusForbidden, Detail: "this token may not act for that authority today; leave " + actsHeader + " away to act for its own"})
			break
		}
		if err := h.noteReading(r.Context(), r, token); err != nil {
			var p problem
			errors.As(h.failed(err), &p)
			writeProblem(out, p)
			break
		}
		r.Body = http.MaxBytesReader(w, slow{r.Body, conn, h.o.ReadWait}, h.o.MaxSize)
		h.route(out, r.WithContext(context.WithValue(r.Context(), caller{}, token)))
	}
	out.rest(body)
	h.o.Log.Info("api", "method", methodName(r.Method), "route", r.Pattern, "status", out.status, "token", token.Name, "authority", own, "acts_for", token.Authority, "octets", out.octets, "took", h.o.Now().Sub(began))
}

// actsHeader names the authority for which a delegate acts in one request.
const actsHeader = "Gatewayd-Authority"

// actsFor makes of a token the one of a delegate, if the request asks for that:
// it has the rights that the other authority gave it and that it has itself.
func (h *HTTP) actsFor(token *directory.Token, r *http.Request) bool {
	names := r.Header.Values(actsHeader)
	if len(names) == 0 || len(names) == 1 && names[0] == token.Authority {
		return true
	}
	given := h.service.Acts(token.Name, names[0])
	if len(names) > 1 || len(given) == 0 {
		return false
	}
	token.Authority, token.Delegate = names[0], true
	token.Rights = slices.DeleteFunc(slices.Clone(token.Rights), func(own directory.Right) bool { return !slices.Contains(given, own) })
	return true
}

// methodName keeps a stranger's text out of the log.
func methodName(method string) string {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodHead, http.MethodPut, http.MethodDelete:
		return method
	}
	return "other"
}

// route calls the route; what the mux itself answers becomes a problem, too.
func (h *HTTP) route(w http.ResponseWriter, r *http.Request) {
	handler, pattern := h.mux.Handler(r)
	if pattern != "" {
		h.mux.ServeHTTP(w, r)
		return
	}
	refused := &answer{ResponseWriter: silent{http.Header{}}}
	handler.ServeHTTP(refused, r)
	if allow := refused.Header().Get("Allow"); allow != "" && refused.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", allow)
		writeProblem(w, problem{Title: "method not allowed", Status: refused.status})
		return
	}
	writeProblem(w, notFound())
}

// bearer returns the secret of a request, or "".
func bearer(r *http.Request) string {
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(secret)
}

// answer counts what is answered, and gives a slow reader time for each piece,
// not for the whole. After a refusal it does not wait for the rest of the body.
type answer struct {
	http.ResponseWriter
	conn   *http.ResponseController // nil: nobody is there
	wait   time.Duration
	unread bool // the request has a body
	status int
	octets int64
}

// How long, and how much, a client that was refused may go on sending: it would
// not see the answer if the connection were reset.
const (
	restTime   = time.Second
	restOctets = 16 << 20
)

// rest sends a refusal and reads what its client was sending.
func (a *answer) rest(body io.Reader) {
	if !a.unread || a.status < http.StatusBadRequest {
		return
	}
	_ = a.conn.Flush()
	_, _ = io.CopyN(io.Discard, body, restOctets)
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	if a.conn != nil && a.unread && status >= http.StatusBadRequest {
		a.Header().Set("Connection", "close")
		_ = a.conn.SetReadDeadline(time.Now().Add(min(a.wait, restTime)))
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	if a.conn != nil {
		_ = a.conn.SetWriteDeadline(time.Now().Add(a.wait)) // without deadlines: a test's recorder
	}
	n, err := a.ResponseWriter.Write(p)
	a.octets += int64(n)
	return n, err
}

// Unwrap serves http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// silent takes an answer that nobody sees.
type silent struct{ header http.Header }

func (s silent) Header() http.Header         { return s.header }
func (s silent) Write(p []byte) (int, error) { return len(p), nil }
func (s silent) WriteHeader(int)             {}

// slow gives a client time for each piece of its body, not for the whole.
type slow struct {
	body interface {
		Read([]byte) (int, error)
		Close() error
	}
	conn *http.ResponseController
	wait time.Duration
}

// Read implements io.Reader.
func (s slow) Read(p []byte) (int, error) {
	_ = s.conn.SetReadDeadline(time.Now().Add(s.wait)) // without deadlines: a test's recorder
	return s.body.Read(p)
}

// Close implements io.Closer.
func (s slow) Close() error { return s.body.Close() }

// rates bounds how often each token asks: a bucket that fills steadily.
type rates struct {
	perSecond float64
	burst     float64
	mu        sync.Mutex
	buckets   map[string]*bucket // by name: there are no more than lines in the file
}

type bucket struct {
	level float64
	at    time.Time
}

func newRates(perSecond float64, burst int) *rates {
	return &rates{perSecond: perSecond, burst: float64(burst), buckets: map[string]*bucket{}}
}

// take takes one from the bucket, or says how long to wait.
func (r *rates) take(name string, now time.Time) (wait time.Duration, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.buckets[name]
	if b == nil {
		b = &bucket{level: r.burst, at: now}
		r.buckets[name] = b
	}
	b.level = min(r.burst, b.level+max(0, now.Sub(b.at).Seconds())*r.perSecond)
	b.at = now
	if b.level < 1 {
		return time.Duration((1 - b.level) / r.perSecond * float64(time.Second)), false
	}
	b.level--
	return 0, true
}

// Error implements error.
func (p problem) Error() string { return p.Title }

// GetStatus implements huma.StatusError.
func (p problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p problem) ContentType(string) string { return "application/problem+json" }

func writeProblem(w http.ResponseWriter, p problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the reader has gone: nobody to tell
}

// notFound is one answer for what is another's, what was erased from the ledger
// and what never was.
func notFound() problem {
	return problem{Title: "not found", Status: http.StatusNotFound, Detail: "no such thing of this authority"}
}

// failed turns every error into an answer that strangers may read; what it does
// not know is temporary, and written to the log.
func (h *HTTP) failed(err error) error {
	var p problem
	var refusal *message.Refusal
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &refusal):
		return refused(refusal)
	case errors.As(err, &large):
		return tooLarge()
	case errors.Is(err, queue.ErrNotFound):
		return notFound()
	case errors.Is(err, vault.ErrGone):
		return problem{Title: "erased", Status: http.StatusGone, Detail: "its time is over: it was erased, or will be at once"}
	case errors.Is(err, queue.ErrKeyInFlight):
		return problem{Title: "still being accepted", Status: http.StatusConflict, Detail: "a message with this Idempotency-Key is being accepted; ask again later"}
	case errors.Is(err, queue.ErrKeyReused):
		return problem{Title: "key used before", Status: http.StatusUnprocessableEntity, Detail: "this Idempotency-Key was used for a message with other content, sender, recipients or class"}
	case errors.Is(err, queue.ErrConflict):
		return problem{Title: "still on its way", Status: http.StatusConflict, Detail: "the message has not ended for every recipient; ask again when it has"}
	case errors.Is(err, queue.ErrMalformed):
		return problem{Title: "bad request", Status: http.StatusBadRequest, Detail: "the cursor is none of this gateway"}
	case errors.Is(err, context.Canceled):
		return problem{Title: "ended by the client", Status: http.StatusBadRequest}
	}
	h.o.Log.Error("api: a request failed", slog.Any("error", err))
	return problem{Title: "temporary trouble", Status: http.StatusServiceUnavailable, Detail: "nothing was changed as far as is known; try again later, sending with the same Idempotency-Key"}
}

func refused(r *message.Refusal) problem {
	p := problem{Title: "refused", Status: http.StatusUnprocessableEntity, Detail: r.Text}
	switch {
	case r.Temporary():
		p.Title, p.Status = "temporary trouble", http.StatusServiceUnavailable
	case r.Code == 552:
		p.Title, p.Status = "too large", http.StatusRequestEntityTooLarge
	}
	return p
}

func tooLarge() problem {
	return problem{Title: "too large", Status: http.StatusRequestEntityTooLarge, Detail: "the message is larger than this gateway takes"}
}
