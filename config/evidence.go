package config

import (
	"context"
	stdcrypto "crypto"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/url"
	"time"

	"gatewayd/crypto/cms"
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
		if pair, ok := b.certificate(key, b.file.Authority[a.ID].Seal); ok {
			own = true
			c.Evidence.Seals[a.ID] = b.signer(key, pair)
		}
	}
	pair, ok := b.certificate("evidence.seal", f.Seal)
	if ok {
		c.Evidence.Seal = b.signer("evidence.seal", pair)
	}
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

// signer is a pair of files as a seal.
func (b *builder) signer(key string, pair tls.Certificate) cms.Signer {
	s := cms.Signer{Cert: pair.Leaf}
	private, ok := pair.PrivateKey.(stdcrypto.Signer)
	if !ok || pair.Leaf.KeyUsage != 0 && pair.Leaf.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) == 0 {
		b.add(key, "is not made for signatures")
		return s
	}
	s.Key = private
	for _, der := range pair.Certificate[1:] {
		if above, err := x509.ParseCertificate(der); err == nil {
			s.Chain = append(s.Chain, above)
		}
	}
	return s
}
