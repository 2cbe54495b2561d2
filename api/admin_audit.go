package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"gatewayd/audit"
	"gatewayd/calendar"
	"gatewayd/message"
)

// adminAudit serves what concerns the audit log.
func adminAudit(mux *http.ServeMux, op Operator) {
	mux.HandleFunc("POST /v1/audit/verify", func(w http.ResponseWriter, r *http.Request) {
		var report audit.Report
		err := r.ParseForm()
		marks := make([]audit.Mark, len(r.Form["mark"]))
		for i, text := range r.Form["mark"] {
			if err == nil {
				err = marks[i].UnmarshalText([]byte(text))
			}
		}
		if err == nil {
			report, err = op.VerifyAudit(r.Context(), marks)
		}
		reply(w, report, err)
	})
	mux.HandleFunc("GET /v1/audit/lines", func(w http.ResponseWriter, r *http.Request) { serveLines(w, r, op) })
	mux.HandleFunc("GET /v1/person", func(w http.ResponseWriter, r *http.Request) {
		var text []byte
		a, err := message.ParseAddress(r.FormValue("address"))
		if err == nil {
			text, err = op.Person(r.Context(), readingOf(r), a, r.FormValue("authority"))
		}
		reply(w, text, err)
	})
	mux.HandleFunc("GET /v1/audit/lines/{link}/proof", func(w http.ResponseWriter, r *http.Request) {
		var p audit.Proof
		seq, err := strconv.ParseUint(r.PathValue("link"), 10, 64)
		if err == nil {
			p, err = op.Prove(r.Context(), readingOf(r), seq)
		}
		reply(w, p, err)
	})
}

// serveLines writes one JSON object a line, and a last empty one: without it the
// answer is not whole.
func serveLines(w http.ResponseWriter, r *http.Request, op Operator) {
	stream(w, "application/x-ndjson", func(w io.Writer) error {
		f, err := filterOf(r)
		if err != nil {
			return err
		}
		lines := json.NewEncoder(w)
		if err := op.ReadAudit(r.Context(), readingOf(r), f, func(e audit.Entry) error { return lines.Encode(e) }); err != nil {
			return err
		}
		_, err = io.WriteString(w, "{}\n")
		return err
	})
}

func filterOf(r *http.Request) (f audit.Filter, err error) {
	day := func(name string) (d calendar.Day) {
		if text := r.FormValue(name); text != "" && err == nil {
			d, err = calendar.ParseDay(text)
		}
		return d
	}
	f.From, f.Until, f.Authority = day("from"), day("until"), r.FormValue("authority")
	for _, k := range r.Form["kind"] {
		f.Kinds = append(f.Kinds, message.EventKind(k))
	}
	if text := r.FormValue("message"); text != "" && err == nil {
		f.Message, err = message.ParseID(text)
	}
	if text := r.FormValue("after"); text != "" && err == nil {
		f.After, err = strconv.ParseUint(text, 10, 64)
	}
	if text := r.FormValue("limit"); text != "" && err == nil {
		f.Limit, err = strconv.Atoi(text)
	}
	return f, err
}

// errCut is for an answer that has no end.
var errCut = errors.New("the running gateway broke off; what was written is not complete")

// ReadAudit implements Operator.
func (c *Client) ReadAudit(ctx context.Context, r message.Reading, f audit.Filter, fn func(audit.Entry) error) error {
	query := with(r, url.Values{"authority": {f.Authority}})
	set := func(name, value string, yes bool) {
		if yes {
			query.Add(name, value)
		}
	}
	set("from", f.From.String(), !f.From.IsZero())
	set("until", f.Until.String(), !f.Until.IsZero())
	set("message", f.Message.String(), !f.Message.IsZero())
	set("after", strconv.FormatUint(f.After, 10), f.After > 0)
	set("limit", strconv.Itoa(f.Limit), f.Limit > 0)
	for _, k := range f.Kinds {
		set("kind", string(k), true)
	}
	res, err := c.send(ctx, http.MethodGet, "/v1/audit/lines", query)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := json.NewDecoder(res.Body)
	for {
		var e audit.Entry
		if err := lines.Decode(&e); err != nil {
			return fmt.Errorf("%w: %w", errCut, err)
		}
		if e.Seq == 0 {
			return nil
		}
		if err := fn(e); err != nil {
			return err
		}
	}
}

// Person implements Operator.
func (c *Client) Person(ctx context.Context, r message.Reading, a message.Address, authority string) (text []byte, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/person", with(r, url.Values{"address": {a.String()}, "authority": {authority}}), &text)
	return text, err
}

// Prove implements Operator.
func (c *Client) Prove(ctx context.Context, r message.Reading, seq uint64) (p audit.Proof, err error) {
	err = c.ask(ctx, http.MethodGet, fmt.Sprintf("/v1/audit/lines/%d/proof", seq), with(r, url.Values{}), &p)
	return p, err
}
