package footer

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/text/encoding/charmap"
)

// text is what is known of the decoded text of a part.
type text struct {
	size    int64
	end     int64 // of HTML: where its last </body>, or else </html>, begins; -1: nowhere
	high    bool  // octets above 127
	wide    bool  // NUL octets: not made of single octets
	armored bool  // it holds an OpenPGP block
	crlf    bool  // a line ends in CRLF
	lf      bool  // a line ends in a bare LF
	last    byte
}

// overlap is at least as long as everything that look looks for.
const overlap = 16

// look reads a text once.
func look(r io.Reader) (text, error) {
	t := text{end: -1}
	body, whole := int64(-1), int64(-1)
	buf := make([]byte, overlap+32<<10)
	kept := 0
	for {
		n, err := r.Read(buf[kept:])
		window := lower(buf[:kept+n])
		start := t.size - int64(kept)
		if i := bytes.LastIndex(window, []byte("</body")); i >= 0 {
			body = start + int64(i)
		}
		if i := bytes.LastIndex(window, []byte("</html")); i >= 0 {
			whole = start + int64(i)
		}
		t.armored = t.armored || bytes.Contains(window, []byte("-----begin pgp"))
		t.octets(buf[kept : kept+n])
		kept = copy(buf, buf[max(0, kept+n-overlap):kept+n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return t, fmt.Errorf("text of the message: %w", err)
		}
	}
	t.end = whole
	if body >= 0 {
		t.end = body
	}
	return t, nil
}

// lower turns ASCII letters small. Unlike bytes.ToLower it leaves every other octet, in
// whatever charset, where it is.
func lower(p []byte) []byte {
	out := bytes.Clone(p)
	for i, c := range out {
		if 'A' <= c && c <= 'Z' {
			out[i] = c + 'a' - 'A'
		}
	}
	return out
}

func (t *text) octets(p []byte) {
	for _, c := range p {
		t.high = t.high || c > 127
		t.wide = t.wide || c == 0
		if c == '\n' {
			t.crlf, t.lf = t.crlf || t.last == '\r', t.lf || t.last != '\r'
		}
		t.last = c
	}
	t.size += int64(len(p))
}

// framed gives a footer the line ends of the text and a blank line before it.
func (t text) framed(octets []byte, isHTML bool) []byte {
	eol := "\r\n"
	if t.lf && !t.crlf {
		eol = "\n"
	}
	before := eol
	if t.last != '\n' && t.size > 0 {
		before += eol
	}
	if isHTML {
		before = eol
	}
	return append([]byte(before), append(bytes.ReplaceAll(octets, []byte("\n"), []byte(eol)), eol...)...)
}

// written is a footer in the charset of a text. HTML names what is not ASCII by number,
// which is right in every charset. utf8: the text, so far ASCII, becomes UTF-8.
func written(add, charset string, high, isHTML bool) (octets []byte, utf8 bool) {
	ascii := !strings.ContainsFunc(add, func(r rune) bool { return r > 127 })
	switch {
	case ascii:
		return []byte(add), false
	case isHTML:
		return numbered(add), false
	case charset == "utf-8" || charset == "utf8":
		return []byte(add), false
	case (charset == "" || charset == "us-ascii") && !high:
		return []byte(add), true
	}
	var table *charmap.Charmap
	switch charset {
	case "iso-8859-1":
		table = charmap.ISO8859_1
	case "iso-8859-15":
		table = charmap.ISO8859_15
	case "windows-1252":
		table = charmap.Windows1252
	}
	if table != nil {
		if out, err := table.NewEncoder().Bytes([]byte(add)); err == nil {
			return out, false
		}
	}
	return spelt(add), false
}

func numbered(s string) []byte {
	var b bytes.Buffer
	for _, r := range s {
		if r > 127 {
			fmt.Fprintf(&b, "&#%d;", r)
		} else {
			b.WriteByte(byte(r))
		}
	}
	return b.Bytes()
}

// spelt writes German without its own letters, for charsets that have none of them.
func spelt(s string) []byte {
	s = strings.NewReplacer("ä", "ae", "ö", "oe", "ü", "ue", "Ä", "Ae", "Ö", "Oe", "Ü", "Ue", "ß", "ss", "é", "e", "è", "e", "à", "a", "ç", "c",
		"–", "-", "—", "-", "«", "\"", "»", "\"", "„", "\"", "“", "\"", "”", "\"", "’", "'", "\u00a0", " ", "…", "...").Replace(s)
	return []byte(strings.Map(func(r rune) rune {
		if r > 127 {
			return '?'
		}
		return r
	}, s))
}

// base64Lines encodes in lines of 76 characters (RFC 2045 section 6.8).
func base64Lines(r io.Reader) io.Reader {
	return &lines{r: r}
}

// lines encodes whole lines ahead.
type lines struct {
	r   io.Reader
	out []byte
	err error
}

// Read implements io.Reader.
func (l *lines) Read(p []byte) (int, error) {
	for len(l.out) == 0 {
		if l.err != nil {
			return 0, l.err
		}
		var raw [57 * 64]byte
		n, err := io.ReadFull(l.r, raw[:])
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		l.err = err
		for rest := raw[:n]; len(rest) > 0; {
			line := rest[:min(57, len(rest))]
			l.out = append(base64.StdEncoding.AppendEncode(l.out, line), "\r\n"...)
			rest = rest[len(line):]
		}
	}
	n := copy(p, l.out)
	l.out = l.out[n:]
	return n, nil
}
