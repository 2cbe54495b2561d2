package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"gatewayd/directory"
	"gatewayd/message"
)

// Filed is what was said of a record.
type Filed struct {
	Disposition string    `json:"disposition" enum:"handed_over_gever,offered_archive,taken_archive,declined_archive,standing_agreement,no_record"`
	Reference   string    `json:"reference" doc:"Of the authority's file, the archive's accession, or the agreement"`
	SHA256      string    `json:"sha256,omitempty" doc:"Of the content that the file has, as its authority said"`
	By          string    `json:"by"`
	At          time.Time `json:"at"`
}

func filed(f message.Filing) *Filed {
	return &Filed{Disposition: string(f.Disposition), Reference: f.Ref, SHA256: f.SHA256, By: f.By, At: f.At}
}

// Unfiled is a message whose content nobody has filed yet.
type Unfiled struct {
	ID        string    `json:"id"`
	Direction string    `json:"direction" enum:"in,out,notice"`
	Class     string    `json:"class"`
	Accepted  time.Time `json:"accepted"`
	Size      int64     `json:"size" doc:"Octets"`
	SHA256    string    `json:"sha256" doc:"Of the message as accepted"`
	Open      bool      `json:"open,omitempty" doc:"Still on its way for some recipient: it cannot be filed yet"`
	Filed     *Filed    `json:"filed,omitempty" doc:"Offered to the archive, which has not answered"`
	Exported  bool      `json:"exported,omitempty" doc:"Lies encrypted to the fallback key among the exports"`
	Export    time.Time `json:"export" doc:"When it is exported to the fallback key, if nobody files it before"`
	EraseBy   time.Time `json:"erase_by" doc:"The content is gone after this instant at the latest"`
}

// UnfiledPage is a page of what waits to be filed.
type UnfiledPage struct {
	Messages []Unfiled `json:"messages"`
	Next     string    `json:"next,omitempty" doc:"Cursor of the next page; missing behind the last message"`
}

type handoverInput struct {
	ID   string `path:"id" maxLength:"64" doc:"As in the answer to POST /v1/messages"`
	Body struct {
		Disposition string `json:"disposition,omitempty" enum:"handed_over_gever,offered_archive,taken_archive,declined_archive,no_record" default:"handed_over_gever" doc:"offered_archive settles nothing yet; every other one lets the content go, as the route's keep says"`
		Reference   string `json:"reference" minLength:"1" maxLength:"100" doc:"Of the authority's file, the offer, the accession, or the rule by which it is no record: a code without spaces that names nobody"`
		SHA256      string `json:"sha256,omitempty" pattern:"^[0-9A-Fa-f]{64}$" doc:"Of the message that the file has; another one than was accepted is refused"`
	}
}

type handoverOutput struct {
	Body struct {
		ID         string     `json:"id"`
		HandedOver *time.Time `json:"handed_over,omitempty" doc:"When it was first settled; missing: it is not"`
		Filed      *Filed     `json:"filed" doc:"What stands now"`
	}
}

type unfiledInput struct {
	After string `query:"after" maxLength:"128" doc:"next of an earlier page"`
	Limit int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
}

type unfiledOutput struct{ Body UnfiledPage }

func (h *HTTP) registerHandover(routes huma.API) {
	op := operation(http.MethodPost, "/v1/messages/{id}/handover", "hand-over", directory.RightHandover,
		"Say what became of a message and its receipts: the authority's own file has them, or the archive. Repeating it changes nothing")
	op.Errors = append(op.Errors, http.StatusConflict, http.StatusUnprocessableEntity)
	op.MaxBodyBytes = 4 << 10
	huma.Register(routes, op, h.handOver)
	huma.Register(routes, operation(http.MethodGet, "/v1/handovers", "list-unfiled", directory.RightHandover,
		"Messages whose content nobody has filed yet, the oldest first. What still stands here five days before its limit is exported to the fallback key"), h.unfiled)
}

func (h *HTTP) handOver(ctx context.Context, in *handoverInput) (*handoverOutput, error) {
	id, err := message.ParseID(in.ID)
	if err != nil {
		return nil, notFound()
	}
	token := callerOf(ctx)
	f, err := h.service.HandOver(ctx, token.Authority, id, message.Filing{
		Disposition: message.Disposition(in.Body.Disposition), Ref: in.Body.Reference, SHA256: in.Body.SHA256, By: token.Name,
	})
	if err != nil {
		return nil, h.failed(err)
	}
	out := &handoverOutput{}
	out.Body.ID, out.Body.Filed = id.String(), filed(f)
	if f.Disposition.Settles() {
		out.Body.HandedOver = instant(f.At)
	}
	return out, nil
}

func (h *HTTP) unfiled(ctx context.Context, in *unfiledInput) (*unfiledOutput, error) {
	list, next, err := h.service.Unfiled(ctx, callerOf(ctx).Authority, in.After, pageSize(in.Limit))
	if err != nil {
		return nil, h.failed(err)
	}
	page := UnfiledPage{Messages: []Unfiled{}, Next: next}
	for _, u := range list {
		m := Unfiled{
			ID: u.ID.String(), Direction: string(u.Direction), Class: string(u.Class), Accepted: u.Received, Size: u.Size, SHA256: u.SHA256,
			Open: u.Open, Exported: u.Exported, Export: u.Export, EraseBy: u.EraseBy,
		}
		if !u.Filed.IsZero() {
			m.Filed = filed(u.Filed)
		}
		page.Messages = append(page.Messages, m)
	}
	return &unfiledOutput{page}, nil
}
