package api_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestReadingIsNoted: the first request of a token on a day is noted, with its
// purpose, and each one of a delegate; what cannot be noted is not answered.
func TestReadingIsNoted(t *testing.T) {
	d := newDoor(t, nil)
	ask := func(want int, header ...string) {
		t.Helper()
		if status, _, text := d.ask("all", "GET", "/v1/events", "", header...); status != want {
			t.Errorf("%v: %d, want %d: %s", header, status, want, text)
		}
	}
	const daily = " HTTP API, from now to the end of the day bau"
	d.flow.mute = errors.New("the disk is full")
	ask(http.StatusServiceUnavailable)
	d.flow.mute, d.flow.reads = nil, nil
	ask(http.StatusOK)
	ask(http.StatusOK)
	ask(http.StatusOK, "Gatewayd-Purpose", "audit")
	d.now = d.now.Add(24 * time.Hour)
	ask(http.StatusOK)
	ask(http.StatusBadRequest, "Gatewayd-Authority", "steuer", "Gatewayd-Purpose", "")
	ask(http.StatusOK, "Gatewayd-Authority", "steuer", "Gatewayd-Purpose", "protection")
	ask(http.StatusOK, "Gatewayd-Authority", "steuer", "Gatewayd-Purpose", "protection")
	want := []string{
		"all operation " + daily, "all audit " + daily, "all operation " + daily,
		"all protection steuer GET /v1/events /v1/events", "all protection steuer GET /v1/events /v1/events",
	}
	if !slices.Equal(d.flow.reads, want) {
		t.Errorf("noted: %q\nwant: %q", d.flow.reads, want)
	}
	if status, _, _ := d.ask("all", "GET", "/nowhere", ""); status != http.StatusNotFound || len(d.flow.reads) != len(want) {
		t.Errorf("a route that is none: %d, noted %q", status, d.flow.reads)
	}
}

// TestLogDataStatesItsPurpose: nothing is a purpose by itself where log data are
// read; what is said is noted for each message, and mail of one's own needs none.
func TestLogDataStatesItsPurpose(t *testing.T) {
	d := newDoor(t, nil)
	for path, needs := range map[string]bool{
		"/v1/events": true, "/v1/messages/" + someID: true, "/v1/messages/" + someID + "/evidence": true,
		"/v1/mailboxes/bau/messages": false, "/v1/mailboxes/bau/messages/" + someID: false, "/v1/messages/" + someID + "/receipts/1": false,
	} {
		for _, said := range []string{"", "curiosity"} {
			status, _, text := d.ask("all", "GET", path, "", "Gatewayd-Purpose", said)
			if want := needs || said != ""; (status == http.StatusBadRequest) != want {
				t.Errorf("%s, purpose %q: %d", path, said, status)
			} else if want && !strings.Contains(text, "send the header Gatewayd-Purpose: say what the log data are read for: security") {
				t.Errorf("%s: it does not say what to send: %s", path, text)
			}
		}
	}
	d.flow.reads = nil
	for range 2 {
		d.ask("all", "GET", "/v1/messages/"+someID, "", "Gatewayd-Purpose", "security")
	}
	d.ask("all", "GET", "/v1/messages/"+someID+"/evidence", "", "Gatewayd-Purpose", "audit")
	one := "all security  GET /v1/messages/{id} bau /v1/messages/" + someID
	if want := []string{one, one, "all audit  GET /v1/messages/{id}/evidence bau /v1/messages/" + someID + "/evidence"}; !slices.Equal(d.flow.reads, want) {
		t.Errorf("noted: %q\nwant: %q", d.flow.reads, want)
	}
}
