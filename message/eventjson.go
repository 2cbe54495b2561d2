package message

import (
	"encoding/json"
	"slices"
	"strconv"
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
		var few [16]string
		names := few[:0]
		for name := range e.Data {
			names = append(names, name)
		}
		slices.Sort(names)
		b = append(b, `,"data":{`...)
		for i, name := range names {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendText(append(appendText(b, name), ':'), e.Data[name])
		}
		b = append(b, '}')
	}
	return append(b, '}')
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
