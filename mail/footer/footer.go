// Package footer puts an authority's footer under the text of a message. It changes
// the first text and the first HTML form of that text, and no octet of anything else;
// what is signed or encrypted already, and whole messages inside, it leaves alone.
package footer

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"strings"

	"gatewayd/mail"
	"gatewayd/mail/parts"
	"gatewayd/mail/recode"
)

// Footer is one footer in the languages of the authority. Lines end in a line feed.
type Footer struct {
	German, English         string // text; one of them may be empty
	GermanHTML, EnglishHTML string // fragments; empty: made from the text
}

// maxLine bounds a line of a footer, in octets: every mail system passes it on.
const maxLine = 500

// Check reports what is wrong with a footer.
func (f Footer) Check() error {
	if f.German == "" && f.English == "" {
		return fmt.Errorf("no text: write de, en or both")
	}
	for _, text := range []string{f.German, f.English, f.GermanHTML, f.EnglishHTML} {
		for line := range strings.Lines(text) {
			if len(line) > maxLine || strings.ContainsFunc(strings.TrimRight(line, "\n"), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f || r == '\ufffd' }) {
				return fmt.Errorf("line %.30q: at most %d octets, and no control characters", line, maxLine)
			}
		}
	}
	return nil
}

// in returns the footer in the language of a Content-Language field (RFC 3282); in
// both, German first, where it names neither or both.
func (f Footer) in(language string) (text, fragment string) {
	german, english := false, false
	for tag := range strings.SplitSeq(strings.ToLower(language), ",") {
		tag, _, _ = strings.Cut(strings.TrimSpace(tag), "-")
		german, english = german || tag == "de", english || tag == "en"
	}
	de, en := strings.TrimRight(f.German, "\n"), strings.TrimRight(f.English, "\n")
	htmlDE, htmlEN := or(f.GermanHTML, fromText(de)), or(f.EnglishHTML, fromText(en))
	switch {
	case en == "" || german && !english && de != "":
		return de, htmlDE
	case de == "" || english && !german:
		return en, htmlEN
	}
	return de + "\n\n" + en, htmlDE + "\n" + htmlEN
}

func or(a, b string) string {
	if a != "" {
		return strings.TrimRight(a, "\n")
	}
	return b
}

func fromText(text string) string {
	if text == "" {
		return ""
	}
	return "<p>" + strings.ReplaceAll(html.EscapeString(text), "\n", "<br>\n") + "</p>"
}

// Add puts the footer under the text of the message of size octets that r holds,
// which must stay readable while the result is used. nil: the message has no text
// that is ours to change, and why tells it. Errors are those of reading.
func (f Footer) Add(r io.ReaderAt, size int64) (m *recode.Recoded, why string, err error) {
	tree, err := parts.Read(r, size, parts.Limits{})
	if err != nil {
		return nil, "", err
	}
	if tree.Limited {
		return nil, "the message has more or longer parts than are looked at", nil
	}
	text, fragment := f.in(tree.Parts[0].Header.Get("Content-Language"))
	var changes []recode.Change
	for _, i := range first(tree, 0) {
		add := text
		if tree.Parts[i].Type == "text/html" {
			add = fragment
		}
		c, ok, err := under(r, i, tree.Parts[i], add)
		if err != nil {
			return nil, "", err
		}
		if !ok {
			return nil, "its text is signed or encrypted inside, or in a form that cannot be added to", nil
		}
		changes = append(changes, c)
	}
	if len(changes) == 0 {
		return nil, "no text outside of what is signed, encrypted or attached", nil
	}
	if m, err = recode.Apply(r, size, tree, changes); err != nil {
		return nil, "its parts have no clear bounds", nil //nolint:nilerr // nothing is changed then
	}
	return m, "", nil
}

// first finds the text that a reader sees first below part i: one part, or its forms
// beside each other (RFC 2046 section 5.1.4).
func first(tree parts.Tree, i int) []int {
	p := tree.Parts[i]
	switch {
	case p.Disposition == "attachment" || !definite(p.Header):
		return nil
	case p.Type == "text/plain", p.Type == "text/html":
		return []int{i}
	}
	var found []int
	for child := i + 1; child < len(tree.Parts); child++ {
		if tree.Parts[child].Parent != i {
			continue
		}
		switch p.Type {
		case "multipart/alternative":
			found = append(found, first(tree, child)...)
		case "multipart/mixed":
			if found = first(tree, child); len(found) > 0 {
				return found
			}
		case "multipart/related":
			return first(tree, child)
		}
	}
	return found
}

// definite reports whether readers agree about what the part is.
func definite(h *mail.Header) bool {
	return len(h.All("Content-Type")) <= 1 && len(h.All("Content-Transfer-Encoding")) <= 1
}

// under is the change of one part. ok is false where the text must not or cannot be
// added to.
func under(r io.ReaderAt, i int, p parts.Part, add string) (c recode.Change, ok bool, err error) {
	identity := p.Encoding == "7bit" || p.Encoding == "8bit" || p.Encoding == "binary"
	if !identity && p.Encoding != "quoted-printable" && p.Encoding != "base64" {
		return c, false, nil
	}
	body, err := look(p.Decode(r))
	if err != nil {
		return c, false, err
	}
	if body.armored || body.wide {
		return c, false, nil
	}
	isHTML := p.Type == "text/html"
	octets, relabel := written(add, strings.ToLower(p.Params["charset"]), body.high, isHTML)
	octets = body.framed(octets, isHTML)
	at := body.size
	if isHTML && body.end >= 0 {
		at = body.end
	}
	text := func() io.Reader {
		d := p.Decode(r)
		return io.MultiReader(io.LimitReader(d, at), bytes.NewReader(octets), d)
	}
	high := bytes.ContainsFunc(octets, func(r rune) bool { return r > 127 })
	c = recode.Change{Part: i, Body: text}
	encoding := ""
	switch {
	case p.Encoding == "base64":
		c.Body = func() io.Reader { return base64Lines(text()) }
	case p.Encoding == "quoted-printable", p.Encoding == "7bit" && high && !body.high:
		encoding = "quoted-printable"
		c.Body = func() io.Reader { return recode.QuotedPrintable(text()) }
	case p.Encoding == "7bit" && high: // 8-bit octets without a label stand there already
		encoding = "8bit"
	}
	if relabel || encoding != "" && encoding != p.Encoding {
		c.Header = labelled(relabel, encoding)
	}
	return c, true, nil
}

// labelled sets the charset UTF-8 and the transfer encoding; empty: it stays.
func labelled(utf8 bool, encoding string) func(*mail.Header) error {
	return func(h *mail.Header) error {
		if utf8 {
			kind := h.Get("Content-Type")
			value, params := mail.ParseParams(kind)
			if kind == "" {
				value = "text/plain"
			}
			text := value + "; charset=utf-8"
			for _, name := range []string{"format", "delsp"} { // RFC 3676
				if v := params[name]; v != "" {
					text += "; " + name + "=" + v
				}
			}
			if err := h.Replace("Content-Type", text); err != nil {
				return err
			}
		}
		if encoding == "" {
			return nil
		}
		return h.Replace("Content-Transfer-Encoding", encoding)
	}
}
