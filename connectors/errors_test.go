package connectors

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

func TestKindOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Kind
	}{
		{errors.New("anything"), Temporary},
		{&Error{}, Temporary},
		{fmt.Errorf("smtp: %w", &Error{Kind: Permanent}), Permanent},
		{fmt.Errorf("smtp: %w", &Error{Kind: Unclear}), Unclear},
		{Refuse(StepForm, "5.7.1", "no"), Permanent},
	} {
		if got := KindOf(c.err); got != c.want {
			t.Errorf("KindOf(%v) = %v, want %v", c.err, got, c.want)
		}
	}
}

func TestErrorText(t *testing.T) {
	err := &Error{Kind: Unclear, Step: StepDot, Code: 451, Enhanced: "4.3.0", Text: "about somebody@example.ch", Err: io.EOF}
	if got, want := err.Error(), "dot: unclear: 451 4.3.0: EOF"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if !errors.Is(err, io.EOF) {
		t.Error("the cause is lost")
	}
}

func TestLookupErrorHidesTheName(t *testing.T) {
	err := LookupError(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "secret.example"}})
	if strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "no such host") {
		t.Errorf("LookupError = %q", err)
	}
	if got := LookupError(io.EOF); !errors.Is(got, io.EOF) {
		t.Errorf("LookupError(EOF) = %v", got)
	}
}
