package bounce

import (
	"encoding/json"
	"strings"
	"time"

	"gatewayd/message"
)

// notification is what Amazon SES tells about a message by SNS, in JSON.
type notification struct {
	Message string `json:"Message"` // SNS: the notification proper, once more quoted
	Type    string `json:"notificationType"`
	Event   string `json:"eventType"`
	Bounce  struct {
		Kind       string     `json:"bounceType"` // "Permanent", "Transient", "Undetermined"
		At         time.Time  `json:"timestamp"`
		MTA        string     `json:"reportingMTA"`
		Recipients []notified `json:"bouncedRecipients"`
	} `json:"bounce"`
	Delay struct {
		At         time.Time  `json:"timestamp"`
		MTA        string     `json:"reportingMTA"`
		Recipients []notified `json:"delayedRecipients"`
	} `json:"deliveryDelay"`
	Delivery struct {
		Recipients []string  `json:"recipients"`
		At         time.Time `json:"timestamp"`
		Reply      string    `json:"smtpResponse"`
		MTA        string    `json:"reportingMTA"`
	} `json:"delivery"`
}

// notified is one recipient of a bounce or delay.
type notified struct {
	Address    string `json:"emailAddress"`
	Action     string `json:"action"`
	Status     string `json:"status"`
	Diagnostic string `json:"diagnosticCode"`
}

// readNotification reads a message whose whole text is such a notification.
func (rep *Report) readNotification(m *material) bool {
	text := strings.TrimSpace(m.text)
	if !strings.HasPrefix(text, "{") {
		return false
	}
	n, ok := parseNotification(text)
	if ok && n.Message != "" && n.Type+n.Event == "" {
		n, ok = parseNotification(n.Message)
	}
	if !ok {
		return false
	}
	switch n.Type + n.Event {
	case "Bounce":
		missing := ""
		if n.Bounce.Kind == "Transient" {
			missing = "4.0.0"
		}
		rep.notified(n.Bounce.MTA, n.Bounce.At, n.Bounce.Recipients, Failed, missing)
	case "DeliveryDelay":
		rep.notified(n.Delay.MTA, n.Delay.At, n.Delay.Recipients, Delayed, "")
	case "Delivery":
		n.delivered(rep)
	}
	rep.Structured = len(rep.Recipients) > 0
	return rep.Structured
}

// parseNotification reads the JSON value at the start of text, of which line
// ends inside a string are no part: mail systems break long lines.
func parseNotification(text string) (notification, bool) {
	var n notification
	if json.NewDecoder(strings.NewReader(text)).Decode(&n) == nil {
		return n, true
	}
	n = notification{}
	text = strings.NewReplacer("\n", "", "\r", "").Replace(text)
	err := json.NewDecoder(strings.NewReader(text)).Decode(&n)
	return n, err == nil
}

// notified takes the recipients of a bounce or delay; missing is the status of
// those that have none.
func (rep *Report) notified(mta string, at time.Time, list []notified, assumed, missing string) {
	rep.ReportingMTA = untyped(mta)
	for _, b := range list {
		a, err := message.ParseAddress(strings.Trim(b.Address, "<> "))
		if err != nil || len(rep.Recipients) >= maxRecipients {
			continue
		}
		r := Recipient{Address: a, Action: action(b.Action), Status: plainStatus.FindString(b.Status), Diagnostic: oneLine(untyped(b.Diagnostic)), At: at}
		if r.Status == "" {
			r.Status = missing
		}
		r.settle(r.Diagnostic, assumed)
		rep.Recipients = append(rep.Recipients, r)
	}
}

func (n *notification) delivered(rep *Report) {
	rep.ReportingMTA = untyped(n.Delivery.MTA)
	for _, to := range n.Delivery.Recipients {
		a, err := message.ParseAddress(strings.Trim(to, "<> "))
		if err != nil || len(rep.Recipients) >= maxRecipients {
			continue
		}
		r := Recipient{Address: a, Action: Delivered, Diagnostic: oneLine(n.Delivery.Reply), At: n.Delivery.At}
		r.settle(r.Diagnostic, Delivered)
		rep.Recipients = append(rep.Recipients, r)
	}
}
