package api

import (
	"context"
	"io"
	"mime"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"gatewayd/directory"
	"gatewayd/mail"
	"gatewayd/message"
)

type messageInput struct {
	ID string `path:"id" maxLength:"64" doc:"As in the answer to POST /v1/messages"`
}

type messageOutput struct{ Body Message }

type receiptInput struct {
	ID string `path:"id" maxLength:"64"`
	N  string `path:"n" maxLength:"64" doc:"The receipt's id, or its number from 1"`
}

type mailboxInput struct {
	Authority string `path:"authority" maxLength:"128"`
	Direction string `query:"direction" enum:"in,out,notice" doc:"Missing: all"`
	After     string `query:"after" maxLength:"128" doc:"next of an earlier page with the same direction"`
	Limit     int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
	Subjects  bool   `query:"subjects" doc:"With subjects, also those that stand inside of the encryption only; takes longer"`
}

type mailboxOutput struct{ Body Messages }

type mailboxMessageInput struct {
	Authority string `path:"authority" maxLength:"128"`
	ID        string `path:"id" maxLength:"64"`
	Form      string `query:"form" enum:"stored,opened,evidence" default:"stored" doc:"stored: octet for octet as accepted. opened: without S/MIME and OpenPGP as far as they could be opened; X-Gatewayd-Verdict on top says what they were worth, and what looked like that field before is gone. evidence: opened, and the message as accepted attached (original.eml)"`
}

func (h *HTTP) registerMailbox(routes huma.API) {
	read := directory.RightRead
	op := operation(http.MethodGet, "/v1/messages/{id}", "get-message", read, "What became of a message, recipient by recipient, with receipts and events")
	op.Description += statesPurpose
	huma.Register(routes, op, h.story)
	op = operation(http.MethodGet, "/v1/messages/{id}/receipts/{n}", "get-receipt", read, "A platform's document, byte for byte")
	op.Responses = bytesOf("application/octet-stream", "The original document, e.g. a signed PDF")
	op.Errors = append(op.Errors, http.StatusGone)
	huma.Register(routes, op, h.document)
	huma.Register(routes, operation(http.MethodGet, "/v1/mailboxes/{authority}/messages", "list-messages", read,
		"Received and sent messages and notices, the oldest first. Use the events to follow what is new"), h.mailbox)
	op = operation(http.MethodGet, "/v1/mailboxes/{authority}/messages/{id}", "fetch-message", read, "The message itself, as accepted")
	op.Responses = bytesOf("message/rfc822", "The message, octet for octet")
	op.Errors = append(op.Errors, http.StatusGone, http.StatusConflict)
	huma.Register(routes, op, h.fetch)
}

func bytesOf(mediaType, description string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: description,
		Content:     map[string]*huma.MediaType{mediaType: {Schema: &huma.Schema{Type: "string", Format: "binary"}}},
	}}
}

func (h *HTTP) story(ctx context.Context, in *messageInput) (*messageOutput, error) {
	authority := callerOf(ctx).Authority
	id, err := message.ParseID(in.ID)
	if err != nil {
		return nil, notFound()
	}
	s, err := h.service.Story(ctx, authority, id)
	if err != nil {
		return nil, h.failed(err)
	}
	c, err := h.cursors(authority)
	if err != nil {
		return nil, h.failed(err)
	}
	cases, err := h.service.Cases(ctx, authority, id)
	if err != nil {
		return nil, h.failed(err)
	}
	m := h.message(s, c)
	m.Cases = cases
	return &messageOutput{m}, nil
}

func (h *HTTP) document(ctx context.Context, in *receiptInput) (*huma.StreamResponse, error) {
	id, err := message.ParseID(in.ID)
	if err != nil {
		return nil, notFound()
	}
	r, text, err := h.service.Document(ctx, callerOf(ctx).Authority, id, in.N)
	if err != nil {
		return nil, h.failed(err)
	}
	name := mail.SafeFileName(r.FileName)
	if name == "" {
		name = r.ID.String()
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		c.SetHeader("Content-Type", mediaType(r.MediaType))
		c.SetHeader("Content-Disposition", attachment(name))
		c.SetHeader("Content-Length", octets(int64(len(text))))
		c.SetHeader("Content-Security-Policy", "sandbox; default-src 'none'")
		_, _ = c.BodyWriter().Write(text) // the reader has gone: nobody to tell
	}}, nil
}

// mediaType keeps a foreign media type only in its plainest form.
func mediaType(s string) string {
	t, _, err := mime.ParseMediaType(s)
	if err != nil {
		return "application/octet-stream"
	}
	return t
}

func attachment(name string) string {
	if v := mime.FormatMediaType("attachment", map[string]string{"filename": name}); v != "" {
		return v
	}
	return "attachment"
}

func (h *HTTP) mailbox(ctx context.Context, in *mailboxInput) (*mailboxOutput, error) {
	authority := callerOf(ctx).Authority
	if in.Authority != authority {
		return nil, notFound()
	}
	stories, next, err := h.service.Mailbox(ctx, authority, message.Direction(in.Direction), in.After, pageSize(in.Limit))
	if err != nil {
		return nil, h.failed(err)
	}
	if in.Subjects {
		h.service.Subjects(ctx, stories)
	}
	page := Messages{Messages: []Message{}, Next: next}
	for _, s := range stories {
		page.Messages = append(page.Messages, h.message(s, nil))
	}
	return &mailboxOutput{page}, nil
}

func (h *HTTP) fetch(ctx context.Context, in *mailboxMessageInput) (*huma.StreamResponse, error) {
	authority := callerOf(ctx).Authority
	id, err := message.ParseID(in.ID)
	if err != nil || in.Authority != authority {
		return nil, notFound()
	}
	if in.Form != "stored" {
		return h.opened(ctx, authority, id, in.Form == "evidence")
	}
	env, body, err := h.service.Body(ctx, authority, id)
	if err != nil {
		return nil, h.failed(err)
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		defer body.Close()
		c.SetHeader("Content-Type", "message/rfc822")
		c.SetHeader("Content-Disposition", attachment(id.String()+".eml"))
		c.SetHeader("Content-Length", octets(env.Content.Size))
		if _, err := io.Copy(c.BodyWriter(), body); err != nil {
			h.o.Log.Warn("api: a message was not read to its end", "message", id.String(), "error", err)
		}
	}}, nil
}

func (h *HTTP) opened(ctx context.Context, authority string, id message.ID, original bool) (*huma.StreamResponse, error) {
	form := h.service.Delivered
	if original {
		form = h.service.DeliveredWithOriginal
	}
	d, err := form(ctx, authority, id)
	if err != nil {
		return nil, h.failed(err)
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		defer d.Close()
		c.SetHeader("Content-Type", "message/rfc822")
		c.SetHeader("Content-Disposition", attachment(id.String()+".eml"))
		if _, err := d.WriteTo(c.BodyWriter()); err != nil {
			h.o.Log.Warn("api: a message was not read to its end", "message", id.String(), "error", err)
			panic(http.ErrAbortHandler) // the client must not take a part for the whole
		}
	}}, nil
}
