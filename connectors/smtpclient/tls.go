package smtpclient

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"slices"
)

// tlsConfig makes the configuration of a connection: at least TLS 1.2, and in
// verified modes a pin check that also runs when a session is resumed.
func tlsConfig(o Options) *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLS != nil {
		cfg = o.TLS.Clone()
		cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	}
	cfg.DynamicRecordSizingDisabled = true // a message is short or long, and never shown before its end came
	cfg.ServerName = o.ServerName
	if o.Mode == Opportunistic {
		// Encryption against the listener on the line; policy allows this mode
		// for ordinary mail only, which would otherwise go in clear.
		cfg.InsecureSkipVerify = true
		return cfg
	}
	if len(o.Pins) > 0 {
		inner := cfg.VerifyConnection
		cfg.VerifyConnection = func(s tls.ConnectionState) error {
			if !pinned(s.VerifiedChains, o.Pins) {
				return errors.New("no certificate of the chain matches a pin")
			}
			if inner != nil {
				return inner(s)
			}
			return nil
		}
	}
	return cfg
}

func pinned(chains [][]*x509.Certificate, pins []Pin) bool {
	for _, chain := range chains {
		for _, cert := range chain {
			if slices.Contains(pins, PinOf(cert)) {
				return true
			}
		}
	}
	return false
}

// key tells which connections may stand in for each other: those to one peer
// that were opened by the same credentials and under the same rules. Whatever
// differs keeps two keys apart, so that no message of one authority leaves over
// a connection that another one's login or certificate opened.
type key struct {
	addr, name, hello string
	mode              Mode
	tls               *tls.Config // the very configuration: roots and callbacks can't be compared otherwise
	identity          [sha256.Size]byte
}

// keyOf binds a key to the options. The digest covers what could still be
// changed behind the pointer: client certificates, versions, and beside them
// login and pins.
func keyOf(o Options) key {
	h := sha256.New()
	put := func(parts ...[]byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(parts)))
		h.Write(n[:])
		for _, p := range parts {
			binary.BigEndian.PutUint64(n[:], uint64(len(p)))
			h.Write(n[:])
			h.Write(p)
		}
	}
	if o.Login != nil {
		put([]byte(o.Login.Name), []byte(o.Login.Password))
	} else {
		put()
	}
	for _, pin := range o.Pins {
		put(pin[:])
	}
	if o.TLS != nil {
		for _, cert := range o.TLS.Certificates {
			put(cert.Certificate...)
		}
		put(binary.BigEndian.AppendUint32(nil, uint32(o.TLS.MinVersion)<<16|uint32(o.TLS.MaxVersion)))
	}
	k := key{addr: o.Addr, name: o.ServerName, hello: o.Hello, mode: o.Mode, tls: o.TLS}
	h.Sum(k.identity[:0])
	return k
}
