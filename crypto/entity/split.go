package entity

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"gatewayd/mail"
	"gatewayd/mail/recode"
)

// Errors of Split and of what is made from it.
var (
	// ErrIrregular: the message cannot be signed or written as it is: line ends
	// other than CRLF, lines over 998 octets, NUL. Changing it would break the
	// promise that the inner entity keeps every octet.
	ErrIrregular = errors.New("irregular lines")
	// ErrTooLarge: more octets or layers than the limit allows.
	ErrTooLarge = errors.New("too large")
	// ErrNoTime: without a time no key can be judged.
	ErrNoTime = errors.New("no time given")
)

// maxHeader bounds the header section of a message, in octets.
const maxHeader = 1 << 20

// maxLine is the longest line of RFC 5322 section 2.1.1, without CRLF.
const maxLine = 998

// Message is a stored message cut in two: the header fields that stay outside,
// and the entity that is protected (RFC 8551 section 3.1, RFC 3156 section 3):
// its Content- fields and its body, octet for octet.
type Message struct {
	head    *mail.Header
	outside []mail.Field
	inside  []byte // header of the entity, with the blank line
	body    Range

	recoded     *recode.Recoded // the entity in seven bits; nil: as it came
	recodedSize int64
}

// Range is a stretch of something with random access.
type Range struct {
	io.ReaderAt
	Start, Size int64
}

// Reader returns a reader of the stretch.
func (r Range) Reader() *io.SectionReader { return io.NewSectionReader(r.ReaderAt, r.Start, r.Size) }

// Split cuts the stored message of size octets that r holds. r must stay
// readable as long as the Message is used.
func Split(r io.ReaderAt, size int64) (*Message, error) {
	h, err := mail.ReadHeader(bufio.NewReader(io.NewSectionReader(r, 0, size)), maxHeader)
	if errors.Is(err, mail.ErrHeaderTooLong) {
		err = fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	if err != nil {
		return nil, fmt.Errorf("split message: %w", err)
	}
	m := &Message{head: h, body: Range{r, int64(h.Len()), size - int64(h.Len())}}
	for _, f := range h.Fields() {
		switch {
		case isContent(f.Name):
			m.inside = append(m.inside, f.Raw...)
		case f.Name != "" && !strings.EqualFold(f.Name, "MIME-Version"):
			m.outside = append(m.outside, f)
		}
	}
	if n := len(m.inside); n > 0 && m.inside[n-1] != '\n' { // a message that ends in its header
		m.inside = append(m.inside, "\r\n"...)
	}
	m.inside = append(m.inside, "\r\n"...)
	return m, nil
}

func isContent(name string) bool {
	return len(name) > 8 && strings.EqualFold(name[:8], "Content-")
}

// Entity returns a reader of the entity: what is signed and encrypted.
func (m *Message) Entity() io.Reader {
	if m.recoded != nil {
		return m.recoded.Reader()
	}
	return io.MultiReader(bytes.NewReader(m.inside), m.body.Reader())
}

// Size returns the octets of the entity.
func (m *Message) Size() int64 {
	if m.recoded != nil {
		return m.recodedSize
	}
	return int64(len(m.inside)) + m.body.Size
}

// Inspect reads the entity once and refuses what would not survive the way
// under an open signature, or would not verify at the other end (ErrIrregular:
// RFC 8551 section 3.1.1, RFC 3156 section 3). eightBit reports octets above
// 127: such a message needs 8BITMIME when its signature stands open.
func (m *Message) Inspect() (eightBit bool, err error) {
	l := lineCheck{}
	buf := make([]byte, min(m.Size()+1, 32<<10))
	if _, err := io.CopyBuffer(&l, struct{ io.Reader }{m.Entity()}, buf); err != nil {
		return false, fmt.Errorf("inspect message: %w", err)
	}
	return l.eightBit, l.err()
}

// lineCheck is a writer that looks at line ends and lengths.
type lineCheck struct {
	length    int  // of the line so far, without a CR at its end
	cr        bool // the last octet was one
	eightBit  bool
	irregular string
}

// Write implements io.Writer. It goes from line to line: octet by octet it
// would take longer than signing.
func (l *lineCheck) Write(p []byte) (int, error) {
	l.eightBit = l.eightBit || highBit(p)
	if bytes.IndexByte(p, 0) >= 0 {
		l.irregular = "NUL octet"
	}
	lone := bytes.Count(p, []byte{'\r'})
	for rest := p; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n')
		line := rest[:max(n, 0)]
		if n < 0 {
			line = rest
		}
		if l.cr && !(n == 0) {
			l.irregular = "carriage return without line feed"
		}
		ended := bytes.HasSuffix(line, []byte{'\r'})
		if ended {
			line = line[:len(line)-1]
		}
		if l.length += len(line); l.length > maxLine {
			l.irregular = "line over 998 octets"
		}
		if n < 0 {
			l.cr = ended
			if ended {
				lone--
			}
			break
		}
		switch {
		case ended:
			lone--
		case !(l.cr && n == 0):
			l.irregular = "line feed without carriage return"
		}
		l.length, l.cr = 0, false
		rest = rest[n+1:]
	}
	if lone > 0 {
		l.irregular = "carriage return without line feed"
	}
	return len(p), nil
}

// highBit reports an octet above 127.
func highBit(p []byte) bool {
	for ; len(p) >= 8; p = p[8:] {
		if binary.LittleEndian.Uint64(p)&0x8080808080808080 != 0 {
			return true
		}
	}
	return slices.ContainsFunc(p, func(c byte) bool { return c > 127 })
}

func (l *lineCheck) err() error {
	if l.cr {
		l.irregular = "carriage return without line feed"
	}
	if l.irregular != "" {
		return fmt.Errorf("%w: %s", ErrIrregular, l.irregular)
	}
	return nil
}

// Around puts the message's outer header around a new content. Protected is
// complete: it needs nothing but to be written.
func (m *Message) Around(c Content) (*Protected, error) {
	head, err := m.header()
	if err != nil {
		return nil, err
	}
	return &Protected{head: append(head, c.head()...), write: c.Write}, nil
}

// header returns the fields that stay outside, without the blank line.
func (m *Message) header() ([]byte, error) {
	var head bytes.Buffer
	for _, f := range m.outside {
		raw, err := regular(f)
		if err != nil {
			return nil, err
		}
		head.Write(raw)
	}
	head.WriteString("MIME-Version: 1.0\r\n")
	return head.Bytes(), nil
}

// regular returns a field with CRLF line ends and lines of at most 998 octets.
func regular(f mail.Field) ([]byte, error) {
	raw := bytes.ReplaceAll(bytes.ReplaceAll(f.Raw, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	if !bytes.HasSuffix(raw, []byte("\r\n")) {
		raw = append(raw, "\r\n"...)
	}
	l := lineCheck{}
	if _, err := l.Write(raw); err == nil && l.err() == nil {
		return raw, nil
	}
	var folded mail.Header
	_, value, _ := strings.Cut(string(bytes.ReplaceAll(raw, []byte("\r\n"), nil)), ":")
	if err := folded.Replace(f.Name, value); err != nil {
		return nil, fmt.Errorf("field %s: %w: %w", f.Name, ErrIrregular, err)
	}
	return folded.Bytes(), nil
}

// Content is a MIME entity that we write: complete header fields without line
// ends, and a body.
type Content struct {
	Fields []string
	Write  func(io.Writer) error
}

func (c Content) head() []byte { return []byte(strings.Join(c.Fields, "\r\n") + "\r\n\r\n") }

// Protected is a complete message that is ready to leave. Its body is made
// while it is written and never whole in memory.
type Protected struct {
	EightBit bool // it holds octets above 127 outside of any encoding: it needs 8BITMIME
	Recoded  bool // parts were brought to seven bits before they were signed (Message.SevenBit)
	head     []byte
	write    func(io.Writer) error
}

// WriteTo implements io.WriterTo. It may be called again: the result has the
// same meaning, but not the same octets (encryption is randomised).
func (p *Protected) WriteTo(w io.Writer) (int64, error) {
	c := &counter{w: w}
	b := bufio.NewWriterSize(c, 8<<10) // encoders write line by line
	_, err := b.Write(p.head)
	if err == nil {
		err = p.write(b)
	}
	if err == nil {
		err = b.Flush()
	}
	if err != nil {
		return c.n, fmt.Errorf("write protected message: %w", err)
	}
	return c.n, nil
}

type counter struct {
	w io.Writer
	n int64
}

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// Signed is a multipart/signed (RFC 1847 section 2.1) around a message's
// entity, with a known size, as reader or as content.
type Signed struct {
	kind        string // value of its Content-Type
	m           *Message
	front, tail []byte
}

// NewSigned puts an entity and the signature over it side by side. kind is the
// media type with its parameters except the boundary; sign are the fields of
// the signature's part, signature its body with CRLF line ends.
func NewSigned(kind string, m *Message, sign []string, signature []byte) (*Signed, error) {
	boundary, err := NewBoundary()
	if err != nil {
		return nil, err
	}
	s := &Signed{m: m, kind: kind + ";\r\n boundary=\"" + boundary + "\""}
	s.front = []byte("This is a signed message in MIME format.\r\n\r\n--" + boundary + "\r\n")
	tail := "\r\n--" + boundary + "\r\n" + strings.Join(sign, "\r\n") + "\r\n\r\n"
	s.tail = []byte(tail + strings.TrimRight(string(signature), "\r\n") + "\r\n\r\n--" + boundary + "--\r\n")
	return s, nil
}

// Content returns the multipart for use as a message's content.
func (s *Signed) Content() Content {
	return Content{Fields: []string{"Content-Type: " + s.kind}, Write: func(w io.Writer) error {
		_, err := io.Copy(w, s.body())
		return err
	}}
}

func (s *Signed) body() io.Reader {
	return io.MultiReader(bytes.NewReader(s.front), s.m.Entity(), bytes.NewReader(s.tail))
}

// Reader returns the multipart as an entity of its own, header included, and
// its size: what is encrypted after signing.
func (s *Signed) Reader() (io.Reader, int64) {
	head := s.Content().head()
	size := int64(len(head)+len(s.front)+len(s.tail)) + s.m.Size()
	return io.MultiReader(bytes.NewReader(head), s.body()), size
}

// NewBoundary returns a boundary that no content holds (RFC 2046 section
// 5.1.1): 128 random bits.
func NewBoundary() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("boundary: %w", err)
	}
	return "=_" + hex.EncodeToString(b[:]), nil
}
