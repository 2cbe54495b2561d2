package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"gatewayd/directory"
	"gatewayd/evidence"
	"gatewayd/message"
)

// headerStamp says of a bundle that its time stamp is to come: the time-stamping
// authority did not answer. Whoever asks again later gets a new bundle.
const headerStamp = "Evidence-Time-Stamp"

type evidenceInput struct {
	ID        string `path:"id" maxLength:"64"`
	Purpose   string `header:"Gatewayd-Purpose" maxLength:"32" doc:"What for: security, operation, protection, audit or access"`
	Recipient int    `query:"recipient" minimum:"1" maximum:"16777216" doc:"Number of the recipient; may be left out where only one is registered"`
}

func (h *HTTP) registerEvidence(routes huma.API) {
	op := operation(http.MethodGet, "/v1/messages/{id}/evidence", "get-evidence", directory.RightRead,
		"The evidence bundle (Nachweisdossier) of one delivery case, sealed and stamped now; who asked stands in the audit log")
	op.Description += statesPurpose
	op.Responses = bytesOf("application/zip", "The bundle: receipts byte for byte, the message or after erasure its hash, manifest, seal, time stamp")
	op.Errors = append(op.Errors, http.StatusConflict, http.StatusNotImplemented)
	huma.Register(routes, op, h.evidence)
}

func (h *HTTP) evidence(ctx context.Context, in *evidenceInput) (*huma.StreamResponse, error) {
	token := callerOf(ctx)
	id, err := message.ParseID(in.ID)
	if err != nil {
		return nil, notFound()
	}
	cases, err := h.service.Cases(ctx, token.Authority, id)
	if err != nil {
		return nil, h.failed(err)
	}
	n := in.Recipient
	switch {
	case len(cases) == 0:
		return nil, notFound()
	case n == 0 && len(cases) > 1:
		return nil, problem{Title: "which recipient?", Status: http.StatusConflict, Detail: "the message has several delivery cases: name one by ?recipient=N"}
	case n == 0:
		n = cases[0].Item.N
	}
	b, err := h.service.Evidence(ctx, token.Authority, message.ItemKey{Message: id, N: n}, message.Reading{By: token.Name, Purpose: message.Purpose(in.Purpose)})
	if errors.Is(err, evidence.ErrNoSeal) {
		return nil, problem{Title: "no seal", Status: http.StatusNotImplemented, Detail: "this gateway has no seal or no time-stamping authority for evidence bundles; ask its operator"}
	}
	if errors.Is(err, evidence.ErrManyWait) {
		return nil, problem{Title: "no time stamp", Status: http.StatusServiceUnavailable, Detail: err.Error()}
	}
	if err != nil {
		return nil, h.failed(err)
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		c.SetHeader("Content-Type", "application/zip")
		if b.Pending != nil {
			c.SetHeader(headerStamp, "pending")
		}
		c.SetHeader("Content-Disposition", attachment(fmt.Sprintf("nachweis-%s-%d.zip", id, n)))
		if err := b.Write(c.BodyWriter()); err != nil {
			h.o.Log.Warn("api: a bundle was not written to its end", "message", id.String(), "error", err)
			panic(http.ErrAbortHandler) // the client must not take a part for the whole
		}
	}}, nil
}
