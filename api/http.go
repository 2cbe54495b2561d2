package api

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"gatewayd/crypto/entity"
	"gatewayd/directory"
	"gatewayd/evidence"
	"gatewayd/legal"
	"gatewayd/message"
)

// Service is what the HTTP API asks of the flow. Every call names the authority
// that asks. What belongs to another one is not there: queue.ErrNotFound, the
// same as for what never was.
type Service interface {
	// Acts returns what a token may do today for an authority that is not its own.
	Acts(token, authority string) []directory.Right
	// Owns reports whether the authority may send from an address.
	Owns(authority string, from message.Address) bool
	// Submit accepts a message; durable when it returns nil. again: it was
	// accepted before under the same idempotency key (s.IdemKey, made by
	// queue.JoinIdemKey). queue.ErrKeyInFlight, queue.ErrKeyReused,
	// *message.Refusal. content is called at most once, with the id under which
	// the gateway writes what it composes itself, and is closed.
	Submit(ctx context.Context, s message.Submission, content func(message.ID) io.ReadCloser) (id message.ID, again bool, err error)
	// Story returns everything known about one message.
	Story(ctx context.Context, authority string, id message.ID) (message.Story, error)
	// Mailbox returns a page of messages without their events, the oldest first;
	// an empty direction means all. next is "" behind the last one.
	Mailbox(ctx context.Context, authority string, d message.Direction, after string, limit int) (page []message.Story, next string, err error)
	// Subjects adds the subjects to a page of Mailbox.
	Subjects(ctx context.Context, page []message.Story)
	// Body opens a message as it was accepted; vault.ErrGone.
	Body(ctx context.Context, authority string, id message.ID) (message.Envelope, io.ReadCloser, error)
	// Delivered is Body in the form for reading: without S/MIME and OpenPGP as far
	// as they could be opened, and with the verdict about them.
	Delivered(ctx context.Context, authority string, id message.ID) (interface {
		io.WriterTo
		io.Closer
	}, error)
	// DeliveredWithOriginal is Delivered with the stored message attached.
	DeliveredWithOriginal(ctx context.Context, authority string, id message.ID) (interface {
		io.WriterTo
		io.Closer
	}, error)
	// Contents tells what lies in a message in that form, also in a winmail.dat.
	Contents(ctx context.Context, authority string, id message.ID) (entity.Contents, error)
	// Document returns a receipt, by its id or its number from 1, with the
	// platform's document; vault.ErrGone.
	Document(ctx context.Context, authority string, id message.ID, which string) (message.Receipt, []byte, error)
	// HandOver records what became of a message and its receipts: the authority's
	// own file has them, or the archive. queue.ErrConflict while it is on its way;
	// *message.Refusal for what cannot be said. It returns what stands now.
	HandOver(ctx context.Context, authority string, id message.ID, f message.Filing) (message.Filing, error)
	// Unfiled returns a page of the messages whose content nobody has filed yet,
	// the oldest first.
	Unfiled(ctx context.Context, authority, after string, limit int) (page []message.Unfiled, next string, err error)
	// Cases returns the delivery cases of a message, one for each registered
	// recipient.
	Cases(ctx context.Context, authority string, id message.ID) ([]legal.Case, error)
	// Evidence makes the evidence bundle of one delivery case, ready to be
	// written; r names the token. evidence.ErrNoSeal; any trouble of the
	// time-stamping authority is temporary.
	Evidence(ctx context.Context, authority string, key message.ItemKey, r message.Reading) (*evidence.Bundle, error)
	// Person returns what the authority holds about a person, as JSON; it is noted.
	Person(ctx context.Context, authority string, r message.Reading, a message.Address) ([]byte, error)
	// CloseTask notes that a person has done what a case asked for; by names the
	// token.
	CloseTask(ctx context.Context, authority string, key message.ItemKey, code, reason, by string) error
	// SayExpected notes whether the party had to expect mail of the authority.
	SayExpected(ctx context.Context, authority string, key message.ItemKey, a legal.Answer, reason, by string) error
	// NoteRead writes down that a token reads, by which route: of which authority,
	// or, when none is named, what it reads.
	NoteRead(ctx context.Context, r message.Reading, authority, door, asked string) error
	// Feed returns an authority's events with Seq > after in order, without gaps.
	Feed(ctx context.Context, authority string, after uint64, limit int) ([]message.Event, error)
}

// HTTPOptions configures the HTTP API. Zero limits get the defaults named.
type HTTPOptions struct {
	Hostname string // ours: in the Message-ID of what the API composes
	Version  string // of the program, in the OpenAPI document
	// CursorKey returns an authority's secret for its event cursors
	// (seal.Keyring.IndexKey), so that they tell nobody how much others send.
	CursorKey  func(authority string) ([]byte, error)
	MaxSize    int64         // octets of a message as it is stored; 50 MiB
	Recipients int           // of one message; 1,000
	Rate       float64       // requests a second of each token; 50
	Burst      int           // requests at once of each token; 100
	ReadWait   time.Duration // a client that sends or takes nothing for so long is cut off; 30 s
	Now        func() time.Time
	Log        *slog.Logger // never hears of a secret, a subject, an address or a URL
}

func (o HTTPOptions) withDefaults() HTTPOptions {
	o.MaxSize = cmp.Or(o.MaxSize, 50<<20)
	o.Recipients = cmp.Or(o.Recipients, 1000)
	o.Rate = cmp.Or(o.Rate, 50)
	o.Burst = cmp.Or(o.Burst, 100)
	o.ReadWait = cmp.Or(o.ReadWait, 30*time.Second)
	o.Version = cmp.Or(o.Version, "0")
	return o
}

// HTTP is the API for the programs of authorities (OpenAPI 3.1 at /openapi.json).
type HTTP struct {
	o       HTTPOptions
	service Service
	tokens  *directory.Tokens
	mux     *http.ServeMux
	rates   *rates
	readers readers
	doc     *huma.OpenAPI
}

// NewHTTP returns the API. It speaks to whoever has a token and shows each only
// what belongs to the token's authority. It must be served over TLS.
func NewHTTP(o HTTPOptions, s Service, tokens *directory.Tokens) (*HTTP, error) {
	if s == nil || tokens == nil || o.CursorKey == nil || o.Now == nil || o.Log == nil || o.Hostname == "" {
		return nil, errors.New("api: service, tokens, cursor key, clock, log and host name are needed")
	}
	h := &HTTP{o: o.withDefaults(), service: s, tokens: tokens, mux: http.NewServeMux()}
	h.rates = newRates(h.o.Rate, h.o.Burst)
	routes := humago.New(h.mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "gatewayd", Version: h.o.Version,
				Description: "Send official mail, follow it, fetch messages and receipts, and read the event feed of one authority. " +
					"Every error is application/problem+json (RFC 9457). What belongs to another authority answers 404. " +
					"A delegate names the authority for which it acts in the header " + actsHeader + ", and what it reads for in the header " + purposeHeader + ".",
			},
			Components: &huma.Components{
				Schemas:         huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}},
			},
		},
		Formats:                      map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	})
	routes.UseMiddleware(permit)
	h.registerMessages(routes)
	h.registerMailbox(routes)
	h.registerContents(routes)
	h.registerHandover(routes)
	h.registerCases(routes)
	h.registerEvidence(routes)
	h.registerEvents(routes)
	h.registerPerson(routes)
	h.doc = routes.OpenAPI()
	return h, h.serveDocument()
}

// serveDocument makes the OpenAPI document available to everybody.
func (h *HTTP) serveDocument() error {
	text, err := h.doc.MarshalJSON()
	if err != nil {
		return err
	}
	h.mux.HandleFunc("GET "+documentPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(text) // the reader has gone: nobody to tell
	})
	return nil
}

const documentPath = "/openapi.json"

// operation describes one route; right is what its caller needs.
func operation(method, path, id string, right directory.Right, summary string) huma.Operation {
	return huma.Operation{
		Method: method, Path: path, OperationID: id, Summary: summary,
		Description:  "Needs a token with the right " + string(right) + ".",
		Security:     []map[string][]string{{"token": {}}},
		Metadata:     map[string]any{"right": right},
		MaxBodyBytes: 1 << 10,
		Errors:       []int{400, 401, 403, 404, 429, 500, 503},
	}
}

// caller is the token of a request.
type caller struct{}

func callerOf(ctx context.Context) directory.Token {
	t, _ := ctx.Value(caller{}).(directory.Token)
	return t
}

// permit lets a request pass to an operation that its token may use.
func permit(ctx huma.Context, next func(huma.Context)) {
	right, _ := ctx.Operation().Metadata["right"].(directory.Right)
	if !callerOf(ctx.Context()).May(right) {
		_, w := humago.Unwrap(ctx)
		writeProblem(w, problem{Title: "not allowed", Status: http.StatusForbidden, Detail: "this token lacks the right " + string(right)})
		return
	}
	next(ctx)
}

// Serve runs a server of h until ctx ends; then it finishes what is open, at
// most for half a minute. serve calls ServeTLS or, on loopback behind a proxy,
// Serve with its listener.
func (h *HTTP) Serve(ctx context.Context, serve func(*http.Server) error) error {
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: log.New(io.Discard, "", 0), // it would quote strangers
	}
	ended := make(chan error, 1)
	go func() { ended <- serve(s) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	err := s.Shutdown(last)
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
