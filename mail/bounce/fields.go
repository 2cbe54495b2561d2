package bounce

import (
	"fmt"
	"regexp"
	"strings"

	"gatewayd/mail"
	"gatewayd/message"
)

// group is one group of fields of a delivery status section, names in lower
// case.
type group map[string]string

// readFields reads the delivery status sections (RFC 3464 section 2).
func (rep *Report) readFields(m *material) bool {
	sections := m.fields
	if len(sections) == 0 && finalField.MatchString(m.text) && m.isBounce() {
		sections = []string{m.text} // a broken structure left them in the text
	}
	for _, text := range sections {
		for _, g := range groups(text) {
			rep.message(g)
			if g.aboutRecipient() && len(rep.Recipients) < maxRecipients {
				rep.Recipients = append(rep.Recipients, g.recipient())
			}
		}
	}
	if len(rep.Recipients) == 0 {
		return false
	}
	rep.Structured = true
	rep.supplement(m)
	return true
}

// groups cuts the section at its blank lines. A line that is no field belongs
// to the field before it, whether it is indented or not. What belongs to the
// recipient of the group before, with a stray blank line between, joins it.
func groups(text string) []group {
	var list []group
	cur, last := group{}, ""
	flush := func() {
		n := len(list)
		switch {
		case len(cur) == 0:
		case n > 0 && cur["final-recipient"] == "" && cur["original-recipient"] == "" && list[n-1].open():
			for name, value := range cur {
				list[n-1][name] = value
			}
		default:
			list = append(list, cur)
		}
		cur, last = group{}, ""
	}
	for _, line := range strings.Split(tidy(text), "\n") {
		switch name, value, ok := strings.Cut(line, ":"); {
		case line == "":
			flush()
		case field.MatchString(line) && ok:
			last = strings.ToLower(strings.TrimSpace(name))
			if strings.HasSuffix(last, "-recipient") && cur[last] != "" {
				flush() // no blank line between two recipients
				last = strings.ToLower(strings.TrimSpace(name))
			}
			if _, have := cur[last]; !have {
				cur[last] = strings.TrimSpace(value)
			} else {
				last = ""
			}
		case last != "":
			cur[last] = bounded(cur[last] + " " + strings.TrimSpace(line))
		}
	}
	flush()
	return list
}

func bounded(s string) string {
	if len(s) > maxBlock {
		return strings.ToValidUTF8(s[:maxBlock], "")
	}
	return s
}

// open tells a recipient group to which something is missing.
func (g group) open() bool {
	return (g["final-recipient"] != "" || g["original-recipient"] != "") && g["action"] == "" && g["status"] == ""
}

func (g group) aboutRecipient() bool {
	return g["final-recipient"] != "" || g["original-recipient"] != "" || g["action"] != "" && g["status"] != ""
}

// message takes what is said about the message as a whole.
func (rep *Report) message(g group) {
	if id := g["original-envelope-id"]; id != "" {
		rep.EnvID = id
	}
	if mta := g["reporting-mta"]; mta != "" {
		rep.ReportingMTA = untyped(mta)
	}
}

// recipient reads one recipient's group.
func (g group) recipient() Recipient {
	at, err := mail.ParseDate(g["last-attempt-date"])
	if err != nil {
		at, _ = mail.ParseDate(g["arrival-date"]) // zero if unreadable
	}
	r := Recipient{
		Address: address(g["final-recipient"]), Original: address(g["original-recipient"]),
		Action: g.action(), RemoteMTA: untyped(g["remote-mta"]), Diagnostic: oneLine(untyped(g["diagnostic-code"])), At: at,
	}
	for _, other := range []string{"x-actual-recipient", "original-recipient", "x-actual-final-recipient", "x-display-name"} {
		if r.Address.IsNull() {
			r.Address = address(g[other])
		}
	}
	if m := plainStatus.FindString(g["status"]); mail.IsStatus(m) {
		r.Status = m
	}
	return r
}

var finalField = regexp.MustCompile(`(?im)^final-recipient[ \t]*:`)

var plainStatus = regexp.MustCompile(`[245]\.\d{1,3}\.\d{1,3}`)

// action reads what became of the message; "" if it is not told. Who names the
// time until which he will try has not given up (RFC 3464 section 2.3.8).
func (g group) action() string {
	a := action(g["action"])
	if a == "" && g["will-retry-until"] != "" {
		return Delayed
	}
	return a
}

// action reads the Action field, tolerant of what is written around the word.
func action(s string) string {
	s = strings.ToLower(mail.StripComments(s))
	for _, known := range []string{Failed, Delayed, Delivered, Relayed, Expanded} {
		if strings.HasPrefix(s, known) {
			return known
		}
	}
	switch {
	case strings.HasPrefix(s, "fail"), strings.HasPrefix(s, "deliverable"), strings.HasPrefix(s, "error"):
		return Failed
	case strings.HasPrefix(s, "delay"), strings.HasPrefix(s, "transient"), strings.HasPrefix(s, "warn"):
		return Delayed
	}
	return ""
}

// supplement fills from the free text what the fields leave open, and settles
// every recipient.
func (rep *Report) supplement(m *material) {
	for i := range rep.Recipients {
		r := &rep.Recipients[i]
		said := r.Diagnostic
		if said == "" || vague(r.Status) && reasonOf(said, "", 0) == Undefined {
			if block := about(m.text, r.Address, len(rep.Recipients) == 1); block != "" {
				said = strings.TrimSpace(said + "\n" + block)
				if r.Diagnostic == "" {
					r.Diagnostic = oneLine(block)
				}
			}
		}
		if r.Address.IsNull() && len(rep.Recipients) == 1 {
			r.Address = m.onlyRecipient()
		}
		r.settle(said, Failed)
	}
}

// about returns what the text says about an address: the whole if it can be
// about nobody else.
func about(text string, a message.Address, only bool) string {
	if only || a.IsNull() {
		return bounded(text)
	}
	_, after, ok := strings.Cut(strings.ToLower(text), strings.ToLower(a.String()))
	if !ok {
		return ""
	}
	if next := addressForm.FindStringIndex(after); next != nil {
		after = after[:next[0]]
	}
	return bounded(after)
}

// settle decides action, status, reply code, permanence and reason out of the
// fields that are set and what is said.
func (r *Recipient) settle(said, assumed string) {
	reply, status := codes(said)
	r.weigh(status)
	r.Reply = reply
	if r.Action == "" {
		if r.Action = assumed; class(r.Status, r.Reply) == '2' {
			r.Action = Delivered
		}
	}
	if r.Action == Delayed && outOfTime.MatchString(said) {
		r.Action = Failed
		if r.Status != "" {
			r.Status = "5" + r.Status[1:]
		}
	}
	c := class(r.Status, r.Reply)
	if c == 0 && (tooLong.MatchString(said) || passing.MatchString(said)) {
		c = '4'
	}
	switch r.Action {
	case Delayed:
		c = '4'
	case Delivered, Relayed, Expanded:
		c = '2'
	default:
		if c != '4' {
			c = '5'
		}
	}
	if r.Status == "" || r.Status[0] != c {
		r.Status = string(c) + ".0.0"
	}
	r.Permanent = c == '5'
	if r.Reason = ""; c != '2' {
		r.Reason = reasonOf(said, r.Status, r.Reply)
	}
}

// weigh takes the status that the text names instead of the one that the field
// tells, where that one names a class only, or is the same but for a class that
// was lowered: a mail system that tries other hosts after a permanent reply
// (Postfix, smtp_skip_5xx_greeting) files it as temporary, and says so still
// when it has given up. What the last host replied is the cause then.
func (r *Recipient) weigh(said string) {
	own := r.Status
	switch {
	case said == "":
	case own == "",
		vague(own) && (own[0] == said[0] || said[0] != '2'),
		r.Action == Failed && own[0] == '4' && said[0] == '5' && own[1:] == said[1:]:
		r.Status = said
	}
}

// outOfTime contradicts "delayed": what has expired is in no queue any more.
// Older OpenSMTPD called its last word so, with a class to match; newer ones
// say "failed" and 5.4.7. The class of such a report only follows its
// action (RFC 3464 section 2.3.3) and tells nothing of its own.
var outOfTime = regexp.MustCompile(`(?i)\b(?:envelope|message) (?:has )?expired\b|\bqueue\.expired\b`)

// passing are the words for a cause that may pass, where no code tells.
var passing = regexp.MustCompile(`(?i)\btemporar|\btemp_?fail|\btransient`)

// tooLong is what Exim says when it stopped trying: the cause may have passed.
var tooLong = regexp.MustCompile(`(?m)(?:^|: )[ \t]*retry time(?:out exceeded| not reached)|hosts have been failing for a long time`)

// untyped removes the "type;" in front of a value.
func untyped(s string) string {
	if kind, rest, ok := strings.Cut(s, ";"); ok && len(kind) < 20 && !strings.Contains(strings.TrimSpace(kind), " ") {
		return strings.TrimSpace(rest)
	}
	return strings.TrimSpace(s)
}

// address reads "rfc822; user@host"; zero if it is no address.
func address(s string) message.Address {
	kind, _, _ := strings.Cut(s, ";")
	text := untyped(s)
	if strings.EqualFold(strings.TrimSpace(kind), "utf-8") {
		text = unescapeUTF8(text)
	}
	a, err := message.ParseAddress(strings.Trim(text, "<>'\" \t"))
	if err == nil {
		return a
	}
	if list := mail.Addresses(text); len(list) > 0 {
		return list[0]
	}
	return message.Address{}
}

// unescapeUTF8 undoes \x{…} of RFC 6533 section 3.
func unescapeUTF8(s string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, `\x{`)
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		hex, after, ok := strings.Cut(rest, "}")
		var r rune
		if _, err := fmt.Sscanf(hex, "%X", &r); !ok || err != nil {
			return b.String()
		}
		b.WriteRune(r)
		s = after
	}
}
