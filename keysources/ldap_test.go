package keysources

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/cms"
)

// slapd is a directory of OpenLDAP with a person for every address.
func slapd(t *testing.T, issuer ca, people map[string]string) (ldap, ldaps string) {
	t.Helper()
	program, err := exec.LookPath("slapd")
	if err != nil {
		program = "/usr/sbin/slapd"
	}
	if _, err := os.Stat(program); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("needs slapd: apt-get install slapd")
		}
		t.Skip("needs slapd: apt-get install slapd")
	}
	dir := t.TempDir()
	cert, key := issuer.issue(func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	write(t, dir, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	write(t, dir, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))}))
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	conf := strings.ReplaceAll(`include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
attributetype ( 1.3.6.1.4.1.3401.8.2.11 NAME 'pgpKey' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
objectclass ( 1.3.6.1.4.1.3401.8.2.24 NAME 'pgpKeyInfo' SUP top AUXILIARY MAY pgpKey )
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile DIR/cert.pem
TLSCertificateKeyFile DIR/key.pem
database mdb
directory DIR/db
suffix "dc=example"
rootdn "cn=admin,dc=example"
rootpw geheim
access to attrs=userPassword by * none
access to dn.subtree="ou=closed,dc=example" by users read by * none
access to * by * read
`, "DIR", dir)
	write(t, dir, "slapd.conf", []byte(conf))
	ldif := "dn: dc=example\nobjectClass: domain\ndc: example\n\ndn: ou=closed,dc=example\nobjectClass: organizationalUnit\nou: closed\n\n"
	for who, attrs := range people {
		name, where, _ := strings.Cut(who, " ")
		ldif += "dn: cn=" + name + "," + where + "dc=example\nobjectClass: inetOrgPerson\nobjectClass: pgpKeyInfo\ncn: x\nsn: x\nmail: " + name + "\n" + attrs + "\n"
	}
	write(t, dir, "data.ldif", []byte(ldif))
	if out, err := exec.Command(program, "-T", "add", "-f", filepath.Join(dir, "slapd.conf"), "-l", filepath.Join(dir, "data.ldif")).CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v\n%s", err, out)
	}
	plain, secure := freePort(t), freePort(t)
	var log bytes.Buffer
	cmd := exec.Command(program, "-d", "none", "-f", filepath.Join(dir, "slapd.conf"), "-h", "ldap://"+plain+" ldaps://"+secure)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", secure); err == nil {
			_ = c.Close()
			return "ldap://" + plain, "ldaps://" + secure
		}
		if time.Now().After(end) {
			t.Fatalf("slapd does not come up:\n%s", log.String())
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func write(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func b64(der []byte) string { return base64.StdEncoding.EncodeToString(der) }

// TestLDAP asks OpenLDAP: over TLS and STARTTLS, with and without a login; and
// an address cannot become a filter.
func TestLDAP(t *testing.T) {
	issuer := newCA()
	bob, carol := issuer.mail("bob@partner.example"), issuer.mail("carol@partner.example")
	dan, key := issuer.issue(func(c *x509.Certificate) { c.EmailAddresses = []string{"dan@partner.example"} })
	bag := must(cms.Sign(strings.NewReader(""), cms.Signer{Cert: dan, Chain: []*x509.Certificate{issuer.cert}, Key: key}, cms.SignOptions{Time: now}))
	ldap, ldaps := slapd(t, issuer, map[string]string{
		"bob@partner.example":              "userCertificate;binary:: " + b64(bob.Raw) + "\n",
		"carol@partner.example ou=closed,": "userCertificate;binary:: " + b64(carol.Raw) + "\n",
		"dan@partner.example":              "userSMIMECertificate:: " + b64(bag) + "\n",
		"nokey@partner.example":            "",
	})
	roots := x509.NewCertPool()
	roots.AddCert(issuer.cert)
	for _, c := range []struct {
		name, url, bind, address string
		want                     int
	}{
		{"TLS", ldaps, "", "bob@partner.example", 1},
		{"STARTTLS", ldap, "", "bob@partner.example", 1},
		{"PKCS #7", ldaps, "", "dan@partner.example", 1},
		{"nobody", ldaps, "", "nobody@partner.example", 0},
		{"no certificate", ldaps, "", "nokey@partner.example", 0},
		{"closed", ldaps, "", "carol@partner.example", 0},
		{"closed, with a login", ldaps, "cn=admin,dc=example", "carol@partner.example", 1},
		{"a star", ldaps, "", `"*"@partner.example`, 0},
		{"a filter", ldaps, "", `"x)(mail=*"@partner.example`, 0},
	} {
		l := LDAP{URL: c.url, Base: "dc=example", BindDN: c.bind, Password: "geheim", Roots: roots}
		found, err := l.Find(t.Context(), addr(c.address))
		if err != nil || len(found) != c.want {
			t.Errorf("%s: %d found, %v", c.name, len(found), err)
		}
	}
	for name, l := range map[string]LDAP{
		"wrong password":           {URL: ldaps, Base: "dc=example", BindDN: "cn=admin,dc=example", Password: "falsch", Roots: roots},
		"unknown issuer":           {URL: ldaps, Base: "dc=example", Roots: x509.NewCertPool()},
		"STARTTLS, unknown issuer": {URL: ldap, Base: "dc=example", Roots: x509.NewCertPool()},
		"nobody there":             {URL: "ldaps://" + freePort(t), Base: "dc=example", Roots: roots},
	} {
		if found, err := l.Find(t.Context(), addr("bob@partner.example")); err == nil || len(found) > 0 || strings.Contains(err.Error(), "bob") || strings.Contains(err.Error(), "falsch") {
			t.Errorf("%s: %d found, %v", name, len(found), err)
		}
	}
	if found, err := (LDAP{URL: ldaps, Base: "dc=other", Roots: roots}).Find(t.Context(), addr("bob@partner.example")); err != nil || len(found) > 0 {
		t.Errorf("another base: %d, %v", len(found), err)
	}
}

func TestLDAPCheck(t *testing.T) {
	for url, ok := range map[string]bool{"ldaps://d.example": true, "ldap://d.example:389": true, "http://d.example": false, "ldaps://u:p@d.example": false, "ldaps://": false, "::": false} {
		if err := (LDAP{URL: url}).Check(); (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
	for filter, ok := range map[string]bool{"(&(mail=%s)(objectClass=person))": true, "(mail=x)": false, "(mail=%s": false, "(|(mail=%s)(x=%s))": false} {
		if err := (LDAP{URL: "ldaps://d.example", Filter: filter}).Check(); (err == nil) != ok {
			t.Errorf("%s: %v", filter, err)
		}
	}
}

// TestHostileLDAP: a server that nests without end, or never ends, is given up.
func TestHostileLDAP(t *testing.T) {
	issuer := newCA()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	nested := bytes.Repeat([]byte{0x30, 0x80}, 2<<20)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = c.Write(nested); _ = c.Close() }()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	roots := x509.NewCertPool()
	roots.AddCert(issuer.cert)
	if _, err := (LDAP{URL: "ldap://" + l.Addr().String(), Base: "x", Roots: roots}).Find(ctx, addr("a@b.example")); err == nil {
		t.Error("no error")
	}
	b := &boundedConn{left: 0}
	if n, err := b.Read(make([]byte, 10)); n != 0 || err == nil {
		t.Errorf("%d, %v", n, err)
	}
}
