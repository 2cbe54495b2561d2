package api

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatewayd/mail"
	"gatewayd/message"
)

// Limits of what the API composes.
const (
	maxSubject     = 2000    // octets
	maxText        = 1 << 20 // octets
	maxAttachments = 100
	maxFileName    = 255 // octets
	base64Line     = 57  // octets that give a line of 76 characters (RFC 2045 section 6.8)
)

// Wish is the JSON part "envelope" of a message that the gateway composes.
type Wish struct {
	From    string   `json:"from" doc:"One of the authority's addresses"`
	To      []string `json:"to" minItems:"1" doc:"Recipients; every one sees the others"`
	Class   string   `json:"class,omitempty" enum:"normal,confidential,personal,private,registered,bulk" doc:"Missing: found by policy"`
	Subject string   `json:"subject,omitempty" maxLength:"2000" doc:"Plain text in one line"`
	Text    string   `json:"text,omitempty" doc:"Plain text"`
}

// draft is a message that the gateway writes: the wish, and the attachments as
// they come in.
type draft struct {
	host        string
	from        message.Address
	to          []message.Address
	subject     string
	text        string
	attachments *multipart.Reader
}

// checkWords refuses text that could be more than one line of plain text: CR,
// LF, NUL and every other control character, what is not UTF-8, and what looks
// like an encoded word (RFC 2047), because somebody may decode it.
func checkWords(field, s string, limit int) error {
	switch {
	case len(s) > limit:
		return bad(fmt.Sprintf("%s has more than %d octets", field, limit))
	case !utf8.ValidString(s):
		return bad(field + " is not UTF-8")
	case strings.Contains(s, "=?"):
		return bad(field + ` has "=?", as encoded words begin: write it as plain text`)
	case strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == 0x2028 || r == 0x2029
	}):
		return bad(field + " has a control or direction character: it must be one line of plain text")
	}
	return nil
}

// checkText refuses control characters other than tab and line ends.
func checkText(s string) error {
	switch {
	case len(s) > maxText:
		return bad(fmt.Sprintf("text has more than %d octets: attach it as a file", maxText))
	case !utf8.ValidString(s):
		return bad("text is not UTF-8")
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\t\r\n", r) }):
		return bad("text has a control character")
	}
	return nil
}

func bad(detail string) error {
	return problem{Title: "bad request", Status: http.StatusUnprocessableEntity, Detail: detail}
}

// content writes the draft while it is read. Close waits until nothing reads
// from the request any more.
func (d *draft) content(id message.ID) io.ReadCloser {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		out := bufio.NewWriterSize(w, 32<<10)
		err := d.write(out, id)
		if err == nil {
			err = out.Flush()
		}
		w.CloseWithError(err)
	}()
	return &pipeEnd{r, done}
}

type pipeEnd struct {
	*io.PipeReader
	done chan struct{}
}

// Close implements io.Closer.
func (p *pipeEnd) Close() error {
	err := p.PipeReader.Close()
	<-p.done
	return err
}

// write writes the whole message. The same draft and id give the same octets:
// date, Message-ID and boundary are made of the id.
func (d *draft) write(w io.Writer, id message.ID) error {
	first, err := d.next()
	if err != nil {
		return err
	}
	h, err := mail.ReadHeader(bufio.NewReader(strings.NewReader("\r\n")), 2)
	if err != nil {
		return err
	}
	to := make([]string, len(d.to))
	for i, a := range d.to {
		to[i] = "<" + a.String() + ">"
	}
	boundary := "=_" + id.String() // in neither base64 nor quoted-printable text
	fields := [][2]string{
		{"From", "<" + d.from.String() + ">"},
		{"To", strings.Join(to, ", ")},
		{"Subject", mail.EncodeText(d.subject)},
		{"Date", id.Time().Format("Mon, 02 Jan 2006 15:04:05 -0700")},
		{"Message-ID", mail.MessageID(id, d.host)},
		{"MIME-Version", "1.0"},
	}
	if first == nil {
		fields = append(fields, textFields()...)
	} else {
		fields = append(fields, [2]string{"Content-Type", `multipart/mixed; boundary="` + boundary + `"`})
	}
	for _, f := range fields {
		if err := h.Replace(f[0], f[1]); err != nil {
			return bad(f[0] + " cannot be written as a header field")
		}
	}
	if _, err := w.Write(h.Bytes()); err != nil {
		return err
	}
	if first == nil {
		if err := writeText(w, d.text); err != nil {
			return err
		}
		_, err := io.WriteString(w, "\r\n") // the last line ends, whatever the text
		return err
	}
	return d.writeParts(w, first, boundary)
}

func textFields() [][2]string {
	return [][2]string{{"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "quoted-printable"}}
}

// writeText writes text with the line ends of the Internet.
func writeText(w io.Writer, text string) error {
	text = strings.NewReplacer("\r\n", "\r\n", "\r", "\r\n", "\n", "\r\n").Replace(text)
	q := quotedprintable.NewWriter(w)
	if _, err := io.WriteString(q, text); err != nil {
		return err
	}
	return q.Close()
}

func (d *draft) writeParts(w io.Writer, part *multipart.Part, boundary string) error {
	if _, err := fmt.Fprintf(w, "--%s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n", boundary); err != nil {
		return err
	}
	if err := writeText(w, d.text); err != nil {
		return err
	}
	if _, err := io.WriteString(w, "\r\n"); err != nil { // belongs to the boundary
		return err
	}
	for n := 1; part != nil; n++ {
		if n > maxAttachments {
			return bad(fmt.Sprintf("more than %d attachments", maxAttachments))
		}
		if err := writeAttachment(w, part, boundary); err != nil {
			return err
		}
		var err error
		if part, err = d.next(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "--%s--\r\n", boundary)
	return err
}

// next returns the next attachment; nil behind the last one.
func (d *draft) next() (*multipart.Part, error) {
	part, err := d.attachments.NextRawPart()
	if err == io.EOF {
		return nil, nil
	}
	if err != nil {
		return nil, brokenForm(err)
	}
	if part.FileName() == "" {
		return nil, bad("every part behind the envelope is an attachment and needs a file name")
	}
	return part, nil
}

// brokenForm names a form that ends too early or is none; other errors, such as
// a body that is too large, stay what they are.
func brokenForm(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return err
	}
	return problem{Title: "bad request", Status: http.StatusBadRequest, Detail: "the body is no whole multipart/form-data"}
}

func writeAttachment(w io.Writer, part *multipart.Part, boundary string) error {
	name, contentType, err := attached(part)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "--%s\r\nContent-Type: %s\r\nContent-Disposition: %s\r\nContent-Transfer-Encoding: base64\r\n\r\n", boundary, contentType, name); err != nil {
		return err
	}
	buf := make([]byte, base64Line*512)
	line := make([]byte, base64.StdEncoding.EncodedLen(base64Line)+2)
	for {
		n, err := fill(part, buf)
		for b := buf[:n]; len(b) > 0; b = b[min(len(b), base64Line):] {
			piece := b[:min(len(b), base64Line)]
			end := base64.StdEncoding.EncodedLen(len(piece))
			base64.StdEncoding.Encode(line, piece)
			copy(line[end:], "\r\n")
			if _, err := w.Write(line[:end+2]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return brokenForm(err)
		}
	}
}

// fill reads until buf is full. Unlike io.ReadFull it keeps the reader's own
// error: io.EOF is an end in order only.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var more int
		more, err = r.Read(buf[n:])
		n += more
	}
	return n, err
}

// attached returns the Content-Disposition and Content-Type of an attachment.
func attached(part *multipart.Part) (disposition, contentType string, err error) {
	name := part.FileName()
	if err := checkWords("file name", name, maxFileName); err != nil {
		return "", "", err
	}
	if name = mail.SafeFileName(name); name == "" {
		return "", "", bad("a file name has nothing that can stand in a name")
	}
	if disposition = mime.FormatMediaType("attachment", map[string]string{"filename": name}); disposition == "" {
		return "", "", bad("a file name cannot be written")
	}
	contentType = "application/octet-stream"
	if given := part.Header.Get("Content-Type"); given != "" {
		kind, _, err := mime.ParseMediaType(given)
		if err != nil || !strings.Contains(kind, "/") || len(kind) > 100 {
			return "", "", bad("an attachment has a Content-Type that cannot be read")
		}
		if strings.HasPrefix(kind, "multipart/") || strings.HasPrefix(kind, "message/") {
			return "", "", bad("an attachment is a file: its Content-Type must be neither multipart nor message")
		}
		contentType = kind
	}
	return disposition, contentType, nil
}
