package audit

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"time"

	"gatewayd/calendar"
	"gatewayd/message"
)

// appendLink appends the JSON of a link, as encoding/json writes it; that is a
// third of the work of keeping the chain, and half of it was reflection.
func appendLink(b []byte, link message.Link) []byte {
	b = strconv.AppendUint(append(b, `{"seq":`...), link.Seq, 10)
	b = append(link.At.AppendFormat(append(b, `,"at":"`...), time.RFC3339Nano), '"')
	if !link.Message.IsZero() {
		b = append(append(append(b, `,"message":"`...), link.Message.String()...), '"')
	}
	b = append(append(b, `,"day":`...), strconv.Quote(link.Day)...)
	b = append(base64.StdEncoding.AppendEncode(append(b, `,"sealed":"`...), link.Sealed), '"')
	b = append(hex.AppendEncode(append(b, `,"prev":"`...), link.Prev[:]), '"')
	return append(hex.AppendEncode(append(b, `,"hash":"`...), link.Hash[:]), `"}`...)
}

// parseLine reads one line of the file of that day and checks its own hash. The
// line must be byte for byte what appendLink writes. One of an earlier day is late:
// it stands there only when that day was erased (Log.fileDay).
func parseLine(line []byte, day calendar.Day) (message.Link, error) {
	link, ok := readLink(line)
	switch {
	case !ok || !bytes.Equal(appendLink(make([]byte, 0, len(line)+1), link), line):
		return link, errForm
	case link.Hash != link.ChainHash():
		return link, errHash
	case calendar.DayOf(link.At).After(day):
		return link, errWrong
	}
	return link, nil
}

// readLink reads what appendLink writes. It takes more than that: whoever must
// know compares. Every line of every day passes here when days are sealed,
// verified and exported, and encoding/json took half of that time.
func readLink(line []byte) (l message.Link, ok bool) {
	var err error
	field := func(begin, end string) (value []byte) {
		rest, found := bytes.CutPrefix(line, []byte(begin))
		if found {
			value, line, found = bytes.Cut(rest, []byte(end))
		}
		ok = ok && found
		return value
	}
	ok = true
	if l.Seq, err = strconv.ParseUint(string(field(`{"seq":`, `,`)), 10, 64); err != nil {
		return l, false
	}
	if l.At, err = time.Parse(time.RFC3339Nano, string(field(`"at":"`, `",`))); err != nil {
		return l, false
	}
	if bytes.HasPrefix(line, []byte(`"message":`)) {
		if l.Message, err = message.ParseID(string(field(`"message":"`, `",`))); err != nil {
			return l, false
		}
	}
	l.Day = string(field(`"day":"`, `",`))
	sealed, prev, hash := field(`"sealed":"`, `",`), field(`"prev":"`, `",`), field(`"hash":"`, `"}`)
	if !ok || len(prev) != hex.EncodedLen(len(l.Prev)) || len(hash) != hex.EncodedLen(len(l.Hash)) {
		return l, false
	}
	if l.Sealed, err = base64.StdEncoding.AppendDecode(make([]byte, 0, base64.StdEncoding.DecodedLen(len(sealed))), sealed); err != nil {
		return l, false
	}
	if _, err = hex.Decode(l.Prev[:], prev); err == nil {
		_, err = hex.Decode(l.Hash[:], hash)
	}
	return l, err == nil
}
