package parts

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"gatewayd/mail"
	"gatewayd/message"
)

// Inspection is a message as one careful reader sees it, for people and as
// JSON, with a list of what others may read differently.
type Inspection struct {
	Subject   string         `json:"subject"`
	From      []Person       `json:"from"`
	Sender    []Person       `json:"sender,omitempty"`
	ReplyTo   []Person       `json:"reply_to,omitempty"`
	To        []Person       `json:"to"`
	Cc        []Person       `json:"cc,omitempty"`
	Date      time.Time      `json:"date,omitzero"` // zero if unreadable
	MessageID string         `json:"message_id,omitempty"`
	Size      int64          `json:"size"`           // of the message, octets
	SHA256    message.Digest `json:"sha256"`         // of the message
	Text      string         `json:"text,omitempty"` // the text a reader sees first, at most 64 KiB
	Parts     []Entry        `json:"parts"`          // in the order of the message; the first is the message itself
	Limited   string         `json:"limited,omitempty"`
	Ambiguous []Ambiguity    `json:"ambiguous"`
}

// Person is one entry of an address field.
type Person struct {
	Name    string `json:"name,omitempty"`
	Address string `json:"address,omitempty"` // "" if what stands there is no address
}

// Entry is one part.
type Entry struct {
	ID          string         `json:"id"` // "1" is the message, "1.2" its second part
	Type        string         `json:"type"`
	Charset     string         `json:"charset,omitempty"`
	Disposition string         `json:"disposition,omitempty"`
	FileName    string         `json:"file_name,omitempty"` // decoded, made safe
	Encoding    string         `json:"encoding"`
	Start       int64          `json:"start"`              // of the encoded body in the message
	Length      int64          `json:"length"`             // of the encoded body
	Size        int64          `json:"size"`               // of the decoded content; leaves only
	SHA256      message.Digest `json:"sha256,omitzero"`    // of the decoded content; leaves only
	Children    bool           `json:"children,omitempty"` // it is cut further: parts follow whose id begins with this one
}

// Decode reads the content without its transfer encoding out of the message that
// r holds.
func (e Entry) Decode(r io.ReaderAt) io.Reader {
	p := Part{Encoding: e.Encoding, Body: Range{e.Start, e.Start + e.Length}}
	return p.Decode(r)
}

// ErrLimits: a message is beyond the limits of Inspect; what was found until
// then is returned with it.
var ErrLimits = errors.New("message beyond the limits of reading")

const maxShownText = 64 << 10

// Inspect reads a message of size octets, whatever they are. Time is linear in
// size, memory bounded by the limits. Beside errors of reading it returns
// ErrLimits, together with what it found.
func Inspect(r io.ReaderAt, size int64, lim Limits) (Inspection, error) {
	tree, err := Read(r, size, lim)
	if err != nil {
		return Inspection{}, fmt.Errorf("inspect: %w", err)
	}
	in := Inspection{Size: size, Limited: tree.Limit, Parts: make([]Entry, 0, len(tree.Parts)), Ambiguous: []Ambiguity{}}
	in.head(tree.Parts[0].Header)
	if err := in.octets(r, size); err != nil {
		return Inspection{}, fmt.Errorf("inspect: %w", err)
	}
	ids := tree.ids()
	shown := "" // type of the text shown
	for i := range tree.Parts {
		p := &tree.Parts[i]
		e := p.entry(ids[i], tree.cut(i))
		in.structure(p, e.ID, i == 0)
		if !e.Children {
			if err := in.leaf(r, p, &e); err != nil {
				return Inspection{}, fmt.Errorf("inspect part %s: %w", e.ID, err)
			}
			if better(p, shown) {
				if in.Text, err = p.Text(r, maxShownText); err != nil {
					return Inspection{}, fmt.Errorf("inspect part %s: %w", e.ID, err)
				}
				shown = p.Type
			}
		}
		in.Parts = append(in.Parts, e)
	}
	if tree.Limited {
		return in, fmt.Errorf("%w: %s", ErrLimits, tree.Limit)
	}
	return in, nil
}

// better tells whether a reader would rather begin with this part than with
// one of the type shown.
func better(p *Part, shown string) bool {
	if p.Disposition == "attachment" || p.FileName != "" && p.Disposition != "inline" {
		return false
	}
	return p.Type == "text/plain" && shown != "text/plain" || strings.HasPrefix(p.Type, "text/") && shown == ""
}

func (in *Inspection) head(h *mail.Header) {
	in.Subject = h.Text("Subject")
	in.From, in.Sender, in.ReplyTo = people(h, "From"), people(h, "Sender"), people(h, "Reply-To")
	in.To, in.Cc = people(h, "To"), people(h, "Cc")
	in.Date, _ = mail.ParseDate(h.Get("Date")) // zero if unreadable
	in.MessageID = strings.Trim(mail.StripComments(h.Get("Message-ID")), "<> ")
}

// maxPeople bounds the entries shown of one field.
const maxPeople = 10_000

func people(h *mail.Header, name string) []Person {
	list := []Person{}
	for _, m := range mail.Mailboxes(h.Get(name)) {
		if len(list) == maxPeople {
			break
		}
		list = append(list, Person{m.Name, m.Address.String()})
	}
	return list
}

// octets looks at the message as a whole.
func (in *Inspection) octets(r io.ReaderAt, size int64) error {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(r, 0, size)); err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	in.SHA256 = message.Digest(h.Sum(nil))
	found, err := lines(r, size)
	in.addAll("1", found)
	return err
}

func (p *Part) entry(id string, cut bool) Entry {
	return Entry{
		ID: id, Type: p.Type, Charset: strings.ToLower(p.Params["charset"]), Disposition: p.Disposition, FileName: p.FileName, Encoding: p.Encoding,
		Start: p.Body.Start, Length: p.Body.Len(), Children: cut,
	}
}

// leaf hashes the decoded content and looks at its encoded form.
func (in *Inspection) leaf(r io.ReaderAt, p *Part, e *Entry) error {
	look := newOctets(p.Encoding)
	if _, err := io.Copy(look, p.Raw(r)); err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	in.addAll(e.ID, look.end())
	h := sha256.New()
	first := &opening{}
	n, err := io.Copy(io.MultiWriter(h, first), p.Decode(r))
	if err != nil {
		return fmt.Errorf("decode body: %w", err)
	}
	e.Size, e.SHA256 = n, message.Digest(h.Sum(nil))
	in.content(p, e.ID, first.b)
	return nil
}

// opening keeps the first octets of what is written to it.
type opening struct{ b []byte }

// Write implements io.Writer.
func (o *opening) Write(p []byte) (int, error) {
	if room := 8<<10 - len(o.b); room > 0 {
		o.b = append(o.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// ids numbers the parts: "1", "1.1", "1.2" ….
func (t *Tree) ids() []string {
	ids := make([]string, len(t.Parts))
	children := make([]int, len(t.Parts))
	for i, p := range t.Parts {
		if i == 0 {
			ids[i] = "1"
			continue
		}
		children[p.Parent]++
		ids[i] = ids[p.Parent] + "." + strconv.Itoa(children[p.Parent])
	}
	return ids
}

// cut tells whether parts of part i follow: the first does so at once.
func (t *Tree) cut(i int) bool { return i+1 < len(t.Parts) && t.Parts[i+1].Parent == i }

// content looks at the first octets of decoded content for another message or
// file inside plain text.
func (in *Inspection) content(p *Part, id string, first []byte) {
	if !strings.HasPrefix(p.Type, "text/") {
		return
	}
	for _, line := range bytes.Split(first, []byte("\n")) {
		if uuencoded.Match(line) {
			in.add(id, "uuencode", "")
		}
		if bytes.HasPrefix(line, []byte("=ybegin line=")) {
			in.add(id, "yenc", "")
		}
	}
}
