package config

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gatewayd/api"
	"gatewayd/connectors/incamail"
	"gatewayd/connectors/privasphere"
	"gatewayd/connectors/smtprelay"
	"gatewayd/directory"
	"gatewayd/gateway"
	"gatewayd/gateway/cases"
	"gatewayd/legal"
	"gatewayd/mail/footer"
	"gatewayd/message"
	"gatewayd/policy"
	"gatewayd/receipts"
	"gatewayd/retention"
	"gatewayd/scan"
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
	Footers     map[string]footer.Footer // that routes name
	Legal       legal.Rules
	Windows     retention.Windows
	Agreements  []retention.Agreement
	Authorities []gateway.Authority
	Fallback    map[string]*x509.Certificate // authority → to whom its unclaimed mail is encrypted before erasure
	Digest      string                       // SHA-256 of the file, for the protocols of destruction
	Platforms   map[string]gateway.Platform
	Delivery    gateway.Delivery
	Recogniser  *receipts.Recogniser
	Evidence    cases.Sealing // without a seal: no bundles
	IncaMail    *incamail.Options
	PrivaSphere *privasphere.Options
	Relay       smtprelay.Options            // ordinary mail
	Sealed      []smtprelay.Options          // mail that the gateway has encrypted: S/MIME, OpenPGP
	Forwards    map[string]smtprelay.Options // authority → its own mail server
	Ring        *KeyRing
	Lookups     Lookups
	Scanner     *scan.Clamd       // nil: nobody looks for malware
	Tokens      *directory.Tokens // nil: no API
	Hooks       []api.Hook
	Collector   *Collector // nil: the audit log is not sent on
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
	if d.broken() {
		return nil, sorted(d.problems)
	}
	b := builder{document: d, dir: filepath.Dir(path), now: now}
	c := b.build()
	c.Path, c.Digest, c.Warnings = path, message.Digest(sha256.Sum256(text)).String(), sorted(b.warnings)
	return c, sorted(b.problems)
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
	now      time.Time
	warnings []Problem
}

func (b *builder) build() *Config {
	f := &b.file
	f.Archive.Schemas = b.path(f.Archive.Schemas)
	f.Data, f.Directory, f.Accounts, f.Keyring, f.API.Tokens, f.Keys.Agent = b.path(f.Data), b.path(f.Directory), b.path(f.Accounts), b.path(f.Keyring), b.path(f.API.Tokens), b.path(f.Keys.Agent)
	c := &Config{File: *f}
	c.Windows = retention.Windows{Profile: f.Retention.Profile, ContentMonths: f.Retention.ContentMonths, LogMonths: f.Retention.LogMonths, LegalBasis: f.Retention.LogLegalBasis}
	b.note(b.retentionKey, c.Windows.Validate())
	b.doors(c)
	b.people(c)
	b.agreements(c)
	b.archive()
	b.programs(c)
	b.audit(c)
	b.keyring(c)
	b.keyAgent(&Agent{})
	b.keySources(c)
	b.scanner(c)
	b.rules(c)
	b.legal(c)
	b.links(c)
	b.receipts(c)
	b.evidence(c)
	b.delivery(c)
	if len(b.problems) == 0 {
		b.noteTests(c)
	}
	return c
}

// path resolves a file name against the folder of the configuration.
func (b *builder) path(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(b.dir, name)
}

// add notes a mistake at a key, unless the value there could not be read and
// that was said already.
func (b *builder) add(key, format string, args ...any) {
	if !b.isWrong(key) {
		b.document.add(key, format, args...)
	}
}

// bad notes a mistake and keeps quiet about its consequences.
func (b *builder) bad(key, format string, args ...any) {
	b.add(key, format, args...)
	b.wrong[key] = true
}

// note adds every error that is joined in err; place finds its key and may
// take off what the key says already.
func (b *builder) note(place func(text string) (key, rest string), err error) {
	for _, e := range leaves(err) {
		key, text := place(e.Error())
		b.add(key, "%s", text)
	}
}

// leaves takes joined errors apart.
func leaves(err error) []error {
	if err == nil {
		return nil
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if many, ok := e.(interface{ Unwrap() []error }); ok {
			var all []error
			for _, e := range many.Unwrap() {
				all = append(all, leaves(e)...)
			}
			return all
		}
	}
	return []error{err}
}

// retentionKey finds the key of "content_months = 3: …".
func (b *builder) retentionKey(text string) (key, rest string) {
	key, rest, _ = strings.Cut(text, " ")
	return "retention." + key, strings.TrimPrefix(rest, "= ")
}

// warn notes what works and should still be looked at.
func (b *builder) warn(key, format string, args ...any) {
	before := len(b.problems)
	b.add(key, format, args...)
	b.warnings = append(b.warnings, b.problems[before:]...)
	b.problems = b.problems[:before]
}
