package config

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"io"
	"os"
	"regexp"
	"strings"

	"gatewayd/keyagent"
)

// maxNamed bounds each file that the configuration names: secrets and PEM.
const maxNamed = 4 << 20

// read returns a file that the configuration names.
func (b *builder) read(key, name string) ([]byte, bool) {
	f, err := os.Open(b.path(name))
	if err != nil {
		b.bad(key, "%s: %s", name, plainError(err))
		return nil, false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxNamed+1))
	if err != nil {
		b.bad(key, "%s: %s", name, plainError(err))
		return nil, false
	}
	if len(text) > maxNamed {
		b.bad(key, "%s: larger than %d MiB", name, maxNamed>>20)
		return nil, false
	}
	return text, true
}

// private warns when others than the owner can read the file.
func (b *builder) private(key, name string) {
	if info, err := os.Stat(b.path(name)); err == nil && info.Mode().Perm()&0o077 != 0 {
		b.warn(key, "%s can be read by others: chmod 600", name)
	}
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// secret reads a value that stands elsewhere.
func (b *builder) secret(key string, s Secret) string {
	var value string
	switch {
	case s.File != "" && s.Env != "":
		b.bad(key, "has both file and env: keep one")
		return ""
	case s.Env != "" && !variable.MatchString(s.Env): // perhaps the secret itself
		b.bad(key+".env", "is no name of an environment variable")
		b.wrong[key] = true
		return ""
	case s.Env != "":
		if value = os.Getenv(s.Env); value == "" {
			b.bad(key, "environment variable %s is not set", s.Env)
		}
		return value
	case s.File == "":
		b.bad(key, `is missing: write { file = "…" } or { env = "…" }`)
		return ""
	}
	text, ok := b.read(key, s.File)
	if !ok {
		return ""
	}
	b.private(key, s.File)
	if value = strings.TrimRight(string(text), "\r\n"); value == "" {
		b.bad(key, "%s is empty", s.File)
	}
	return value
}

// master reads the master key.
func (b *builder) master() []byte {
	m := b.file.MasterKey
	if m.Agent {
		return b.agentMaster()
	}
	key, err := hex.DecodeString(b.secret("master_key", Secret{m.File, m.Env}))
	if err != nil || len(key) != 32 {
		b.bad("master_key", "must be 32 bytes as 64 hexadecimal digits: openssl rand -hex 32")
	}
	return key
}

// agentMaster asks the key agent for it.
func (b *builder) agentMaster() []byte {
	switch m := b.file.MasterKey; {
	case m.File != "" || m.Env != "":
		b.bad("master_key", "has both agent and file or env: keep one")
		return nil
	case b.file.Keys.Agent == "":
		b.bad("master_key", "agent: there is no keys.agent")
		return nil
	}
	client := keyagent.NewClient(b.path(b.file.Keys.Agent))
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), agentTime)
	defer cancel()
	key, err := client.Master(ctx)
	if err != nil {
		b.bad("master_key", "%v (systemctl status gatewayd-keyagent)", err)
	}
	return key
}

func (b *builder) certificate(key string, c Certificate) (pair tls.Certificate, ok bool) {
	if c.Cert == "" && c.Key == "" {
		return pair, false
	}
	if c.Cert == "" || c.Key == "" {
		b.bad(key, "needs both cert and key")
		return pair, false
	}
	cert, certOK := b.read(key+".cert", c.Cert)
	private, keyOK := b.read(key+".key", c.Key)
	if !certOK || !keyOK {
		return pair, false
	}
	b.private(key+".key", c.Key)
	pair, err := tls.X509KeyPair(cert, private)
	if err != nil {
		b.bad(key, "%s, %s: %s", c.Cert, c.Key, strings.TrimPrefix(err.Error(), "tls: "))
		return pair, false
	}
	b.current(key, c.Cert, pair.Leaf)
	return pair, true
}

// current warns of a certificate that is not valid today.
func (b *builder) current(key, name string, c *x509.Certificate) {
	switch {
	case c == nil:
	case b.now.After(c.NotAfter):
		b.warn(key, "%s: the certificate ended on %s", name, c.NotAfter.Format("2006-01-02"))
	case b.now.Before(c.NotBefore):
		b.warn(key, "%s: the certificate begins on %s", name, c.NotBefore.Format("2006-01-02"))
	}
}

// serverCertificate is the one of our doors.
func (b *builder) serverCertificate() tls.Certificate {
	pair, ok := b.certificate("tls", b.file.TLS)
	switch {
	case b.file.TLS == Certificate{}:
		b.add("tls", "is missing: no door opens without a certificate")
	case ok && validHost(b.file.Hostname) && pair.Leaf.VerifyHostname(b.file.Hostname) != nil:
		b.warn("tls", "%s does not carry the hostname %s", b.file.TLS.Cert, b.file.Hostname)
	}
	return pair
}

// pool reads a PEM file of issuers; nil when none is named.
func (b *builder) pool(key, name string) *x509.CertPool {
	if name == "" {
		return nil
	}
	text, ok := b.read(key, name)
	if !ok {
		return nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		b.bad(key, "%s: no PEM certificate in it", name)
		return nil
	}
	return pool
}

// fallbackKey reads the certificate to which unclaimed mail will be encrypted.
func (b *builder) fallbackKey(key, name string) *x509.Certificate {
	text, ok := b.read(key, name)
	if !ok {
		return nil
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		b.bad(key, "%s: does not begin with a PEM certificate", name)
		return nil
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		b.bad(key, "%s: %s", name, strings.TrimPrefix(err.Error(), "x509: "))
		return nil
	}
	if c.PublicKeyAlgorithm != x509.RSA && c.PublicKeyAlgorithm != x509.ECDSA {
		b.bad(key, "%s: nothing can be encrypted to a key of type %s: use RSA or EC", name, c.PublicKeyAlgorithm)
	}
	b.current(key, name, c)
	return c
}
