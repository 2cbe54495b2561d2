package keysources

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"gatewayd/crypto/keys"
	"gatewayd/crypto/openpgp"
	"gatewayd/keybook"
	"gatewayd/message"
)

// LDAP asks a directory for certificates (RFC 4523) and OpenPGP keys. The
// administrator names the directory, so that it may lie in an internal network;
// referrals to others are not followed.
type LDAP struct {
	URL      string // ldaps://host[:port], or ldap://host[:port] with STARTTLS
	Base     string // where the search begins
	Filter   string // "(mail=%s)"; %s is the address
	BindDN   string // "": anonymous
	Password string
	Roots    *x509.CertPool // nil: the system's
}

// ldapTime bounds one question with everything that it takes.
const ldapTime = 10 * time.Second

// attributes of RFC 4523, and of the OpenPGP schema.
func attributes() []string {
	return []string{"userCertificate;binary", "userCertificate", "userSMIMECertificate", "userSMIMECertificate;binary", "pgpKey"}
}

// Check reports what is wrong with the options; nothing is dialled.
func (l LDAP) Check() error {
	u, err := url.Parse(l.URL)
	switch {
	case err != nil || u.Scheme != "ldaps" && u.Scheme != "ldap" || u.Host == "" || u.User != nil:
		return errors.New("url: write ldaps://host or ldap://host; the latter with STARTTLS")
	case strings.Count(l.filter(), "%s") != 1:
		return errors.New("filter: %s must stand in it once, for the address")
	}
	if _, err := ldap.CompileFilter(strings.Replace(l.filter(), "%s", "x", 1)); err != nil {
		return errors.New("filter: not a search filter (RFC 4515)")
	}
	return nil
}

func (l LDAP) filter() string {
	if l.Filter == "" {
		return "(mail=%s)"
	}
	return l.Filter
}

// Name implements Source.
func (LDAP) Name() keys.Source { return keys.LDAP }

// Find implements Source.
func (l LDAP) Find(ctx context.Context, a message.Address) ([]keybook.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, ldapTime)
	defer cancel()
	conn, err := l.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	defer conn.Close()
	if l.BindDN != "" {
		if err := conn.Bind(l.BindDN, l.Password); err != nil {
			return nil, fmt.Errorf("directory: sign in: %w", plain(err))
		}
	}
	filter := strings.Replace(l.filter(), "%s", ldap.EscapeFilter(a.String()), 1)
	res, err := conn.Search(ldap.NewSearchRequest(l.Base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, maxFound, int(ldapTime/time.Second), false, filter, attributes(), nil))
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject):
		return nil, nil
	case err != nil && !ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded):
		return nil, fmt.Errorf("directory: search: %w", plain(err))
	}
	return entriesOf(res), nil
}

// plain leaves out what the server wrote, which may quote the address.
func plain(err error) error {
	if e, ok := errors.AsType[*ldap.Error](err); ok {
		return fmt.Errorf("result %d, %s", e.ResultCode, ldap.LDAPResultCodeMap[e.ResultCode])
	}
	return err
}

// connect dials, and bounds time and octets of the whole conversation: the
// library reads nested answers by recursion.
func (l LDAP) connect(ctx context.Context) (*ldap.Conn, error) {
	if err := l.Check(); err != nil {
		return nil, err
	}
	u, _ := url.Parse(l.URL) // Check did
	secure := u.Scheme == "ldaps"
	port := u.Port()
	if port == "" {
		port = map[bool]string{true: "636", false: "389"}[secure]
	}
	d := net.Dialer{Timeout: 5 * time.Second}
	raw, err := d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := raw.SetDeadline(deadline); err != nil {
			return nil, errors.Join(err, raw.Close())
		}
	}
	conf := &tls.Config{RootCAs: l.Roots, ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	bounded := &boundedConn{Conn: raw, left: 2 * maxAnswer}
	if secure {
		conn := ldap.NewConn(tls.Client(bounded, conf), true)
		conn.Start()
		return conn, nil
	}
	conn := ldap.NewConn(bounded, false)
	conn.Start()
	if err := conn.StartTLS(conf); err != nil {
		return nil, errors.Join(plain(err), conn.Close())
	}
	return conn, nil
}

// boundedConn reads only so many octets.
type boundedConn struct {
	net.Conn
	left int
}

// Read implements net.Conn.
func (b *boundedConn) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// entriesOf reads certificates and keys. What cannot be read is left out: old
// directories hold all kinds of things.
func entriesOf(res *ldap.SearchResult) []keybook.Entry {
	if res == nil {
		return nil
	}
	var found []keybook.Entry
	for _, e := range res.Entries {
		for _, attr := range e.Attributes {
			for _, value := range attr.ByteValues {
				if len(found) == maxFound {
					return found
				}
				switch name, _, _ := strings.Cut(strings.ToLower(attr.Name), ";"); name {
				case "usercertificate":
					if c, err := x509.ParseCertificate(value); err == nil {
						found = append(found, keybook.Entry{Cert: c.Raw})
					}
				case "usersmimecertificate":
					if e, ok := fromBag(value); ok {
						found = append(found, e)
					}
				case "pgpkey":
					if list, err := openpgp.ParsePublic(value); err == nil && !list[0].Private {
						if packets, err := list[0].Packets(); err == nil {
							found = append(found, keybook.Entry{OpenPGP: packets})
						}
					}
				}
			}
		}
	}
	return found
}
