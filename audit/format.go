package audit

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"gatewayd/message"
)

// Format is how lines of the log are written for others.
type Format string

// The formats.
const (
	JSONL  Format = "jsonl"  // one JSON object a line, as Entry
	CSV    Format = "csv"    // with a head; data is one column, in JSON
	SYSLOG Format = "syslog" // RFC 5424, one message a line
)

// Shown says which fields of the data leave the gateway: those that name nobody
// (message.Field.Personal), and the personal ones that are named here.
type Shown struct {
	Everything bool
	Personal   []string
	Enterprise uint32 // private enterprise number in the names of RFC 5424 elements; zero: ExampleEnterprise
}

// ExampleEnterprise is the number that RFC 5612 keeps for examples: the project has
// none of its own, so the operator may name his.
const ExampleEnterprise = 32473

// appendElement begins an element of structured data (RFC 5424 section 6.3.2).
func (s Shown) appendElement(b []byte, name string) []byte {
	b = append(append(append(b, '['), name...), '@')
	return strconv.AppendUint(b, uint64(cmp.Or(s.Enterprise, ExampleEnterprise)), 10)
}

// Shows reports whether a field is shown. One that nobody has declared is not.
func (s Shown) Shows(name string) bool {
	f, ok := message.EventField(name)
	return s.Everything || ok && (!f.Personal || slices.Contains(s.Personal, name))
}

// Of returns the entry without what is not shown.
func (s Shown) Of(e Entry) Entry {
	data := map[string]string{}
	for name, value := range e.Data {
		if s.Shows(name) {
			data[name] = value
		}
	}
	if e.Data = data; len(data) == 0 {
		e.Data = nil
	}
	return e
}

// Writer writes entries in one format.
type Writer struct {
	write func(Entry) error
	flush func() error
}

// NewWriter returns a writer of that format; host is what syslog names as the
// origin.
func NewWriter(w io.Writer, f Format, s Shown, host string) (*Writer, error) {
	nothing := func() error { return nil }
	switch f {
	case JSONL:
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return &Writer{func(entry Entry) error { return e.Encode(s.Of(entry)) }, nothing}, nil
	case CSV:
		c := csv.NewWriter(w)
		head := []string{"link", "at", "kind", "authority", "message", "item", "data", "hash"}
		return &Writer{func(entry Entry) error { return c.Write(row(s.Of(entry))) }, func() error { c.Flush(); return c.Error() }}, c.Write(head)
	case SYSLOG:
		var line []byte
		return &Writer{func(entry Entry) error {
			line = append(AppendSyslog(line[:0], entry, s, host), '\n')
			_, err := w.Write(line)
			return err
		}, nothing}, nil
	}
	return nil, errors.New("the format is one of jsonl, csv, syslog")
}

// Write writes one entry.
func (w *Writer) Write(e Entry) error { return w.write(e) }

// Close writes what is still held back. It does not close what is below.
func (w *Writer) Close() error { return w.flush() }

// row is one row of a table. No cell begins with what a spreadsheet takes for a
// formula: what strangers say stands in the JSON of data.
func row(e Entry) []string {
	cells := []string{strconv.FormatUint(e.Seq, 10), e.At.UTC().Format(time.RFC3339Nano), kindOf(e), e.Authority, "", "", "", e.Hash.String()}
	if !e.Message.IsZero() {
		cells[4] = e.Message.String()
	}
	if e.Item > 0 {
		cells[5] = strconv.Itoa(e.Item)
	}
	if len(e.Data) > 0 {
		text, err := json.Marshal(e.Data)
		if err == nil { // never: every map of strings has a JSON form
			cells[6] = string(text)
		}
	}
	return cells
}

// kindOf is what the line says, or that it can no longer be read.
func kindOf(e Entry) string {
	if e.Sealed {
		return "sealed"
	}
	return string(e.Kind)
}

// What a message of syslog carries in front (RFC 5424 section 6.2.1): facility 13
// is the log of audits.
const (
	facilityAudit  = 13
	severityWarn   = 4
	severityNotice = 5
	severityInfo   = 6
)

// severityOf tells what wants a person's attention from what does not.
func severityOf(k message.EventKind) int {
	switch k {
	case message.EventForged, message.EventDamaged, message.EventClock, message.EventOverdue, message.EventAlarm, message.EventUnmatched, message.EventUnclear, message.EventLost:
		return severityWarn
	case message.EventRead, message.EventKey, message.EventDestroyed, message.EventDoomed, message.EventRun, message.EventPaused, message.EventResumed, message.EventStarted:
		return severityNotice
	}
	return severityInfo
}

// Names of the elements of the structured data, before the enterprise number.
const (
	sdLine = "gatewayd"
	sdData = "gatewaydData"
)

// AppendSyslog appends one entry as a message of RFC 5424, without a frame. Link
// and hash of the line stand in its structured data: whoever keeps them holds
// the chain against them later (audit verify --mark).
func AppendSyslog(b []byte, e Entry, s Shown, host string) []byte {
	b = append(b, '<')
	b = strconv.AppendInt(b, int64(facilityAudit*8+severityOf(e.Kind)), 10)
	b = append(b, ">1 "...)
	b = e.At.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z")
	b = appendName(append(b, ' '), host, 255)
	b = append(b, " gatewayd - "...)
	b = appendName(b, kindOf(e), 32)
	b = s.appendElement(append(b, ' '), sdLine)
	b = appendParam(b, "link", strconv.FormatUint(e.Seq, 10))
	b = appendParam(b, "hash", e.Hash.String())
	if e.Authority != "" {
		b = appendParam(b, "authority", e.Authority)
	}
	if !e.Message.IsZero() {
		b = appendParam(b, "message", e.Message.String())
	}
	if e.Item > 0 {
		b = appendParam(b, "item", strconv.Itoa(e.Item))
	}
	b = append(b, ']')
	b = appendData(b, e, s)
	b = append(b, ' ')
	b = append(b, kindOf(e)...)
	if !e.Message.IsZero() {
		b = append(append(b, ' '), e.Message.String()...)
	}
	if e.Item > 0 {
		b = strconv.AppendInt(append(b, '/'), int64(e.Item), 10)
	}
	return b
}

// AppendCheckpoint appends a signed checkpoint as a message of RFC 5424. Its text
// is the checkpoint as audit verify --checkpoint reads it.
func AppendCheckpoint(b []byte, c Checkpoint, s Shown, host string) []byte {
	text, err := json.Marshal(c)
	if err != nil { // never: it has a JSON form
		return b
	}
	b = append(b, '<')
	b = strconv.AppendInt(b, facilityAudit*8+severityNotice, 10)
	b = append(b, ">1 "...)
	b = c.At.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z")
	b = appendName(append(b, ' '), host, 255)
	b = s.appendElement(append(b, " gatewayd - checkpoint "...), sdLine)
	b = appendParam(b, "link", strconv.FormatUint(c.Seq, 10))
	b = appendParam(b, "hash", c.Hash.String())
	return append(append(b, "] "...), text...)
}

func appendData(b []byte, e Entry, s Shown) []byte {
	var names []string
	for name := range e.Data {
		if s.Shows(name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return b
	}
	slices.Sort(names)
	b = s.appendElement(b, sdData)
	for _, name := range names {
		b = appendParam(b, name, e.Data[name])
	}
	return append(b, ']')
}

// appendName appends a field of the head: printable ASCII without spaces, cut
// where the field ends; "-" for nothing.
func appendName(b []byte, s string, most int) []byte {
	n := len(b)
	for i := 0; i < len(s) && len(b)-n < most; i++ {
		if c := s[i]; c > ' ' && c < 127 {
			b = append(b, c)
		}
	}
	if len(b) == n {
		b = append(b, '-')
	}
	return b
}

// appendParam appends a parameter of structured data (RFC 5424 section 6.3.3). A
// control character becomes a space: many a receiver ends the message there.
func appendParam(b []byte, name, value string) []byte {
	b = appendName(append(b, ' '), name, 32)
	b = append(b, '=', '"')
	for _, r := range strings.ToValidUTF8(value, "?") {
		switch {
		case r == '"' || r == '\\' || r == ']':
			b = append(b, '\\', byte(r))
		case unicode.IsControl(r):
			b = append(b, ' ')
		default:
			b = append(b, string(r)...)
		}
	}
	return append(b, '"')
}
