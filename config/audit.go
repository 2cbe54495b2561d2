package config

import (
	"crypto/tls"
	"net"
	"strings"

	"gatewayd/audit"
	"gatewayd/message"
)

// Collector is where the lines of the audit log are sent.
type Collector struct {
	Addr  string
	TLS   *tls.Config
	Shown audit.Shown
}

// audit reads what is done with the audit log.
func (b *builder) audit(c *Config) {
	s := b.file.Audit.Syslog
	const key = "audit.syslog"
	if s.To == "" {
		if s.CA != "" || s.ServerName != "" || len(s.Personal) > 0 || s.ClientCertificate != (Certificate{}) {
			b.add(key+".to", "is missing: the rest of [audit.syslog] says how to reach it")
		}
		return
	}
	addr, ok := strings.CutPrefix(s.To, "tls://")
	host, port, err := net.SplitHostPort(addr)
	if !ok || err != nil || host == "" || port == "" {
		b.bad(key+".to", "%q: write tls://host:port; there is no plain text", s.To)
	}
	if s.ServerName != "" {
		host = s.ServerName
	}
	c.Collector = &Collector{Addr: addr, TLS: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: b.pool(key+".ca", s.CA)}, Shown: audit.Shown{Personal: s.Personal}}
	if pair, ok := b.certificate(key+".client_certificate", s.ClientCertificate); ok {
		c.Collector.TLS.Certificates = []tls.Certificate{pair}
	}
	if s.Enterprise < 0 || s.Enterprise > 1<<31-1 {
		b.bad(key+".enterprise", "%d: write the number that IANA has given to the operator", s.Enterprise)
	}
	c.Collector.Shown.Enterprise = uint32(max(0, min(s.Enterprise, 1<<31-1))) //nolint:gosec // bounded
	for i, name := range s.Personal {
		if f, ok := message.EventField(name); !ok || !f.Personal {
			b.bad(key+".personal"+index(i+1), "%q is no field that names persons: gatewayd logging describe lists them", name)
		}
	}
}
