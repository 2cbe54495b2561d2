package connectors

import (
	"errors"
	"fmt"
	"testing"
)

func TestLinkDown(t *testing.T) {
	for _, tt := range []struct {
		err  error
		down bool
	}{
		{nil, false},
		{errors.New("anything"), false},
		{&Error{Step: StepConnect}, true},
		{fmt.Errorf("wrapped: %w", &Error{Step: StepTLS}), true},
		{&Error{Step: StepAuth, Code: 535}, true},
		{&Error{Step: StepRoute}, true},
		{&Error{Step: StepRoute, Kind: Permanent}, false}, // no such domain: nobody else waits for it
		{&Error{Step: StepRcpt, Code: 450}, false},
		{&Error{Step: StepMail, Code: 421}, true},
		{&Error{Step: StepDot, Kind: Unclear}, false},
	} {
		if got := LinkDown(tt.err); got != tt.down {
			t.Errorf("LinkDown(%v) = %v", tt.err, got)
		}
	}
}
