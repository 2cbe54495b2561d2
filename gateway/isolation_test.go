package gateway_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"gatewayd/api"
	"gatewayd/queue"
)

// probe is how one route is tried: what belongs to its owner, asked for by the
// token of another authority.
type probe struct {
	path   string // {own} is the owner's message, {owner} its name, {receipt} its receipt
	body   string
	header map[string]string
	// list means that the route answers the asker with things of his own; any
	// other route must answer as it answers for what never was.
	list bool
}

// probes has an entry for every route of the API. A route without one fails
// TestAuthoritiesDoNotSeeEachOther: whoever adds a route says here how it could
// leak.
func probes() map[string]probe {
	raw := map[string]string{"Content-Type": "message/rfc822", "Gatewayd-From": "{owner}@bl.example", "Gatewayd-To": "x@example.org", "Idempotency-Key": "first"}
	asJSON := map[string]string{"Content-Type": "application/json"}
	return map[string]probe{
		"POST /v1/messages":                                        {path: "/v1/messages", body: "Subject: x\r\n\r\n", header: raw, list: true},
		"GET /v1/messages/{id}":                                    {path: "/v1/messages/{own}"},
		"GET /v1/messages/{id}/receipts/{n}":                       {path: "/v1/messages/{own}/receipts/{receipt}"},
		"POST /v1/messages/{id}/handover":                          {path: "/v1/messages/{own}/handover", body: `{"reference":"BIT-2026-1"}`, header: asJSON},
		"GET /v1/handovers":                                        {path: "/v1/handovers", list: true},
		"GET /v1/mailboxes/{authority}/messages":                   {path: "/v1/mailboxes/{owner}/messages"},
		"GET /v1/mailboxes/{authority}/messages/{id}":              {path: "/v1/mailboxes/{owner}/messages/{own}"},
		"GET /v1/mailboxes/{authority}/messages/{id} (opened)":     {path: "/v1/mailboxes/{owner}/messages/{own}?form=opened"},
		"GET /v1/messages/{id}/evidence":                           {path: "/v1/messages/{own}/evidence"},
		"GET /v1/messages/{id}/evidence (recipient)":               {path: "/v1/messages/{own}/evidence?recipient=1"},
		"GET /v1/mailboxes/{authority}/messages/{id}/contents":     {path: "/v1/mailboxes/{owner}/messages/{own}/contents"},
		"POST /v1/persons/access":                                  {path: "/v1/persons/access", body: `{"address":"buerger@example.ch"}`, header: map[string]string{"Content-Type": "application/json", "Gatewayd-Purpose": "access"}, list: true},
		"GET /v1/events":                                           {path: "/v1/events?limit=1000", list: true},
		"GET /v1/mailboxes/{authority}/messages (self)":            {path: "/v1/mailboxes/{asker}/messages", list: true},
		"GET /v1/mailboxes/{authority}/messages/{id} (self)":       {path: "/v1/mailboxes/{asker}/messages/{own}"},
		"GET /v1/messages/{id}/receipts/{n} (number)":              {path: "/v1/messages/{own}/receipts/1"},
		"POST /v1/messages/{id}/recipients/{n}/expects":            {path: "/v1/messages/{own}/recipients/1/expects", body: `{"expects":"yes","reason":"hängig"}`, header: asJSON},
		"POST /v1/messages/{id}/recipients/{n}/tasks/{task}/close": {path: "/v1/messages/{own}/recipients/1/tasks/not_collected/close", body: `{"reason":"gesehen"}`, header: asJSON},
	}
}

// TestAuthoritiesDoNotSeeEachOther tries every route with the things of one
// authority and the token of the other (law.md E-03): nothing is found, nothing
// changes, and the answer is the same as for what never was.
func TestAuthoritiesDoNotSeeEachOther(t *testing.T) {
	d, own := filledDoor(t)
	all := probes()
	for _, route := range routesOf(t, d) {
		if _, ok := all[route]; !ok {
			t.Errorf("route %s has no probe", route)
		}
	}
	for _, owner := range []string{"bau", "steuer"} {
		asker := map[string]string{"bau": "steuer", "steuer": "bau"}[owner]
		marks := d.marksOf(owner)
		for name, p := range all {
			words := strings.NewReplacer("{own}", own[owner], "{owner}", owner, "{asker}", asker, "{receipt}", d.receiptOf(owner, own[owner]))
			never := strings.NewReplacer("{own}", "00000000000000000000000000", "{owner}", "niemand", "{asker}", asker, "{receipt}", "00000000000000000000000000")
			method, _, _ := strings.Cut(name, " ")
			status, header, text := d.ask(asker, method, words.Replace(p.path), with(p.header, words), strings.NewReader(p.body))
			for _, mark := range marks {
				if strings.Contains(text, mark) || strings.Contains(header.Get("Location"), mark) {
					t.Errorf("%s of %s, asked by %s: the answer has %q:\n%s", name, owner, asker, mark, text)
				}
			}
			if p.list {
				continue
			}
			status2, header2, text2 := d.ask(asker, method, never.Replace(p.path), with(p.header, never), strings.NewReader(p.body))
			header.Del("Date")
			header2.Del("Date")
			if status != http.StatusNotFound || status2 != status || text2 != text || !same(header, header2) {
				t.Errorf("%s of %s: %d %v %s\nfor what never was: %d %v %s", name, owner, status, header, text, status2, header2, text2)
			}
			// The probe itself is sound: its owner gets something.
			self := strings.NewReplacer("{asker}", owner).Replace(words.Replace(strings.ReplaceAll(p.path, "{asker}", owner)))
			if status, _, text := d.ask(owner, method, self, with(p.header, words), strings.NewReader(p.body)); status != http.StatusOK {
				t.Errorf("%s, asked by its owner: %d %s", name, status, text)
			}
		}
	}
	for _, item := range d.list(queue.Query{}) {
		if by := item.HandedOver; !by.IsZero() && item.Key.Message.String() != own["bau"] && item.Key.Message.String() != own["steuer"] {
			t.Errorf("%s was handed over by a stranger", item.Key)
		}
	}
}

func with(header map[string]string, words *strings.Replacer) map[string]string {
	out := map[string]string{}
	for k, v := range header {
		out[k] = words.Replace(v)
	}
	return out
}

func same(a, b http.Header) bool {
	var x, y bytes.Buffer
	if a.Write(&x) != nil || b.Write(&y) != nil {
		return false
	}
	return x.String() == y.String()
}

// routesOf reads the routes from the OpenAPI document, which is what programs
// see, too.
func routesOf(t *testing.T, d *door) []string {
	t.Helper()
	res, err := http.Get(d.server.URL + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		OpenAPI string                                `json:"openapi"`
		Paths   map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(text, &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Fatalf("OpenAPI document: %v %s", err, doc.OpenAPI)
	}
	var routes []string
	for path, methods := range doc.Paths {
		for method := range methods {
			routes = append(routes, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(routes)
	if len(routes) < 7 {
		t.Errorf("only %d routes: %v", len(routes), routes)
	}
	return routes
}

// marksOf returns what must never stand in another authority's answer: ids,
// addresses, names and cursors.
func (d *door) marksOf(owner string) []string {
	d.t.Helper()
	marks := []string{"geheim von " + owner, "receipt for " + owner, "in-" + owner, owner + "-app"}
	for _, item := range d.list(queue.Query{Authority: owner}) {
		marks = append(marks, item.Key.Message.String())
	}
	var events api.Events
	d.fetch(owner, "/v1/events?limit=1000", &events)
	for _, e := range events.Events {
		marks = append(marks, e.ID)
	}
	return marks
}

func (d *door) receiptOf(owner, id string) string {
	d.t.Helper()
	var m api.Message
	d.fetch(owner, "/v1/messages/"+id, &m)
	return m.Receipts[0].ID
}
