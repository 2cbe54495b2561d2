package api_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestDelegate: a token acts for the authority that it names and that lets it,
// with the rights that both sides give, and for no other.
func TestDelegate(t *testing.T) {
	d := newDoor(t, nil)
	send := []string{"Content-Type", "message/rfc822", "Gatewayd-From", "a@steuer.example", "Gatewayd-To", "x@example.org", "Gatewayd-Authority", "steuer"}
	if status, _, text := d.ask("all", "POST", "/v1/messages", strings.ReplaceAll(someRaw, "bau", "steuer"), send...); status != http.StatusAccepted {
		t.Fatalf("a delegate cannot send: %d %s", status, text)
	}
	if got := d.flow.got[0]; got.Authority != "steuer" || got.Account != "all" {
		t.Errorf("accepted for %s by %s", got.Authority, got.Account)
	}
	if status, _, _ := d.ask("all", "GET", "/v1/mailboxes/steuer/messages", "", "Gatewayd-Authority", "steuer", "Gatewayd-Purpose", "operation"); status != http.StatusOK {
		t.Errorf("a delegate cannot read: %d", status)
	}
	for name, tt := range map[string]struct {
		token, method, path string
		header              []string
		status              int
	}{
		"without naming it":       {"all", "GET", "/v1/mailboxes/steuer/messages", nil, http.StatusNotFound},
		"a right not given":       {"all", "POST", "/v1/messages/" + someID + "/handover", []string{"Gatewayd-Authority", "steuer"}, http.StatusForbidden},
		"a token not named":       {"read", "GET", "/v1/mailboxes/steuer/messages", []string{"Gatewayd-Authority", "steuer"}, http.StatusForbidden},
		"an authority not named":  {"all", "GET", "/v1/mailboxes/polizei/messages", []string{"Gatewayd-Authority", "polizei"}, http.StatusForbidden},
		"one's own, named":        {"read", "GET", "/v1/mailboxes/bau/messages", []string{"Gatewayd-Authority", "bau"}, http.StatusOK},
		"nobody":                  {"", "GET", "/v1/mailboxes/steuer/messages", []string{"Gatewayd-Authority", "steuer"}, http.StatusUnauthorized},
		"own mailbox as delegate": {"all", "GET", "/v1/mailboxes/bau/messages", []string{"Gatewayd-Authority", "steuer", "Gatewayd-Purpose", "security"}, http.StatusNotFound},
		"without a purpose":       {"all", "GET", "/v1/mailboxes/steuer/messages", []string{"Gatewayd-Authority", "steuer", "Gatewayd-Purpose", ""}, http.StatusBadRequest},
		"a purpose of one's own":  {"read", "GET", "/v1/mailboxes/bau/messages", []string{"Gatewayd-Purpose", "curiosity"}, http.StatusBadRequest},
	} {
		if status, _, text := d.ask(tt.token, tt.method, tt.path, "", tt.header...); status != tt.status {
			t.Errorf("%s: %d, want %d: %s", name, status, tt.status, text)
		}
	}
	req, err := http.NewRequest("GET", d.url()+"/v1/mailboxes/steuer/messages", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header["Gatewayd-Authority"] = []string{"steuer", "bau"}
	req.Header.Set("Authorization", "Bearer "+d.secrets["all"])
	if res, err := d.do(req); err != nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("two authorities named: %v %v", res, err)
	}
}
