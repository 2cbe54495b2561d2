package config

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatewayd/crypto/keys"
	"gatewayd/keysources"
	"gatewayd/scan"
)

// KeySources says where keys come from beside the keyring folder.
type KeySources struct {
	Agent      string   `toml:"agent" doc:"Socket of the key agent, which then has the authorities' private keys; the gateway must not be able to read them. Empty: the gateway has them itself." example:"/run/gatewayd-keys/agent.sock"`
	Learn      bool     `toml:"learn" doc:"Learn senders' keys from mail that came in; new issuers and OpenPGP keys wait for gatewayd keys approve." default:"true"`
	Order      []string `toml:"order" doc:"Which source is preferred, and asked first: manual, mail, ldap, wkd, hkps, dane." default:"[\"manual\", \"mail\", \"ldap\", \"wkd\", \"hkps\", \"dane\"]"`
	Revocation string   `toml:"revocation" doc:"Ask issuers (OCSP, CRL) whether certificates are revoked: off, soft (nobody answers: good) or hard (nobody answers: not good)." default:"soft"`
	Forget     Duration `toml:"forget" doc:"Learned keys that nobody has used for so long are forgotten." default:"\"730d\""`
	Networks   []string `toml:"networks" doc:"Internal networks that lookups over HTTP may reach all the same; else they reach the public Internet only." example:"[\"10.20.0.0/16\"]"`
	Roots      string   `toml:"roots" doc:"PEM file: issuers trusted for lookups over HTTPS; empty: the system's."`

	LDAP []LDAPSource `toml:"ldap" doc:"A directory of certificates; again for more."`
	WKD  *WKDSource   `toml:"wkd" doc:"Web Key Directory: the recipient's own domain answers for its OpenPGP keys."`
	HKPS *HKPSSource  `toml:"hkps" doc:"A key server for OpenPGP."`
	DANE *DANESource  `toml:"dane" doc:"SMIMEA and OPENPGPKEY records, validated by DNSSEC."`
}

// LDAPSource is one directory.
type LDAPSource struct {
	URL      string   `toml:"url" doc:"ldaps://host, or ldap://host with STARTTLS." example:"ldaps://directory.swisssign.example" need:"yes"`
	Base     string   `toml:"base" doc:"Where the search begins." example:"o=SwissSign,c=CH"`
	Filter   string   `toml:"filter" doc:"Search filter; %s is the address." default:"(mail=%s)"`
	BindDN   string   `toml:"bind_dn" doc:"Login; empty: anonymous."`
	Password Secret   `toml:"password" doc:"Password of that login."`
	Roots    string   `toml:"roots" doc:"PEM file: issuers trusted for this connection; empty: the system's."`
	Domains  []string `toml:"domains" doc:"Only addresses of these domains are asked for; empty: all."`
	Vouches  bool     `toml:"vouches" doc:"What stands there is trusted; else a certificate needs an anchor, an OpenPGP key an approval."`
}

// WKDSource switches on the Web Key Directory.
type WKDSource struct {
	Domains []string `toml:"domains" doc:"Only addresses of these domains are asked for; empty: all."`
	Vouches bool     `toml:"vouches" doc:"A key that the domain itself serves is trusted; else it waits for approval." default:"true"`
}

// HKPSSource is a key server.
type HKPSSource struct {
	Server  string   `toml:"server" doc:"https address of the key server." example:"https://keys.openpgp.org" need:"yes"`
	Domains []string `toml:"domains" doc:"Only addresses of these domains are asked for; empty: all."`
	Vouches bool     `toml:"vouches" doc:"What it serves is trusted; else it waits for approval."`
}

// DANESource names the resolver.
type DANESource struct {
	Resolver string   `toml:"resolver" doc:"host:port of a validating resolver; the way there must be safe." default:"127.0.0.1:53"`
	Domains  []string `toml:"domains" doc:"Only addresses of these domains are asked for; empty: all."`
}

// Lookups is what the flow's key sources are made from.
type Lookups struct {
	Learn      bool
	Order      []keys.Source
	Keep       time.Duration
	Sources    []keysources.Asked // in the order in which they are asked
	Revocation keysources.Mode
	Status     keysources.FetchOptions // for OCSP and CRL
}

// scanner reads who looks for malware.
func (b *builder) scanner(c *Config) {
	s := b.file.Scan
	if s.Clamd == "" {
		return
	}
	clamd, err := scan.Parse(s.Clamd)
	if err != nil {
		b.bad("scan.clamd", "%s", err)
		return
	}
	if host, _, err := net.SplitHostPort(clamd.Address); err == nil {
		if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
			b.warn("scan.clamd", "is not on this machine: content goes there unencrypted")
		}
	}
	clamd.Timeout, clamd.MaxSize = time.Duration(s.Timeout), int64(s.MaxSize)
	c.Scanner = &clamd
}

func (b *builder) keySources(c *Config) {
	k := b.file.Keys
	l := Lookups{Learn: k.Learn, Keep: time.Duration(k.Forget), Revocation: keysources.Mode(k.Revocation)}
	if !slices.Contains([]keysources.Mode{keysources.Off, keysources.Soft, keysources.Hard}, l.Revocation) {
		b.bad("keys.revocation", "%q: write off, soft or hard", k.Revocation)
	}
	guard := keysources.Guard{Allow: b.networks("keys.networks", k.Networks)}
	roots := b.pool("keys.roots", k.Roots)
	l.Status = keysources.FetchOptions{Guard: guard, Roots: roots, Plain: true, Limit: 16 << 20}
	l.Status.Guard.Ports = []int{80, 443}
	web := keysources.NewFetcher(keysources.FetchOptions{Guard: guard, Roots: roots})
	asked := map[keys.Source][]keysources.Asked{}
	for i, d := range k.LDAP {
		asked[keys.LDAP] = append(asked[keys.LDAP], b.ldap("keys.ldap"+index(i+1), d))
	}
	if k.WKD != nil {
		asked[keys.WKD] = []keysources.Asked{{Source: keysources.WKD{Fetcher: web}, Vouches: k.WKD.Vouches, Domains: k.WKD.Domains}}
	}
	if k.HKPS != nil {
		if u, err := url.Parse(k.HKPS.Server); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
			b.bad("keys.hkps.server", "%q: write an https address", k.HKPS.Server)
		}
		asked[keys.HKPS] = []keysources.Asked{{Source: keysources.HKPS{Fetcher: web, Server: k.HKPS.Server}, Vouches: k.HKPS.Vouches, Domains: k.HKPS.Domains}}
	}
	if k.DANE != nil {
		b.resolver("keys.dane.resolver", k.DANE.Resolver)
		asked[keys.DANE] = []keysources.Asked{{Source: keysources.DANE{Resolver: k.DANE.Resolver}, Domains: k.DANE.Domains}}
	}
	for _, name := range k.Order {
		s := keys.Source(strings.TrimSpace(name))
		if !slices.Contains(keys.Sources(), s) {
			b.bad("keys.order", "%q: known are manual, mail, ldap, wkd, hkps, dane", name)
		}
		l.Order, l.Sources = append(l.Order, s), append(l.Sources, asked[s]...)
		delete(asked, s)
	}
	for s := range asked {
		b.add("keys.order", "%s is configured, but not named here", s)
	}
	c.Lookups = l
}

func (b *builder) ldap(key string, d LDAPSource) keysources.Asked {
	l := keysources.LDAP{URL: d.URL, Base: d.Base, Filter: d.Filter, BindDN: d.BindDN, Roots: b.pool(key+".roots", d.Roots)}
	if d.BindDN != "" {
		l.Password = b.secret(key+".password", d.Password)
	} else if d.Password != (Secret{}) {
		b.add(key+".password", "stands without bind_dn")
	}
	if err := l.Check(); err != nil {
		at, text, _ := strings.Cut(err.Error(), ": ")
		b.bad(key+"."+at, "%s", text)
	}
	return keysources.Asked{Source: l, Vouches: d.Vouches, Domains: d.Domains}
}

func (b *builder) networks(key string, texts []string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			b.bad(key, "%q is no network: write 10.20.0.0/16", text)
			continue
		}
		list = append(list, p.Masked())
	}
	return list
}

// resolver must be reached safely: anybody between us and it could set the mark
// that an answer is validated.
func (b *builder) resolver(key, addr string) {
	host, _, err := net.SplitHostPort(addr)
	ip, err2 := netip.ParseAddr(host)
	switch {
	case err != nil || err2 != nil:
		b.bad(key, "%q: write IP:port", addr)
	case !ip.IsLoopback():
		b.warn(key, "is not on this machine: whoever can change its answers on the way can forge keys")
	}
}
