package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"gatewayd/gateway/personfile"
	"gatewayd/message"
)

// TestPersonByProgram: a program gets what its authority holds about a person, and
// neither what another one holds nor numbers of the log; that it asked is noted.
func TestPersonByProgram(t *testing.T) {
	t.Parallel()
	d, own := filledDoor(t)
	header := map[string]string{"Content-Type": "application/json", "Gatewayd-Purpose": "access"}
	var asked int
	for _, authority := range []string{"bau", "steuer"} {
		other := map[string]string{"bau": "steuer", "steuer": "bau"}[authority]
		status, _, text := d.ask(authority, http.MethodPost, "/v1/persons/access", header, strings.NewReader(`{"address":"buerger@example.ch"}`))
		var f personfile.File
		if status != http.StatusOK || json.Unmarshal([]byte(text), &f) != nil {
			t.Fatalf("%s: %d %s", authority, status, text)
		}
		if strings.Contains(text, own[other]) || strings.Contains(text, other+"@bl.example") || len(f.Messages) == 0 || f.Authority != authority || len(f.Events) == 0 {
			t.Errorf("%s: %s", authority, text)
		}
		for _, e := range f.Events {
			if e.Seq != 0 || e.Hash != (message.Digest{}) || e.Authority != authority {
				t.Errorf("%s is told of the log: %+v", authority, e)
			}
		}
		for _, m := range f.Messages {
			if m.Authority != authority {
				t.Errorf("%s is given a message of %s", authority, m.Authority)
			}
		}
		asked += strings.Count(text, `"door": "api"`)
	}
	if asked != 0 {
		t.Errorf("the first file knows of itself")
	}
	_, _, text := d.ask("bau", http.MethodPost, "/v1/persons/access", header, strings.NewReader(`{"address":"buerger@example.ch"}`))
	if !strings.Contains(text, `"door": "api"`) {
		t.Errorf("that it was asked for is not in the log:\n%s", text)
	}
}
