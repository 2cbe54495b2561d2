package smtpclient

import (
	"errors"
	"strconv"

	"golang.org/x/net/idna"

	"gatewayd/connectors"
	"gatewayd/message"
)

// transact says MAIL, RCPT and the message.
func (s *session) transact(m connectors.Mail, f shape) (connectors.Sent, error) {
	mail, rcpt, dsn, err := s.params(m, f)
	if err != nil {
		return connectors.Sent{}, err
	}
	s.used++
	var probe []byte
	chunks := f.wire == nil && len(m.Header) > 0 && s.offers("CHUNKING") && s.pipelines() && s.avoid&chunking == 0
	if chunks {
		probe = m.Header[:1]
		if err = s.envelope(mail, rcpt, probe); s.avoid&chunking != 0 && !s.broken {
			chunks = false // the peer doesn't know what it announced
			err = s.resume()
		}
	}
	if !chunks && err == nil {
		err = s.envelope(mail, rcpt, nil)
	}
	if err != nil {
		return connectors.Sent{}, err
	}
	r, err := s.transfer(m, f, chunks)
	return connectors.Sent{Reply: r.Text(), DSN: dsn && err == nil}, err
}

func (s *session) offers(word string) bool {
	_, ok := s.ext[word]
	return ok
}

// pipelines reports whether commands may be said together (RFC 2920).
func (s *session) pipelines() bool { return s.offers("PIPELINING") && s.avoid&pipelining == 0 }

// envelope opens the transaction: MAIL, RCPT, DATA, in one write where the peer
// offers PIPELINING (RFC 2920). A transaction that was left open on a kept
// connection is ended before. With a probe the message will leave by BDAT, and
// until the peer has accepted a chunk on this connection its first octet leaves
// alone, in the place of DATA: if the peer doesn't know the command after all,
// it takes no line of a message for one. (Postfix refuses an empty chunk.)
func (s *session) envelope(mail, rcpt string, probe []byte) error {
	t := s.o.Timeouts
	cs := []command{
		{step: connectors.StepReset, line: "RSET", want: 250, timeout: t.Command},
		{step: connectors.StepMail, line: mail, want: 250, timeout: t.Command},
		{step: connectors.StepRcpt, line: rcpt, want: 250, timeout: t.Command},
	}
	if !s.open {
		cs = cs[1:]
	}
	switch {
	case probe == nil:
		cs = append(cs, command{step: connectors.StepData, line: "DATA", want: 354, timeout: t.Data})
	case !s.chunks:
		cs = append(cs, command{step: connectors.StepData, line: "BDAT 1", want: 250, timeout: t.Data, octets: probe})
	}
	s.open = true
	if !s.pipelines() {
		for _, c := range cs {
			if err := s.alone(c); err != nil {
				return err
			}
		}
		return nil
	}
	if err := s.say(cs...); err != nil {
		s.note(cs[0], err)
		return err
	}
	return s.answers(cs)
}

// resume gets back into step after a refused chunk. A peer that knows BDAT has
// swallowed the octet behind it; for one that doesn't it begins the next command,
// which NOOP may therefore be without harm. Either gives one reply.
func (s *session) resume() error {
	noop := command{step: connectors.StepData, line: "NOOP", timeout: s.o.Timeouts.Command}
	if err := s.say(noop); err != nil {
		return err
	}
	if _, err := readReply(s.br); err != nil {
		return s.fail(noop.step, err)
	}
	return nil
}

// alone says one command of the envelope and hears its reply.
func (s *session) alone(c command) error {
	err := s.say(c)
	if err == nil {
		_, err = s.reply(c.step, c.want)
	}
	s.note(c, err)
	return err
}

// note keeps what the outcome of a command of the envelope tells about the
// connection and the peer.
func (s *session) note(c command, err error) {
	switch {
	case err == nil:
		s.taken = s.taken || c.step != connectors.StepReset
		if c.octets != nil {
			s.chunks, s.lead = true, len(c.octets)
		}
	case c.step == connectors.StepReset:
		s.broken, s.stale = true, !s.taken
	case s.broken && !s.taken:
		s.stale = true
	case c.octets != nil && (s.broken || connectors.KindOf(err) == connectors.Permanent):
		s.avoid |= chunking
	}
}

// answers reads the replies to commands that were said together. The first
// refusal is the outcome. DATA that was accepted in spite of it is ended with a
// lone dot (RFC 2920 section 3.1): without an accepted recipient there is
// nobody to whom that could be a message.
func (s *session) answers(cs []command) error {
	var outcome error
	for _, c := range cs {
		s.deadline(c.timeout)
		_, err := s.reply(c.step, c.want)
		switch {
		case outcome == nil:
			s.note(c, err)
			outcome = err
			if e, ok := errors.AsType[*connectors.Error](err); ok && e.Code == 0 && (s.taken || s.used == 1) && s.ctx.Err() == nil {
				s.avoid |= pipelining // perhaps it hears only the first of several commands
			}
		case err == nil && c.step == connectors.StepRcpt:
			s.broken = true // a recipient without a sender: what was MAIL's reply?
		case err == nil && c.want == 354:
			s.lone()
		}
		if s.broken {
			break
		}
	}
	return outcome
}

// lone ends DATA that has no recipient.
func (s *session) lone() {
	s.deadline(s.o.Timeouts.Command)
	_, err := s.conn.Write([]byte(finalDot))
	if err == nil {
		_, err = readReply(s.br)
	}
	s.broken = err != nil
}

// params composes the two commands from what the peer offers. What the message
// needs and the peer lacks is Permanent: no later attempt changes it.
func (s *session) params(m connectors.Mail, f shape) (mail, rcpt string, dsn bool, err error) {
	from, to, err := s.addresses(m, &f)
	if err != nil {
		return "", "", false, err
	}
	mail, rcpt = "MAIL FROM:<"+from+">", "RCPT TO:<"+to+">"
	if limit, ok := s.ext["SIZE"]; ok { // RFC 1870
		if n, err := strconv.ParseInt(limit, 10, 64); err == nil && n > 0 && f.size > n {
			return "", "", false, connectors.Refuse(connectors.StepMail, "5.3.4", "the message is larger than the next system takes")
		}
		mail += " SIZE=" + strconv.FormatInt(f.size, 10)
	}
	if f.utf8 {
		mail += " SMTPUTF8"
	}
	if f.eight {
		if !s.offers("8BITMIME") {
			return "", "", false, connectors.Refuse(connectors.StepMail, "5.6.3", "the message holds 8-bit data and the next system takes none (8BITMIME)")
		}
		mail += " BODY=8BITMIME"
	}
	if s.offers("DSN") && m.DSN != nil {
		mail, rcpt, dsn = mail+mailParams(*m.DSN), rcpt+rcptParams(*m.DSN), true
	}
	return mail, rcpt, dsn, nil
}

// addresses writes both addresses. Without SMTPUTF8 a domain of a country's own
// letters still travels as A-label (RFC 5891); a local part has no such form.
func (s *session) addresses(m connectors.Mail, f *shape) (from, to string, err error) {
	if s.offers("SMTPUTF8") || !f.utf8 {
		return m.From.String(), m.To.String(), nil
	}
	refusal := connectors.Refuse(connectors.StepMail, "5.6.7", "the message needs SMTPUTF8 and the next system does not offer it")
	if m.UTF8 && !isASCII(m.Header) {
		return "", "", refusal
	}
	a, okFrom := asciiAddress(m.From)
	b, okTo := asciiAddress(m.To)
	if !okFrom || !okTo {
		return "", "", refusal
	}
	f.utf8 = false
	return a.String(), b.String(), nil
}

// asciiAddress writes the domain in A-labels.
func asciiAddress(a message.Address) (message.Address, bool) {
	if a.IsASCII() {
		return a, true
	}
	domain, err := idna.Lookup.ToASCII(a.Domain)
	if err != nil {
		return a, false
	}
	a.Domain = domain
	return a, a.IsASCII()
}
