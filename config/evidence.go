package config

import (
	"context"
	stdcrypto "crypto"
	"crypto/x509"
	"io"
	"net/http"
	"net/url"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/smime"
	"gatewayd/crypto/tsp"
	"gatewayd/gateway/cases"
)

// stampWait is how long a time-stamping authority may take.
const stampWait = 30 * time.Second

// evidence reads what seals evidence bundles. Without anything configured none
// are made; half of it is a mistake.
func (b *builder) evidence(c *Config) {
	f := b.file.Evidence
	c.Evidence = cases.Sealing{Seals: map[string]cms.Signer{}, NTP: f.NTP}
	own := false
	for _, a := range c.Authorities {
		key := joinKey("authority", a.ID) + ".seal"
		if s, ok := b.seal(c, key, b.file.Authority[a.ID].Seal); ok {
			own = true
			c.Evidence.Seals[a.ID] = s
		}
	}
	var ok bool
	c.Evidence.Seal, ok = b.seal(c, "evidence.seal", f.Seal)
	switch {
	case f.TSA == "" && (ok || own):
		b.add("evidence.tsa", "is missing: a seal without a time stamp proves no time")
	case f.TSA != "" && f.TSARoots == "":
		b.add("evidence.tsa_roots", "is missing: without anchors every stamp is refused")
	case f.TSA != "":
		b.stamper(c, f)
	}
}

func (b *builder) stamper(c *Config, f Evidence) {
	u, err := url.Parse(f.TSA)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		b.add("evidence.tsa", "is no http or https address")
		return
	}
	client := tsp.Client{URL: f.TSA, Trust: cms.TrustPool(b.pool("evidence.tsa_roots", f.TSARoots)), HTTP: &http.Client{
		Timeout: stampWait, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	c.Evidence.Stamp = func(ctx context.Context, content io.Reader) ([]byte, error) {
		response, _, err := client.Stamp(ctx, content)
		return response, err
	}
	c.Evidence.Time = func(ctx context.Context, content io.Reader) (time.Time, error) {
		_, stamp, err := client.Stamp(ctx, content)
		return stamp.At, err
	}
	c.Evidence.Stamped = func(response []byte, content io.Reader) error { return tsp.Check(response, content, client.Trust) }
}

// seal reads what seals: a pair of files, or a certificate whose key the key agent
// has. That is asked when it seals, not now.
func (b *builder) seal(c *Config, key string, f Seal) (s cms.Signer, ok bool) {
	if !f.Agent {
		pair, ok := b.certificate(key, Certificate{Cert: f.Cert, Key: f.Key})
		if !ok {
			return s, false
		}
		private, _ := pair.PrivateKey.(stdcrypto.Signer)
		for _, der := range pair.Certificate[1:] {
			if above, err := x509.ParseCertificate(der); err == nil {
				s.Chain = append(s.Chain, above)
			}
		}
		s.Cert, s.Key = pair.Leaf, private
		return b.seals(key, s), true
	}
	switch {
	case f.Key != "":
		b.bad(key, "has both agent and key: keep one")
		return s, false
	case c.Ring.Agent() == nil:
		b.bad(key, "agent: there is no keys.agent")
		return s, false
	}
	text, ok := b.read(key+".cert", f.Cert)
	if !ok {
		return s, false
	}
	list, err := smime.ParseCertificates(text)
	if err != nil {
		b.bad(key+".cert", "%s: %v", f.Cert, err)
		return s, false
	}
	s.Cert, s.Chain, s.Key = list[0], list[1:], c.Ring.Agent().Signer(list[0])
	b.current(key, f.Cert, s.Cert)
	return b.seals(key, s), true
}

// seals notes a key that is not made to sign.
func (b *builder) seals(key string, s cms.Signer) cms.Signer {
	if s.Key == nil || s.Cert.KeyUsage != 0 && s.Cert.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) == 0 {
		b.add(key, "is not made for signatures")
	}
	return s
}
