package parts

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"gatewayd/mail"
)

// Bounds of Sections, in octets.
const (
	maxSection  = 256 << 10
	maxSections = 64
)

// Sections returns the leaves of a message that are text or tell about
// delivery, in their order, for package mail/bounce. A message whose lines end
// with a bare CR is read as if they were whole, and blank lines before its
// header, which web mail puts there when a message is saved, are skipped.
// Errors are those of reading.
func Sections(r io.ReaderAt, size int64) ([]mail.Section, error) {
	r, size, err := plainStart(r, size)
	if err != nil {
		return nil, err
	}
	tree, err := Read(r, size, Limits{})
	if err != nil {
		return nil, err
	}
	list := []mail.Section{}
	inside := make([]bool, len(tree.Parts))
	cut := make([]bool, len(tree.Parts))
	for i := range tree.Parts[1:] {
		cut[tree.Parts[i+1].Parent] = true
	}
	for i := range tree.Parts {
		p := &tree.Parts[i]
		if i > 0 {
			parent := &tree.Parts[p.Parent]
			inside[i] = inside[p.Parent] || isMessage(parent.Type)
		}
		typ := p.Type
		if strings.HasPrefix(typ, "multipart/") && !cut[i] {
			typ = "text/plain" // its boundary is lost
		}
		if i > 0 && (!legible(typ) || len(list) == maxSections) {
			continue
		}
		s := mail.Section{Type: typ, Header: p.Header, Inside: inside[i]}
		if legible(typ) {
			if s.Text, err = p.Text(r, maxSection); err != nil {
				return nil, fmt.Errorf("section %d: %w", i, err)
			}
		}
		list = append(list, s)
	}
	return list, nil
}

func isMessage(typ string) bool { return typ == "message/rfc822" || typ == "message/global" }

func legible(typ string) bool {
	return strings.HasPrefix(typ, "text/") || strings.HasPrefix(typ, "message/")
}

// plainStart looks at the start of the message: blank lines before its first
// field are left out, and with CR but no LF in it, each CR is read as LF.
func plainStart(r io.ReaderAt, size int64) (io.ReaderAt, int64, error) {
	head, err := io.ReadAll(io.NewSectionReader(r, 0, min(size, 4096)))
	if err != nil {
		return nil, 0, fmt.Errorf("read message: %w", err)
	}
	if onlyCR(head) {
		r = loneCR{r}
	}
	if begun := bytes.TrimLeft(head, " \t\r\n"); len(begun) < len(head) && fieldStart.Match(begun) {
		blank := int64(len(head) - len(begun))
		return io.NewSectionReader(r, blank, size-blank), size - blank, nil
	}
	return r, size, nil
}

// onlyCR tells text whose lines end with a bare CR.
func onlyCR(head []byte) bool {
	return bytes.IndexByte(head, '\r') >= 0 && bytes.IndexByte(head, '\n') < 0
}

type loneCR struct{ r io.ReaderAt }

// ReadAt implements io.ReaderAt.
func (l loneCR) ReadAt(p []byte, off int64) (int, error) {
	n, err := l.r.ReadAt(p, off)
	for i, c := range p[:n] {
		if c == '\r' {
			p[i] = '\n'
		}
	}
	return n, err
}
