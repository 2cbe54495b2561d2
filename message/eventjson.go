package message

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// AppendJSON appends the event as encoding/json writes it, octet for octet. Each
// step of each message makes one, and reflection was most of its cost.
func (e Event) AppendJSON(b []byte) []byte {
	b = strconv.AppendUint(append(b, `{"seq":`...), e.Seq, 10)
	b = append(e.At.AppendFormat(append(b, `,"at":"`...), time.RFC3339Nano), '"')
	b = appendText(append(b, `,"kind":`...), string(e.Kind))
	if e.Authority != "" {
		b = appendText(append(b, `,"authority":`...), e.Authority)
	}
	if !e.Message.IsZero() {
		b = appendText(append(b, `,"message":`...), e.Message.String())
	}
	if e.Item != 0 {
		b = strconv.AppendInt(append(b, `,"item":`...), int64(e.Item), 10)
	}
	if len(e.Data) > 0 {
		b = e.appendData(append(b, `,"data":{`...))
	}
	return append(b, '}')
}

// appendData writes the fields that are declared for the kind, in their order,
// and closes the object. A field that is declared for other kinds only is
// written, too; one that nobody has declared is named but not written.
func (e Event) appendData(b []byte) []byte {
	n, open := 0, len(b)
	for _, name := range declared[e.Kind] {
		if value, ok := e.Data[name]; ok {
			b = appendField(b, open, name, value)
			n++
		}
	}
	if n < len(e.Data) {
		here, elsewhere := e.undeclared()
		for _, name := range elsewhere {
			b = appendField(b, open, name, e.Data[name])
		}
		b = appendField(b, open, Undescribed, strings.ToValidUTF8(strings.Join(here, " "), "?"))
	}
	return append(b, '}')
}

func appendField(b []byte, open int, name, value string) []byte {
	if len(b) > open {
		b = append(b, ',')
	}
	return appendText(append(appendText(b, name), ':'), value)
}

// appendText appends a JSON string. What needs an escape is left to
// encoding/json.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			text, err := json.Marshal(s)
			if err != nil { // never: every string has a JSON form
				return append(b, `""`...)
			}
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
