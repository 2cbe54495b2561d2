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
		Kind       string    `json:"bounceType"` // "Permanent", "Transient", "Undetermined"
		At         time.Time `json:"timestamp"`
		MTA        string    `json:"reportingMTA"`
		Recipients []struct {
			Address    string `json:"emailAddress"`
			Action     string `json:"action"`
			Status     string `json:"status"`
			Diagnostic string `json:"diagnosticCode"`
		} `json:"bouncedRecipients"`
	} `json:"bounce"`
	Delivery struct {
		Recipients []string  `json:"recipients"`
		At         time.Time `json:"timestamp"`
		Reply      string    `json:"smtpResponse"`
		MTA        string    `json:"reportingMTA"`
	} `json:"delivery"`
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
		n.bounced(rep)
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

func (n *notification) bounced(rep *Report) {
	rep.ReportingMTA = untyped(n.Bounce.MTA)
	for _, b := range n.Bounce.Recipients {
		a, err := message.ParseAddress(strings.Trim(b.Address, "<> "))
		if err != nil || len(rep.Recipients) >= maxRecipients {
			continue
		}
		r := Recipient{Address: a, Action: action(b.Action), Status: plainStatus.FindString(b.Status), Diagnostic: oneLine(untyped(b.Diagnostic)), At: n.Bounce.At}
		if r.Status == "" && n.Bounce.Kind == "Transient" {
			r.Status = "4.0.0"
		}
		r.settle(r.Diagnostic, Failed)
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
