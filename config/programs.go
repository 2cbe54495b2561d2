package config

import (
	"crypto/tls"
	"strings"

	"gatewayd/api"
	"gatewayd/connectors/smtpclient"
	"gatewayd/connectors/smtprelay"
	"gatewayd/directory"
	"gatewayd/gateway"
)

// programs reads what the HTTP API and the webhooks need.
func (b *builder) programs(c *Config) {
	if c.API.Addr != "" {
		if b.exists("api.tokens", c.API.Tokens, "gatewayd token new makes its lines") {
			var problems []directory.Problem
			c.Tokens, problems = directory.LoadTokens(c.API.Tokens)
			b.foreign(problems)
		}
		if !strings.Contains(c.API.Addr, ":") {
			b.bad("api.addr", "%q has no port: write host:port or :port", c.API.Addr)
		}
	}
	for _, a := range c.Authorities {
		w := b.file.Authority[a.ID].Webhook
		if w == (Webhook{}) {
			continue
		}
		key := joinKey("authority", a.ID) + ".webhook"
		secret := b.secret(key+".secret", w.Secret)
		if len(secret) < 16 {
			b.add(key+".secret", "must have at least 16 characters")
		}
		c.Hooks = append(c.Hooks, api.Hook{Authority: a.ID, URL: w.URL, Secret: []byte(secret)})
	}
}

// forward makes the way to an authority's own mail server; always verified.
func (b *builder) forward(key, authority string, f Forward) smtprelay.Options {
	scheme, addr, _ := strings.Cut(f.To, "://")
	mode := map[string]smtpclient.Mode{"smtps": smtpclient.ImplicitTLS, "smtp": smtpclient.StartTLS}[scheme]
	if mode == "" {
		b.bad(key+".to", "%q: write smtps://host:port or smtp://host:port", f.To)
	}
	if f.TLS != "" && f.TLS != "verify" {
		b.bad(key+".tls", "%q: mail for an authority travels over verified TLS only: write verify", f.TLS)
	}
	o := smtprelay.Options{As: gateway.ForwardVia(authority), MaxSize: int64(b.file.Limits.MessageSize), Link: smtpclient.Options{
		Addr: addr, Mode: mode, Hello: b.file.Hostname, TLS: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: b.pool(key+".roots", f.Roots)},
		Login: b.login(key, f.Username, f.Password),
	}}
	if mode != "" {
		b.tryOut(key, func() error { _, err := smtprelay.New(o); return err })
	}
	return o
}
