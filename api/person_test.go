package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestPersonAccess: only a token with the right, for the person or for data
// protection, gets what its own authority holds.
func TestPersonAccess(t *testing.T) {
	d := newDoor(t, nil)
	const body = `{"address":"buerger@example.ch"}`
	for name, c := range map[string]struct {
		token, body, purpose string
		status               int
		says                 string
	}{
		"for the person":      {"all", body, "access", http.StatusOK, "{}"},
		"data protection":     {"all", body, "protection", http.StatusOK, "{}"},
		"operation":           {"all", body, "operation", http.StatusBadRequest, "access when the person has asked"},
		"no purpose":          {"all", body, "", http.StatusBadRequest, "Gatewayd-Purpose"},
		"right to read alone": {"read", body, "access", http.StatusForbidden, "lacks the right access"},
		"no address":          {"all", `{"address":"niemand"}`, "access", http.StatusBadRequest, "not a mail address"},
		"nobody":              {"all", `{"address":""}`, "access", http.StatusBadRequest, ""},
	} {
		d.flow.said = nil
		status, _, text := d.ask(c.token, "POST", "/v1/persons/access", c.body, "Content-Type", "application/json", "Gatewayd-Purpose", c.purpose)
		if status != c.status || !strings.Contains(text, c.says) {
			t.Errorf("%s: %d %s", name, status, text)
		}
		want := []string{"person bau all " + c.purpose + " buerger@example.ch\n"}
		if asked := slices.Equal(d.flow.said, want); asked != (c.status == http.StatusOK) || !asked && len(d.flow.said) > 0 {
			t.Errorf("%s: asked for %q", name, d.flow.said)
		}
	}
}
