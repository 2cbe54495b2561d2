package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"gatewayd/message"
)

// unfiledPage is one page of what waits to be filed.
type unfiledPage struct {
	Messages []message.Unfiled `json:"messages"`
	Next     string            `json:"next,omitempty"`
}

// adminHandover serves what concerns the hand-over to an authority's file.
func adminHandover(mux *http.ServeMux, op Operator) {
	mux.HandleFunc("GET /v1/handover/{authority}", func(w http.ResponseWriter, r *http.Request) {
		limit, _ := strconv.Atoi(r.FormValue("limit"))
		list, next, err := op.Unfiled(r.Context(), r.PathValue("authority"), r.FormValue("after"), limit)
		reply(w, unfiledPage{list, next}, err)
	})
	mux.HandleFunc("POST /v1/handover/{authority}/{message}", func(w http.ResponseWriter, r *http.Request) {
		id, err := message.ParseID(r.PathValue("message"))
		f := message.Filing{Disposition: message.Disposition(r.FormValue("disposition")), Ref: r.FormValue("ref"), SHA256: r.FormValue("sha256")}
		if err == nil {
			f, err = op.HandOver(r.Context(), r.PathValue("authority"), id, f)
		}
		reply(w, f, err)
	})
}

// Unfiled implements Operator.
func (c *Client) Unfiled(ctx context.Context, authority, after string, limit int) ([]message.Unfiled, string, error) {
	var p unfiledPage
	err := c.ask(ctx, http.MethodGet, "/v1/handover/"+url.PathEscape(authority), url.Values{"after": {after}, "limit": {strconv.Itoa(limit)}}, &p)
	return p.Messages, p.Next, err
}

// HandOver implements Operator.
func (c *Client) HandOver(ctx context.Context, authority string, id message.ID, f message.Filing) (said message.Filing, err error) {
	err = c.ask(ctx, http.MethodPost, "/v1/handover/"+url.PathEscape(authority)+"/"+id.String(), url.Values{"disposition": {string(f.Disposition)}, "ref": {f.Ref}, "sha256": {f.SHA256}}, &said)
	return said, err
}
