package mail

import (
	"fmt"
	"strings"
	"time"

	"gatewayd/message"
)

// Actions of RFC 3464 section 2.3.3.
const (
	ActionFailed    = "failed"
	ActionDelayed   = "delayed"
	ActionDelivered = "delivered"
	ActionRelayed   = "relayed"
)

// DSN is a delivery status notification to the sender of a message.
type DSN struct {
	Letter
	Boundary   string // of the multipart; letters and digits; "" derives one from ID
	EnvID      string // of the sender's MAIL FROM (RFC 3461), decoded; "" if none
	Arrival    time.Time
	Class      message.Class // decides how much of the header goes back
	Original   *Header       // header section of the message; nil: none is returned
	Recipients []DSNRecipient
}

// DSNRecipient is what happened for one recipient.
type DSNRecipient struct {
	Address     message.Address
	ORcpt       string // as given in RCPT TO, "rfc822;user@host"; "" if none
	Action      string // ActionFailed …
	Status      string // RFC 3463, "5.1.1"; "" derives one from the action
	RemoteMTA   string // host that answered; "" if none
	Diagnostic  string // its last reply, "550 5.1.1 unknown user"; "" if none
	LastAttempt time.Time
	Cause       Text // why, for a person; what is empty is left out
	Next        Text // what the sender can do; zero: standing advice
}

// ComposeDSN writes a report as RFC 3464 and RFC 6522 want it: a short text in
// German and English, message/delivery-status, and the header section of the
// original, never its body. For classes that must not be read on the way
// (confidential, personal, registered, private) only the fields that identify
// the message go back, so neither the Subject. It must be sent with the null
// reverse-path (RFC 3464 section 2), and never about a message that had it.
func ComposeDSN(d DSN) ([]byte, error) {
	if len(d.Recipients) == 0 {
		return nil, fmt.Errorf("compose delivery report: %w", errNoRecipient)
	}
	h, err := d.head(dsnSubject(d.Recipients), "auto-replied")
	if err != nil {
		return nil, fmt.Errorf("compose delivery report: %w", err)
	}
	boundary := d.Boundary
	if boundary == "" {
		boundary = "report-" + d.ID.String()
	}
	if err := h.Replace("Content-Type", `multipart/report; report-type=delivery-status; boundary="`+token(boundary)+`"`); err != nil {
		return nil, fmt.Errorf("compose delivery report: %w", err)
	}
	var b strings.Builder
	b.Write(h.Bytes())
	part := func(fields, body string) {
		b.WriteString("--" + token(boundary) + "\r\n" + fields + "\r\n" + body + "\r\n")
	}
	part("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n", quotedPrintable(d.text()))
	part("Content-Type: message/delivery-status\r\n", d.status())
	if d.Original != nil {
		enc, fields := d.returned()
		part("Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: "+enc+"\r\n", fields)
	}
	b.WriteString("--" + token(boundary) + "--\r\n")
	return []byte(b.String()), nil
}

func dsnSubject(list []DSNRecipient) Text {
	worst := ActionDelivered
	for _, r := range list {
		switch {
		case r.Action == ActionFailed:
			worst = ActionFailed
		case r.Action == ActionDelayed && worst != ActionFailed:
			worst = ActionDelayed
		}
	}
	switch worst {
	case ActionFailed:
		return Text{"Nicht zugestellt", "Not delivered"}
	case ActionDelayed:
		return Text{"Zustellung verzögert", "Delivery delayed"}
	}
	return Text{"Zustellbericht", "Delivery report"}
}

// text writes the part for people.
func (d DSN) text() string {
	var de, en []string
	for _, r := range d.Recipients {
		what, next := r.standing()
		if !r.Next.IsZero() {
			next = r.Next
		}
		to := r.Address.String()
		answer := oneLine(toUTF8(r.Diagnostic))
		de = append(de, to+": "+what.DE, label("Grund: ", r.Cause.DE), label("Antwort der Gegenstelle: ", answer), label("Nächster Schritt: ", next.DE))
		en = append(en, to+": "+what.EN, label("Cause: ", r.Cause.EN), label("Answer of the other system: ", answer), label("Next step: ", next.EN))
	}
	return paragraphs(de...) + separator + paragraphs(en...)
}

func (r DSNRecipient) standing() (what, next Text) {
	switch r.Action {
	case ActionFailed:
		return Text{"Ihre Nachricht konnte nicht zugestellt werden; wir versuchen es nicht weiter.", "Your message could not be delivered; we do not try again."},
			Text{"Prüfen Sie Adresse und Grund und senden Sie die Nachricht wenn nötig neu.", "Check the address and the cause, and send the message again if needed."}
	case ActionDelayed:
		return Text{"Ihre Nachricht ist noch nicht zugestellt; wir versuchen es weiter.", "Your message is not delivered yet; we keep trying."},
			Text{"Sie müssen nichts tun.", "You need not do anything."}
	case ActionRelayed:
		return Text{"Ihre Nachricht wurde dem nächsten System übergeben, das vielleicht keinen Bericht schickt.", "Your message was handed to the next system, which may send no report."}, Text{}
	}
	return Text{"Ihre Nachricht wurde zugestellt.", "Your message was delivered."}, Text{}
}

// status writes the machine-readable part (RFC 3464 section 2.1).
func (d DSN) status() string {
	var b strings.Builder
	field := func(name, value string) {
		if value != "" {
			b.WriteString(name + ": " + value + "\r\n")
		}
	}
	field("Original-Envelope-Id", printable(d.EnvID))
	field("Reporting-MTA", "dns; "+token(d.Host))
	if !d.Arrival.IsZero() {
		field("Arrival-Date", formatDate(d.Arrival))
	}
	for _, r := range d.Recipients {
		b.WriteString("\r\n")
		field("Original-Recipient", printable(r.ORcpt))
		field("Final-Recipient", typedAddress(r.Address))
		field("Action", r.Action)
		field("Status", r.status())
		if r.RemoteMTA != "" {
			field("Remote-MTA", "dns; "+token(r.RemoteMTA))
		}
		if diag := printable(r.Diagnostic); diag != "" {
			field("Diagnostic-Code", "smtp; "+diag)
		}
		if !r.LastAttempt.IsZero() {
			field("Last-Attempt-Date", formatDate(r.LastAttempt))
		}
	}
	return b.String()
}

// status returns the given status if its class fits the action.
func (r DSNRecipient) status() string {
	class := map[string]string{ActionFailed: "5", ActionDelayed: "4"}[r.Action]
	if class == "" {
		class = "2"
	}
	if strings.HasPrefix(r.Status, class+".") && IsStatus(r.Status) {
		return r.Status
	}
	return class + ".0.0"
}

// IsStatus reports whether s is a status code of RFC 3463, such as "5.1.1".
func IsStatus(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || len(parts[0]) != 1 || !strings.Contains("245", parts[0]) {
		return false
	}
	for _, p := range parts {
		if len(p) < 1 || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}

// printable keeps what may stand in a field of the status part: one line of
// US-ASCII, bounded.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	return s[:min(len(s), 900)]
}

// typedAddress writes an address with its type: rfc822, or for non-ASCII ones
// utf-8 in the 7-bit form of RFC 6533 section 3.
func typedAddress(a message.Address) string {
	text := a.String()
	if isASCII(text) {
		return "rfc822; " + printable(text)
	}
	var b strings.Builder
	for _, r := range text {
		if r > ' ' && r < 0x7f && r != '\\' && r != '+' && r != '=' {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x{%X}`, r)
		}
	}
	return "utf-8; " + b.String()
}

// maxReturned bounds the returned header section.
const maxReturned = 32 << 10

// returned writes the header fields that go back, and their encoding.
func (d DSN) returned() (encoding, fields string) {
	var b strings.Builder
	plain := true
	for _, f := range d.Original.Fields() {
		if f.Name == "" || !d.mayReturn(f.Name) || b.Len()+len(f.Raw) > maxReturned {
			continue
		}
		raw := strings.ReplaceAll(strings.ReplaceAll(string(f.Raw), "\r", ""), "\n", "\r\n")
		raw = strings.TrimSuffix(strings.ReplaceAll(raw, "\x00", ""), "\r\n") + "\r\n"
		for _, line := range strings.Split(raw, "\r\n") {
			plain = plain && len(line) <= maxLine && isASCII(line)
		}
		b.WriteString(raw)
	}
	if plain {
		return "7bit", b.String()
	}
	return "quoted-printable", quotedPrintable(b.String())
}

// mayReturn decides which fields go back. Bcc never does.
func (d DSN) mayReturn(name string) bool {
	name = strings.ToLower(name)
	if d.Class.MustEncrypt() || d.Class == message.Private {
		switch name {
		case "received", "return-path", "date", "from", "sender", "reply-to", "to", "cc", "message-id", "in-reply-to", "references", "mime-version":
			return true
		}
		return false
	}
	return name != "bcc" && name != "resent-bcc"
}
