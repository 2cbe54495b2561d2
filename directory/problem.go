package directory

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatewayd/spelling"
)

// Problem is one mistake in a file, with its place and what to do. It quotes
// neither addresses nor secrets.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`   // from 1; 0: the whole file
	Column int    `json:"column,omitempty"` // from 1
	Text   string `json:"problem"`
}

// String returns "file:line:column: text".
func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Text)
}

// problemsError makes one error of all mistakes; nil if there are none.
func problemsError(problems []Problem) error {
	errs := make([]error, 0, len(problems))
	for _, p := range problems {
		errs = append(errs, errors.New(p.String()))
	}
	return errors.Join(errs...)
}

// suggest names the nearest of the known words, or all of them.
func suggest(word string, known []string) string {
	if best := spelling.Nearest(word, known); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	known = slices.Clone(known)
	slices.Sort(known)
	return "known are " + strings.Join(known, ", ")
}
