// Package smtprelay hands ordinary mail over to the next mail system: a
// smarthost, or the mail exchangers of the recipient's domain.
//
// It carries no message whose content must be protected: classes confidential,
// personal and registered are refused here whatever a route says, because TLS
// between two mail systems is no encryption of the message (Benutzungsreglement
// BL § 11). The header stays as it is, but for the trace field, Bcc and a
// missing Message-ID.
package smtprelay

import (
	"context"
	"errors"
	"fmt"
	"net"

	"gatewayd/connectors"
	"gatewayd/connectors/smtpclient"
	"gatewayd/message"
)

// Name is the connector's name in routes and decisions.
const Name = "smtp"

// Resolver looks up where a domain takes its mail. *net.Resolver is one.
type Resolver interface {
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupHost(ctx context.Context, name string) ([]string, error)
}

// Options configures the connector.
type Options struct {
	// Link reaches the smarthost. With an empty Addr mail goes to the
	// recipient's mail exchangers; of Link then apply Mode (starttls, which
	// verifies and is the default, or opportunistic), TLS, Hello, Timeouts and
	// Dial; a login or pins are refused, for they belong to one host.
	Link     smtpclient.Options
	Resolver Resolver // nil: net.DefaultResolver
	Port     string   // of mail exchangers; empty: 25
	MaxSize  int64    // octets; 0: only what the peer announces
	// As is the name under which routes know it; empty: Name.
	As string
	// Sealed: it carries mail that the gateway has encrypted, and nothing else;
	// registered is refused all the same.
	Sealed bool
}

// Connector is ordinary SMTP as a connectors.Connector.
type Connector struct {
	client *smtpclient.Client // to the smarthost; nil: by MX
	o      Options
	form   connectors.Form
	routes *routes // by MX: what was looked up lately
}

// New checks the options; all mistakes are reported together.
func New(o Options) (*Connector, error) {
	c := &Connector{o: o, routes: newRoutes(), form: connectors.Form{
		Host: o.Link.Hello, MaxSize: o.MaxSize, PassDSN: true,
		Marks: map[message.Class]connectors.Mark{message.Normal: {}, message.Private: {}, message.Bulk: {}},
	}}
	if o.As == "" {
		c.o.As = Name
	}
	if o.Sealed {
		c.form.Sealed = true
		c.form.Marks[message.Confidential], c.form.Marks[message.Personal] = connectors.Mark{}, connectors.Mark{}
	}
	errs := []error{c.form.Check()}
	if o.Link.Addr != "" {
		client, err := smtpclient.New(o.Link)
		c.client = client
		errs = append(errs, err)
	} else {
		errs = append(errs, c.checkMX())
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("smtp relay: %w", err)
	}
	return c, nil
}

func (c *Connector) checkMX() error {
	if c.o.Resolver == nil {
		c.o.Resolver = net.DefaultResolver
	}
	if c.o.Port == "" {
		c.o.Port = "25"
	}
	var errs []error
	if c.o.Link.Login != nil || len(c.o.Link.Pins) > 0 || c.o.Link.ServerName != "" {
		errs = append(errs, errors.New("without a smarthost neither login, pins nor server name can be used"))
	}
	switch c.o.Link.Mode {
	case "", smtpclient.StartTLS, smtpclient.Opportunistic:
	default:
		errs = append(errs, errors.New("without a smarthost the mode is starttls or opportunistic"))
	}
	_, err := smtpclient.New(c.linkTo("mx.invalid"))
	return errors.Join(append(errs, err)...)
}

func (c *Connector) linkTo(host string) smtpclient.Options {
	link := c.o.Link
	link.Addr = net.JoinHostPort(host, c.o.Port)
	return link
}

// Name implements connectors.Connector.
func (c *Connector) Name() string { return c.o.As }

// Limits implements connectors.Connector.
func (c *Connector) Limits() connectors.Limits {
	return connectors.Limits{MaxSize: c.o.MaxSize, MaxRecipients: 1}
}

// Submit implements connectors.Connector. The gateway's own notices have no
// class and travel as normal mail.
func (c *Connector) Submit(ctx context.Context, h connectors.Handover) (connectors.Result, error) {
	if h.Envelope.Direction == message.Notice && h.Item.Decision.Class == "" {
		h.Item.Decision.Class = message.Normal
	}
	res, err := c.submit(ctx, h)
	if err != nil {
		return res, fmt.Errorf("smtp relay: %w", err)
	}
	return res, nil
}

func (c *Connector) submit(ctx context.Context, h connectors.Handover) (connectors.Result, error) {
	if c.client != nil {
		return c.form.Submit(ctx, c.client, h)
	}
	out, err := c.form.Build(h)
	if err != nil {
		return connectors.Result{}, err
	}
	to, err := c.routes.find(ctx, h.To.Domain, c.lookUp)
	if err != nil {
		return connectors.Result{}, err
	}
	var res connectors.Result
	var lastErr error
	reached := false
	for _, host := range to.hosts {
		if res, err = out.Send(ctx, host); !nextHost(ctx, err) {
			return res, err
		}
		lastErr = err
		reached = reached || atHost(err)
	}
	if !reached { // perhaps the domain has moved
		c.routes.forget(h.To.Domain, to)
	}
	return res, lastErr
}

// nextHost reports whether another mail exchanger may be tried: only after a
// temporary failure at which this one can't have the message.
func nextHost(ctx context.Context, err error) bool {
	e, ok := errors.AsType[*connectors.Error](err)
	return ok && e.Kind == connectors.Temporary && e.Step != connectors.StepDot && e.Step != connectors.StepData && ctx.Err() == nil
}

// atHost reports whether the failure came from a host that we got to.
func atHost(err error) bool {
	e, ok := errors.AsType[*connectors.Error](err)
	return ok && e.Step != connectors.StepConnect
}
