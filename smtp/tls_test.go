package smtp

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"testing"

	"gatewayd/message"
)

// hello opens TLS on a fresh connection and returns the handshake's outcome.
func (d *door) hello(t *testing.T, config *tls.Config) (*client, error) {
	c := d.client(t)
	if !d.server.o.ImplicitTLS {
		c.want("220 ")
		c.do("EHLO client.example", "250-")
		c.do("STARTTLS", "220 ")
	}
	conn := tls.Client(c.conn, config)
	err := conn.Handshake()
	if err == nil {
		c.startOn(conn)
	}
	return c, err
}

// TestTLSFloor: TLS 1.2 with forward secrecy and AEAD, or 1.3; nothing else.
func TestTLSFloor(t *testing.T) {
	for _, implicit := range []bool{false, true} {
		d := open(t, message.Inbound, func(o *Options) { o.ImplicitTLS = implicit; o.TLS.MinVersion = tls.VersionTLS10 })
		cases := []struct {
			name   string
			change func(*tls.Config)
			ok     bool
		}{
			{"1.3", func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }, true},
			{"1.2", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, true},
			{"1.1", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, false},
			{"1.2 CBC", func(c *tls.Config) {
				c.MaxVersion = tls.VersionTLS12
				c.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256}
			}, false},
		}
		for _, tc := range cases {
			config := d.trust()
			tc.change(config)
			_, err := d.hello(t, config)
			if (err == nil) != tc.ok {
				t.Errorf("implicit %v, TLS %s: %v, want accepted %v", implicit, tc.name, err, tc.ok)
			}
		}
	}
}

// TestNoResumption: a second connection does a whole handshake.
func TestNoResumption(t *testing.T) {
	d := open(t, message.Inbound, nil)
	config := d.trust()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	for range 3 {
		c, err := d.hello(t, config)
		if err != nil {
			t.Fatal(err)
		}
		c.do("EHLO client.example", "250-")
		if c.conn.(*tls.Conn).ConnectionState().DidResume {
			t.Error("the session was resumed")
		}
	}
}

func TestClientCertificate(t *testing.T) {
	stranger := newAuthority(t)
	cases := []struct {
		name  string
		cert  func(*door) tls.Certificate
		login bool
	}{
		{"known machine", func(d *door) tls.Certificate {
			return d.ca.issue(t, "machine.example", x509.ExtKeyUsageClientAuth)
		}, true},
		{"unknown machine", func(d *door) tls.Certificate {
			return d.ca.issue(t, "other.example", x509.ExtKeyUsageClientAuth)
		}, false},
		{"a server's certificate", func(d *door) tls.Certificate {
			return d.ca.issue(t, "machine.example", x509.ExtKeyUsageServerAuth)
		}, false},
		{"a stranger's authority", func(*door) tls.Certificate {
			return stranger.issue(t, "machine.example", x509.ExtKeyUsageClientAuth)
		}, false},
	}
	for _, tc := range cases {
		d := open(t, message.Outbound, nil)
		config := d.trust()
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert := tc.cert(d)
			return &cert, nil
		}
		c, err := d.hello(t, config)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		c.do("EHLO client.example", "250-")
		c.send("MAIL FROM:<amt@bl.example>\r\n")
		got, err := c.reply()
		if err != nil || strings.HasPrefix(got, "250 ") != tc.login || !tc.login && !strings.HasPrefix(got, "530 5.7.0 ") {
			t.Errorf("%s: %q, %v, want login %v", tc.name, got, err, tc.login)
		}
		if !tc.login {
			c.do("AUTH PLAIN "+plainResponse("", "bau", "geheim"), "235 ") // a password still helps
			continue
		}
		c.do("RCPT TO:<b@example.ch>", "250 ")
		c.do("DATA", "354 ")
		c.send("x: y\r\n.\r\n")
		c.want("250 ")
		sub := d.intake.all()[0].sub
		if sub.Account != "maschine" || sub.Authority != "bauinspektorat" || sub.Protocol != "ESMTPSA" || !slices.Equal(sub.PeerNames, []string{"machine.example"}) {
			t.Errorf("%s: submission %+v", tc.name, sub)
		}
	}
}

// TestInboundPeerNames: on port 25 a verified certificate is a fact, also one
// made for a server; any other is as good as none.
func TestInboundPeerNames(t *testing.T) {
	stranger := newAuthority(t)
	d := open(t, message.Inbound, nil)
	ours := d.ca.issue(t, "im.post.example", x509.ExtKeyUsageServerAuth)
	theirs := stranger.issue(t, "im.post.example", x509.ExtKeyUsageServerAuth)
	for _, tc := range []struct {
		cert tls.Certificate
		want []string
	}{{ours, []string{"im.post.example"}}, {theirs, nil}} {
		config := d.trust()
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tc.cert, nil }
		c, err := d.hello(t, config)
		if err != nil {
			t.Fatal(err)
		}
		c.do("EHLO client.example", "250-")
		c.transaction()
		c.do("DATA", "354 ")
		c.send("x: y\r\n.\r\n")
		c.want("250 ")
		mails := d.intake.all()
		sub := mails[len(mails)-1].sub
		if !slices.Equal(sub.PeerNames, tc.want) || sub.Account != "" || !strings.HasPrefix(sub.TLS, "TLS1.3 TLS_") || sub.Protocol != "ESMTPS" {
			t.Errorf("submission %+v, want names %v", sub, tc.want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	cert := tls.Certificate{}
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	in, auth := &stubIntake{}, &stubAuth{}
	bypass := &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }}
	cases := []struct {
		name string
		o    Options
		in   Intake
		auth Authenticator
	}{
		{"submission without TLS", Options{Hostname: "x", Kind: message.Outbound}, in, auth},
		{"implicit TLS without a certificate", Options{Hostname: "x", Kind: message.Inbound, ImplicitTLS: true}, in, nil},
		{"submission without accounts", Options{Hostname: "x", Kind: message.Outbound, TLS: config}, in, nil},
		{"a way around the limits on TLS", Options{Hostname: "x", Kind: message.Inbound, TLS: bypass}, in, nil},
		{"no name", Options{Kind: message.Inbound}, in, nil},
		{"no host name", Options{Hostname: "a b\r\n", Kind: message.Inbound}, in, nil},
		{"no intake", Options{Hostname: "x", Kind: message.Inbound}, nil, nil},
		{"no kind", Options{Hostname: "x"}, in, nil},
	}
	for _, tc := range cases {
		if _, err := New(tc.o, tc.in, tc.auth); err == nil {
			t.Errorf("%s: accepted", tc.name)
		}
	}
}
