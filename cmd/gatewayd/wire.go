package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"gatewayd/audit"
	"gatewayd/config"
	"gatewayd/connectors"
	"gatewayd/connectors/incamail"
	"gatewayd/connectors/privasphere"
	"gatewayd/connectors/smtpclient"
	"gatewayd/connectors/smtprelay"
	"gatewayd/crypto/seal"
	"gatewayd/directory"
	"gatewayd/gateway"
	"gatewayd/gateway/forms"
	"gatewayd/gateway/keydesk"
	"gatewayd/keybook"
	"gatewayd/keysources"
	"gatewayd/message"
	"gatewayd/queue/bolt"
	"gatewayd/vault"
)

// loadConfig reads the configuration and prints every mistake.
func loadConfig(path string, c console) (*config.Config, error) {
	cfg, problems := config.Load(path, time.Now())
	for _, p := range problems {
		fmt.Fprintln(c.err, p)
	}
	if cfg == nil || len(problems) > 0 {
		return nil, fmt.Errorf("%d mistakes in the configuration; gatewayd config describe explains every key", len(problems))
	}
	return cfg, nil
}

// parts is an open installation.
type parts struct {
	cfg     *config.Config
	taps    taps
	keys    *seal.Keyring
	vault   *vault.Vault
	store   *bolt.Store
	audit   *audit.Log
	gateway *gateway.Gateway
	erase   *gateway.Retention
	pool    *smtpclient.Pool // connections to the next systems that wait for the next message
}

// open opens the data folder and wires the flow; nothing runs yet.
func open(cfg *config.Config, log *slog.Logger, now func() time.Time) (_ *parts, err error) {
	p := &parts{cfg: cfg, taps: newTaps()}
	now = p.taps.clock(now)
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, err
	}
	if p.keys, err = seal.Open(filepath.Join(cfg.Data, "keys"), cfg.Master); err != nil {
		return nil, err
	}
	if p.vault, err = vault.Open(vault.Options{Dir: filepath.Join(cfg.Data, "vault"), Keys: p.keys, Over: gateway.Over(p.latest(now)), Hooks: p.taps.vault()}); err != nil {
		return nil, err
	}
	if p.store, err = bolt.Open(bolt.Options{
		Path: filepath.Join(cfg.Data, "ledger.db"), Keys: p.keys, Now: now, Hooks: p.taps.bolt(),
		LogDay: func(t time.Time) string { return cfg.Windows.LogDay(t).String() },
	}); err != nil {
		return nil, err
	}
	if p.audit, err = audit.Open(filepath.Join(cfg.Data, "audit"), p.keys); err != nil {
		return nil, err
	}
	keys, err := p.keySources(log, now)
	if err != nil {
		return nil, err
	}
	p.pool = smtpclient.NewPool(smtpclient.PoolOptions{PerDestination: cfg.Delivery.Concurrency})
	links, err := connect(cfg, p.pool)
	if err != nil {
		return nil, err
	}
	sealing := cfg.Evidence
	sealing.Software = "gatewayd " + version
	var scanner forms.Scanner
	if cfg.Scanner != nil {
		scanner = cfg.Scanner
	}
	p.gateway, err = gateway.New(gateway.Options{
		Hostname: cfg.Hostname, Data: cfg.Data, ReferencePrefix: cfg.File.Policy.ReferencePrefix, Authorities: cfg.Authorities,
		Vault: p.vault, Store: p.taps.store(p.store), Audit: p.audit, Policy: cfg.Rules, Vocabulary: cfg.Words, Directory: cfg.People.Get,
		Keys: keys, Scanner: scanner, Connectors: p.taps.links(links), Platforms: cfg.Platforms, Recogniser: cfg.Recogniser, Footers: cfg.Footers, Windows: cfg.Windows, Agreements: cfg.Agreements, Legal: cfg.Legal, Evidence: sealing, Delivery: cfg.Delivery,
		Now: now, Log: log,
	})
	if err != nil {
		return p, err
	}
	p.erase, err = p.gateway.NewRetention(gateway.RetentionOptions{Keys: p.keys, Ledger: p.taps.ledger(p.store), Fallback: cfg.Fallback, Software: "gatewayd " + version, Config: cfg.Digest, Remind: cfg.File.Retention.Remind, Hook: p.taps.sweep()})
	return p, err
}

// latest is the wall clock, or its high-water mark where that is later.
func (p *parts) latest(now func() time.Time) func() time.Time {
	return func() time.Time {
		if p.erase == nil { // nothing runs yet
			return now()
		}
		return p.erase.Latest()
	}
}

// keySources wires where keys come from.
func (p *parts) keySources(log *slog.Logger, now func() time.Time) (keydesk.Sources, error) {
	l := p.cfg.Lookups
	secret, err := p.keys.IndexKey("") // of the gateway itself; the book derives its own from it
	if err != nil {
		return keydesk.Sources{}, err
	}
	if p.cfg.Ring.Agent() != nil {
		if err := p.cfg.Ring.Reload(); err != nil {
			return keydesk.Sources{}, err
		}
	}
	book, err := keybook.Open(filepath.Join(p.cfg.Data, "keybook"), secret)
	if err != nil {
		return keydesk.Sources{}, err
	}
	k := keydesk.Sources{
		Folder: p.cfg.Ring.Get, Reload: p.cfg.Ring.Reload, Book: book, Order: l.Order, Harvest: l.Learn, Keep: l.Keep,
		Revocation: keysources.NewRevocation(keysources.NewFetcher(l.Status), l.Revocation, now),
	}
	if len(l.Sources) > 0 {
		k.Lookup = keysources.New(keysources.Options{
			Sources: l.Sources, Book: book, Now: now, Log: log,
			Arrived: func(a message.Address, got []keysources.Attempt) { p.gateway.KeysFound(a, got) },
		})
	}
	return k, nil
}

// connect names every connector. There is no registry. They share one pool, which
// keeps apart what differs in destination or credentials.
func connect(cfg *config.Config, pool *smtpclient.Pool) (map[string]connectors.Connector, error) {
	links := map[string]connectors.Connector{}
	var errs []error
	add := func(c connectors.Connector, err error) {
		if err != nil {
			errs = append(errs, err)
			return
		}
		links[c.Name()] = c
	}
	if cfg.IncaMail != nil {
		o := *cfg.IncaMail
		o.Link.Pool = pool
		add(incamail.New(o))
	}
	if cfg.PrivaSphere != nil {
		o := *cfg.PrivaSphere
		o.Link.Pool = pool
		add(privasphere.New(o))
	}
	relay := func(o smtprelay.Options) {
		o.Link.Pool = pool
		add(smtprelay.New(o))
	}
	relay(cfg.Relay)
	for _, o := range cfg.Sealed {
		relay(o)
	}
	for _, o := range cfg.Forwards {
		relay(o)
	}
	return links, errors.Join(errs...)
}

func (p *parts) close() error {
	var errs []error
	for _, c := range []io.Closer{closer(p.pool != nil, p.pool), closer(p.store != nil, p.store), closer(p.vault != nil, p.vault)} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

func closer(open bool, c io.Closer) io.Closer {
	if !open {
		return nil
	}
	return c
}

// accounts answers the door's questions about who signs in.
type accounts struct {
	*gateway.Gateway
	passwords    *directory.Accounts
	certificates map[string]string // DNS name in a client certificate → account
}

// Password checks a login.
func (a accounts) Password(name, password string) (string, bool) {
	return name, a.passwords.Check(name, password)
}

// Certificate finds the account of a verified client certificate.
func (a accounts) Certificate(cert *x509.Certificate) (string, bool) {
	for _, name := range cert.DNSNames {
		if account, ok := a.certificates[name]; ok {
			return account, true
		}
	}
	return "", false
}

// quietLog is for commands whose answer is on standard output.
func quietLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

var _ interface {
	Authority(account string) string
	MayUse(account string, from message.Address) bool
} = accounts{}
