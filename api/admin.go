package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"gatewayd/audit"
	"gatewayd/message"
	"gatewayd/queue"
)

// Operator is what an administrator can ask of a gateway. The running flow
// implements it, and so does Client: a command does not care which it has.
type Operator interface {
	Trace(ctx context.Context, question string) ([]message.Story, error)
	List(ctx context.Context, q queue.Query) (items []message.Item, next string, err error)
	Counts(ctx context.Context) (map[message.State]int, error)
	Unmatched(ctx context.Context, limit int) ([]message.Receipt, error)
	Check(ctx context.Context) (problems []string, err error)
	VerifyAudit(ctx context.Context) (audit.Report, error)
	Release(ctx context.Context, key message.ItemKey, reason string) error
	Hold(ctx context.Context, key message.ItemKey, reason string) error
	Drop(ctx context.Context, key message.ItemKey, reason string) error
	Retry(ctx context.Context, key message.ItemKey) error
}

// page is one page of a list.
type page struct {
	Items []message.Item `json:"items"`
	Next  string         `json:"next,omitempty"`
}

// problem is an error as RFC 9457 writes it.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// Admin serves an operator.
func Admin(op Operator) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/trace", func(w http.ResponseWriter, r *http.Request) {
		stories, err := op.Trace(r.Context(), r.FormValue("q"))
		reply(w, stories, err)
	})
	mux.HandleFunc("GET /v1/queue", func(w http.ResponseWriter, r *http.Request) {
		limit, _ := strconv.Atoi(r.FormValue("limit"))
		items, next, err := op.List(r.Context(), queue.Query{
			State: message.State(r.FormValue("state")), Authority: r.FormValue("authority"), After: r.FormValue("after"), Limit: limit,
		})
		reply(w, page{items, next}, err)
	})
	mux.HandleFunc("GET /v1/queue/counts", func(w http.ResponseWriter, r *http.Request) {
		counts, err := op.Counts(r.Context())
		reply(w, counts, err)
	})
	mux.HandleFunc("GET /v1/receipts/unmatched", func(w http.ResponseWriter, r *http.Request) {
		limit, _ := strconv.Atoi(r.FormValue("limit"))
		rs, err := op.Unmatched(r.Context(), limit)
		reply(w, rs, err)
	})
	mux.HandleFunc("POST /v1/queue/check", func(w http.ResponseWriter, r *http.Request) {
		problems, err := op.Check(r.Context())
		reply(w, problems, err)
	})
	mux.HandleFunc("POST /v1/queue/{message}/{n}/{action}", func(w http.ResponseWriter, r *http.Request) {
		reply(w, struct{}{}, act(r, op))
	})
	mux.HandleFunc("POST /v1/audit/verify", func(w http.ResponseWriter, r *http.Request) {
		report, err := op.VerifyAudit(r.Context())
		reply(w, report, err)
	})
	return mux
}

// act does what a person decided about one item.
func act(r *http.Request, op Operator) error {
	id, err := message.ParseID(r.PathValue("message"))
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(r.PathValue("n"))
	if err != nil {
		return err
	}
	key, reason := message.ItemKey{Message: id, N: n}, r.FormValue("reason")
	switch r.PathValue("action") {
	case "release":
		return op.Release(r.Context(), key, reason)
	case "hold":
		return op.Hold(r.Context(), key, reason)
	case "drop":
		return op.Drop(r.Context(), key, reason)
	case "retry":
		return op.Retry(r.Context(), key)
	}
	return errors.New("unknown action: use release, hold, drop or retry")
}

func reply(w http.ResponseWriter, v any, err error) {
	status, kind := http.StatusOK, "application/json"
	if err != nil {
		p := problem{Title: "the gateway could not answer", Status: http.StatusInternalServerError, Detail: err.Error()}
		if errors.Is(err, queue.ErrNotFound) {
			p.Title, p.Status = "not found", http.StatusNotFound
		}
		v, status, kind = p, p.Status, "application/problem+json"
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the reader has gone: nobody to tell
}
