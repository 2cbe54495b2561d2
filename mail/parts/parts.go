package parts

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"gatewayd/mail"
)

// Limits bound what Read looks at. Zero values mean the defaults.
type Limits struct {
	Depth  int // nesting of parts; default 20
	Parts  int // number of parts; default 1000
	Header int // octets of all part headers together; default 1 MiB
}

func (l Limits) filled() Limits {
	if l.Depth <= 0 {
		l.Depth = 20
	}
	if l.Parts <= 0 {
		l.Parts = 1000
	}
	if l.Header <= 0 {
		l.Header = 1 << 20
	}
	return l
}

// Range is a stretch of the message: octets Start up to, not including, End.
type Range struct{ Start, End int64 }

// Len returns the number of octets.
func (r Range) Len() int64 { return r.End - r.Start }

// Part is one MIME entity: the message itself, a body part, or the message
// inside a message/rfc822 part.
type Part struct {
	Parent      int               // index in Tree.Parts; -1 for the message itself
	Depth       int               // 0 for the message itself
	Header      *mail.Header      // its own header, octet for octet
	Type        string            // media type in lower case, "text/plain"; the default of RFC 2045 section 5.2 where none is readable
	Params      map[string]string // of the Content-Type, names in lower case, decoded
	Disposition string            // "attachment", "inline" or ""
	FileName    string            // decoded and made safe to show and store; "" if none
	Encoding    string            // Content-Transfer-Encoding in lower case; "7bit" if none
	Whole       Range             // header and body: the octets under a signature
	Body        Range             // the encoded body

	// What the scanner noticed, for Inspect.
	noBlank    bool // no blank line ended the header
	delimiters int  // of a multipart, opening ones
	closed     bool // its closing delimiter was seen
	nearMiss   bool // a line almost is its delimiter
	shared     bool // its boundary begins as one around it, or the other way round
	outside    bool // before, between or behind its parts stands what looks like a part
}

// Tree is a message cut into its parts, in the order of their headers; the
// first is the message itself.
type Tree struct {
	Parts   []Part
	Limited bool   // a limit was reached: something was not cut further
	Limit   string // which one, in words; "" if none
}

// Read cuts a message of size octets into its MIME parts (RFC 2046). It takes
// any octets: broken structure gives fewer parts, never an error; only reading
// fails. The time is linear in size.
func Read(r io.ReaderAt, size int64, lim Limits) (Tree, error) {
	return newScanner(r, size, lim, largeBuffer).rest()
}

// rest scans to the end.
func (s *scanner) rest() (Tree, error) {
	for {
		err := s.step()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Tree{}, fmt.Errorf("read message: %w", err)
		}
	}
	s.closeTo(0, s.off)
	return s.tree, nil
}

// ReadRoot reads the header of a message only: the first part of the Tree that
// Read returns, without looking for others in its body. Where all says so of it,
// the whole is read after all, in the same pass. all may be nil: never.
func ReadRoot(r io.ReaderAt, size int64, lim Limits, all func(root Part) bool) (Tree, error) {
	s := newScanner(r, size, lim, smallBuffer)
	err := s.root()
	if err == nil && s.tree.Limited { // a line may have been too long for the small buffer only
		s = newScanner(r, size, lim, largeBuffer)
		err = s.root()
	}
	if err != nil {
		return Tree{}, err
	}
	root := s.tree.Parts[0]
	if all == nil || !all(root) {
		root.Whole.End, root.Body.End = size, size
		return Tree{Parts: []Part{root}, Limited: s.tree.Limited, Limit: s.tree.Limit}, nil
	}
	if left := size - s.off; left > int64(s.r.Size()) {
		s.r = bufio.NewReaderSize(io.NewSectionReader(r, s.off, left), int(min(largeBuffer, left)))
	}
	return s.rest()
}

// root scans the header of the message.
func (s *scanner) root() error {
	for s.open[0].inHeader {
		err := s.step()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read message: %w", err)
		}
	}
	return nil
}

// Octets that a scanner reads at a time.
const (
	smallBuffer = 4 << 10
	largeBuffer = 32 << 10
)

// newScanner reads so many octets at a time, or all there are.
func newScanner(r io.ReaderAt, size int64, lim Limits, buffer int64) *scanner {
	s := &scanner{r: bufio.NewReaderSize(io.NewSectionReader(r, 0, size), int(min(buffer, size+1))), lim: lim.filled()}
	s.begin(-1, false)
	return s
}

// scanner goes once through the message, line by line.
type scanner struct {
	r    *bufio.Reader
	lim  Limits
	tree Tree

	off  int64 // start of the next line
	eol  int64 // length of the line end just before off
	open []openPart
	head []byte // header lines of the innermost part, while reading them
	used int    // octets of headers kept
}

// openPart is a part whose end has not been seen.
type openPart struct {
	index    int
	boundary string // multipart that still takes parts; else ""
	inHeader bool
	digest   bool // its parts are messages by default (RFC 2046 section 5.1.5)
}

// begin opens a part at the current offset.
func (s *scanner) begin(parent int, digest bool) {
	depth := 0
	if parent >= 0 {
		depth = s.tree.Parts[parent].Depth + 1
	}
	typ := "text/plain"
	if digest {
		typ = "message/rfc822"
	}
	s.tree.Parts = append(s.tree.Parts, Part{
		Parent: parent, Depth: depth, Header: &mail.Header{}, Type: typ, Encoding: "7bit",
		Whole: Range{s.off, s.off}, Body: Range{s.off, s.off},
	})
	s.open = append(s.open, openPart{index: len(s.tree.Parts) - 1, inHeader: true})
	s.head = nil
}

// step takes one line. A line's head is enough to know a delimiter.
func (s *scanner) step() error {
	line, n, eol, err := s.line()
	if n == 0 && err != nil {
		if errors.Is(err, io.EOF) {
			s.endHeader(s.off, true)
		}
		return err
	}
	start, prevEOL := s.off, s.eol
	if s.open[len(s.open)-1].inHeader && len(s.head) > 0 && bytes.HasPrefix(line, []byte("--")) {
		s.endHeader(start, true) // no field begins so: the blank line is missing
	}
	if level, closing, ok := s.delimiter(line); ok {
		s.endHeader(start, true)
		s.closeTo(level+1, max(start-prevEOL, 0))
		s.off, s.eol = start+n, eol
		p := &s.tree.Parts[s.open[level].index]
		if closing {
			p.closed, s.open[level].boundary = true, ""
		} else {
			p.delimiters++
			s.next(level)
		}
		return nil
	}
	s.off, s.eol = start+n, eol
	if top := &s.open[len(s.open)-1]; top.inHeader {
		if isBlank(line) {
			s.endHeader(s.off, false)
			return nil
		}
		s.keep(line, n)
	} else {
		s.tree.Parts[top.index].outside = s.tree.Parts[top.index].outside || looksLikePart(line)
	}
	return nil
}

// keep stores a header line, as far as the limit allows.
func (s *scanner) keep(line []byte, n int64) {
	if s.used+len(line) > s.lim.Header || int64(len(line)) < n {
		s.limit(limitHeader)
		return
	}
	s.used += len(line)
	s.head = append(s.head, line...)
}

// next opens a further part of a multipart, if the limits allow one.
func (s *scanner) next(level int) {
	if len(s.tree.Parts) >= s.lim.Parts {
		s.limit(limitParts)
		return
	}
	s.begin(s.open[level].index, s.open[level].digest)
}

// Which limit was reached, in words.
const (
	limitHeader = "headers too long"
	limitParts  = "too many parts"
	limitDepth  = "parts nested too deep"
)

// limit notes that a limit was reached; the first is named.
func (s *scanner) limit(which string) {
	if !s.tree.Limited {
		s.tree.Limited, s.tree.Limit = true, which
	}
}

// looksLikePart tells lines that belong to the header of a part, or delimit one.
func looksLikePart(line []byte) bool {
	return bytes.HasPrefix(line, []byte("--")) && len(line) > 4 && line[2] != '-' && line[2] != ' ' ||
		len(line) > 8 && bytes.EqualFold(line[:8], []byte("Content-"))
}

// endHeader ends the header of the innermost part; its body starts at off.
// Cut: not a blank line ended it.
func (s *scanner) endHeader(off int64, cut bool) {
	top := &s.open[len(s.open)-1]
	if !top.inHeader {
		return
	}
	top.inHeader = false
	p := &s.tree.Parts[top.index]
	p.noBlank = cut && off > p.Whole.Start
	p.Header = mail.ParseHeader(s.head)
	s.head = nil
	p.Body = Range{off, off}
	p.describe()
	deep := p.Depth+1 >= s.lim.Depth
	switch boundary := p.Params["boundary"]; {
	case strings.HasPrefix(p.Type, "multipart/") && boundary != "" && p.identity():
		if deep {
			s.limit(limitDepth)
			return
		}
		p.shared = s.sharedBoundary(boundary)
		top.boundary, top.digest = boundary, p.Type == "multipart/digest"
	case (p.Type == "message/rfc822" || p.Type == "message/global") && p.identity():
		if deep || len(s.tree.Parts) >= s.lim.Parts {
			s.limit(limitDepth)
			return
		}
		s.begin(top.index, false)
	}
}

// sharedBoundary tells whether a boundary may be taken for one of the
// multiparts around it.
func (s *scanner) sharedBoundary(boundary string) bool {
	for _, o := range s.open {
		if o.boundary != "" && (strings.HasPrefix(o.boundary, boundary) || strings.HasPrefix(boundary, o.boundary)) {
			return true
		}
	}
	return false
}

// delimiter looks whether the line is a delimiter of an open multipart, the
// innermost first (RFC 2046 section 5.1.1).
func (s *scanner) delimiter(line []byte) (level int, closing, ok bool) {
	if len(line) < 3 || line[0] != '-' || line[1] != '-' {
		return 0, false, false
	}
	text := string(bytes.TrimRight(line[2:], " \t\r\n"))
	for i := len(s.open) - 1; i >= 0; i-- {
		b := s.open[i].boundary
		if b == "" || !strings.HasPrefix(text, b) {
			continue
		}
		if rest := text[len(b):]; rest == "" {
			return i, false, true
		} else if rest == "--" {
			return i, true, true
		}
		s.tree.Parts[s.open[i].index].nearMiss = true
	}
	return 0, false, false
}

// closeTo ends the open parts above level at off.
func (s *scanner) closeTo(level int, off int64) {
	for i := len(s.open) - 1; i >= level; i-- {
		p := &s.tree.Parts[s.open[i].index]
		off = max(off, p.Body.Start) // of a part without body, the header's line end
		p.Body.End, p.Whole.End = off, off
	}
	s.open = s.open[:level]
}

// line reads one line: its first octets (all of it, if it is not longer than
// the buffer), its length and the length of its line end. The octets are good
// until the next call.
func (s *scanner) line() (head []byte, n, eol int64, err error) {
	piece, err := s.r.ReadSlice('\n')
	if err == nil || !errors.Is(err, bufio.ErrBufferFull) {
		return piece, int64(len(piece)), eolLen(piece), err
	}
	head = bytes.Clone(piece[:1024]) // the next read overwrites it
	n = int64(len(piece))
	last := piece[len(piece)-1]
	for errors.Is(err, bufio.ErrBufferFull) {
		piece, err = s.r.ReadSlice('\n')
		n += int64(len(piece))
		if eol = eolLen(piece); eol == 1 && len(piece) == 1 && last == '\r' {
			eol = 2
		}
		if len(piece) > 0 {
			last = piece[len(piece)-1]
		}
	}
	return head, n, eol, err
}

func isBlank(line []byte) bool { return string(line) == "\r\n" || string(line) == "\n" }

func eolLen(line []byte) int64 {
	switch {
	case bytes.HasSuffix(line, []byte("\r\n")):
		return 2
	case bytes.HasSuffix(line, []byte("\n")):
		return 1
	}
	return 0
}

// describe fills the part from its header fields.
func (p *Part) describe() {
	if ct := p.Header.Get("Content-Type"); ct != "" {
		typ, params := mail.ParseParams(ct)
		p.Params = params
		if isMediaType(typ) {
			p.Type = strings.ToLower(typ)
		}
	}
	disposition, params := mail.ParseParams(p.Header.Get("Content-Disposition"))
	p.Disposition = strings.ToLower(disposition)
	name := params["filename"]
	if name == "" {
		name = p.Params["name"]
	}
	p.FileName = mail.SafeFileName(name)
	if enc := strings.ToLower(mail.StripComments(p.Header.Get("Content-Transfer-Encoding"))); enc != "" {
		p.Encoding = enc
	}
}

// tokenChars are those of a token (RFC 2045 section 5.1).
const tokenChars = "!#$%&'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz{|}~"

func isMediaType(s string) bool {
	kind, sub, ok := strings.Cut(s, "/")
	word := func(s string) bool { return s != "" && strings.Trim(s, tokenChars) == "" }
	return ok && word(kind) && word(sub)
}

// identity reports whether the body stands in the message as it is.
func (p *Part) identity() bool {
	switch p.Encoding {
	case "7bit", "8bit", "binary":
		return true
	}
	return false
}

// Raw returns the encoded body. r is the message that was given to Read.
func (p *Part) Raw(r io.ReaderAt) io.Reader {
	return io.NewSectionReader(r, p.Body.Start, p.Body.Len())
}

// Decode returns the body with its transfer encoding undone (base64,
// quoted-printable, uuencode), tolerant of foreign octets between. An unknown encoding
// is returned as it stands. The caller bounds how much it reads.
func (p *Part) Decode(r io.ReaderAt) io.Reader {
	switch p.Encoding {
	case "base64":
		return newBase64Reader(p.Raw(r))
	case "quoted-printable":
		return newQPReader(p.Raw(r))
	case "x-uuencode", "uuencode", "x-uue":
		return newUUReader(p.Raw(r))
	}
	return p.Raw(r)
}

// Text returns the body as UTF-8, decoded from transfer encoding and charset,
// at most limit octets.
func (p *Part) Text(r io.ReaderAt, limit int64) (string, error) {
	raw, err := io.ReadAll(io.LimitReader(p.Decode(r), limit))
	if err != nil {
		return "", fmt.Errorf("read part: %w", err)
	}
	return mail.DecodeCharset(p.Params["charset"], raw), nil
}
