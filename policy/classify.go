package policy

import (
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"gatewayd/message"
)

// The laws that duties rest on, as they stand in Reason.Law.
const (
	lawConfidential = "Benutzungsreglement BL § 11"
	lawPrivate      = "Benutzungsreglement BL § 12"
	lawBulk         = "Benutzungsreglement BL § 13"
	lawForward      = "Benutzungsreglement BL § 10 Abs. 1"
	lawOwnPrivate   = "Benutzungsreglement BL § 10 Abs. 4"
	lawPlatform     = "Vo E-GovG BL § 1 Abs. 1 Bst. a, Anhang 1"
	lawAccount      = "Vo E-GovG BL § 9 Abs. 2"
	lawConsent      = "VwVG Art. 34 Abs. 1bis, VeÜ-ZSSV Art. 9"
	lawIdentified   = "VeÜ-ZSSV Art. 9, 11"
)

// What Reason.Says may be.
const (
	saysMark    = "mark"        // a mark or a remark; changes nothing by itself
	saysMet     = "met"         // a duty applies and is fulfilled
	saysNoMatch = "no match"    // the route's condition does not hold
	saysPassed  = "passed over" // the route holds, this way of it cannot be used
	saysChosen  = "chosen"
	saysHold    = "hold"
	saysRefuse  = "refuse"
	saysNotRun  = "not asked" // a route behind the one that decided (Explain only)
)

// Values of the fact message.sensitivity.
const (
	sensCompany  = "company-confidential"
	sensPrivate  = "private"
	sensPersonal = "personal"
)

// classified is what the marks of one message say together.
type classified struct {
	class       message.Class
	seal        bool   // private, but must be protected as confidential mail
	bulk        bool   // somebody said bulk
	rest        string // subject without the user's tag
	sensitivity string // value of the fact
	because     []message.Reason
	problem     string // hold with this sentence
}

// strictness orders the classes of which one implies the other.
func strictness(c message.Class) int {
	switch c {
	case message.Confidential:
		return 1
	case message.Personal:
		return 2
	case message.Registered:
		return 3
	}
	return 0
}

// Classify finds the class of a message from every mark: the API's field, the
// tag in the subject, the header field, Sensitivity, the recipient's suffix and
// personal data in the subject. The strictest wins. A problem is a sentence for
// the sender: his marks are misspelt or contradict each other, and the message
// must be held.
func (p *Policy) Classify(f Facts) (message.Class, []message.Reason, string) {
	c := p.classify(f)
	return c.class, c.because, c.problem
}

func (p *Policy) classify(f Facts) classified {
	c := classified{class: message.Normal, rest: f.Message.Subject}
	if f.Direction == message.Notice {
		return c
	}
	c.readSensitivity(f.Message.Marks.Sensitivity)
	if f.Direction == message.Inbound {
		c.problem = "" // strangers' marks file the mail, they command nothing
		for i := range c.because {
			c.because[i].Says = saysMark
		}
		return c
	}
	if f.Message.Class != "" {
		c.say("api", string(f.Message.Class))
	}
	for _, value := range f.Message.Marks.Class {
		c.say("header", strings.ToLower(strings.TrimSpace(value)))
	}
	tag, rest, problem := p.reader.read(f.Message.Subject)
	c.rest = rest
	c.fail("mark:subject", problem)
	if tag != "" {
		c.mark("mark:subject", tag, "the tag in the subject says "+string(tag), "")
	}
	if f.Recipient.Suffix != "" {
		c.mark("mark:suffix", message.Confidential, "the recipient's suffix asks for "+f.Recipient.Suffix, "")
	}
	if p.ahv && hasAHV(f.Message.Subject) {
		c.mark("mark:ahv", message.Confidential, "the subject contains an AHV number: personal data", lawConfidential+" Abs. 2")
	}
	return c
}

// say adds a mark that names a class.
func (c *classified) say(by, value string) {
	class, err := message.ParseClass(value)
	if err != nil {
		c.fail("mark:"+by, fmt.Sprintf("the %s names a class that does not exist: use one of %v", by, message.Classes()))
		return
	}
	c.mark("mark:"+by, class, "the "+by+" says "+value, "")
}

// readSensitivity reads the values of every Sensitivity field: RFC 2156 names,
// case, spaces, folding and the choice of hyphen ignored.
func (c *classified) readSensitivity(values []string) {
	for _, value := range values {
		key := strings.Map(func(r rune) rune {
			if unicode.IsSpace(r) || r == '-' || r == '_' {
				return -1
			}
			return unicode.ToLower(r)
		}, value)
		switch key {
		case "", "normal":
		case "companyconfidential":
			c.sensitivity = sensCompany
			c.mark("mark:sensitivity", message.Confidential, "Sensitivity says Company-Confidential", lawConfidential+" Abs. 1")
		case "private", "personal":
			if c.sensitivity != sensCompany {
				c.sensitivity = key
			}
			c.mark("mark:sensitivity", message.Private, "Sensitivity says "+strings.ToUpper(key[:1])+key[1:], lawPrivate+" Abs. 1")
		default:
			c.fail("mark:sensitivity", "the Sensitivity of the message is none of Company-Confidential, Private, Personal: choose one again")
		}
	}
}

// mark adds what one mark says. Private stands beside the others: together with
// confidential it is private mail that must be protected; with registered or
// personal it is a contradiction.
func (c *classified) mark(rule string, class message.Class, text, law string) {
	c.because = append(c.because, message.Reason{Rule: rule, Says: saysMark, Text: text, Law: law})
	have := strictness(c.class)
	switch {
	case class == message.Bulk:
		c.bulk = true
	case class == message.Private && have >= 2, c.class == message.Private && strictness(class) >= 2:
		c.fail("mark:all", "the marks contradict each other: private mail cannot be registered or personal as well")
	case class == message.Private:
		c.class, c.seal = message.Private, c.seal || have == 1
	case c.class == message.Private:
		c.seal = c.seal || class == message.Confidential
	case strictness(class) > have:
		c.class = class
	}
}

func (c *classified) fail(rule, problem string) {
	if problem == "" {
		return
	}
	c.because = append(c.because, message.Reason{Rule: rule, Says: saysHold, Text: problem})
	if c.problem == "" {
		c.problem = problem
	}
}

// hasAHV reports whether the text contains a Swiss social security number:
// 756.xxxx.xxxx.xx with a right check digit (EAN-13), the dots missing or
// replaced by spaces or dashes.
func hasAHV(s string) bool {
	runes := []rune(norm.NFKC.String(s))
	for i, r := range runes {
		if r == '7' && (i == 0 || !isDigit(runes[i-1])) && ahvAt(runes[i:]) {
			return true
		}
	}
	return false
}

func isDigit(r rune) bool { return r >= '0' && r <= '9' }

func ahvAt(runes []rune) bool {
	var digits [13]int
	n, gap := 0, 0
	for _, r := range runes {
		switch {
		case isDigit(r):
			if n == 13 {
				return false // a longer number
			}
			digits[n], gap = int(r-'0'), 0
			n++
		case n == 13 || gap > 0:
			return n == 13 && validAHV(digits)
		case r == '.' || r == '-' || r == '\'' || unicode.IsSpace(r) || unicode.Is(unicode.Pd, r):
			gap++
		default:
			return false
		}
	}
	return n == 13 && validAHV(digits)
}

func validAHV(d [13]int) bool {
	sum := 0
	for i, v := range d {
		sum += v * (1 + i%2*2)
	}
	return d[0] == 7 && d[1] == 5 && d[2] == 6 && sum%10 == 0
}
