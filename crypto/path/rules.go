package path

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
)

// check applies RFC 5280 sections 6.1.3 to 6.1.5, but for signatures and names
// of issuers, by which the path was found.
func (c chain) check(o Options) error {
	for i, s := range c {
		if err := s.check(o, i > 0, i == len(c)-1); err != nil {
			return err
		}
	}
	if err := c.checkLength(); err != nil {
		return err
	}
	if err := c.checkNames(); err != nil {
		return err
	}
	return c.checkPolicies(o)
}

// check looks at one certificate by itself.
func (s step) check(o Options, issues, anchor bool) error {
	c := s.cert
	switch {
	case o.At.Before(c.NotBefore) || o.At.After(c.NotAfter):
		return ErrTime
	case issues && !(c.BasicConstraintsValid && c.IsCA) && !(anchor && c.Version < 3):
		return ErrIssuer // section 6.1.4 (k); old anchors could not say so
	case issues && c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		return ErrIssuer // section 6.1.4 (n)
	case !s.understood():
		return ErrCritical // section 6.1.4 (o)
	case !serves(c, o.Usage):
		return ErrUsage
	}
	return nil
}

// understood reports whether every critical extension is one that crypto/x509
// reads or that is checked here.
func (s step) understood() bool {
	for _, id := range s.cert.UnhandledCriticalExtensions {
		if !id.Equal(asn1.ObjectIdentifier(oidNameConstraints())) || directoriesOf(s.cert).unknown {
			return false
		}
	}
	return true
}

// serves reports whether the certificate allows a use. One that names uses
// bounds those of all below it, as is common practice.
func serves(c *x509.Certificate, usage x509.ExtKeyUsage) bool {
	return usage == x509.ExtKeyUsageAny || len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0 ||
		slices.Contains(c.ExtKeyUsage, usage) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// checkLength counts the CAs between each one and the end entity, without those
// that issued themselves (section 6.1.4 (l), (m)).
func (c chain) checkLength() error {
	below := 0
	for _, s := range c[1:] {
		if s.cert.BasicConstraintsValid && s.cert.MaxPathLen >= 0 && below > s.cert.MaxPathLen {
			return ErrLength
		}
		if !s.selfIssued() {
			below++
		}
	}
	return nil
}
