// Package recode changes single parts of a message and keeps every other octet:
// for crypto/entity, which brings parts to seven bits before it signs them, and for
// mail/footer. Nothing is held in memory but headers.
package recode

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"gatewayd/mail"
	"gatewayd/mail/parts"
)

// Change is what becomes of one part.
type Change struct {
	Part   int                      // index in Tree.Parts
	Header func(*mail.Header) error // edits its header; nil: it stays
	Body   func() io.Reader         // its new body, encoded; nil: it stays
}

// Recoded is a message with changes.
type Recoded struct{ pieces []func() io.Reader }

var (
	errOverlap = errors.New("two changes of the same octets")          // a part lies in the new body of another one
	errNoBlank = errors.New("no blank line ends the header of a part") // programs do not agree where its body begins
)

// Apply prepares the changes of a message of size octets in r, of which tree are the
// parts. r must stay readable as long as the result is used.
func Apply(r io.ReaderAt, size int64, tree parts.Tree, changes []Change) (*Recoded, error) {
	list := slices.Clone(changes)
	slices.SortFunc(list, func(a, b Change) int { return a.Part - b.Part }) // the order of their headers
	m := &Recoded{}
	done := int64(0)
	upTo := func(off int64) {
		if start := done; off > start {
			m.add(func() io.Reader { return io.NewSectionReader(r, start, off-start) })
		}
		done = off
	}
	for _, c := range list {
		p := tree.Parts[c.Part]
		if p.Whole.Start < done {
			return nil, errOverlap
		}
		if c.Header != nil {
			upTo(p.Whole.Start)
			head, err := edited(r, p, c.Header)
			if err != nil {
				return nil, err
			}
			m.add(func() io.Reader { return bytes.NewReader(head) })
			done = p.Body.Start
		}
		if c.Body != nil {
			if _, err := edited(r, p, func(*mail.Header) error { return nil }); err != nil {
				return nil, err
			}
			upTo(p.Body.Start)
			m.add(c.Body)
			done = p.Body.End
		}
	}
	upTo(size)
	return m, nil
}

func (m *Recoded) add(piece func() io.Reader) { m.pieces = append(m.pieces, piece) }

// edited returns the header of a part with the blank line at its end, after an edit.
func edited(r io.ReaderAt, p parts.Part, edit func(*mail.Header) error) ([]byte, error) {
	raw := make([]byte, p.Body.Start-p.Whole.Start)
	if _, err := io.ReadFull(io.NewSectionReader(r, p.Whole.Start, int64(len(raw))), raw); err != nil {
		return nil, fmt.Errorf("header of a part: %w", err)
	}
	h := mail.ParseHeader(raw)
	fields := 0
	for _, f := range h.Fields() {
		fields += len(f.Raw)
	}
	if fields == h.Len() {
		return nil, errNoBlank
	}
	if err := edit(h); err != nil {
		return nil, fmt.Errorf("header of a part: %w", err)
	}
	return h.Bytes(), nil
}

// Reader reads the message with its changes, from its beginning.
func (m *Recoded) Reader() io.Reader {
	readers := make([]io.Reader, len(m.pieces))
	for i, piece := range m.pieces {
		readers[i] = piece()
	}
	return io.MultiReader(readers...)
}
