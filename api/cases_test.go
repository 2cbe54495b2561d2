package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"gatewayd/queue"
)

// TestCases: what a program says of a case reaches the flow with the token's
// name, and nonsense does not.
func TestCases(t *testing.T) {
	d := newDoor(t, nil)
	base := "/v1/messages/" + someID + "/recipients/"
	for _, tt := range []struct {
		path, body string
		want       int
	}{
		{"1/tasks/serve_by_post/close", `{"reason":"eingeschrieben"}`, 200},
		{"1/expects", `{"expects":"yes","reason":"hängig"}`, 200},
		{"2/expects", `{"expects":"no","reason":"x"}`, 404}, // there is no case of the second recipient
		{"1/expects", `{"expects":"perhaps","reason":"x"}`, 400},
		{"1/expects", `{"expects":"yes","reason":"  "}`, 400},
		{"1/expects", `{"expects":"yes"}`, 400},
		{"0/expects", `{"expects":"yes","reason":"x"}`, 400},
		{"x/expects", `{"expects":"yes","reason":"x"}`, 400},
		{"1/tasks/serve_by_post/close", `{"reason":"` + strings.Repeat("x", 501) + `"}`, 400},
		{"1/tasks/serve_by_post/close", `{"reason":"` + strings.Repeat("x", 9000) + `"}`, 413},
	} {
		status, _, text := d.ask("handover", http.MethodPost, base+tt.path, tt.body, "Content-Type", "application/json")
		if status != tt.want && (tt.want != 400 || status != 422) {
			t.Errorf("%s %s: %d %s, want %d", tt.path, tt.body, status, text, tt.want)
		}
		if tt.want == 200 && !strings.Contains(text, `"binding":false`) {
			t.Errorf("%s: the answer does not say that it is not binding: %s", tt.path, text)
		}
	}
	want := []string{fmt.Sprintln("bau", 1, "serve_by_post", "eingeschrieben", "handover"), fmt.Sprintln("bau", 1, "yes", "hängig", "handover"), fmt.Sprintln("bau", 2, "no", "x", "handover")}
	if !slices.Equal(d.flow.said, want) {
		t.Errorf("the flow heard %q, want %q", d.flow.said, want)
	}
	if status, _, _ := d.ask("read", http.MethodPost, base+"1/expects", `{"expects":"yes","reason":"x"}`, "Content-Type", "application/json"); status != http.StatusForbidden {
		t.Errorf("without the right: %d", status)
	}
	if _, _, text := d.ask("read", http.MethodGet, "/v1/messages/"+someID, ""); !strings.Contains(text, `"state":"not_served"`) {
		t.Errorf("a message without its case: %s", text)
	}
	d.flow.err = queue.ErrNotFound
	if status, _, _ := d.ask("handover", http.MethodPost, base+"1/tasks/x/close", `{"reason":"x"}`, "Content-Type", "application/json"); status != http.StatusNotFound {
		t.Errorf("no such task: %d", status)
	}
}
