package keysources

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"gatewayd/keybook"
	"gatewayd/message"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func addr(s string) message.Address { return must(message.ParseAddress(s)) }

// now is a fixed time close to the real one: servers and TLS know no other.
var now = time.Now().UTC().Truncate(time.Second)

// ca is an issuer of certificates.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA() ca { return ca{}.sub("CA", x509.KeyUsageCertSign|x509.KeyUsageCRLSign) }

// sub issues an issuer; the zero ca signs itself.
func (c ca) sub(name string, usage x509.KeyUsage) ca {
	k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(9, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: usage,
	}
	parent, signer := tpl, k
	if c.cert != nil {
		parent, signer = c.cert, c.key
	}
	return ca{must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, tpl, parent, k.Public(), signer)))), k}
}

// issue makes a certificate; edit may change what stands in it.
func (c ca) issue(edit func(*x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey) {
	k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tpl := &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, big.NewInt(1<<60))), NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement,
	}
	edit(tpl)
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, tpl, c.cert, k.Public(), c.key)))), k
}

func (c ca) mail(address string) *x509.Certificate {
	cert, _ := c.issue(func(tpl *x509.Certificate) { tpl.EmailAddresses = []string{address} })
	return cert
}

// pgpKey returns a public key, binary.
func pgpKey(addresses ...string) []byte {
	e := must(pgp.NewEntity("", "", addresses[0], &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return now.AddDate(-1, 0, 0) }}))
	for _, a := range addresses[1:] {
		if err := e.AddUserId("", "", a, &packet.Config{Time: func() time.Time { return now.AddDate(-1, 0, 0) }}); err != nil {
			panic(err)
		}
	}
	var b bytes.Buffer
	if err := e.Serialize(&b); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// zone is a resolver with what a test says.
type zone map[string][]string

// LookupNetIP implements Resolver.
func (z zone) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	var list []netip.Addr
	for _, text := range z[host] {
		list = append(list, netip.MustParseAddr(text))
	}
	if list == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return list, nil
}

// public is an address of the Internet that no test reaches: Dial leads to
// loopback.
const public = "8.8.8.8"

// web is a server that answers for any of the names.
type web struct {
	*httptest.Server
	fetch  *Fetcher
	dialed *[]string
}

// newWeb serves h for the hosts of the zone.
func newWeb(t *testing.T, z zone, o FetchOptions, h http.HandlerFunc) web {
	t.Helper()
	issuer := newCA()
	var names []string
	for name := range z {
		names = append(names, name)
	}
	cert, key := issuer.issue(func(tpl *x509.Certificate) { tpl.DNSNames = names })
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	if o.Plain {
		s.Start()
	} else {
		s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
		s.StartTLS()
	}
	t.Cleanup(s.Close)
	w := web{Server: s, dialed: &[]string{}}
	o.Roots = x509.NewCertPool()
	o.Roots.AddCert(issuer.cert)
	o.Guard.Resolver = z
	o.Guard.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		*w.dialed = append(*w.dialed, addr)
		var d net.Dialer
		return d.DialContext(ctx, network, s.Listener.Addr().String())
	}
	w.fetch = NewFetcher(o)
	t.Cleanup(w.fetch.client.HTTPClient.CloseIdleConnections)
	return w
}

func newBook(t *testing.T) *keybook.Book {
	t.Helper()
	b, err := keybook.Open(t.TempDir(), bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
