package connectors

import (
	"strings"
	"testing"
)

func TestRemoteID(t *testing.T) {
	for text, want := range map[string]string{
		"Ok: queued as 4XyZ12":                  "4XyZ12",
		"accepted as 01hx5v9n3c7t2m4k8q0zj":     "01hx5v9n3c7t2m4k8q0zj",
		"OK id=1rABCD-000-xyz":                  "1rABCD-000-xyz",
		"Ok: queued as ABC; thanks":             "ABC",
		"ok":                                    "",
		"queued as ":                            "",
		"queued as " + strings.Repeat("x", 101): "",
	} {
		if got := remoteID(text); got != want {
			t.Errorf("remoteID(%q) = %q, want %q", text, got, want)
		}
	}
}
