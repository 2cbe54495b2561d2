package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"gatewayd/crypto/entity"
	"gatewayd/directory"
	"gatewayd/mail/parts"
	"gatewayd/message"
)

// Contents is what lies in a message, in its opened form.
type Contents struct {
	Subject    string           `json:"subject" doc:"As its author wrote it, also where it was hidden outside of the encryption"`
	From       []parts.Person   `json:"from"`
	To         []parts.Person   `json:"to"`
	Date       *time.Time       `json:"date,omitempty"`
	Text       string           `json:"text,omitempty" doc:"The text that a reader sees first, at most 64 KiB"`
	Protection Protection       `json:"protection"`
	Fields     []ProtectedField `json:"fields" doc:"Header fields that were protected with the content (RFC 9788)"`
	Parts      []ContentPart    `json:"parts" doc:"All that lies in it, also in a winmail.dat"`
}

// ProtectedField is what is known of one header field.
type ProtectedField struct {
	Name      string `json:"name"`
	Signed    bool   `json:"signed"`
	Encrypted bool   `json:"encrypted" doc:"The way has not seen it"`
	Differs   bool   `json:"differs" doc:"Outside stands something else than the author has put there"`
	Shown     bool   `json:"shown" doc:"What stands inside is shown; else what stands outside"`
}

// ContentPart is one part or file.
type ContentPart struct {
	ID       string `json:"id" doc:"1.2: second part; 1.2/1: first file in a winmail.dat that is that part"`
	Type     string `json:"type,omitempty"`
	FileName string `json:"file_name,omitempty"`
	Size     int64  `json:"size" doc:"Octets, decoded"`
	SHA256   string `json:"sha256,omitempty"`
}

type contentsInput struct {
	Authority string `path:"authority" maxLength:"128"`
	ID        string `path:"id" maxLength:"64"`
}

type contentsOutput struct{ Body Contents }

func (h *HTTP) registerContents(routes huma.API) {
	op := operation(http.MethodGet, "/v1/mailboxes/{authority}/messages/{id}/contents", "list-contents", directory.RightRead,
		"What lies in a message: subject, text, parts and files, also in a winmail.dat; and what its protection is worth, as of now")
	op.Errors = append(op.Errors, http.StatusGone, http.StatusConflict)
	huma.Register(routes, op, h.contents)
}

func (h *HTTP) contents(ctx context.Context, in *contentsInput) (*contentsOutput, error) {
	authority := callerOf(ctx).Authority
	id, err := message.ParseID(in.ID)
	if err != nil || in.Authority != authority {
		return nil, notFound()
	}
	c, err := h.service.Contents(ctx, authority, id)
	if err != nil {
		return nil, h.failed(err)
	}
	return &contentsOutput{contents(c)}, nil
}

func contents(c entity.Contents) Contents {
	v, m := c.Verdict, c.Message
	out := Contents{Subject: m.Subject, From: append([]parts.Person{}, m.From...), To: append([]parts.Person{}, m.To...), Date: instant(m.Date), Text: m.Text, Fields: []ProtectedField{}, Parts: []ContentPart{}}
	out.Protection = Protection{
		Verdict: string(v.Word), Signature: string(v.Signature), Encryption: string(v.Encryption), SignerIsFrom: v.FromAuthor, Covers: v.Covers,
		SignedBy: string(v.SignedBy), EncryptedBy: string(v.Sealed), Key: v.Key, Hidden: v.Hidden, Differs: v.Differs, Detail: v.Detail,
	}
	for _, f := range c.Fields {
		out.Fields = append(out.Fields, ProtectedField(f))
	}
	for _, i := range c.Items {
		out.Parts = append(out.Parts, ContentPart(i))
	}
	return out
}
