package path

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"net/url"
	"slices"
	"strings"
)

func oidNameConstraints() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 30} }

func oidAlternative() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 17} }

func oidEmail() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1} }

func extension(c *x509.Certificate, id asn1.ObjectIdentifier) []byte {
	i := slices.IndexFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(id) })
	if i < 0 {
		return nil
	}
	return c.Extensions[i].Value
}

// Tags of GeneralName, RFC 5280 section 4.2.1.6.
const (
	tagMail      = 1
	tagDNS       = 2
	tagDirectory = 4
	tagURI       = 6
	tagIP        = 7
)

// directories are the constraints on directory names in one certificate; those
// of the other forms are read by crypto/x509.
type directories struct {
	permitted, excluded []name
	unknown             bool // a form of name or of constraint that nobody here checks
}

// directoriesOf reads the extension (RFC 5280 section 4.2.1.10).
func directoriesOf(c *x509.Certificate) directories {
	var d directories
	der := extension(c, oidNameConstraints())
	if der == nil {
		return d
	}
	var trees struct {
		Permitted []subtree `asn1:"optional,tag:0"`
		Excluded  []subtree `asn1:"optional,tag:1"`
	}
	if rest, err := asn1.Unmarshal(der, &trees); err != nil || len(rest) > 0 {
		d.unknown = true
		return d
	}
	d.permitted, d.excluded = d.take(trees.Permitted), d.take(trees.Excluded)
	return d
}

// subtree is a GeneralSubtree. RFC 5280 wants minimum 0 and no maximum.
type subtree struct {
	Base    asn1.RawValue
	Minimum int `asn1:"optional,tag:0"`
	Maximum int `asn1:"optional,tag:1,default:-1"`
}

func (d *directories) take(list []subtree) []name {
	var names []name
	for _, t := range list {
		switch {
		case t.Minimum != 0 || t.Maximum != -1:
			d.unknown = true
		case t.Base.Tag == tagDirectory:
			names = append(names, parseName(t.Base.Bytes))
		case !slices.Contains([]int{tagMail, tagDNS, tagURI, tagIP}, t.Base.Tag):
			d.unknown = true
		}
	}
	return names
}

// checkNames wants every name below an issuer to keep to its constraints (RFC
// 5280 section 6.1.3 (b), (c)). Certificates that a CA issued to itself are
// free, but for the end entity's.
func (c chain) checkNames() error {
	for i := 1; i < len(c); i++ {
		by := c[i].cert
		if extension(by, oidNameConstraints()) == nil {
			continue
		}
		for j, s := range c[:i] {
			if j > 0 && s.selfIssued() {
				continue
			}
			if !keeps(s, by) {
				return ErrConstraints
			}
		}
	}
	return nil
}

// keeps compares the names of s, form by form.
func keeps(s step, by *x509.Certificate) bool {
	d := directoriesOf(by)
	return within(directoryNames(s), d.permitted, d.excluded, name.under) &&
		within(mailNames(s.cert), by.PermittedEmailAddresses, by.ExcludedEmailAddresses, mailWithin) &&
		within(s.cert.DNSNames, by.PermittedDNSDomains, by.ExcludedDNSDomains, hostWithin) &&
		within(s.cert.URIs, by.PermittedURIDomains, by.ExcludedURIDomains, uriWithin) &&
		within(s.cert.IPAddresses, by.PermittedIPRanges, by.ExcludedIPRanges, func(ip net.IP, n *net.IPNet) bool { return n.Contains(ip) })
}

// maxComparisons bounds the work that one form of name in one pair of
// certificates can ask for.
const maxComparisons = 1 << 20

// within reports whether no name is excluded, and each permitted where any is.
func within[N, C any](names []N, permitted, excluded []C, inside func(N, C) bool) bool {
	if len(names)*(len(permitted)+len(excluded)) >= maxComparisons {
		return false
	}
	for _, n := range names {
		hit := func(c C) bool { return inside(n, c) }
		if slices.ContainsFunc(excluded, hit) || len(permitted) > 0 && !slices.ContainsFunc(permitted, hit) {
			return false
		}
	}
	return true
}

// directoryNames returns the subject and the directory names among its
// alternatives.
func directoryNames(s step) []name {
	var names []name
	if len(s.name) > 0 {
		names = append(names, s.name)
	}
	var list []asn1.RawValue
	if _, err := asn1.Unmarshal(extension(s.cert, oidAlternative()), &list); err != nil {
		return names
	}
	for _, v := range list {
		if v.Class == asn1.ClassContextSpecific && v.Tag == tagDirectory {
			names = append(names, parseName(v.Bytes))
		}
	}
	return names
}

// mailNames returns the addresses wherever they stand: RFC 8550 section 3 has
// us read those in the subject as names of the signer.
func mailNames(c *x509.Certificate) []string {
	names := slices.Clone(c.EmailAddresses)
	for _, n := range c.Subject.Names {
		if address, ok := n.Value.(string); ok && n.Type.Equal(oidEmail()) {
			names = append(names, address)
		}
	}
	return names
}

// mailWithin compares with a mailbox, a host, or, with a leading dot, all hosts
// below a domain.
func mailWithin(address, constraint string) bool {
	if strings.Contains(constraint, "@") {
		return strings.EqualFold(address, constraint)
	}
	return exactHost(address[strings.LastIndexByte(address, '@')+1:], constraint)
}

// exactHost takes a domain for itself only, unless it has a leading dot.
func exactHost(host, constraint string) bool {
	host, constraint = strings.ToLower(host), strings.ToLower(constraint)
	if strings.HasPrefix(constraint, ".") {
		return strings.HasSuffix(host, constraint)
	}
	return host == constraint
}

// hostWithin takes a domain for itself and all below.
func hostWithin(host, constraint string) bool {
	if constraint == "" {
		return true
	}
	return exactHost(host, constraint) || exactHost(host, "."+strings.TrimPrefix(constraint, "."))
}

// uriWithin compares the host. A URI that names none is within nothing; whoever
// bounds URIs does not mean it.
func uriWithin(u *url.URL, constraint string) bool {
	return u.Hostname() != "" && exactHost(u.Hostname(), constraint)
}
