package keysources

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"

	"gatewayd/crypto/keys"
	"gatewayd/crypto/openpgp"
	"gatewayd/keybook"
	"gatewayd/message"
)

// DANE asks the DNS for OPENPGPKEY (RFC 7929) and SMIMEA records (RFC 8162).
// Only answers that the resolver has validated (DNSSEC, the AD bit of RFC 4035
// section 3.2.3) count; the way to it must be safe, which loopback is.
type DANE struct {
	Resolver string // host:port of a validating resolver
}

// dnsTime bounds one question.
const dnsTime = 5 * time.Second

// errNotSecure: there is an answer, but nobody has proved it.
var errNotSecure = errors.New("DNS: the answer is not validated by DNSSEC")

// Name implements Source.
func (DANE) Name() keys.Source { return keys.DANE }

// Find implements Source.
func (d DANE) Find(ctx context.Context, a message.Address) ([]keybook.Entry, error) {
	domain, err := idna.Lookup.ToASCII(a.Domain)
	if err != nil {
		return nil, nil
	}
	locals := []string{a.Local}
	if lower := strings.ToLower(a.Local); lower != a.Local {
		locals = append(locals, lower) // RFC 7929 section 4: the owner's spelling is not known
	}
	var found []keybook.Entry
	var failures []error
	for _, local := range locals {
		for _, kind := range []uint16{dns.TypeOPENPGPKEY, dns.TypeSMIMEA} {
			rrs, err := d.ask(ctx, daneName(local, domain, kind), kind)
			if err != nil {
				failures = append(failures, err)
				continue
			}
			found = append(found, fromRecords(rrs)...)
		}
		if len(found) > 0 {
			return found, nil
		}
	}
	return nil, errors.Join(failures...)
}

// daneName is the owner name: SHA-256 of the local part, cut to 28 octets.
func daneName(local, domain string, kind uint16) string {
	sum := sha256.Sum256([]byte(local))
	label := "_smimecert"
	if kind == dns.TypeOPENPGPKEY {
		label = "_openpgpkey"
	}
	return hex.EncodeToString(sum[:28]) + "." + label + "." + dns.Fqdn(domain)
}

// ask puts one question over TCP: the answers are long.
func (d DANE) ask(ctx context.Context, name string, kind uint16) ([]dns.RR, error) {
	q := new(dns.Msg)
	q.SetQuestion(name, kind)
	q.SetEdns0(dns.DefaultMsgSize, true)
	q.AuthenticatedData = true // RFC 6840 section 5.7: tell us
	c := dns.Client{Net: "tcp", Timeout: dnsTime}
	res, _, err := c.ExchangeContext(ctx, q, d.Resolver)
	if err != nil {
		return nil, fmt.Errorf("DNS: %w", err)
	}
	switch {
	case res.Rcode == dns.RcodeNameError || res.Rcode == dns.RcodeSuccess && len(res.Answer) == 0:
		return nil, nil
	case res.Rcode != dns.RcodeSuccess:
		return nil, fmt.Errorf("DNS: %s", dns.RcodeToString[res.Rcode])
	case !res.AuthenticatedData:
		return nil, errNotSecure
	}
	return res.Answer, nil
}

// fromRecords reads whole keys. A record that holds only a hash shows no key.
func fromRecords(rrs []dns.RR) []keybook.Entry {
	var found []keybook.Entry
	for _, rr := range rrs {
		if len(found) == maxFound {
			break
		}
		switch r := rr.(type) {
		case *dns.OPENPGPKEY:
			raw, err := base64.StdEncoding.DecodeString(r.PublicKey)
			if err != nil || len(raw) > maxAnswer {
				continue
			}
			list, err := openpgp.ParsePublic(raw)
			if err != nil || list[0].Private {
				continue
			}
			if packets, err := list[0].Packets(); err == nil {
				found = append(found, keybook.Entry{OpenPGP: packets, Trust: keys.Direct})
			}
		case *dns.SMIMEA:
			if e, ok := fromSMIMEA(r); ok {
				found = append(found, e)
			}
		}
	}
	return found
}

// fromSMIMEA takes full end-entity certificates (RFC 6698 sections 2.1.2 and
// 2.1.3): of usage 3 the domain answers for them, of usage 1 an anchor of ours
// must stand above them, too.
func fromSMIMEA(r *dns.SMIMEA) (keybook.Entry, bool) {
	trust := map[uint8]keys.Trust{1: keys.Anchored, 3: keys.Direct}[r.Usage]
	if trust == "" || r.Selector != 0 || r.MatchingType != 0 {
		return keybook.Entry{}, false
	}
	der, err := hex.DecodeString(r.Certificate)
	if err != nil {
		return keybook.Entry{}, false
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return keybook.Entry{}, false
	}
	return keybook.Entry{Cert: c.Raw, Trust: trust}, true
}
