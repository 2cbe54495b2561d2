package bounce

import (
	"regexp"
	"strings"

	"gatewayd/mail"
	"gatewayd/message"
)

const (
	localChars = `[A-Za-z0-9.!#$%&'*+/=?^_{|}~\x60\p{L}-]{1,64}`
	hostChars  = `[A-Za-z0-9\p{L}](?:[A-Za-z0-9\p{L}.-]{0,200}[A-Za-z0-9\p{L}])?`
)

// An address in running text, and the lines that name a recipient.
var (
	addressForm = regexp.MustCompile(`(?:` + localChars + `|"[^"\s]{1,64}")@` + hostChars)
	leading     = regexp.MustCompile(`^(?:[*•·+>|-]{1,3}[ \t]*|\(?\d{1,3}[.)][ \t]+)?(?:<?mailto:)?[<"'(\[]{0,3}(` +
		`(?:` + localChars + `|"[^"\s]{1,64}")@` + hostChars +
		`)[>"')\]]{0,3}\s*(?:$|[:;,(\[]|\.\.\.|- |\t| {2,}|on |\(?unrecogni[sz]ed|invalid|unknown|user unknown|\d{3}[ -]|failed|was |is |can |could |does )`)
	labelled = regexp.MustCompile(`(?i)^(?:[*•·<>|-]{1,4}\s*)?(?:(?:in|out|smtp|sent)\s{0,3}(?:>>>|<<<|:)\s*)?(?:(?:original|final|failed|intended|actual|x-actual|undeliverable)?[- ]?recipients?(?:[- ]address(?:es)?)?(?:/toaddress)?|` +
		`rcpt[- ]to|addressed[- ]to|(?:failed |e-?mail |recipient )?address(?:es)?|delivery to|undelivered to|undeliverable to|unable to deliver (?:message |mail |the message )?to|` +
		`(?:the )?following recipients?|destinat[a-zé]+|empf[äa]nger(?:adresse)?|invalid final delivery userid|recipient unknown|user unknown|unknown user|no such user|account|mailbox|宛先|受信者|收件人|получатель)` +
		`\s*(?:\([^)]{0,30}\))?\s*[:=]\s*(?:rfc822;\s*)?[<"'(\[]{0,2}(` + `(?:` + localChars + `|"[^"\s]{1,64}")@` + hostChars + `)`)
)

// sentBy ends the line before an address that is not the failed one: the
// sender's, or that from which it was made.
var sentBy = regexp.MustCompile(`(?i)\b(?:sent by|sent from|message from|mail from|sender(?: is| was)?|(?:generated|expanded) from)\s*:?$`)

// madeFrom names the address that the sender wrote, where the reporter names
// the one that became of it (Exim, Postfix).
var madeFrom = regexp.MustCompile(`(?i)\((?:ultimately )?(?:generated|expanded) from:?\s*<?([^\s()<>]{3,320})>?\)`)

// idLine is a field that holds no address, in the text.
var idLine = regexp.MustCompile(`(?im)^[ \t]*(?:references|message-id|in-reply-to)[ \t]*:.*$`)

// place is a recipient and the text about it.
type place struct {
	address message.Address
	block   string
}

// readFreeText reads a report that is written for people.
func (rep *Report) readFreeText(m *material) bool {
	if !m.isBounce() {
		return false
	}
	places := m.places()
	if len(places) == 0 {
		return false
	}
	assumed := Failed
	if saysDelayed(m.head.Text("Subject"), m.text) {
		assumed = Delayed
	}
	wholeReply, wholeStatus := codes(m.text)
	for i, p := range places {
		r := Recipient{Address: p.address, Action: assumed, Diagnostic: oneLine(p.block)}
		if from := madeFrom.FindStringSubmatch(p.block); from != nil {
			r.Original, _ = parse(from[1]) // zero if it is no address
		}
		said := p.block
		if reply, status := codes(said); reply == 0 && status == "" {
			own := ""
			if i < maxTranscripts {
				own = m.transcript(p.address)
			}
			if own != "" {
				said += "\n" + own
			} else if len(places) == 1 || reasonOf(said, "", 0) == Undefined {
				r.Reply, r.Status = wholeReply, wholeStatus
			}
		}
		if reasonOf(said, "", 0) == Undefined && len(places) == 1 {
			said += "\n" + bounded(m.text)
		}
		reply := r.Reply
		r.settle(said, assumed)
		if r.Reply == 0 {
			r.Reply = reply
		}
		rep.Recipients = append(rep.Recipients, r)
	}
	return true
}

// maxTranscripts bounds the recipients for whom the dialogue is searched.
const maxTranscripts = 50

// transcript returns the lines of an SMTP dialogue that answer to an address:
// ">>> RCPT TO:<a>" and what follows, or "<<< 550 <a>…".
func (m *material) transcript(a message.Address) string {
	lines := strings.Split(m.text, "\n")
	key := a.Key()
	if key == "" {
		return ""
	}
	var b strings.Builder
	asked := false
	for _, line := range lines {
		lower := strings.ToLower(line)
		names := strings.Contains(lower, key)
		answer := strings.Contains(line, "<<<") || lineCode.MatchString(line)
		if names && answer || asked && answer {
			b.WriteString(line + "\n")
		}
		if strings.Contains(line, ">>>") {
			asked = names
		}
		if b.Len() > maxBlock {
			break
		}
	}
	return b.String()
}

// places finds the recipients of a free text, the surest signs first.
func (m *material) places() []place {
	for _, find := range []func() []place{
		func() []place { return m.byLine(leading) },
		func() []place { return m.byLine(labelled) },
		m.byHeader,
		m.byMention,
	} {
		if list := find(); len(list) > 0 {
			return list
		}
	}
	if a := m.onlyRecipient(); !a.IsNull() {
		return []place{{a, bounded(m.text)}}
	}
	return nil
}

// byLine takes the addresses that open a line, each with the lines up to the
// next one.
func (m *material) byLine(form *regexp.Regexp) []place {
	lines := strings.Split(m.text, "\n")
	var list []place
	index := map[string]int{}
	at, before := -1, ""
	for _, line := range lines {
		trimmed := strings.TrimSpace(line)
		if found := form.FindStringSubmatch(trimmed); found != nil {
			a, ok := parse(found[1])
			switch i, seen := index[a.Key()]; {
			case !ok, sentBy.MatchString(before[max(0, len(before)-80):]):
			case form == labelled && m.sender[a.Key()]:
			case seen:
				at = i
			case len(list) < maxRecipients:
				at = len(list)
				index[a.Key()] = at
				list = append(list, place{address: a})
			}
		}
		if at >= 0 && len(list[at].block) < maxBlock {
			list[at].block += line + "\n"
		}
		if trimmed != "" {
			before = trimmed
		}
	}
	return list
}

// byHeader takes the recipients that Exim and others name in their header.
func (m *material) byHeader() []place {
	var list []place
	for _, name := range []string{"X-Failed-Recipients", "X-Failed-To"} {
		for _, value := range m.head.All(name) {
			for _, a := range mail.Addresses(value) {
				if len(list) < maxRecipients {
					list = append(list, place{a, bounded(m.text)})
				}
			}
		}
	}
	return list
}

// byMention takes the addresses of the first paragraph that names any, apart
// from those of who sent and who reports.
func (m *material) byMention() []place {
	for _, paragraph := range strings.Split(m.text, "\n\n") {
		var list []place
		seen := map[string]bool{}
		for _, text := range addressForm.FindAllString(idLine.ReplaceAllString(paragraph, ""), 20) {
			a, ok := parse(text)
			if !ok || m.sender[a.Key()] || seen[a.Key()] || isDaemon(a.Local) {
				continue
			}
			seen[a.Key()] = true
			list = append(list, place{a, bounded(m.text)})
		}
		if len(list) > 0 {
			return list[:1]
		}
	}
	return nil
}

// onlyRecipient returns the recipient of the returned message, if it had one.
func (m *material) onlyRecipient() message.Address {
	if m.original == nil {
		return message.Address{}
	}
	for _, name := range []string{"X-Envelope-To", "Delivered-To", "To", "X-Original-To"} {
		if list := mail.Addresses(m.original.Get(name)); len(list) == 1 {
			return list[0]
		}
	}
	for _, value := range m.original.All("Received") {
		if found := forClause.FindStringSubmatch(value); found != nil {
			if a, ok := parse(found[1]); ok {
				return a
			}
		}
	}
	return message.Address{}
}

var forClause = regexp.MustCompile(`\bfor <?(\S{1,64}@[^\s>;]{1,255})`)

// parse reads an address out of running text.
func parse(s string) (message.Address, bool) {
	s = strings.TrimLeft(strings.TrimPrefix(s, "mailto:"), "'`=*")
	a, err := message.ParseAddress(strings.TrimRight(s, ".-"))
	return a, err == nil && !a.IsNull()
}
