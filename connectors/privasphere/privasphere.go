// Package privasphere hands mail over to PrivaSphere Secure Messaging: by SMTP
// over verified TLS, the class said by the tag that begins the subject, or for
// registered mail by a header field.
//
// Which tag makes a message registered in the sense of the law differs per
// instance and is not published: it has no default, and without it class
// registered is refused. What comes back from PrivaSphere is recognised in
// package receipts.
package privasphere

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"gatewayd/connectors"
	"gatewayd/connectors/smtpclient"
	"gatewayd/message"
	"gatewayd/policy"
)

// Name is the connector's name in routes and decisions.
const Name = "privasphere"

// RegisteredField is the header field that PrivaSphere documents for registered
// mail. Its value is not documented.
const RegisteredField = "X-PSPH-REGISTERED-REQUEST"

// Mode says how registered mail is told from other mail. The zero Mode is
// BySubject.
type Mode string

// The modes.
const (
	BySubject Mode = "subject" // RegisteredTag
	ByHeader  Mode = "header"  // RegisteredField with RegisteredValue
)

// Options configures the connector. Host, port and account come from the
// contract with the platform.
type Options struct {
	Link            smtpclient.Options
	Mode            Mode
	RegisteredTag   string            // mode subject; empty: class registered is refused
	RegisteredValue string            // mode header; empty: class registered is refused
	ConfidentialTag string            // empty: class confidential is refused
	PersonalTag     string            // empty: class personal is refused
	MaxSize         int64             // octets; 0: unknown, only what the platform announces
	Vocabulary      policy.Vocabulary // the users' own tags, taken off the subject
}

// Connector is PrivaSphere as a connectors.Connector.
type Connector struct {
	client *smtpclient.Client
	form   connectors.Form
}

// New checks the options; all mistakes are reported together.
func New(o Options) (*Connector, error) {
	form := connectors.Form{Host: o.Link.Hello, MaxSize: o.MaxSize, Vocabulary: o.Vocabulary, Marks: map[message.Class]connectors.Mark{}}
	for class, tag := range map[message.Class]string{
		message.Confidential: o.ConfidentialTag,
		message.Personal:     o.PersonalTag,
	} {
		if tag = strings.TrimSpace(tag); tag != "" {
			form.Marks[class] = connectors.Mark{Tag: tag}
		}
	}
	var errs []error
	switch o.Mode {
	case BySubject, "":
		if tag := strings.TrimSpace(o.RegisteredTag); tag != "" {
			form.Marks[message.Registered] = connectors.Mark{Tag: tag}
		}
	case ByHeader:
		if value := strings.TrimSpace(o.RegisteredValue); value != "" {
			form.Marks[message.Registered] = connectors.Mark{Field: RegisteredField, Value: value}
		}
	default:
		errs = append(errs, fmt.Errorf("mode %q: use subject or header", o.Mode))
	}
	if o.Link.Mode == smtpclient.Opportunistic {
		errs = append(errs, errors.New("mode opportunistic: a platform's certificate must be verified"))
	}
	client, err := smtpclient.New(o.Link)
	if err := errors.Join(append(errs, err, form.Check())...); err != nil {
		return nil, fmt.Errorf("privasphere: %w", err)
	}
	return &Connector{client: client, form: form}, nil
}

// Name implements connectors.Connector.
func (c *Connector) Name() string { return Name }

// Limits implements connectors.Connector. Receipts belong to one recipient, so
// each hand-over has one.
func (c *Connector) Limits() connectors.Limits {
	return connectors.Limits{MaxSize: c.form.MaxSize, MaxRecipients: 1}
}

// Submit implements connectors.Connector.
func (c *Connector) Submit(ctx context.Context, h connectors.Handover) (connectors.Result, error) {
	// The prefix would take the recipient's access code away.
	if strings.Contains(strings.ToLower(h.To.Local), "psph_no_muc_") {
		return connectors.Result{}, fmt.Errorf("privasphere: %w", connectors.Refuse(connectors.StepForm, "5.7.1", "the recipient's address would command the platform"))
	}
	res, err := c.form.Submit(ctx, c.client, h)
	if err != nil {
		return res, fmt.Errorf("privasphere: %w", err)
	}
	return res, nil
}
