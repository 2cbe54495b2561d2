package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"gatewayd/directory"
	"gatewayd/legal"
	"gatewayd/message"
)

type closeInput struct {
	ID   string `path:"id" maxLength:"64"`
	N    int    `path:"n" minimum:"1" maximum:"16777216" doc:"Number of the recipient"`
	Task string `path:"task" maxLength:"64" doc:"Code of an open task or alarm of the case"`
	Body struct {
		Reason string `json:"reason" minLength:"1" maxLength:"500" doc:"What was done, e.g. how it was served by post; stands in the audit log"`
	}
}

type expectsInput struct {
	ID   string `path:"id" maxLength:"64"`
	N    int    `path:"n" minimum:"1" maximum:"16777216" doc:"Number of the recipient"`
	Body struct {
		Expects string `json:"expects" enum:"yes,no" doc:"Whether the party had to expect mail of this authority"`
		Reason  string `json:"reason" minLength:"1" maxLength:"500" doc:"Why, e.g. since when the proceedings have been pending; stands in the audit log"`
	}
}

type caseOutput struct{ Body legal.Case }

func (h *HTTP) registerCases(routes huma.API) {
	handover := directory.RightHandover
	op := operation(http.MethodPost, "/v1/messages/{id}/recipients/{n}/tasks/{task}/close", "close-task", handover,
		"A person has done what the delivery case asked for, or has seen its alarm")
	op.MaxBodyBytes = 4 << 10
	huma.Register(routes, op, h.closeTask)
	op = operation(http.MethodPost, "/v1/messages/{id}/recipients/{n}/expects", "say-expected", handover,
		"Say whether the party had to expect mail: only then an item that nobody collects counts as served on the seventh day")
	op.MaxBodyBytes = 4 << 10
	huma.Register(routes, op, h.sayExpected)
}

func (h *HTTP) closeTask(ctx context.Context, in *closeInput) (*caseOutput, error) {
	return h.onCase(ctx, in.ID, in.N, in.Body.Reason, func(authority, by string, key message.ItemKey) error {
		return h.service.CloseTask(ctx, authority, key, in.Task, in.Body.Reason, by)
	})
}

func (h *HTTP) sayExpected(ctx context.Context, in *expectsInput) (*caseOutput, error) {
	return h.onCase(ctx, in.ID, in.N, in.Body.Reason, func(authority, by string, key message.ItemKey) error {
		return h.service.SayExpected(ctx, authority, key, legal.Answer(in.Body.Expects), in.Body.Reason, by)
	})
}

// onCase lets a person say something of a case and answers with the case as it
// is then.
func (h *HTTP) onCase(ctx context.Context, text string, n int, reason string, say func(authority, by string, key message.ItemKey) error) (*caseOutput, error) {
	id, err := message.ParseID(text)
	if err != nil {
		return nil, notFound()
	}
	if strings.TrimSpace(reason) == "" {
		return nil, problem{Title: "bad request", Status: http.StatusBadRequest, Detail: "a reason is needed: it stands in the audit log"}
	}
	token := callerOf(ctx)
	if err := say(token.Authority, token.Name, message.ItemKey{Message: id, N: n}); err != nil {
		return nil, h.failed(err)
	}
	cases, err := h.service.Cases(ctx, token.Authority, id)
	if err != nil {
		return nil, h.failed(err)
	}
	for _, c := range cases {
		if c.Item.N == n {
			return &caseOutput{c}, nil
		}
	}
	return nil, notFound()
}
