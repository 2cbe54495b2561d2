package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"gatewayd/config"
	"gatewayd/message"
	"gatewayd/simulator"
)

// pair is both simulated platforms.
type pair struct {
	incamail, privasphere *simulator.Platform
}

// newPair makes both platforms of a development configuration, which delivers
// to the gateway's inbound port.
func newPair(cfg *config.Config, clock simulator.Clock, inbound string, log *slog.Logger) (pair, error) {
	dir := filepath.Dir(cfg.Path)
	roots, err := rootsIn(filepath.Join(dir, config.SimulatorCA))
	if err != nil {
		return pair{}, err
	}
	deliver := simulator.Delivery{Addr: inbound, TLS: &tls.Config{RootCAs: roots, ServerName: cfg.Hostname, MinVersion: tls.VersionTLS12}}
	platform := func(kind simulator.Kind, host, server, seal string, tags map[message.Class]string) (*simulator.Platform, error) {
		cert, err := tls.LoadX509KeyPair(filepath.Join(dir, server+".crt"), filepath.Join(dir, server+".key"))
		if err != nil {
			return nil, err
		}
		s, err := simulator.LoadCertificate(filepath.Join(dir, seal+".crt"), filepath.Join(dir, seal+".key"), filepath.Join(dir, config.SimulatorAnchors))
		if err != nil {
			return nil, err
		}
		return simulator.New(simulator.Options{
			Kind: kind, Hostname: host, TLS: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, ClientCAs: roots,
			Customers: []simulator.Customer{{Domain: "bl.example", Certificate: "bl.example"}}, Seal: s, Deliver: deliver, Clock: clock, Tags: tags, Log: log,
		})
	}
	var p pair
	if p.incamail, err = platform(simulator.IncaMail, "mgi.incamail.example", config.IncaMailServer, config.IncaMailSeal, nil); err != nil {
		return p, err
	}
	if p.privasphere, err = platform(simulator.PrivaSphere, "smtp.privasphere.example", config.PrivaSphereServer, config.PrivaSphereSeal, cfg.Platforms["privasphere"].State.Tags); err != nil {
		p.incamail.Close()
		return p, err
	}
	p.incamail.Peer(p.privasphere)
	for _, r := range []struct {
		at      *simulator.Platform
		address string
	}{{p.incamail, "buerger@example.ch"}, {p.incamail, "nachbar@example.ch"}, {p.privasphere, "firma@example.ch"}, {p.privasphere, "nachbar@example.ch"}} {
		r.at.SetRecipient(r.address, simulator.Profile{Kind: simulator.Native})
	}
	return p, nil
}

// newTSA is the time-stamping authority of a development configuration.
func newTSA(dir string, now func() time.Time) (*http.Server, error) {
	cert, err := simulator.LoadCertificate(filepath.Join(dir, config.TimeStamps+".crt"), filepath.Join(dir, config.TimeStamps+".key"), filepath.Join(dir, config.SimulatorCA))
	if err != nil {
		return nil, err
	}
	return &http.Server{Handler: &simulator.TSA{Cert: cert, Now: now}, ReadHeaderTimeout: 10 * time.Second}, nil
}

func rootsIn(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: no certificate in it", path)
	}
	return pool, nil
}

func (p pair) close() error { return errors.Join(p.incamail.Close(), p.privasphere.Close()) }

type simulateCmd struct {
	configFlag
	Control string `default:"127.0.0.1:12080" help:"Loopback address of the REST control: /incamail/… and /privasphere/…"`
}

// Help shows examples.
func (simulateCmd) Help() string {
	return `Runs both platforms and a time-stamping authority of a development configuration (gatewayd init). Recipients wait until somebody acts for them:
  curl -X POST 127.0.0.1:12080/incamail/messages/ID/accept
  curl 127.0.0.1:12080/incamail/messages
  curl -X POST 127.0.0.1:12080/incamail/clock/advance -d '{"by":"7d"}'`
}

// clockFromNow runs like the wall clock, and can be advanced.
type clockFromNow struct {
	*simulator.VirtualClock
	start time.Time
}

// Now implements simulator.Clock.
func (c clockFromNow) Now() time.Time { return c.VirtualClock.Now().Add(time.Since(c.start)) }

func newClock() clockFromNow {
	now := time.Now()
	return clockFromNow{simulator.NewVirtualClock(now.Round(0)), now}
}

// Run serves until interrupted.
func (s simulateCmd) Run(c console) error {
	cfg, err := loadConfig(s.Config, c)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p, err := newPair(cfg, newClock(), cfg.File.Listen.Inbound.Addr, slog.Default())
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.listen(cfg); err != nil {
		return err
	}
	stamps, err := newTSA(filepath.Dir(cfg.Path), newClock().Now)
	if err != nil {
		return err
	}
	defer stamps.Close()
	if u, err := url.Parse(cfg.File.Evidence.TSA); err == nil && u.Host != "" {
		l, err := net.Listen("tcp", u.Host)
		if err != nil {
			return err
		}
		go stamps.Serve(l)
	}
	mux := http.NewServeMux()
	mux.Handle("/incamail/", http.StripPrefix("/incamail", p.incamail.Handler()))
	mux.Handle("/privasphere/", http.StripPrefix("/privasphere", p.privasphere.Handler()))
	l, err := net.Listen("tcp", s.Control)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	fmt.Fprintf(c.out, "both platforms run; control at http://%s/incamail/messages and /privasphere/messages\n", l.Addr())
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// listen opens the platforms' own ports.
func (p pair) listen(cfg *config.Config) error {
	for addr, platform := range map[string]*simulator.Platform{cfg.File.Platform.IncaMail.Smarthost: p.incamail, cfg.File.Platform.PrivaSphere.Smarthost: p.privasphere} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		go platform.Serve(l)
	}
	return nil
}
