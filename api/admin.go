package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"gatewayd/audit"
	"gatewayd/crypto/entity"
	"gatewayd/legal"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/retention"
)

// Operator is what an administrator can ask of a gateway. The running flow
// implements it, and so does Client: a command does not care which it has.
type Operator interface {
	// Trace, Unmatched, Mailbox, Fetch and Receipt read log data, or mail of others:
	// they are noted with reader and purpose before they answer. message.ErrNoPurpose.
	Trace(ctx context.Context, r message.Reading, question string) ([]message.Story, error)
	// Message returns envelope and items of a message, without receipts and events.
	Message(ctx context.Context, id message.ID) (message.Story, error)
	List(ctx context.Context, q queue.Query) (items []message.Item, next string, err error)
	Counts(ctx context.Context) (map[message.State]int, error)
	Unmatched(ctx context.Context, r message.Reading, limit int) ([]message.Receipt, error)
	Check(ctx context.Context) (problems []string, err error)
	// ReadAudit calls fn with the lines of the log that the filter takes.
	ReadAudit(ctx context.Context, r message.Reading, f audit.Filter, fn func(audit.Entry) error) error
	// Prove proves that one line stands in the log of a sealed day.
	Prove(ctx context.Context, r message.Reading, seq uint64) (audit.Proof, error)
	// Person returns everything held about one person, as JSON, others redacted.
	Person(ctx context.Context, r message.Reading, a message.Address, authority string) ([]byte, error)
	VerifyAudit(ctx context.Context, marks []audit.Mark) (audit.Report, error)
	Release(ctx context.Context, key message.ItemKey, reason string) error
	Hold(ctx context.Context, key message.ItemKey, reason string) error
	Drop(ctx context.Context, key message.ItemKey, reason string) error
	Retry(ctx context.Context, key message.ItemKey) error
	Pause(ctx context.Context, destination, reason string) error
	Resume(ctx context.Context, destination, reason string) error
	Destinations(ctx context.Context) ([]message.Destination, error)
	Mailbox(ctx context.Context, r message.Reading, authority string, d message.Direction, after string, limit int, subjects bool) (page []message.Story, next string, err error)
	Fetch(ctx context.Context, r message.Reading, authority string, id message.ID, open bool, w io.Writer) error
	Contents(ctx context.Context, r message.Reading, authority string, id message.ID) (entity.Contents, error)
	Receipt(ctx context.Context, r message.Reading, authority string, id message.ID, which string) (message.Receipt, []byte, error)
	Keys(ctx context.Context) ([]message.KeyInfo, error)
	FindKey(ctx context.Context, a message.Address, lookUp bool) (message.KeyAnswer, error)
	ExportKey(ctx context.Context, fingerprint string) ([]byte, error)
	ApproveKey(ctx context.Context, fingerprint, reason string) error
	RevokeKey(ctx context.Context, fingerprint string, opensUntil time.Time, reason string) error
	ReloadKeys(ctx context.Context, what string) error
	// RetentionReport tells, as JSON, what would go at an instant.
	RetentionReport(ctx context.Context, at time.Time) (json.RawMessage, error)
	// RetentionSweep does now what is due, and tells it.
	RetentionSweep(ctx context.Context) (retention.Result, error)
	ResetClock(ctx context.Context, reason string) error
	// ReleaseRun notes that a person releases a half-yearly run of destruction, and
	// returns how many persons have.
	ReleaseRun(ctx context.Context, run, by, reason string) (int, error)
	// VerifyProtocols verifies the protocols of destruction.
	VerifyProtocols(ctx context.Context) (retention.ChainReport, error)
	// Unfiled returns a page of an authority's messages that nobody has filed yet;
	// HandOver records what became of one.
	Unfiled(ctx context.Context, authority, after string, limit int) (page []message.Unfiled, next string, err error)
	HandOver(ctx context.Context, authority string, id message.ID, f message.Filing) (message.Filing, error)
	// Cases returns the delivery cases that a question of Trace names.
	Cases(ctx context.Context, question string) ([]legal.Case, error)
	// Evidence writes the evidence bundle of one delivery case, as a ZIP; who has
	// it, and what for, stands in the audit log. message.ErrNoPurpose.
	Evidence(ctx context.Context, r message.Reading, key message.ItemKey, w io.Writer) error
	// Seal returns the seal, with its time stamp, of a bundle that was made while the
	// time-stamping authority was out of reach; it is asked now if need be.
	Seal(ctx context.Context, r message.Reading, key message.ItemKey, bundle string) ([]byte, error)
	CloseTask(ctx context.Context, key message.ItemKey, code, reason string) error
	SayExpected(ctx context.Context, key message.ItemKey, a legal.Answer, reason string) error
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
		stories, err := op.Trace(r.Context(), readingOf(r), r.FormValue("q"))
		reply(w, stories, err)
	})
	mux.HandleFunc("GET /v1/cases", func(w http.ResponseWriter, r *http.Request) {
		cases, err := op.Cases(r.Context(), r.FormValue("q"))
		reply(w, cases, err)
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
		rs, err := op.Unmatched(r.Context(), readingOf(r), limit)
		reply(w, rs, err)
	})
	mux.HandleFunc("GET /v1/queue/{message}", func(w http.ResponseWriter, r *http.Request) {
		id, err := message.ParseID(r.PathValue("message"))
		var s message.Story
		if err == nil {
			s, err = op.Message(r.Context(), id)
		}
		reply(w, s, err)
	})
	mux.HandleFunc("POST /v1/queue/check", func(w http.ResponseWriter, r *http.Request) {
		problems, err := op.Check(r.Context())
		reply(w, problems, err)
	})
	mux.HandleFunc("POST /v1/queue/{message}/{n}/{action}", func(w http.ResponseWriter, r *http.Request) {
		reply(w, struct{}{}, act(r, op))
	})
	mux.HandleFunc("GET /v1/destinations", func(w http.ResponseWriter, r *http.Request) {
		list, err := op.Destinations(r.Context())
		reply(w, list, err)
	})
	mux.HandleFunc("POST /v1/destinations/{name}/pause", func(w http.ResponseWriter, r *http.Request) {
		reply(w, struct{}{}, op.Pause(r.Context(), r.PathValue("name"), r.FormValue("reason")))
	})
	mux.HandleFunc("POST /v1/destinations/{name}/resume", func(w http.ResponseWriter, r *http.Request) {
		reply(w, struct{}{}, op.Resume(r.Context(), r.PathValue("name"), r.FormValue("reason")))
	})
	mux.HandleFunc("GET /v1/evidence/{message}/{n}", func(w http.ResponseWriter, r *http.Request) {
		stream(w, "application/zip", func(w io.Writer) error {
			key, err := keyOf(r)
			if err != nil {
				return err
			}
			return op.Evidence(r.Context(), readingOf(r), key, w)
		})
	})
	mux.HandleFunc("GET /v1/evidence/{message}/{n}/seal", func(w http.ResponseWriter, r *http.Request) {
		key, err := keyOf(r)
		var seal []byte
		if err == nil {
			seal, err = op.Seal(r.Context(), readingOf(r), key, r.FormValue("bundle"))
		}
		reply(w, seal, err)
	})
	adminMailbox(mux, op)
	adminKeys(mux, op)
	adminHandover(mux, op)
	mux.HandleFunc("GET /v1/retention", func(w http.ResponseWriter, r *http.Request) {
		at, err := time.Parse(time.RFC3339, r.FormValue("at"))
		var report json.RawMessage
		if err == nil {
			report, err = op.RetentionReport(r.Context(), at)
		}
		reply(w, report, err)
	})
	mux.HandleFunc("POST /v1/retention/clock", func(w http.ResponseWriter, r *http.Request) {
		reply(w, struct{}{}, op.ResetClock(r.Context(), r.FormValue("reason")))
	})
	mux.HandleFunc("POST /v1/retention/release", func(w http.ResponseWriter, r *http.Request) {
		n, err := op.ReleaseRun(r.Context(), r.FormValue("run"), r.FormValue("by"), r.FormValue("reason"))
		reply(w, n, err)
	})
	mux.HandleFunc("POST /v1/retention/verify", func(w http.ResponseWriter, r *http.Request) {
		report, err := op.VerifyProtocols(r.Context())
		reply(w, report, err)
	})
	mux.HandleFunc("POST /v1/retention/sweep", func(w http.ResponseWriter, r *http.Request) {
		did, err := op.RetentionSweep(r.Context())
		reply(w, did, err)
	})
	adminAudit(mux, op)
	return mux
}

// stories is one page of a mailbox.
type stories struct {
	Messages []message.Story `json:"messages"`
	Next     string          `json:"next,omitempty"`
}

// original is a receipt with the platform's document.
type original struct {
	Receipt  message.Receipt `json:"receipt"`
	Document []byte          `json:"document"`
}

func adminMailbox(mux *http.ServeMux, op Operator) {
	mux.HandleFunc("GET /v1/mailbox/{authority}", func(w http.ResponseWriter, r *http.Request) {
		limit, _ := strconv.Atoi(r.FormValue("limit"))
		page, next, err := op.Mailbox(r.Context(), readingOf(r), r.PathValue("authority"), message.Direction(r.FormValue("direction")), r.FormValue("after"), limit, r.FormValue("subjects") != "")
		reply(w, stories{page, next}, err)
	})
	mux.HandleFunc("GET /v1/mailbox/{authority}/{message}/receipts/{which}", func(w http.ResponseWriter, r *http.Request) {
		id, err := message.ParseID(r.PathValue("message"))
		var o original
		if err == nil {
			o.Receipt, o.Document, err = op.Receipt(r.Context(), readingOf(r), r.PathValue("authority"), id, r.PathValue("which"))
		}
		reply(w, o, err)
	})
	mux.HandleFunc("GET /v1/mailbox/{authority}/{message}/contents", func(w http.ResponseWriter, r *http.Request) {
		id, err := message.ParseID(r.PathValue("message"))
		var c entity.Contents
		if err == nil {
			c, err = op.Contents(r.Context(), readingOf(r), r.PathValue("authority"), id)
		}
		reply(w, c, err)
	})
	mux.HandleFunc("GET /v1/mailbox/{authority}/{message}", func(w http.ResponseWriter, r *http.Request) {
		stream(w, "message/rfc822", func(w io.Writer) error {
			id, err := message.ParseID(r.PathValue("message"))
			if err != nil {
				return err
			}
			return op.Fetch(r.Context(), readingOf(r), r.PathValue("authority"), id, r.FormValue("open") != "", w)
		})
	})
}

// stream answers with octets as they come.
func stream(w http.ResponseWriter, kind string, write func(io.Writer) error) {
	out := &started{w: w, kind: kind}
	switch err := write(out); {
	case err != nil && !out.yes:
		reply(w, nil, err)
	case err != nil:
		panic(http.ErrAbortHandler) // the client must not take a part for the whole
	}
}

// started notes whether anything was written.
type started struct {
	w    http.ResponseWriter
	kind string
	yes  bool
}

// Write implements io.Writer.
func (s *started) Write(p []byte) (int, error) {
	if !s.yes {
		s.yes = true
		s.w.Header().Set("Content-Type", s.kind)
	}
	return s.w.Write(p)
}

// readingOf returns who reads, and what for, as the request says it.
func readingOf(r *http.Request) message.Reading {
	return message.Reading{By: r.FormValue("by"), Purpose: message.Purpose(r.FormValue("purpose"))}
}

// keyOf returns the item that a path names.
func keyOf(r *http.Request) (message.ItemKey, error) {
	id, err := message.ParseID(r.PathValue("message"))
	if err != nil {
		return message.ItemKey{}, err
	}
	n, err := strconv.Atoi(r.PathValue("n"))
	return message.ItemKey{Message: id, N: n}, err
}

// act does what a person decided about one item.
func act(r *http.Request, op Operator) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	reason := r.FormValue("reason")
	switch r.PathValue("action") {
	case "release":
		return op.Release(r.Context(), key, reason)
	case "hold":
		return op.Hold(r.Context(), key, reason)
	case "drop":
		return op.Drop(r.Context(), key, reason)
	case "retry":
		return op.Retry(r.Context(), key)
	case "close":
		return op.CloseTask(r.Context(), key, r.FormValue("task"), reason)
	case "expects":
		return op.SayExpected(r.Context(), key, legal.Answer(r.FormValue("answer")), reason)
	}
	return errors.New("unknown action: use release, hold, drop, retry, close or expects")
}

func reply(w http.ResponseWriter, v any, err error) {
	status, kind := http.StatusOK, "application/json"
	if err != nil {
		p := problem{Title: "the gateway could not answer", Status: http.StatusInternalServerError, Detail: err.Error()}
		switch {
		case errors.Is(err, queue.ErrNotFound):
			p.Title, p.Status = "not found", http.StatusNotFound
		case errors.Is(err, message.ErrNoPurpose):
			p.Title, p.Status = "no purpose", http.StatusBadRequest
		}
		v, status, kind = p, p.Status, "application/problem+json"
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the reader has gone: nobody to tell
}
