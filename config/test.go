package config

import (
	"bufio"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatewayd/gateway"
	"gatewayd/gateway/keydesk"
	"gatewayd/mail"
	"gatewayd/message"
	"gatewayd/policy"
)

// Question is a message to decide on without sending it.
type Question struct {
	From, To, Class, Subject string
	Header                   *mail.Header // of a whole message; overrides Subject
	Size                     int64
	Now                      time.Time
}

// Explain tells, rule by rule, how the message would travel, by the code that
// Accept uses, without side effects.
func (c *Config) Explain(q Question) (policy.Explanation, error) {
	var x policy.Explanation
	g, err := gateway.New(gateway.Options{
		Hostname: c.Hostname, Authorities: c.Authorities, Policy: c.Rules, Vocabulary: c.Words, Directory: c.People.Get, Keys: keydesk.Sources{Folder: c.Ring.Get},
		Platforms: c.Platforms, Windows: c.Windows, Delivery: c.Delivery, Now: func() time.Time { return q.Now },
	})
	if err != nil {
		return x, err
	}
	s := message.Submission{Door: message.Outbound}
	if s.From, err = message.ParseAddress(q.From); err != nil {
		return x, fmt.Errorf("from: %w", err)
	}
	to, err := message.ParseAddress(q.To)
	if err != nil || to.IsNull() {
		return x, fmt.Errorf("to: %w", message.ErrBadAddress)
	}
	s.To = []message.Recipient{{Address: to}}
	if s.Authority, s.Account = c.owner(s.From); s.Authority == "" {
		return x, errors.New("from: the address belongs to no authority")
	}
	if q.Class != "" {
		if s.Class, err = message.ParseClass(q.Class); err != nil {
			return x, fmt.Errorf("class: %w", err)
		}
	}
	head := q.Header
	if head == nil {
		text := "Subject: " + mail.EncodeText(strings.NewReplacer("\r", " ", "\n", " ").Replace(q.Subject)) + "\r\n\r\n"
		if head, err = mail.ReadHeader(bufio.NewReader(strings.NewReader(text)), maxFile); err != nil {
			return x, err
		}
	}
	return g.Explain(s, head, q.Size), nil
}

// owner returns the authority of an address and its first account.
func (c *Config) owner(from message.Address) (authority, account string) {
	for _, a := range c.Authorities {
		for _, addr := range a.Addresses {
			if addr.Key() == from.Key() {
				return a.ID, a.Accounts[0]
			}
		}
	}
	return "", ""
}

// noteTests runs the [[test]] entries; each one that comes out otherwise is a
// mistake of the configuration.
func (b *builder) noteTests(c *Config) {
	for i, t := range b.file.Test {
		key := "test" + index(i+1)
		x, err := c.Explain(Question{From: t.From, To: t.To, Class: t.Class, Subject: t.Subject, Now: b.now})
		if err != nil {
			b.note(func(text string) (string, string) { return questionKey(key, text) }, err)
			continue
		}
		d := x.Decision
		for _, f := range [][3]string{
			{"verdict", t.Expect.Verdict, string(d.Verdict)},
			{"route", t.Expect.Route, d.Route},
			{"via", t.Expect.Via, d.Via},
			{"tag", strings.TrimSpace(t.Expect.Tag), strings.TrimSpace(d.Tag)},
			{"class", t.Expect.Class, string(d.Class)},
			{"footer", t.Expect.Footer, d.Footer},
		} {
			if f[1] != "" && f[1] != f[2] {
				b.add(key+".expect."+f[0], "is %q, expected %q%s", f[2], f[1], why(d))
			}
		}
	}
}

// questionKey finds the key by the word with which an error of Explain begins.
func questionKey(key, text string) (at, rest string) {
	word, rest, ok := strings.Cut(text, ": ")
	if !ok || !slices.Contains([]string{"from", "to", "class"}, word) {
		return key, text
	}
	return key + "." + word, rest
}

func why(d message.Decision) string {
	r, ok := policy.Deciding(d)
	if !ok {
		return ""
	}
	return " (" + r.Rule + ": " + r.Text + ")"
}
