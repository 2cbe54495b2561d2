package mail

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Errors of the header section.
var (
	// ErrHeaderTooLong: the header section is larger than the limit given.
	ErrHeaderTooLong = errors.New("header section too long")
	// ErrFieldValue: a value or name that may not stand in a header field
	// (CR, LF, NUL, or a word that does not fit into 998 octets).
	ErrFieldValue = errors.New("not allowed in a header field")
)

// Field is one header field with its continuation lines, or one line that is
// no field (Name is empty then).
type Field struct {
	Name string // as written; empty: not a field, kept as it is
	Raw  []byte // all octets, with line ends; not to be changed
}

// value returns the unfolded text after the colon.
func (f Field) value() string {
	i := bytes.IndexByte(f.Raw, ':')
	return strings.Trim(unfold(f.Raw[i+1:]), " \t")
}

// unfold removes line ends (RFC 5322 section 2.2.3).
func unfold(raw []byte) string {
	return strings.ReplaceAll(strings.ReplaceAll(string(raw), "\r\n", ""), "\n", "")
}

// Header is a header section, octet for octet. The zero Header is empty.
type Header struct {
	fields []Field
	end    []byte // the blank line; empty if the message ended before one
}

// ReadHeader reads up to and including the blank line that ends the header
// section, or to the end of input. It takes any octets: what is no field is
// kept as it came. More than limit octets give ErrHeaderTooLong; other errors
// are those of r, wrapped. After success the body is next in r.
func ReadHeader(r *bufio.Reader, limit int) (*Header, error) {
	var raw []byte
	for {
		start := len(raw)
		var err error
		raw, err = appendLine(raw, r, limit)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read header: %w", err)
		}
		if err != nil || isBlank(raw[start:]) { // EOF: a message without body
			return ParseHeader(raw), nil
		}
	}
}

// ParseHeader takes a header section apart that lies in memory. raw must not be
// changed afterwards; what stands behind the blank line is no part of the Header.
func ParseHeader(raw []byte) *Header {
	h := &Header{}
	begun := 0 // where the last field does
	for off := 0; off < len(raw); {
		end := len(raw)
		if n := bytes.IndexByte(raw[off:], '\n'); n >= 0 {
			end = off + n + 1
		}
		line := raw[off:end:end]
		if isBlank(line) {
			h.end = line
			return h
		}
		if n := len(h.fields); n > 0 && isSpace(line[0]) { // a continuation
			h.fields[n-1].Raw = raw[begun:end:end]
		} else {
			begun = off
			h.fields = append(h.fields, Field{Name: fieldName(line), Raw: line})
		}
		off = end
	}
	return h
}

// appendLine appends the next line with its end; raw has at most limit octets then.
func appendLine(raw []byte, r *bufio.Reader, limit int) ([]byte, error) {
	for {
		piece, err := r.ReadSlice('\n')
		if len(raw)+len(piece) > limit {
			return nil, ErrHeaderTooLong
		}
		raw = append(raw, piece...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return raw, err
		}
	}
}

func isBlank(line []byte) bool {
	return string(line) == "\r\n" || string(line) == "\n"
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// fieldName returns the name before the colon, or "" if the line starts with
// none. Space before the colon is obsolete but read (RFC 5322 section 4.5).
func fieldName(line []byte) string {
	i := bytes.IndexByte(line, ':')
	if i <= 0 {
		return ""
	}
	name := string(bytes.TrimRight(line[:i], " \t"))
	if !validName(name) {
		return ""
	}
	return name
}

func validName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' || c == ':' {
			return false
		}
	}
	return name != ""
}

// Fields returns all fields and other lines in their order.
func (h *Header) Fields() []Field { return append([]Field(nil), h.fields...) }

// Bytes returns the header section with the blank line: for an unchanged
// Header exactly what was read.
func (h *Header) Bytes() []byte {
	out := make([]byte, 0, h.Len())
	for _, f := range h.fields {
		out = append(out, f.Raw...)
	}
	return append(out, h.end...)
}

// Len returns the number of octets of Bytes.
func (h *Header) Len() int {
	n := len(h.end)
	for _, f := range h.fields {
		n += len(f.Raw)
	}
	return n
}

// Get returns the unfolded value of the first field of that name, without
// surrounding space; "" if there is none. Names compare without case.
func (h *Header) Get(name string) string {
	for _, f := range h.fields {
		if strings.EqualFold(f.Name, name) {
			return f.value()
		}
	}
	return ""
}

// All returns the unfolded values of every field of that name, in order. More
// than one where RFC 5322 section 3.6 allows one is a way to deceive: the
// caller should look.
func (h *Header) All(name string) []string {
	var all []string
	for _, f := range h.fields {
		if strings.EqualFold(f.Name, name) {
			all = append(all, f.value())
		}
	}
	return all
}

// Text returns the value of the first field of that name for people: encoded
// words decoded (RFC 2047), other octets read as UTF-8, or else in the charset
// of the message, or else as windows-1252, control characters turned into
// spaces.
func (h *Header) Text(name string) string {
	value := h.Get(name)
	if !utf8.ValidString(value) && !strings.Contains(value, "=?") {
		if _, params := ParseParams(h.Get("Content-Type")); params["charset"] != "" {
			value = DecodeCharset(params["charset"], []byte(value))
		}
	}
	return DecodeText(value)
}

// Replace gives the field of that name a new value. The first one is replaced
// in its place, further ones are removed; without one the field is added at
// the end. Every other octet stays. The value is folded at its white space to
// lines of 78 octets where it can be, 998 at most; CR, LF and NUL are refused
// (ErrFieldValue).
func (h *Header) Replace(name, value string) error {
	raw, err := formatField(name, value)
	if err != nil {
		return err
	}
	kept, done := make([]Field, 0, len(h.fields)+1), false
	for _, f := range h.fields {
		switch {
		case !strings.EqualFold(f.Name, name):
			kept = append(kept, f)
		case !done:
			kept, done = append(kept, Field{Name: name, Raw: raw}), true
		}
	}
	h.fields = kept
	if done {
		return nil
	}
	if n := len(h.fields); n > 0 && !terminated(h.fields[n-1].Raw) {
		return h.insertTop(Field{Name: name, Raw: raw})
	}
	h.fields = append(h.fields, Field{Name: name, Raw: raw})
	return nil
}

// Remove deletes every field of that name.
func (h *Header) Remove(name string) {
	kept := make([]Field, 0, len(h.fields))
	for _, f := range h.fields {
		if !strings.EqualFold(f.Name, name) {
			kept = append(kept, f)
		}
	}
	h.fields = kept
}

// Exchange puts complete fields in the place of the first field of that name, or
// at the end, and removes the others of that name. The fields given have line
// ends.
func (h *Header) Exchange(name string, fields []Field) {
	at := slices.IndexFunc(h.fields, func(f Field) bool { return strings.EqualFold(f.Name, name) })
	if at < 0 {
		at = len(h.fields)
	}
	before := slices.Clone(h.fields[:at])
	after := slices.DeleteFunc(slices.Clone(h.fields[at:]), func(f Field) bool { return strings.EqualFold(f.Name, name) })
	h.fields = slices.Concat(before, fields, after)
}

// Filter keeps the fields and other lines that keep says yes to.
func (h *Header) Filter(keep func(Field) bool) {
	h.fields = slices.DeleteFunc(h.Fields(), func(f Field) bool { return !keep(f) })
}

// Prepend puts one complete field on top, as trace fields are (RFC 5321
// section 4.4). raw is "Name: value", possibly folded, with or without the
// final CRLF; anything that is not exactly one field is refused
// (ErrFieldValue).
func (h *Header) Prepend(raw string) error {
	raw = strings.TrimSuffix(raw, "\r\n") + "\r\n"
	f := Field{Name: fieldName([]byte(raw)), Raw: []byte(raw)}
	if f.Name == "" {
		return fmt.Errorf("new field without a name: %w", ErrFieldValue)
	}
	for i, line := range strings.SplitAfter(strings.TrimSuffix(raw, "\r\n"), "\r\n") {
		text := strings.TrimSuffix(line, "\r\n")
		blank := strings.Trim(text, " \t") == ""
		if strings.ContainsAny(text, "\r\n\x00") || blank || len(text) > maxLine || i > 0 && !isSpace(text[0]) {
			return fmt.Errorf("field %s: %w", f.Name, ErrFieldValue)
		}
	}
	return h.insertTop(f)
}

// PrependText is Prepend of a field that is folded like those of Replace.
func (h *Header) PrependText(name, value string) error {
	raw, err := formatField(name, value)
	if err != nil {
		return err
	}
	return h.Prepend(string(raw))
}

// insertTop puts a field first, but behind leading lines that would otherwise
// continue it.
func (h *Header) insertTop(f Field) error {
	at := 0
	if len(h.fields) > 0 && isSpace(h.fields[0].Raw[0]) {
		if !terminated(h.fields[0].Raw) {
			return fmt.Errorf("field %s: the header has no place for it: %w", f.Name, ErrFieldValue)
		}
		at = 1
	}
	fields := make([]Field, 0, len(h.fields)+1)
	fields = append(append(fields, h.fields[:at]...), f)
	h.fields = append(fields, h.fields[at:]...)
	return nil
}

func terminated(raw []byte) bool { return raw[len(raw)-1] == '\n' }

// Line lengths of RFC 5322 section 2.1.1, without CRLF.
const (
	softLine = 78
	maxLine  = 998
)

// formatField writes a folded field. A line end goes before white space that
// is already there, so that unfolding gives the same value back.
func formatField(name, value string) ([]byte, error) {
	if !validName(name) || strings.ContainsAny(value, "\r\n\x00") {
		return nil, fmt.Errorf("field: %w", ErrFieldValue)
	}
	var b strings.Builder
	b.WriteString(name + ":")
	col := len(name) + 1
	for i, word := range spacedWords(" " + strings.Trim(value, " \t")) {
		if i > 0 && col+len(word) > softLine {
			b.WriteString("\r\n")
			col = 0
		}
		b.WriteString(word)
		if col += len(word); col > maxLine {
			return nil, fmt.Errorf("field %s: word too long: %w", name, ErrFieldValue)
		}
	}
	b.WriteString("\r\n")
	return []byte(b.String()), nil
}

// spacedWords cuts text into words, each with the white space before it.
func spacedWords(s string) []string {
	var words []string
	start := 0
	for i := 1; i < len(s); i++ {
		if isSpace(s[i]) && !isSpace(s[i-1]) {
			words = append(words, s[start:i])
			start = i
		}
	}
	return append(words, s[start:])
}
