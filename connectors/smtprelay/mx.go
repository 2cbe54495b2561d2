package smtprelay

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"gatewayd/connectors"
	"gatewayd/connectors/smtpclient"
)

// maxHosts bounds how many mail exchangers one attempt tries.
const maxHosts = 5

// lookUp finds the hosts to try, the preferred first (RFC 5321 section 5.1), and
// makes a client for each.
func (c *Connector) lookUp(ctx context.Context, domain string) ([]*smtpclient.Client, error) {
	names, err := c.exchangers(ctx, domain)
	if err != nil {
		return nil, err
	}
	var hosts []*smtpclient.Client
	for _, name := range names {
		client, odd := smtpclient.New(c.linkTo(name))
		if odd != nil { // a name from a stranger's zone that is no host name
			err = &connectors.Error{Step: connectors.StepRoute, Err: odd}
			continue
		}
		hosts = append(hosts, client)
	}
	if len(hosts) == 0 {
		return nil, err
	}
	return hosts, nil
}

func (c *Connector) exchangers(ctx context.Context, domain string) ([]string, error) {
	if strings.HasPrefix(domain, "[") {
		return nil, connectors.Refuse(connectors.StepRoute, "5.1.2", "mail to an IP address is not relayed")
	}
	name, ok := asciiDomain(domain)
	if !ok {
		return nil, connectors.Refuse(connectors.StepRoute, "5.1.2", "the recipient's domain is not a domain name")
	}
	mxs, err := c.o.Resolver.LookupMX(ctx, name)
	if notFound(err) || err == nil && len(mxs) == 0 {
		return c.implicit(ctx, name)
	}
	if err != nil && len(mxs) == 0 {
		return nil, routeError(err)
	}
	if len(mxs) == 1 && strings.Trim(mxs[0].Host, ".") == "" {
		return nil, connectors.Refuse(connectors.StepRoute, "5.1.10", "the recipient's domain takes no mail (RFC 7505)")
	}
	return c.ranked(mxs)
}

// asciiDomain writes a domain as it is asked for in the DNS (RFC 5891). One
// that is ASCII already stays: underscores are out of use, not out of the DNS.
func asciiDomain(domain string) (string, bool) {
	if strings.IndexFunc(domain, func(r rune) bool { return r > '~' }) < 0 {
		return domain, true
	}
	name, err := idna.Lookup.ToASCII(domain)
	return name, err == nil
}

// implicit is the rule for domains without MX: the domain's own host, if it has
// an address.
func (c *Connector) implicit(ctx context.Context, name string) ([]string, error) {
	_, err := c.o.Resolver.LookupHost(ctx, name)
	if notFound(err) {
		return nil, connectors.Refuse(connectors.StepRoute, "5.1.2", "the recipient's domain does not exist")
	}
	if err != nil {
		return nil, routeError(err)
	}
	return []string{name}, nil
}

// ranked sorts by preference and stops where our own name stands: mail must not
// come back to us.
func (c *Connector) ranked(mxs []*net.MX) ([]string, error) {
	mxs = slices.Clone(mxs)
	slices.SortStableFunc(mxs, func(a, b *net.MX) int { return int(a.Pref) - int(b.Pref) })
	var hosts []string
	for _, mx := range mxs {
		host := strings.TrimSuffix(mx.Host, ".")
		if strings.EqualFold(host, c.o.Link.Hello) {
			break
		}
		if host != "" && len(hosts) < maxHosts {
			hosts = append(hosts, host)
		}
	}
	if len(hosts) == 0 {
		return nil, connectors.Refuse(connectors.StepRoute, "5.4.6", "the recipient's domain sends its mail back to this gateway")
	}
	return hosts, nil
}

func notFound(err error) bool {
	e, ok := errors.AsType[*net.DNSError](err)
	return ok && e.IsNotFound
}

func routeError(err error) error {
	return &connectors.Error{Step: connectors.StepRoute, Err: connectors.LookupError(err)}
}
