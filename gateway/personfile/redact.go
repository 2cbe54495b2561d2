package personfile

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"gatewayd/audit"
	"gatewayd/legal"
	"gatewayd/message"
)

// redacted stands for what names somebody else.
const redacted = "[redacted]"

// addressIn finds what may be a mail address in a text.
var addressIn = regexp.MustCompile(`[^\s<>"'(),;:=\[\]|]+@[^\s<>"'(),;:=\[\]|]+`)

// has reports whether an address of the person stands in a text.
func (p *person) has(text string) bool {
	if !strings.Contains(text, "@") {
		return false
	}
	if p.keys[strings.ToLower(text)] {
		return true
	}
	return slices.ContainsFunc(addressIn.FindAllString(text, -1), p.is)
}

func (p *person) is(address string) bool {
	return p.keys[strings.ToLower(strings.TrimRight(address, "."))]
}

// mask takes out the addresses of others; those of the authorities are theirs to
// be known.
func (p *person) mask(text string) string {
	text = namedAddress.ReplaceAllStringFunc(text, func(found string) string {
		name, address, _ := strings.Cut(found, "<")
		if address = strings.TrimRight(address, ".>"); p.is(address) || p.h.Ours(strings.ToLower(address)) {
			return found
		}
		p.another(strings.Trim(name, `" `))
		return redacted + " <" + redacted + ">"
	})
	return addressIn.ReplaceAllStringFunc(text, func(found string) string {
		if p.is(found) || p.h.Ours(strings.ToLower(strings.TrimRight(found, "."))) {
			return found
		}
		return redacted
	})
}

// namedAddress finds an address with the name of its owner before it, as mail
// systems write them.
var namedAddress = regexp.MustCompile(`(?:"[^"<>]{1,100}"|\p{Lu}[\p{L}.'-]*(?: \p{Lu}[\p{L}.'-]*){0,4}) ?<[^\s<>@]+@[^\s<>@]+>`)

// another keeps a name of somebody else. Single short words are left alone: too much
// else would go with them.
func (p *person) another(name string) {
	name = strings.ToLower(strings.Join(strings.Fields(name), " "))
	if len(name) < 5 || name == p.name || p.others[name] {
		return
	}
	if len(p.others) >= maxNames {
		p.file.Remarks = append(Remarks(), ManyNames)
		return
	}
	p.others[name] = true
	if given, family, ok := strings.Cut(name, " "); ok {
		p.others[family+" "+given] = true
		p.others[family+", "+given] = true
	}
}

// maxNames bounds the names of others that are looked for; ManyNames says that there
// are more.
const maxNames = 10_000

// oneOf finds each of these names, the longest where several begin. In their order
// regexp makes a tree of what they begin with; in any other it tries each at every
// letter.
func oneOf(sorted []string) *regexp.Regexp {
	for i, n := range sorted {
		sorted[i] = regexp.QuoteMeta(n)
	}
	all := regexp.MustCompile(`(?i)` + strings.Join(sorted, "|"))
	all.Longest()
	return all
}

// maskNames takes the names of others out of every free text, when all of them are
// known.
func (p *person) maskNames() {
	if len(p.others) == 0 {
		return
	}
	all := oneOf(slices.Sorted(maps.Keys(p.others)))
	mask := func(texts ...*string) {
		for _, t := range texts {
			*t = all.ReplaceAllString(*t, redacted)
		}
	}
	for _, e := range p.file.Events {
		for name, value := range e.Data {
			if name != "message_id" && name != "sha256" {
				e.Data[name] = all.ReplaceAllString(value, redacted)
			}
		}
	}
	for i := range p.file.Messages {
		m := &p.file.Messages[i]
		for n := range m.Items {
			mask(&m.Items[n].Reply, &m.Items[n].Alarm)
		}
		for n := range m.Receipts {
			mask(&m.Receipts[n].Detail, &m.Receipts[n].Mismatch, &m.Receipts[n].FileName)
		}
		for n := range m.Cases {
			mask(&m.Cases[n].Addressee.SaidWhy)
			for k := range m.Cases[n].Tasks {
				mask(&m.Cases[n].Tasks[k].How)
			}
		}
	}
	for i := range p.file.Unmatched {
		mask(&p.file.Unmatched[i].Detail, &p.file.Unmatched[i].Mismatch, &p.file.Unmatched[i].FileName)
	}
}

// redact takes out of an event what names others: who worked on it, from where a
// client came that is not the person's, and every other address.
func (p *person) redact(e audit.Entry, fromPerson bool) audit.Entry {
	data := map[string]string{}
	for name, value := range e.Data {
		switch name {
		case "by", "account", "delegate", "signer":
			if !p.has(value) && value != "" {
				value = redacted
			}
		case "peer":
			if !fromPerson {
				value = redacted
			}
		case "message_id", "sha256":
		default:
			value = p.mask(value)
		}
		data[name] = value
	}
	if e.Data = data; len(data) == 0 {
		e.Data = nil
	}
	return e
}

func (p *person) item(i message.Item) message.Item {
	if a := i.Recipient.Address.String(); p.mask(a) != a {
		i.Recipient = message.Recipient{} // of somebody else
	}
	i.Reply, i.Alarm = p.mask(i.Reply), p.mask(i.Alarm)
	if i.Filed.By != "" {
		i.Filed.By = redacted
	}
	return i
}

func (p *person) receipt(r message.Receipt) message.Receipt {
	r.Detail, r.Mismatch, r.FileName = p.mask(r.Detail), p.mask(r.Mismatch), p.mask(r.FileName)
	return r
}

func (p *person) legal(c legal.Case) legal.Case {
	if a := c.Addressee.SaidBy; a != "" {
		c.Addressee.SaidBy = redacted
	}
	c.Addressee.SaidWhy = p.mask(c.Addressee.SaidWhy)
	c.Tasks = slices.Clone(c.Tasks)
	for n := range c.Tasks {
		if c.Tasks[n].By != "" {
			c.Tasks[n].By = redacted
		}
		c.Tasks[n].How = p.mask(c.Tasks[n].How)
	}
	return c
}
