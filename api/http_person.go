package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"gatewayd/directory"
	"gatewayd/message"
)

type personInput struct {
	Purpose string `header:"Gatewayd-Purpose" maxLength:"32" doc:"access when the person has asked, protection for data-protection control; nothing else"`
	Body    struct {
		Address string `json:"address" maxLength:"320" doc:"Mail address of the person"`
	}
}

type personOutput struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (h *HTTP) registerPerson(routes huma.API) {
	op := operation(http.MethodPost, "/v1/persons/access", "person-access", directory.RightAccess,
		"Everything that the authority holds about one person, others redacted; the person's own right. Each request stands in the audit log, with the digest of the answer")
	op.Description += " The header " + purposeHeader + " must say access or protection."
	op.Responses = bytesOf("application/json", "What gatewayd person show gives")
	op.DefaultStatus = http.StatusOK
	huma.Register(routes, op, h.person)
}

func (h *HTTP) person(ctx context.Context, in *personInput) (*personOutput, error) {
	token := callerOf(ctx)
	r := message.Reading{By: token.Name, Purpose: message.Purpose(in.Purpose)}
	if r.Purpose != message.ForAccess && r.Purpose != message.ForProtection {
		return nil, problem{Title: "no purpose", Status: http.StatusBadRequest, Detail: "send the header " + purposeHeader + ": access when the person has asked, or protection for data-protection control"}
	}
	a, err := message.ParseAddress(in.Body.Address)
	if err != nil || a.IsNull() {
		return nil, problem{Title: "no address", Status: http.StatusBadRequest, Detail: "address: " + message.ErrBadAddress.Error()}
	}
	text, err := h.service.Person(ctx, token.Authority, r, a)
	if errors.Is(err, message.ErrNoPurpose) {
		return nil, problem{Title: "no purpose", Status: http.StatusBadRequest, Detail: err.Error()}
	}
	if err != nil {
		return nil, h.failed(err)
	}
	return &personOutput{"application/json", text}, nil
}
