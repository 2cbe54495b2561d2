// Package keysources looks for partners' keys where they are published: LDAP
// directories, the domain's own Web Key Directory, key servers, and DNS (DANE);
// and it asks issuers whether a certificate is revoked.
//
// Whom we ask is decided by what strangers write: addresses, and URLs in their
// certificates. Therefore every connection passes Guard, which reaches no
// internal network, and every answer has limits. What is found goes into the
// key book with the trust that its source deserves; it is never used from here.
package keysources

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// ErrGuarded: the connection would lead to a place where strangers must not send
// us.
var ErrGuarded = errors.New("no connection to internal addresses or unusual ports")

// Resolver finds the addresses of a host; net.DefaultResolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Guard dials for lookups. A name is resolved once and the address that was
// judged is the one that is dialled, so that a second answer of the DNS changes
// nothing (rebinding).
type Guard struct {
	Allow    []netip.Prefix // internal networks that may be reached all the same
	Ports    []int          // nil: 443 only
	Resolver Resolver       // nil: the system's
	Dial     func(ctx context.Context, network, addr string) (net.Conn, error)
}

// maxAddresses bounds how many addresses of a host are tried.
const maxAddresses = 4

// DialContext implements the hook of http.Transport.
func (g Guard) DialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, ErrGuarded
	}
	if n, err := strconv.Atoi(port); err != nil || !g.port(n) {
		return nil, ErrGuarded
	}
	addrs, err := g.resolve(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("find host: %w", err)
	}
	err = ErrGuarded
	for _, a := range addrs[:min(len(addrs), maxAddresses)] {
		if !g.may(a) {
			continue
		}
		var c net.Conn
		if c, err = g.dial(ctx, net.JoinHostPort(a.Unmap().String(), port)); err == nil {
			return c, nil
		}
	}
	return nil, err
}

func (g Guard) dial(ctx context.Context, addr string) (net.Conn, error) {
	if g.Dial != nil {
		return g.Dial(ctx, "tcp", addr)
	}
	d := net.Dialer{Timeout: 5 * time.Second}
	return d.DialContext(ctx, "tcp", addr)
}

func (g Guard) port(n int) bool {
	if g.Ports == nil {
		return n == 443
	}
	return slices.Contains(g.Ports, n)
}

func (g Guard) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	if g.Resolver != nil {
		return g.Resolver.LookupNetIP(ctx, "ip", host)
	}
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// special are the blocks that are not of the public Internet (IANA
// special-purpose address registries, RFC 6890), beyond what netip tells.
func special() []netip.Prefix {
	var list []netip.Prefix
	for _, p := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fec0::/10",
	} {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}

func (g Guard) may(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if slices.ContainsFunc(g.Allow, func(p netip.Prefix) bool { return p.Contains(a) }) {
		return true
	}
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return false
	}
	return !slices.ContainsFunc(special(), func(p netip.Prefix) bool { return p.Contains(a) })
}
