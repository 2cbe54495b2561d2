package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"gatewayd/message"
)

func adminKeys(mux *http.ServeMux, op Operator) {
	mux.HandleFunc("GET /v1/keys", func(w http.ResponseWriter, r *http.Request) {
		list, err := op.Keys(r.Context())
		reply(w, list, err)
	})
	mux.HandleFunc("POST /v1/keys/find", func(w http.ResponseWriter, r *http.Request) {
		var answer message.KeyAnswer
		a, err := message.ParseAddress(r.FormValue("address"))
		if err == nil {
			answer, err = op.FindKey(r.Context(), a, r.FormValue("lookup") != "")
		}
		reply(w, answer, err)
	})
	mux.HandleFunc("POST /v1/keys/reload", func(w http.ResponseWriter, r *http.Request) {
		reply(w, struct{}{}, op.ReloadKeys(r.Context(), r.FormValue("what")))
	})
	mux.HandleFunc("GET /v1/keys/{fingerprint}", func(w http.ResponseWriter, r *http.Request) {
		text, err := op.ExportKey(r.Context(), r.PathValue("fingerprint"))
		reply(w, text, err)
	})
	mux.HandleFunc("POST /v1/keys/{fingerprint}/approve", func(w http.ResponseWriter, r *http.Request) {
		reply(w, struct{}{}, op.ApproveKey(r.Context(), r.PathValue("fingerprint"), r.FormValue("reason")))
	})
	mux.HandleFunc("POST /v1/keys/{fingerprint}/revoke", func(w http.ResponseWriter, r *http.Request) {
		var until time.Time
		var err error
		if text := r.FormValue("opens_until"); text != "" {
			until, err = time.Parse(time.RFC3339, text)
		}
		if err == nil {
			err = op.RevokeKey(r.Context(), r.PathValue("fingerprint"), until, r.FormValue("reason"))
		}
		reply(w, struct{}{}, err)
	})
}

// Keys implements Operator.
func (c *Client) Keys(ctx context.Context) (list []message.KeyInfo, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/keys", nil, &list)
	return list, err
}

// FindKey implements Operator.
func (c *Client) FindKey(ctx context.Context, a message.Address, lookUp bool) (answer message.KeyAnswer, err error) {
	query := url.Values{"address": {a.String()}}
	if lookUp {
		query.Set("lookup", "1")
	}
	err = c.ask(ctx, http.MethodPost, "/v1/keys/find", query, &answer)
	return answer, err
}

// ExportKey implements Operator.
func (c *Client) ExportKey(ctx context.Context, fingerprint string) (text []byte, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/keys/"+url.PathEscape(fingerprint), nil, &text)
	return text, err
}

// ApproveKey implements Operator.
func (c *Client) ApproveKey(ctx context.Context, fingerprint, reason string) error {
	return c.ask(ctx, http.MethodPost, "/v1/keys/"+url.PathEscape(fingerprint)+"/approve", url.Values{"reason": {reason}}, &struct{}{})
}

// RevokeKey implements Operator.
func (c *Client) RevokeKey(ctx context.Context, fingerprint string, opensUntil time.Time, reason string) error {
	query := url.Values{"reason": {reason}}
	if !opensUntil.IsZero() {
		query.Set("opens_until", opensUntil.Format(time.RFC3339))
	}
	return c.ask(ctx, http.MethodPost, "/v1/keys/"+url.PathEscape(fingerprint)+"/revoke", query, &struct{}{})
}

// ReloadKeys implements Operator.
func (c *Client) ReloadKeys(ctx context.Context, what string) error {
	return c.ask(ctx, http.MethodPost, "/v1/keys/reload", url.Values{"what": {what}}, &struct{}{})
}
