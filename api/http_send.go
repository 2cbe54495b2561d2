package api

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"gatewayd/directory"
	"gatewayd/message"
	"gatewayd/queue"
)

// maxWish bounds the JSON part of a form: a text, JSON-escaped, and 1,000
// recipients.
const maxWish = 8 << 20

type sendInput struct {
	From        string   `query:"from" maxLength:"320" doc:"message/rfc822: envelope sender. Use the header Gatewayd-From where addresses must not stand in URLs"`
	To          []string `query:"to,explode" maxItems:"1000" doc:"message/rfc822: envelope recipients, to=…&to=…"`
	Class       string   `query:"class" enum:"normal,confidential,personal,private,registered,bulk" doc:"message/rfc822: asked for explicitly; missing: found by policy"`
	FromHeader  string   `header:"Gatewayd-From" maxLength:"320" doc:"Instead of from"`
	ToHeader    string   `header:"Gatewayd-To" doc:"Instead of to; separated by commas"`
	ClassHeader string   `header:"Gatewayd-Class" enum:"normal,confidential,personal,private,registered,bulk" doc:"Instead of class"`
	IdemKey     string   `header:"Idempotency-Key" maxLength:"128" pattern:"^[!-~]+$" doc:"Visible ASCII; the same key with the same message is accepted once, for as long as log data are kept"`

	request *http.Request
}

// Resolve implements huma.Resolver: the body is not read yet.
func (in *sendInput) Resolve(ctx huma.Context) []error {
	in.request, _ = humago.Unwrap(ctx)
	return nil
}

type sendOutput struct {
	Status   int
	Location string `header:"Location"`
	Body     Accepted
}

func (h *HTTP) registerMessages(routes huma.API) {
	op := operation(http.MethodPost, "/v1/messages", "send-message", directory.RightSend, "Hand in a message; 202 means that it is on disk")
	op.Description += " Either the message itself (message/rfc822, every line ending in CRLF), or a form from which the gateway composes it: " +
		"first the JSON part envelope, then attachments, each with a file name. 200 instead of 202: it had been accepted under the same Idempotency-Key."
	op.DefaultStatus = http.StatusAccepted
	op.Errors = append(op.Errors, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity)
	huma.Register(routes, op, h.send)
	describeBody(routes.OpenAPI())
}

// describeBody documents what send reads. It comes after the registration:
// otherwise huma would read the whole body into memory.
func describeBody(doc *huma.OpenAPI) {
	doc.Paths["/v1/messages"].Post.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"message/rfc822": {Schema: &huma.Schema{Type: "string", Format: "binary"}},
		"multipart/form-data": {
			Schema: &huma.Schema{Type: "object", Required: []string{"envelope"}, Properties: map[string]*huma.Schema{
				"envelope":   huma.SchemaFromType(doc.Components.Schemas, reflect.TypeFor[Wish]()),
				"attachment": {Type: "array", Items: &huma.Schema{Type: "string", Format: "binary"}},
			}},
			Encoding: map[string]*huma.Encoding{"envelope": {ContentType: "application/json"}},
		},
	}}
}

func (h *HTTP) send(ctx context.Context, in *sendInput) (*sendOutput, error) {
	r := in.request
	if r.ContentLength > h.o.MaxSize {
		return nil, tooLarge()
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = ""
	}
	s := h.submission(ctx, r)
	var content func(message.ID) io.ReadCloser
	switch kind {
	case "message/rfc822":
		err = h.raw(in, &s)
		content = func(message.ID) io.ReadCloser { return io.NopCloser(newStrict(r.Body, h.o.MaxSize)) }
	case "multipart/form-data":
		var d *draft
		d, err = h.form(r.Body, params["boundary"], &s)
		content = func(id message.ID) io.ReadCloser {
			c := d.content(id)
			return struct {
				io.Reader
				io.Closer
			}{newStrict(c, h.o.MaxSize), c}
		}
	default:
		err = problem{Title: "unsupported media type", Status: http.StatusUnsupportedMediaType, Detail: "send message/rfc822 or multipart/form-data"}
	}
	if err != nil {
		return nil, h.failed(err)
	}
	s.IdemKey = queue.JoinIdemKey(in.IdemKey, asked(kind, s))
	id, again, err := h.service.Submit(ctx, s, content)
	if err != nil {
		return nil, h.failed(uploadError(err))
	}
	out := &sendOutput{Status: http.StatusAccepted, Location: "/v1/messages/" + id.String(), Body: Accepted{id.String(), again}}
	if again {
		out.Status = http.StatusOK
	}
	return out, nil
}

// uploadError names what is the client's own doing: it went away or became too
// slow.
func uploadError(err error) error {
	var slow net.Error
	switch {
	case errors.As(err, &slow) && slow.Timeout():
		return problem{Title: "too slow", Status: http.StatusRequestTimeout, Detail: "the message did not arrive in time; nothing was stored"}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return problem{Title: "bad request", Status: http.StatusBadRequest, Detail: "the message did not arrive whole; nothing was stored"}
	}
	return err
}

// submission writes down who brings the message.
func (h *HTTP) submission(ctx context.Context, r *http.Request) message.Submission {
	token := callerOf(ctx)
	s := message.Submission{Door: message.Outbound, Account: token.Name, Authority: token.Authority, Delegate: token.Delegate, Protocol: "HTTP", EightBit: true}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		s.RemoteAddr = host
	}
	if r.TLS != nil {
		s.Protocol, s.TLS = "HTTPS", tlsName(r)
	}
	return s
}

// raw reads the envelope of a message that the client wrote.
func (h *HTTP) raw(in *sendInput, s *message.Submission) error {
	from, to, class := in.From, in.To, in.Class
	if in.FromHeader != "" || in.ToHeader != "" || in.ClassHeader != "" {
		if from != "" || len(to) > 0 || class != "" {
			return bad("say from, to and class either in the query or in headers")
		}
		from, class = in.FromHeader, in.ClassHeader
		for _, a := range strings.Split(in.ToHeader, ",") {
			to = append(to, strings.TrimSpace(a))
		}
	}
	return h.envelope(s, from, to, class)
}

// form reads the envelope of a message that the gateway is to write. The
// attachments stay in the body.
func (h *HTTP) form(body io.Reader, boundary string, s *message.Submission) (*draft, error) {
	if boundary == "" {
		return nil, brokenForm(io.ErrUnexpectedEOF)
	}
	parts := multipart.NewReader(body, boundary)
	first, err := parts.NextRawPart()
	if err != nil {
		return nil, brokenForm(err)
	}
	if first.FormName() != "envelope" {
		return nil, bad("the first part must be envelope")
	}
	var wish Wish
	text := json.NewDecoder(io.LimitReader(first, maxWish))
	text.DisallowUnknownFields()
	if err := text.Decode(&wish); err != nil {
		return nil, bad("the part envelope must be one JSON object with from, to, class, subject and text")
	}
	if err := h.envelope(s, wish.From, wish.To, wish.Class); err != nil {
		return nil, err
	}
	if err := checkWords("subject", wish.Subject, maxSubject); err != nil {
		return nil, err
	}
	if err := checkText(wish.Text); err != nil {
		return nil, err
	}
	d := &draft{host: h.o.Hostname, from: s.From, subject: wish.Subject, text: wish.Text, attachments: parts}
	for _, r := range s.To {
		d.to = append(d.to, r.Address)
	}
	return d, nil
}

// envelope checks who sends to whom. Only one's own addresses can send
// (Benutzungsreglement BL § 10 Abs. 3).
func (h *HTTP) envelope(s *message.Submission, from string, to []string, class string) error {
	var err error
	if s.From, err = address("from", from); err != nil {
		return err
	}
	if !h.service.Owns(s.Authority, s.From) {
		return problem{Title: "not allowed", Status: http.StatusForbidden, Detail: "from is none of this authority's addresses"}
	}
	if len(to) == 0 || len(to) > h.o.Recipients {
		return bad(fmt.Sprintf("a message has 1 to %d recipients", h.o.Recipients))
	}
	s.UTF8 = !s.From.IsASCII()
	for n, text := range to {
		a, err := address(fmt.Sprintf("recipient %d", n+1), text)
		if err != nil {
			return err
		}
		s.To = append(s.To, message.Recipient{Address: a})
		s.UTF8 = s.UTF8 || !a.IsASCII()
	}
	if class == "" {
		return nil
	}
	if s.Class, err = message.ParseClass(class); err != nil {
		return bad("class must be one of normal, confidential, personal, private, registered, bulk")
	}
	return nil
}

// address reads one address. What could be read as more than an address in a
// header field is refused.
func address(field, text string) (message.Address, error) {
	if err := checkWords(field, text, 320); err != nil {
		return message.Address{}, err
	}
	a, err := message.ParseAddress(text)
	if err != nil || a.IsNull() || strings.ContainsAny(text, "<>") {
		return message.Address{}, bad(field + " must be one bare address, name@domain")
	}
	return a, nil
}

// asked is a digest of what a client wants beside the content.
func asked(kind string, s message.Submission) message.Digest {
	sum := sha256.New()
	add := func(part string) {
		sum.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part)))) //nolint:gosec // bounded by the header and the wish
		sum.Write([]byte(part))
	}
	add(kind)
	add(s.From.Key())
	add(string(s.Class))
	for _, r := range s.To {
		add(r.Address.Key())
	}
	return message.Digest(sum.Sum(nil))
}

func tlsName(r *http.Request) string {
	return strings.ReplaceAll(tls.VersionName(r.TLS.Version), " ", "") + " " + tls.CipherSuiteName(r.TLS.CipherSuite)
}
