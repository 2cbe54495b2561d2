package message

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
)

// The packed form of an event is an octet for the form, then kind, authority,
// item, the number of fields, and for each its name and value. What the link
// around it tells (number, time, message) is not repeated: its seal is bound to
// them. Each text begins with a number (unsigned varint of encoding/binary) whose
// two lowest bits say what follows.
const (
	packedLiteral = iota // so many octets, as they are
	packedHex            // so many octets, to be written as hexadecimal digits in lower case
	packedDecimal        // the number itself, to be written in decimal digits
	packedWord           // the word of that number: even ones are in packedWords, odd ones the caller's
)

// packedForm is the first octet. Older events are JSON, which begins with a brace.
const packedForm = 1

// maxDecimal is how long a number may be to be packed as one.
const maxDecimal = 15

// Errors of reading events.
var (
	errPacked  = errors.New("not an event of the expected form")
	ErrForeign = errors.New("it seals another event") // than the link says; ParseEvent only
)

// AppendPacked appends the packed form of the event, without Seq, At and Message.
// Fields that are declared for the kind come in their order; one that is
// declared for other kinds only is written, too; one that nobody has declared is
// named but not written (Undescribed). What equals one of the caller's words is
// written as its place among them: UnpackEvent must get the same words.
func (e Event) AppendPacked(b []byte, words []string) []byte {
	p := packer{append(b, packedForm), words}
	p.text(string(e.Kind))
	p.text(e.Authority)
	p.number(uint64(e.Item)) //nolint:gosec // not negative
	declaredHere, more, note := e.written()
	n := len(declaredHere) + len(more)
	if note != "" {
		n++
	}
	p.number(uint64(n)) //nolint:gosec // a length
	for _, names := range [][]string{declaredHere, more} {
		for _, name := range names {
			p.text(name)
			p.text(e.Data[name])
		}
	}
	if note != "" {
		p.text(Undescribed)
		p.text(note)
	}
	return p.b
}

// written returns the names of the fields that are written: those declared for
// the kind, those declared for others; and what Undescribed says.
func (e Event) written() (here, elsewhere []string, note string) {
	all := declared[e.Kind]
	here = make([]string, 0, len(e.Data))
	for _, name := range all {
		if _, ok := e.Data[name]; ok {
			here = append(here, name)
		}
	}
	if len(here) == len(e.Data) {
		return here, nil, ""
	}
	missing, elsewhere := e.undeclared()
	if len(missing) == 0 {
		return here, elsewhere, e.Data[Undescribed] // it was told when the event was packed before
	}
	return here, elsewhere, strings.ToValidUTF8(strings.Join(missing, " "), "?")
}

type packer struct {
	b     []byte
	words []string
}

func (p *packer) number(n uint64) { p.b = binary.AppendUvarint(p.b, n) }

func (p *packer) text(s string) {
	if s == "" {
		p.number(0)
		return
	}
	if n, ok := packedNumbers[s]; ok {
		p.number(n<<1<<2 | packedWord)
		return
	}
	for i, w := range p.words {
		if w == s {
			p.number(uint64(i)<<1<<2 | 1<<2 | packedWord) //nolint:gosec // an index
			return
		}
	}
	switch {
	case isDecimal(s):
		n, _ := strconv.ParseUint(s, 10, 64)
		p.number(n<<2 | packedDecimal)
	case isHex(s):
		p.number(uint64(len(s)/2)<<2 | packedHex)
		p.b, _ = hex.AppendDecode(p.b, []byte(s)) // isHex
	default:
		p.number(uint64(len(s)) << 2)
		p.b = append(p.b, s...)
	}
}

// isDecimal reports whether s is what a number is written as, and short enough.
func isDecimal(s string) bool {
	if s == "" || len(s) > maxDecimal || s[0] == '0' && len(s) > 1 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func isHex(s string) bool {
	if len(s) < 4 || len(s)%2 != 0 {
		return false
	}
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}

// UnpackEvent reads what AppendPacked wrote. Seq, At and Message are the caller's
// to fill in. It never panics, whatever b is.
func UnpackEvent(b []byte, words []string) (Event, error) {
	if len(b) == 0 || b[0] != packedForm {
		return Event{}, errPacked
	}
	u := unpacker{b: b[1:], words: words}
	e := Event{Kind: EventKind(u.text()), Authority: u.text()}
	item, n := u.number(), u.number()
	if item > 1<<31 || n > uint64(len(u.b)) {
		return Event{}, errPacked
	}
	e.Item = int(item) //nolint:gosec // checked
	if n > 0 {
		e.Data = make(map[string]string, n)
	}
	for range n {
		name := u.text()
		e.Data[name] = u.text()
	}
	if u.bad || len(u.b) > 0 || uint64(len(e.Data)) != n {
		return Event{}, errPacked
	}
	return e, nil
}

type unpacker struct {
	b     []byte
	words []string
	bad   bool
}

func (u *unpacker) number() uint64 {
	n, size := binary.Uvarint(u.b)
	if size <= 0 {
		u.b, u.bad = nil, true
		return 0
	}
	u.b = u.b[size:]
	return n
}

func (u *unpacker) text() string {
	h := u.number()
	n := h >> 2
	switch h & 3 {
	case packedDecimal:
		return strconv.FormatUint(n, 10)
	case packedWord:
		return u.word(n)
	}
	if n > uint64(len(u.b)) {
		u.b, u.bad = nil, true
		return ""
	}
	octets := u.b[:n]
	u.b = u.b[n:]
	if h&3 == packedHex {
		return hex.EncodeToString(octets)
	}
	return string(octets)
}

func (u *unpacker) word(n uint64) string {
	list := packedWords
	if n&1 != 0 {
		list = u.words
	}
	if n>>1 >= uint64(len(list)) {
		u.bad = true
		return ""
	}
	return list[n>>1]
}

// ParseEvent reads what a link has sealed: packed, or JSON as it was written
// before. ErrForeign when that belongs to another link.
func ParseEvent(link Link, plain []byte) (Event, error) {
	if len(plain) == 0 || plain[0] != '{' {
		e, err := UnpackEvent(plain, nil)
		e.Seq, e.At, e.Message = link.Seq, link.At.UTC(), link.Message
		return e, err
	}
	var e Event
	if json.Unmarshal(plain, &e) != nil {
		return Event{}, errPacked // the library's own words may quote it
	}
	if e.Seq != link.Seq || e.Message != link.Message || !e.At.Equal(link.At) {
		return Event{}, ErrForeign
	}
	return e, nil
}
