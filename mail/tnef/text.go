package tnef

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"

	"gatewayd/mail"
)

// maxName bounds names and subjects, in octets of the stream.
const maxName = 4 << 10

// text reads an attribute's text: in the stream's code page, ended by NUL.
func (r *reader) text(in *cursor, limit int64) string {
	return decode(in.bytes(min(in.end-in.at, limit)), r.codePage)
}

func decode(raw []byte, charset string) string {
	if i := slices.Index(raw, 0); i >= 0 {
		raw = raw[:i]
	}
	return mail.DecodeCharset(charset, raw)
}

// codePage is the name of a Windows code page; the old one stays for those that
// nobody sends.
func codePage(number uint32, old string) string {
	switch {
	case number == 65001:
		return "utf-8"
	case number == 20866:
		return "koi8-r"
	case number > 28590 && number <= 28605:
		return fmt.Sprintf("iso-8859-%d", number-28590)
	case number == 932, number == 936, number == 949, number == 950, number >= 1250 && number <= 1258:
		return fmt.Sprintf("cp%d", number)
	}
	return old
}

// class writes IPM.Microsoft Mail.Note, the old name, as what it is.
func class(s string) string {
	s = oneLine(s)
	if s == "IPM.Microsoft Mail.Note" {
		return "IPM.Note"
	}
	return s
}

// oneLine makes a text safe to show: control and format characters go.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r):
			return ' '
		case unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

func (r *reader) propertyText(p property, limit int64) string {
	in := cursor{r: r.r, at: p.value.start, end: p.value.start + p.value.size}
	raw := in.bytes(min(p.value.size, limit))
	switch p.kind {
	case ptUnicode:
		units := make([]uint16, 0, len(raw)/2)
		for ; len(raw) >= 2; raw = raw[2:] {
			u := binary.LittleEndian.Uint16(raw)
			if u == 0 {
				break
			}
			units = append(units, u)
		}
		return string(utf16.Decode(units))
	case ptString8:
		return decode(raw, r.codePage)
	}
	return ""
}
