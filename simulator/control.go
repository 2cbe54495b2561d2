package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatewayd/message"
)

// maxRequest bounds a control request; a citizen's mail travels in base64.
const maxRequest = 64 << 20

// Handler is the control interface for tests and rehearsals, JSON in and out:
//
//	PUT  /recipients/{addr}        {"profile":"native accepts-after:2d"}
//	POST /messages/{id}/accept     also /refuse, /ignore, /withdraw
//	POST /clock/advance            {"by":"7d"}
//	POST /inbound                  CitizenMail
//	PUT  /faults                   {"faults":["late:2h","dup-receipt"]}
//	GET  /messages, /received, /faults, /received/{n}.eml
//
// It has no authentication: bind it to loopback.
func (p *Platform) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /recipients/{addr}", withBody(p.putRecipient))
	mux.HandleFunc("POST /messages/{id}/{action}", answer(p.postAction))
	mux.HandleFunc("POST /clock/advance", withBody(p.postAdvance))
	mux.HandleFunc("POST /inbound", withBody(p.postInbound))
	mux.HandleFunc("PUT /faults", withBody(p.putFaults))
	mux.HandleFunc("GET /faults", answer(func(*http.Request) (any, error) { return p.Faults().Names(), nil }))
	mux.HandleFunc("GET /messages", answer(func(*http.Request) (any, error) { return p.Messages(), nil }))
	mux.HandleFunc("GET /received", answer(func(*http.Request) (any, error) { return p.Received(), nil }))
	mux.HandleFunc("GET /received/{file}", p.getReceived)
	return mux
}

// answer turns a function into a handler: its value is the JSON body, its
// error a 400, 404 or 409.
func answer(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		v, err := f(r)
		code := http.StatusOK
		if err != nil {
			v = map[string]string{"error": err.Error()}
			switch {
			case errors.Is(err, ErrNoMessage):
				code = http.StatusNotFound
			case errors.Is(err, ErrState):
				code = http.StatusConflict
			default:
				code = http.StatusBadRequest
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Sim", "1")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(v) // the client is gone: nobody to tell
	}
}

// withBody is answer for functions that read a JSON object first.
func withBody[T any](f func(r *http.Request, in T) (any, error)) http.HandlerFunc {
	return answer(func(r *http.Request) (any, error) {
		var in T
		d := json.NewDecoder(r.Body)
		d.DisallowUnknownFields()
		if err := d.Decode(&in); err != nil {
			return nil, fmt.Errorf("read request: %w", err)
		}
		return f(r, in)
	})
}

func (p *Platform) putRecipient(r *http.Request, in struct{ Profile string }) (any, error) {
	addr, err := message.ParseAddress(r.PathValue("addr"))
	if err != nil || addr.IsNull() {
		return nil, message.ErrBadAddress
	}
	prof, err := ParseProfile(in.Profile)
	if err != nil {
		return nil, err
	}
	p.SetRecipient(addr.String(), prof)
	return map[string]any{"address": addr, "profile": in.Profile}, nil
}

func (p *Platform) postAction(r *http.Request) (any, error) {
	act, ok := map[string]func(string) error{
		"accept": p.Accept, "refuse": p.Refuse, "ignore": p.Ignore, "withdraw": p.Withdraw,
	}[r.PathValue("action")]
	if !ok {
		return nil, errors.New("unknown action: use accept, refuse, ignore or withdraw")
	}
	return map[string]string{"id": r.PathValue("id")}, act(r.PathValue("id"))
}

func (p *Platform) postAdvance(_ *http.Request, in struct{ By string }) (any, error) {
	d, err := parseDuration(in.By)
	if err != nil {
		return nil, err
	}
	return map[string]time.Time{"now": p.o.Clock.Now().Add(d)}, p.Advance(d)
}

func (p *Platform) postInbound(_ *http.Request, in CitizenMail) (any, error) {
	id, err := p.Inbound(in)
	return map[string]string{"id": id}, err
}

func (p *Platform) putFaults(_ *http.Request, in struct{ Faults []string }) (any, error) {
	f, err := ParseFaults(in.Faults)
	if err != nil {
		return nil, err
	}
	return f.Names(), p.SetFaults(f)
}

func (p *Platform) getReceived(w http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutSuffix(r.PathValue("file"), ".eml")
	n, err := strconv.Atoi(name)
	all := p.Received()
	if !ok || err != nil || n < 1 || n > len(all) {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "message/rfc822")
	_, _ = w.Write(all[n-1].Raw) // the client is gone: nobody to tell
}
