// Package tnef reads winmail.dat: the form in which Outlook and Exchange pack a
// message's text and attachments for each other (MS-OXTNEF). Who does not look
// inside shows, and scans, one opaque attachment.
//
// It reads where the octets lie and keeps only what is shown: names, sizes, a
// plain text. Data stay in the stream; an Attachment knows the stretch. What is
// damaged gives what could be read and says so. RTF is listed, not rendered.
package tnef

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"gatewayd/mail"
)

// Errors of Read.
var (
	ErrNotTNEF = errors.New("not a TNEF stream")
	ErrLimits  = errors.New("TNEF stream beyond the limits of reading")
)

// Limits bound what Read does. A zero field means its default.
type Limits struct {
	Entries    int // attributes and properties of the whole stream; default 20,000
	Attached   int // attachments of the whole stream; default 500
	Depth      int // messages inside of messages; default 4
	TextOctets int // of a plain text that is kept; default 64 KiB
}

func (l Limits) filled() Limits {
	for _, f := range []struct {
		at *int
		by int
	}{{&l.Entries, 20_000}, {&l.Attached, 500}, {&l.Depth, 4}, {&l.TextOctets, 64 << 10}} {
		if *f.at <= 0 {
			*f.at = f.by
		}
	}
	return l
}

// Message is what a stream holds.
type Message struct {
	Class       string       `json:"class,omitempty"` // IPM.Note: a mail; IPM.Schedule…: a meeting
	Subject     string       `json:"subject,omitempty"`
	Text        string       `json:"text,omitempty"` // plain body, its beginning
	HTML        int64        `json:"html,omitempty"` // octets of an HTML body; 0: none
	RTF         int64        `json:"rtf,omitempty"`  // octets of a compressed RTF body
	Attachments []Attachment `json:"attachments"`
	Damage      []string     `json:"damage,omitempty"` // what is wrong with it: cut, checksum, garbage behind the end, property

	html stretch
}

// Attachment is a file in a stream.
type Attachment struct {
	Name      string   `json:"name"`           // decoded and made safe to show and store; "" if none
	Type      string   `json:"type,omitempty"` // media type that the sender states
	ContentID string   `json:"content_id,omitempty"`
	Size      int64    `json:"size"`
	Message   *Message `json:"message,omitempty"` // the attachment is a message itself

	data  stretch
	named bool // by the long name, which wins
}

type stretch struct{ start, size int64 }

// Open returns the octets of the attachment out of the stream that r holds, the
// one that was read.
func (a Attachment) Open(r io.ReaderAt) *io.SectionReader {
	return io.NewSectionReader(r, a.data.start, a.data.size)
}

// OpenHTML returns the octets of the HTML body; empty if there is none.
func (m *Message) OpenHTML(r io.ReaderAt) *io.SectionReader {
	return io.NewSectionReader(r, m.html.start, m.html.size)
}

// All calls f for each attachment, also of messages inside.
func (m *Message) All(f func(Attachment)) {
	for _, a := range m.Attachments {
		f(a)
		if a.Message != nil {
			a.Message.All(f)
		}
	}
}

// Is reports whether a part with that type and file name is to be looked into.
func Is(mediaType, fileName string) bool {
	switch strings.ToLower(mediaType) {
	case "application/ms-tnef", "application/vnd.ms-tnef":
		return true
	}
	name := strings.ToLower(fileName)
	return name == "winmail.dat" || name == "win.dat"
}

// Attributes (MS-OXTNEF section 2.1.3.2): type, then number.
const (
	attSubject      = 0x00018004
	attMessageClass = 0x00078008
	attBody         = 0x0002800C
	attAttachData   = 0x0006800F
	attAttachTitle  = 0x00018010
	attRenderData   = 0x00069002
	attMsgProps     = 0x00069003
	attAttachment   = 0x00069005
	attOemCodepage  = 0x00069007
)

const signature = 0x223e9f78

// reader goes through one stream; streams inside of it share its counters.
type reader struct {
	cursor
	lim      Limits
	entries  *int
	attached *int
	depth    int
	m        *Message
	codePage string
}

// Read reads a stream of size octets. ErrNotTNEF: it does not begin like one.
// ErrLimits comes with what was read before. Other errors are those of r.
func Read(r io.ReaderAt, size int64, lim Limits) (*Message, error) {
	var entries, attached int
	return read(&reader{cursor: cursor{r: r, end: size}, lim: lim.filled(), entries: &entries, attached: &attached})
}

func read(r *reader) (*Message, error) {
	r.m, r.codePage = &Message{Attachments: []Attachment{}}, "windows-1252"
	if r.u32() != signature || r.short {
		if r.err != nil {
			return nil, r.err
		}
		return nil, ErrNotTNEF
	}
	r.u16() // key: says nothing to us
	for r.at < r.end && !r.short && r.err == nil {
		if err := r.attribute(); err != nil {
			return r.m, err
		}
	}
	if r.short {
		r.damage("cut")
	}
	return r.m, r.err
}

func (r *reader) damage(what string) {
	if !slices.Contains(r.m.Damage, what) {
		r.m.Damage = append(r.m.Damage, what)
	}
}

// attribute reads one attribute with its checksum.
func (r *reader) attribute() error {
	if *r.entries++; *r.entries > r.lim.Entries {
		return fmt.Errorf("%w: over %d attributes", ErrLimits, r.lim.Entries)
	}
	level := r.u8()
	if r.short || r.err != nil || level != 1 && level != 2 {
		if r.err == nil && !r.short {
			r.damage("garbage behind the end")
		}
		r.at = r.end
		return nil
	}
	id, size := r.u32(), int64(r.u32())
	data := stretch{r.at, min(size, max(r.end-r.at, 0))}
	if data.size < size {
		r.short = true
	}
	next := r.at + data.size
	if err := r.take(id, data); err != nil {
		return err
	}
	r.at = data.start
	sum := r.sum(data.size)
	r.at = next
	if !r.short && r.u16() != sum && !r.short {
		r.damage("checksum")
	}
	return nil
}

// take keeps what an attribute says.
func (r *reader) take(id uint32, data stretch) error {
	in := cursor{r: r.r, at: data.start, end: data.start + data.size}
	switch id {
	case attOemCodepage:
		r.codePage = codePage(in.u32(), r.codePage)
	case attSubject:
		r.m.Subject = oneLine(r.text(&in, maxName))
	case attMessageClass:
		r.m.Class = class(r.text(&in, maxName))
	case attBody:
		if r.m.Text == "" {
			r.m.Text = r.text(&in, int64(r.lim.TextOctets))
		}
	case attRenderData:
		_, err := r.attach()
		return err
	case attAttachTitle, attAttachData, attAttachment:
		a, err := r.current()
		if err != nil {
			return err
		}
		switch id {
		case attAttachTitle:
			if !a.named {
				a.Name = mail.SafeFileName(r.text(&in, maxName))
			}
		case attAttachData:
			_, err = r.hold(data)
			return err
		default:
			return r.properties(&in, r.attachmentProperty)
		}
	case attMsgProps:
		return r.properties(&in, r.messageProperty)
	}
	return in.err
}

// attach begins an attachment.
func (r *reader) attach() (*Attachment, error) {
	if *r.attached++; *r.attached > r.lim.Attached {
		return nil, fmt.Errorf("%w: over %d attachments", ErrLimits, r.lim.Attached)
	}
	r.m.Attachments = append(r.m.Attachments, Attachment{})
	return &r.m.Attachments[len(r.m.Attachments)-1], nil
}

func (r *reader) current() (*Attachment, error) {
	if n := len(r.m.Attachments); n > 0 {
		return &r.m.Attachments[n-1], nil
	}
	return r.attach()
}

// hold gives the current attachment its content. One that has some already stays, and
// another of its name begins: readers do not agree which of the two counts.
func (r *reader) hold(data stretch) (*Attachment, error) {
	a, err := r.current()
	if err == nil && a.Size > 0 {
		name, named := a.Name, a.named
		if a, err = r.attach(); err == nil {
			a.Name, a.named = name, named
		}
	}
	if err != nil {
		return nil, err
	}
	a.data, a.Size = data, data.size
	return a, nil
}

// Properties (MS-OXPROPS) that are looked at.
const (
	prMessageClass = 0x001a
	prSubject      = 0x0037
	prBody         = 0x1000
	prRTF          = 0x1009
	prHTML         = 0x1013
	prDisplayName  = 0x3001
	prAttachData   = 0x3701
	prAttachName   = 0x3704
	prAttachLong   = 0x3707
	prAttachType   = 0x370e
	prAttachID     = 0x3712
)

// Types of properties (MS-OXCDATA section 2.11.1).
const (
	ptObject  = 0x000d
	ptString8 = 0x001e
	ptUnicode = 0x001f
	ptBinary  = 0x0102
	ptMany    = 0x1000
)

// property is the first value of one property.
type property struct {
	id, kind uint16
	value    stretch
}

// properties reads a list of properties (MS-OXTNEF section 2.1.3.4).
func (r *reader) properties(in *cursor, use func(property) error) error {
	count := in.u32()
	for range count {
		if *r.entries++; *r.entries > r.lim.Entries {
			return fmt.Errorf("%w: over %d properties", ErrLimits, r.lim.Entries)
		}
		p := property{kind: in.u16(), id: in.u16()}
		if p.id >= 0x8000 {
			in.skip(16)
			if in.u32() == 0 {
				in.skip(4)
			} else {
				in.skip(padded(int64(in.u32())))
			}
			p.id = 0 // a name: none that we look for
		}
		ok := r.value(in, &p)
		if in.err != nil {
			return in.err
		}
		if !ok || in.short {
			r.damage("property")
			return nil
		}
		if err := use(p); err != nil {
			return err
		}
	}
	return nil
}

// value finds the first value and goes behind the last one. ok is false for a
// type of unknown length.
func (r *reader) value(in *cursor, p *property) (ok bool) {
	var fixed int64
	kind := p.kind &^ ptMany
	switch kind {
	case 0x0002, 0x0003, 0x0004, 0x000a, 0x000b:
		fixed = 4
	case 0x0005, 0x0006, 0x0007, 0x0014, 0x0040:
		fixed = 8
	case 0x0048:
		fixed = 16
	case 0x0000, 0x0001:
		return p.kind&ptMany == 0
	case ptObject, ptString8, ptUnicode, ptBinary:
	default:
		return false
	}
	n := uint32(1)
	if p.kind&ptMany != 0 || fixed == 0 {
		n = in.u32()
	}
	if fixed > 0 {
		p.value = stretch{in.at, fixed}
		in.skip(fixed * int64(n))
		return true
	}
	for i := range n {
		if *r.entries++; *r.entries > r.lim.Entries || in.short || in.err != nil {
			return false
		}
		size := int64(in.u32())
		if i == 0 {
			p.value = stretch{in.at, size}
		}
		in.skip(padded(size))
	}
	p.kind = kind
	return true
}

func padded(n int64) int64 { return (n + 3) &^ 3 }

func (r *reader) messageProperty(p property) error {
	switch p.id {
	case prSubject:
		if r.m.Subject == "" {
			r.m.Subject = oneLine(r.propertyText(p, maxName))
		}
	case prMessageClass:
		if r.m.Class == "" {
			r.m.Class = class(r.propertyText(p, maxName))
		}
	case prBody:
		if r.m.Text == "" {
			r.m.Text = r.propertyText(p, int64(r.lim.TextOctets))
		}
	case prHTML:
		r.m.html, r.m.HTML = p.value, p.value.size
	case prRTF:
		r.m.RTF = p.value.size
	}
	return nil
}

func (r *reader) attachmentProperty(p property) error {
	a, err := r.current()
	if err != nil {
		return err
	}
	switch p.id {
	case prAttachLong, prAttachName, prDisplayName:
		name := mail.SafeFileName(r.propertyText(p, maxName))
		if name != "" && (p.id == prAttachLong || a.Name == "") {
			a.Name, a.named = name, a.named || p.id == prAttachLong
		}
	case prAttachType:
		a.Type = strings.ToLower(oneLine(r.propertyText(p, maxName)))
	case prAttachID:
		a.ContentID = oneLine(r.propertyText(p, maxName))
	case prAttachData:
		return r.attachedData(p)
	}
	return nil
}

// attachedData is a file, or behind the 16 octets of an interface's name a
// message.
func (r *reader) attachedData(p property) error {
	if p.kind == ptObject && p.value.size >= 16 {
		p.value.start, p.value.size = p.value.start+16, p.value.size-16
	}
	a, err := r.hold(p.value)
	if err != nil || p.kind != ptObject {
		return err
	}
	if r.depth+1 >= r.lim.Depth {
		return fmt.Errorf("%w: messages inside of each other over %d deep", ErrLimits, r.lim.Depth)
	}
	inner := &reader{
		cursor: cursor{r: r.r, at: p.value.start, end: p.value.start + p.value.size},
		lim:    r.lim, entries: r.entries, attached: r.attached, depth: r.depth + 1,
	}
	m, err := read(inner)
	if errors.Is(err, ErrNotTNEF) {
		return nil // some other object, such as a drawing
	}
	a.Message = m
	return err
}
