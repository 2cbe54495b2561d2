// Package incamail hands mail over to IncaMail (Swiss Post): by SMTP over
// verified TLS, the class said by the tag that begins the subject.
//
// IncaMail sends a message whose tag is missing as confidential, without an
// error and without receipts; so the connector proves the tag on what leaves
// (connectors.Form) and carries no class without one. What comes back from
// IncaMail is recognised in package receipts.
package incamail

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
const Name = "incamail"

// MaxSize is the largest message that IncaMail takes: 30 MB.
const MaxSize = 30_000_000

// DefaultTags are the tags that IncaMail documents.
func DefaultTags() map[message.Class]string {
	return map[message.Class]string{message.Registered: "<r>", message.Confidential: "<c>", message.Personal: "<p>"}
}

// Options configures the connector. Host, port, roots and client certificate
// come from the contract with the platform: nothing of it has a default.
type Options struct {
	Link       smtpclient.Options
	Tags       map[message.Class]string // nil: DefaultTags; a class without a tag is refused
	Suffix     string                   // appended to the recipient's domain, ".incamail.ch"; empty: none
	MaxSize    int64                    // octets; 0: MaxSize
	Vocabulary policy.Vocabulary        // the users' own tags, taken off the subject
}

// Connector is IncaMail as a connectors.Connector.
type Connector struct {
	client *smtpclient.Client
	form   connectors.Form
	suffix string
}

// New checks the options; all mistakes are reported together.
func New(o Options) (*Connector, error) {
	if o.Tags == nil {
		o.Tags = DefaultTags()
	}
	if o.MaxSize == 0 {
		o.MaxSize = MaxSize
	}
	form := connectors.Form{Host: o.Link.Hello, MaxSize: o.MaxSize, Vocabulary: o.Vocabulary, Marks: map[message.Class]connectors.Mark{}}
	var errs []error
	for class, tag := range o.Tags {
		if tag = strings.TrimSpace(tag); tag == "" {
			errs = append(errs, fmt.Errorf("class %s: the tag is empty", class))
			continue
		}
		form.Marks[class] = connectors.Mark{Tag: tag}
	}
	if o.Suffix != "" && !goodSuffix(o.Suffix) {
		errs = append(errs, errors.New("suffix: a domain that begins with a dot expected, like .incamail.ch"))
	}
	if o.Link.Mode == smtpclient.Opportunistic {
		errs = append(errs, errors.New("mode opportunistic: a platform's certificate must be verified"))
	}
	client, err := smtpclient.New(o.Link)
	if err := errors.Join(append(errs, err, form.Check())...); err != nil {
		return nil, fmt.Errorf("incamail: %w", err)
	}
	return &Connector{client: client, form: form, suffix: o.Suffix}, nil
}

func goodSuffix(s string) bool {
	a, err := message.ParseAddress("x@a" + s)
	return err == nil && s[0] == '.' && a.Domain == "a"+s
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
	if c.suffix != "" && !strings.HasSuffix(strings.ToLower(h.To.Domain), c.suffix) {
		h.To.Domain += c.suffix
	}
	res, err := c.form.Submit(ctx, c.client, h)
	if err != nil {
		return res, fmt.Errorf("incamail: %w", err)
	}
	return res, nil
}
