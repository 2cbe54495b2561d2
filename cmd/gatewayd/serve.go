package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"gatewayd/api"
	"gatewayd/config"
	"gatewayd/crypto/keys"
	"gatewayd/message"
	"gatewayd/retention"
	"gatewayd/smtp"
)

// drainTime is how long open sessions and attempts may take after SIGTERM.
const drainTime = 10 * time.Second

type serveCmd struct {
	configFlag
}

// Help shows examples.
func (serveCmd) Help() string {
	return "Examples:\n  gatewayd serve -c /etc/gatewayd/gatewayd.toml\n\nSIGHUP reloads directory, accounts, tokens and keyring; SIGTERM drains and ends."
}

// Run serves until SIGTERM or SIGINT.
func (s serveCmd) Run(c console) error {
	cfg, err := loadConfig(s.Config, c)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintln(c.err, "warning:", w)
	}
	if err := ownKeysOutOfReach(cfg); err != nil {
		return err
	}
	log, closeLog, err := openLog(cfg.File.Log, c)
	if err != nil {
		return err
	}
	defer closeLog()
	if os.Getenv("GOGC") == "" {
		paceCollector()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p, err := open(cfg, log, time.Now)
	if err != nil {
		return err
	}
	defer p.close()
	listeners, err := listen(cfg)
	if err != nil {
		return err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	go p.reload(ctx, hup, log)
	return p.run(ctx, listeners, log)
}

// ownKeysOutOfReach refuses to serve beside a key agent with its keys in reach: then
// they could as well be ours.
func ownKeysOutOfReach(cfg *config.Config) error {
	if cfg.Ring.Agent() == nil {
		return nil
	}
	if found := keys.Readable(cfg.Keyring); len(found) > 0 {
		return fmt.Errorf("%s can be read by the gateway (and %d more), although a key agent is to have the private keys: give the folder %s to the agent's user alone, and run the gateway as another one",
			filepath.Join(cfg.Keyring, found[0]), len(found)-1, filepath.Join(cfg.Keyring, "own"))
	}
	return nil
}

// openLog opens the operational log: the configured file, or standard error.
func openLog(l config.Log, c console) (*slog.Logger, func(), error) {
	out, end := c.err, func() {}
	if l.File != "" {
		f, err := retention.OpenLogFile(retention.LogFileOptions{Path: l.File, MaxSize: int64(l.MaxSize), MaxAge: time.Duration(l.MaxAge), Now: time.Now})
		if err != nil {
			return nil, nil, err
		}
		out, end = f, func() { f.Close() }
	}
	return slog.New(retention.Masked(slog.NewJSONHandler(out, nil))), end, nil
}

// reload reads directory and password file again on each signal; a faulty one is
// refused and the old one stays.
func (p *parts) reload(ctx context.Context, hup <-chan os.Signal, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			files := map[string]interface{ Reload() error }{"directory": p.cfg.People, "accounts": p.cfg.Passwords, "keyring": p.cfg.Ring}
			if p.cfg.Tokens != nil {
				files["tokens"] = p.cfg.Tokens
			}
			for name, file := range files {
				if err := file.Reload(); err != nil {
					log.Error("not reloaded, the old one stays", "file", name, "error", err)
					continue
				}
				log.Info("reloaded", "file", name)
			}
			p.gateway.Wake()
			p.gateway.KeysArrived(message.Address{})
		}
	}
}

// door is one listener with its kind.
type door struct {
	l        net.Listener
	kind     message.Direction
	implicit bool
}

// listen opens every configured address; none stays open when one fails.
func listen(cfg *config.Config) ([]door, error) {
	var doors []door
	for _, d := range []struct {
		addr     string
		kind     message.Direction
		implicit bool
	}{
		{cfg.File.Listen.Submission.Addr, message.Outbound, false},
		{cfg.File.Listen.SubmissionTLS.Addr, message.Outbound, true},
		{cfg.File.Listen.Inbound.Addr, message.Inbound, false},
	} {
		if d.addr == "" {
			continue
		}
		l, err := net.Listen("tcp", d.addr)
		if err != nil {
			for _, open := range doors {
				open.l.Close()
			}
			return nil, err
		}
		doors = append(doors, door{l, d.kind, d.implicit})
	}
	return doors, nil
}

// run works until ctx ends, then drains: doors first, so that nothing new
// comes, then the open attempts.
func (p *parts) run(ctx context.Context, doors []door, log *slog.Logger) error {
	flowCtx, stopFlow := context.WithCancel(context.WithoutCancel(ctx))
	defer stopFlow()
	ready, flow := make(chan struct{}), make(chan error, 1)
	go func() { flow <- p.gateway.Run(flowCtx, ready) }()
	select {
	case <-ready:
	case err := <-flow:
		return err
	}
	servers, err := p.doors(doors, log)
	if err != nil {
		return err
	}
	var serving sync.WaitGroup
	for i, s := range servers {
		serving.Go(func() {
			if err := s.Serve(doors[i].l); err != nil && ctx.Err() == nil {
				log.Error("door closed", "addr", doors[i].l.Addr().String(), "error", err)
			}
		})
	}
	admin, err := p.admin()
	if err != nil {
		return err
	}
	programs, err := p.programs(flowCtx, log)
	if err != nil {
		return err
	}
	programs.Go(func() { p.erase.Run(flowCtx) })
	if p.cfg.Ring.Agent() != nil {
		programs.Go(func() { p.cfg.Ring.Follow(flowCtx, p.gateway.KeyAgent) })
	}
	if err := shrink(); err != nil {
		log.Debug("what only starting needed stays in memory", "error", err)
	}
	log.Info("ready", "version", version)
	select {
	case <-ctx.Done():
	case err = <-flow:
		return fmt.Errorf("flow ended: %w", err)
	}
	drain, done := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer done()
	for _, s := range servers {
		serving.Go(func() { s.Shutdown(drain) })
	}
	serving.Wait()
	stopFlow()
	programs.Wait()
	err = <-flow
	admin.Close()
	log.Info("drained")
	return err
}

// doors makes the SMTP servers.
func (p *parts) doors(doors []door, log *slog.Logger) ([]*smtp.Server, error) {
	auth := accounts{p.gateway, p.cfg.Passwords, p.cfg.Certificates}
	var servers []*smtp.Server
	for _, d := range doors {
		conf := &tls.Config{Certificates: []tls.Certificate{p.cfg.Certificate}, MinVersion: tls.VersionTLS12}
		if d.kind == message.Outbound && p.cfg.ClientCAs != nil {
			conf.ClientCAs, conf.ClientAuth = p.cfg.ClientCAs, tls.VerifyClientCertIfGiven
		}
		l := p.cfg.File.Limits
		s, err := smtp.New(smtp.Options{
			Hostname: p.cfg.Hostname, Kind: d.kind, TLS: conf, ImplicitTLS: d.implicit, Log: log, Now: time.Now,
			Limits: smtp.Limits{
				MessageSize: int64(l.MessageSize), Recipients: l.Recipients, Connections: l.Connections, ConnectionsPerIP: l.ConnectionsPerIP,
				Idle: time.Duration(l.Idle), Data: time.Duration(l.Data), Drain: drainTime,
			},
		}, p.taps.intake(p.gateway), auth)
		if err != nil {
			return nil, err
		}
		servers = append(servers, s)
	}
	return servers, nil
}

// admin serves operators on the socket in the data folder.
func (p *parts) admin() (*http.Server, error) {
	path := socketPath(p.cfg.Data)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err // the lock on the vault tells us that it is a dead one's
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, err
	}
	s := &http.Server{Handler: api.Admin(p.operator()), ReadHeaderTimeout: 10 * time.Second}
	go s.Serve(l)
	return s, nil
}
