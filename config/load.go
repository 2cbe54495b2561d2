package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gatewayd/connectors/incamail"
	"gatewayd/connectors/privasphere"
	"gatewayd/connectors/smtprelay"
	"gatewayd/directory"
	"gatewayd/gateway"
	"gatewayd/message"
	"gatewayd/policy"
	"gatewayd/receipts"
	"gatewayd/retention"
)

// Config is a configuration that has been read and found right: the values of
// every package, ready to be wired.
type Config struct {
	File // as written, with defaults

	Path     string // of the file
	Warnings []Problem

	Master       []byte // master key, 32 octets
	Certificate  tls.Certificate
	ClientCAs    *x509.CertPool // nil: passwords only
	Passwords    *directory.Accounts
	Certificates map[string]string // name in a client certificate → account

	People      *directory.Live
	Words       policy.Vocabulary
	Rules       *policy.Policy
	Windows     retention.Windows
	Authorities []gateway.Authority
	Platforms   map[string]gateway.Platform
	Delivery    gateway.Delivery
	Recogniser  *receipts.Recogniser
	IncaMail    *incamail.Options
	PrivaSphere *privasphere.Options
	Relay       smtprelay.Options
}

// Load reads a configuration and everything it names: secrets, certificates,
// directory, password file. It reports every mistake at once; with any, the
// Config must not be used.
func Load(path string, now time.Time) (*Config, []Problem) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, []Problem{{File: path, Text: plainError(err) + "; gatewayd init writes a first one"}}
	}
	d := parse(path, text)
	if len(d.problems) > 0 {
		return nil, d.problems
	}
	b := builder{document: d, dir: filepath.Dir(path)}
	c := b.build(now)
	c.Path = path
	return c, b.problems
}

// plainError leaves the operation out: "no such file or directory".
func plainError(err error) string {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// builder turns the file into values, noting every mistake at its key.
type builder struct {
	*document
	dir      string
	warnings []Problem
}

func (b *builder) build(now time.Time) *Config {
	f := &b.file
	f.Data, f.Directory, f.Accounts = b.path(f.Data), b.path(f.Directory), b.path(f.Accounts)
	c := &Config{File: *f}
	c.Windows = retention.Windows{ContentMonths: f.Retention.ContentMonths, LogMonths: f.Retention.LogMonths}
	b.note("retention", c.Windows.Validate())
	b.doors(c)
	b.people(c)
	b.rules(c)
	b.links(c)
	b.receipts(c)
	b.delivery(c)
	if len(b.problems) == 0 {
		b.noteTests(c, now)
	}
	c.Warnings = b.warnings
	return c
}

// path resolves a file name against the folder of the configuration.
func (b *builder) path(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(b.dir, name)
}

// note adds an error, and each of joined ones, at a key.
func (b *builder) note(key string, err error) {
	if err == nil {
		return
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			b.note(key, e)
		}
		return
	}
	b.add(key, "%v", err)
}

func (b *builder) warn(key, format string, args ...any) {
	before := len(b.problems)
	b.add(key, format, args...)
	b.warnings = append(b.warnings, b.problems[before:]...)
	b.problems = b.problems[:before]
}

// secret reads a value that stands elsewhere.
func (b *builder) secret(key string, s Secret) string {
	switch {
	case s.File != "" && s.Env != "":
		b.add(key, "has both file and env: keep one")
	case s.Env != "":
		if v := os.Getenv(s.Env); v != "" {
			return v
		}
		b.add(key, "environment variable %s is not set", s.Env)
	case s.File != "":
		text, err := os.ReadFile(b.path(s.File))
		if err != nil {
			b.add(key, "%s: %s", s.File, plainError(err))
			return ""
		}
		if info, err := os.Stat(b.path(s.File)); err == nil && info.Mode().Perm()&0o077 != 0 {
			b.warn(key, "%s can be read by others: chmod 600", s.File)
		}
		return strings.TrimRight(string(text), "\r\n")
	}
	return ""
}

func (b *builder) certificate(key string, c Certificate) (pair tls.Certificate, ok bool) {
	if c.Cert == "" && c.Key == "" {
		return pair, false
	}
	if c.Cert == "" || c.Key == "" {
		b.add(key, "needs both cert and key")
		return pair, false
	}
	pair, err := tls.LoadX509KeyPair(b.path(c.Cert), b.path(c.Key))
	if err != nil {
		b.add(key, "%s, %s: %v", c.Cert, c.Key, strings.TrimPrefix(plainError(err), "tls: "))
		return pair, false
	}
	return pair, true
}

// pool reads a PEM file of issuers; nil when none is named.
func (b *builder) pool(key, name string) *x509.CertPool {
	if name == "" {
		return nil
	}
	text, err := os.ReadFile(b.path(name))
	if err != nil {
		b.add(key, "%s: %s", name, plainError(err))
		return nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		b.add(key, "%s: no PEM certificate in it", name)
	}
	return pool
}

func (b *builder) doors(c *Config) {
	f := &b.file
	master, err := hex.DecodeString(b.secret("master_key", f.MasterKey))
	if err != nil || len(master) != 32 {
		b.add("master_key", "must be 32 bytes as 64 hexadecimal digits: openssl rand -hex 32")
	}
	c.Master = master
	c.Certificate, _ = b.certificate("tls", f.TLS)
	c.ClientCAs = b.pool("client_ca", f.ClientCA)
	for key, l := range map[string]Listener{"listen.submission": f.Listen.Submission, "listen.submission_tls": f.Listen.SubmissionTLS, "listen.inbound": f.Listen.Inbound} {
		if l.Addr != "" && !strings.Contains(l.Addr, ":") {
			b.add(key, "%q has no port: write host:port or :port", l.Addr)
		}
	}
	if !validHost(f.Hostname) {
		b.add("hostname", "%q is no host name", f.Hostname)
	}
}

func validHost(s string) bool {
	_, err := message.ParseAddress("postmaster@" + s)
	return err == nil && strings.Contains(s, ".")
}

func (b *builder) people(c *Config) {
	f := &b.file
	for _, id := range slices.Sorted(maps.Keys(f.Authority)) {
		c.Authorities = append(c.Authorities, b.authority(id, f.Authority[id]))
	}
	b.unique(c.Authorities)
	c.Certificates = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(f.Account)) {
		key := joinKey("account", name)
		if !slices.ContainsFunc(c.Authorities, func(a gateway.Authority) bool { return slices.Contains(a.Accounts, name) }) {
			b.add(key, "is in no authority's members")
		}
		if cert := f.Account[name].Certificate; cert != "" {
			if other, taken := c.Certificates[cert]; taken {
				b.add(key, "the certificate name signs in as %s already", other)
			}
			c.Certificates[cert] = name
		}
	}
	var problems []directory.Problem
	c.Passwords, problems = directory.LoadAccounts(f.Accounts)
	b.foreign(problems)
	c.People, problems = directory.Open(f.Directory)
	b.foreign(problems)
}

// foreign takes over mistakes in the files that the configuration names.
func (b *builder) foreign(problems []directory.Problem) {
	for _, p := range problems {
		b.problems = append(b.problems, Problem{File: p.File, Line: p.Line, Column: p.Column, Text: p.Text})
	}
}

func (b *builder) authority(id string, a Authority) gateway.Authority {
	key := joinKey("authority", id)
	out := gateway.Authority{ID: id, Name: a.Name, Accounts: a.Members, Platforms: map[string]message.Address{}}
	for i, s := range a.Addresses {
		addr, err := message.ParseAddress(s)
		if err != nil || addr.IsNull() {
			b.add(key+".addresses"+index(i+1), "%q: not a mail address", s)
			continue
		}
		out.Addresses = append(out.Addresses, addr)
	}
	for _, name := range slices.Sorted(maps.Keys(a.Platforms)) {
		addr, err := message.ParseAddress(a.Platforms[name])
		if err != nil || addr.IsNull() {
			b.add(key+".platforms."+name, "%q: not a mail address", a.Platforms[name])
		}
		if !slices.Contains(policy.Platforms(), name) {
			b.add(key+".platforms."+name, "unknown platform%s", suggest(name, policy.Platforms()))
		}
		out.Platforms[name] = addr
	}
	if text, err := os.ReadFile(b.path(a.FallbackKey)); err != nil {
		b.add(key+".fallback_key", "%s: %s", a.FallbackKey, plainError(err))
	} else if block, _ := pem.Decode(text); block == nil || block.Type != "CERTIFICATE" {
		b.add(key+".fallback_key", "%s: no PEM certificate", a.FallbackKey)
	}
	return out
}

// unique: an address and an account belong to one authority only.
func (b *builder) unique(all []gateway.Authority) {
	owner := map[string]string{}
	claim := func(what, id string) {
		if other, taken := owner[what]; taken && other != id {
			b.add(joinKey("authority", id), "%s belongs to authority %s already", what, other)
		}
		owner[what] = id
	}
	for _, a := range all {
		for _, addr := range a.Addresses {
			claim(addr.Key(), a.ID)
		}
		for _, account := range a.Accounts {
			claim("account "+account, a.ID)
		}
	}
}

func (b *builder) rules(c *Config) {
	f := &b.file
	words := policy.DefaultVocabulary()
	if len(f.Vocabulary.Tags) > 0 {
		words.Tags = map[string]message.Class{}
		for tag, class := range f.Vocabulary.Tags {
			words.Tags[tag] = message.Class(class)
		}
	}
	if len(f.Vocabulary.Suffixes) > 0 {
		words.Suffixes = f.Vocabulary.Suffixes
	}
	words.Header = f.Vocabulary.Header
	c.Words = words
	o := policy.Options{Vocabulary: words, BulkLimit: f.Policy.BulkLimit, IgnoreAHV: !f.Policy.AHV, HoldFor: time.Duration(f.Delivery.HoldReturn), GiveUpLimit: c.Windows.GiveUpLimit()}
	for _, r := range f.Route {
		o.Routes = append(o.Routes, policy.Route{Name: r.Name, When: r.When, Via: r.Via, Keep: message.Keep(r.Keep), GiveUp: time.Duration(r.GiveUp)})
	}
	var errs []error
	c.Rules, errs = policy.Compile(o)
	for _, err := range errs {
		b.add(b.routeKey(err), "%v", err)
	}
	for i, r := range f.Route {
		for _, via := range r.Via {
			if via == policy.ViaIncaMail && f.Platform.IncaMail == nil || via == policy.ViaPrivaSphere && f.Platform.PrivaSphere == nil {
				b.add("route"+index(i+1)+".via", "%s is not configured: write [platform.%s]", via, via)
			}
			if via == policy.ViaSMIME || via == policy.ViaOpenPGP {
				b.add("route"+index(i+1)+".via", "%s is not available in this version", via)
			}
		}
	}
}

// routeKey finds the table of the route that an error of the policy names.
func (b *builder) routeKey(err error) string {
	for i, r := range b.file.Route {
		if strings.HasPrefix(err.Error(), fmt.Sprintf("route %q:", r.Name)) {
			return "route" + index(i+1)
		}
	}
	return "vocabulary"
}

func (b *builder) delivery(c *Config) {
	d, l := b.file.Delivery, b.file.Limits
	c.Delivery = gateway.Delivery{
		RetryFirst: time.Duration(d.RetryFirst), RetryMax: time.Duration(d.RetryMax), HoldReturn: time.Duration(d.HoldReturn),
		Concurrency: d.Concurrency, PerTarget: d.PerTarget, ReserveDisk: int64(d.ReserveDisk),
	}
	if d.RetryFirst > d.RetryMax {
		b.add("delivery.retry_first", "is longer than retry_max")
	}
	for key, n := range map[string]int{
		"delivery.concurrency": d.Concurrency, "delivery.per_target": d.PerTarget, "limits.recipients": l.Recipients,
		"limits.connections": l.Connections, "limits.connections_per_ip": l.ConnectionsPerIP,
	} {
		if n < 1 {
			b.add(key, "must be at least 1")
		}
	}
}
