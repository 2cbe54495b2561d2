package smtpclient

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"gatewayd/connectors"
)

// finalDot ends DATA, behind a CRLF; lastChunk ends BDAT, behind all octets.
const (
	finalDot  = ".\r\n"
	lastChunk = "BDAT 0 LAST\r\n"
)

var errChanged = errors.New("message changed between two readings")

// transfer brings the message and hears what the peer says to it. The piece that
// ends it (the final dot, or an empty last chunk) leaves last and only when
// everything before it has left well: until then the peer has a part, and cutting
// the connection, or our own death, takes it back. The octets never follow BDAT
// LAST: a peer may take the end of the connection for the end of its chunk (seen
// with go-smtp 0.25), and deliver what came before.
func (s *session) transfer(m connectors.Mail, f shape, chunks bool) (Reply, error) {
	if f.wire != nil {
		return s.end(f.wire, finalDot)
	}
	out := &blocks{s: s, buf: make([]byte, 0, blockSize)}
	if chunks {
		out.skip = s.lead
		out.buf = append(out.buf, "BDAT "+strconv.FormatInt(f.size-int64(s.lead), 10)+"\r\n"...)
	}
	st := &stuffer{w: out, plain: chunks, limit: f.size}
	err := writeTo(st, m, make([]byte, blockSize))
	if err == nil && st.size != f.size {
		err = errChanged
	}
	var r Reply
	switch {
	case out.failed:
		err = s.refusedInside(err)
	case err != nil:
		s.broken = true
		return Reply{}, &connectors.Error{Step: connectors.StepData, Err: fmt.Errorf("read message: %w", err)}
	case chunks:
		r, err = s.end(out.buf, lastChunk)
	default:
		r, err = s.end(out.buf, finalDot)
	}
	if chunks {
		s.doubtChunks(err)
	}
	return r, err
}

// blocks gathers a message into pieces and gives the writing of each its own
// deadline: a peer that stops reading does not hold a worker for ever (RFC 5321
// section 4.5.3.2.5). What was written last is always still here, and the end of
// the message with it.
type blocks struct {
	s      *session
	buf    []byte
	skip   int  // octets at the start that have left before
	failed bool // the peer did not take a piece
}

func (b *blocks) Write(p []byte) (int, error) {
	skip := min(b.skip, len(p))
	b.skip -= skip
	for rest := p[skip:]; len(rest) > 0; {
		if len(b.buf) == cap(b.buf) {
			b.s.deadline(b.s.o.Timeouts.Block)
			if _, err := b.s.conn.Write(b.buf); err != nil {
				b.failed = true
				return len(p) - len(rest), err
			}
			b.buf = b.buf[:0]
		}
		n := min(len(rest), cap(b.buf)-len(b.buf))
		b.buf, rest = append(b.buf, rest[:n]...), rest[n:]
	}
	return len(p), nil
}

// end says the last piece with what ends the message, and hears the reply. When
// the first octet of that may have left, only a whole reply tells whether the
// peer has the message.
func (s *session) end(piece []byte, mark string) (Reply, error) {
	if !s.quiet() {
		return Reply{}, s.refusedInside(errors.New("the peer answered before the end of the message"))
	}
	s.deadline(s.o.Timeouts.Block)
	s.ending.Store(true)
	if err := s.ctx.Err(); err != nil { // still on this side of the end
		return Reply{}, s.fail(connectors.StepData, err)
	}
	n, err := s.conn.Write(append(piece, mark...))
	if err != nil && n <= len(piece) {
		return Reply{}, s.refusedInside(err)
	}
	var r Reply
	if err == nil {
		r, err = s.verdict()
	}
	if mark == lastChunk && err == nil {
		octets := r
		if r, err = s.lastVerdict(octets); octets.class() >= 4 && (err != nil || r.class() != 2) {
			s.broken = true
			return Reply{}, s.refused(connectors.StepData, octets)
		}
		if octets.class() != 2 && err == nil {
			err = fmt.Errorf("%w: %d to the message and %d to its end", errReply, octets.Code, r.Code)
		}
	}
	switch {
	case err != nil:
		s.broken = true
		return Reply{}, &connectors.Error{Kind: connectors.Unclear, Step: connectors.StepDot, Err: s.cause(err)}
	case r.class() == 3: // no answer to the end of data
		s.broken = true
		return Reply{}, &connectors.Error{Kind: connectors.Unclear, Step: connectors.StepDot, Err: fmt.Errorf("%w: code %d", errReply, r.Code)}
	}
	s.open = false // whatever the reply says, the transaction is over
	if r.class() == 2 {
		return r, nil
	}
	return Reply{}, s.refused(connectors.StepDot, r)
}

// verdict reads the reply to the end of the message.
func (s *session) verdict() (Reply, error) {
	s.deadline(s.o.Timeouts.Dot)
	if s.ctx.Err() != nil {
		s.hurry()
	}
	return readReply(s.br)
}

// lastVerdict reads the reply to the empty chunk behind the octets. When these
// were refused it must be a refusal too (RFC 3030 section 2), and is not waited
// for long; a peer that took an end without its message is another matter.
func (s *session) lastVerdict(octets Reply) (Reply, error) {
	if octets.class() < 4 {
		return s.verdict()
	}
	s.deadline(s.o.Timeouts.Quit)
	return readReply(s.br)
}

// hurry shortens the time that the peer has left for its reply. Giving up at
// once would leave unclear what became of a message that has left.
func (s *session) hurry() {
	_ = s.conn.SetReadDeadline(time.Now().Add(s.o.Timeouts.Grace))
}

// refusedInside explains why the end was not said: a peer that refuses in the
// middle answers before it closes, and that answer counts.
func (s *session) refusedInside(err error) error {
	s.broken = true
	if s.ctx.Err() == nil {
		s.deadline(s.o.Timeouts.Quit)
		if r, rerr := readReply(s.br); rerr == nil && r.class() >= 4 {
			return s.refused(connectors.StepData, r)
		}
	}
	return s.fail(connectors.StepData, err)
}

// doubtChunks looks at what came of a message in BDAT. A peer that fails there,
// or answers that it does not know or want the command, hears DATA the next
// time; and what it answered was not about the message.
func (s *session) doubtChunks(err error) {
	e, ok := errors.AsType[*connectors.Error](err)
	if !ok || s.ctx.Err() != nil {
		return
	}
	syntax := e.Code >= 500 && e.Code <= 504
	if syntax || e.Code == 0 {
		s.avoid |= chunking
	}
	if syntax {
		s.broken, e.Kind = true, connectors.Temporary
	}
}
