package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gatewayd/api"
	"gatewayd/audit/syslog"
	"gatewayd/directory"
	"gatewayd/gateway"
)

// programs serves the HTTP API, posts to webhooks and sends the audit log on until
// ctx ends.
func (p *parts) programs(ctx context.Context, log *slog.Logger) (*sync.WaitGroup, error) {
	var running sync.WaitGroup
	flow := gateway.NewPrograms(p.gateway)
	if p.cfg.Tokens != nil {
		h, err := api.NewHTTP(api.HTTPOptions{
			Hostname: p.cfg.Hostname, Version: version, CursorKey: p.keys.IndexKey, MaxSize: int64(p.cfg.File.Limits.MessageSize),
			Recipients: p.cfg.File.Limits.Recipients, Now: time.Now, Log: log,
		}, flow, p.cfg.Tokens)
		if err != nil {
			return nil, err
		}
		l, err := net.Listen("tcp", p.cfg.File.API.Addr)
		if err != nil {
			return nil, err
		}
		conf := &tls.Config{Certificates: []tls.Certificate{p.cfg.Certificate}, MinVersion: tls.VersionTLS12}
		running.Go(func() {
			err := h.Serve(ctx, func(s *http.Server) error { return s.Serve(tls.NewListener(l, conf)) })
			if err != nil && !errors.Is(err, http.ErrServerClosed) {
				log.Error("HTTP API ended", "error", err)
			}
		})
	}
	if len(p.cfg.Hooks) > 0 {
		hooks, err := api.NewWebhooks(api.WebhookOptions{Dir: filepath.Join(p.cfg.Data, "webhooks"), Hooks: p.cfg.Hooks, CursorKey: p.keys.IndexKey, Log: log}, flow)
		if err != nil {
			return nil, err
		}
		running.Go(func() { hooks.Run(ctx) })
	}
	if to := p.cfg.Collector; to != nil {
		forwarder, err := syslog.New(syslog.Options{
			Log: p.audit, Addr: to.Addr, TLS: to.TLS, Host: p.cfg.Hostname, Shown: to.Shown, Position: filepath.Join(p.cfg.Data, "syslog.json"), Logger: log,
		})
		if err != nil {
			return nil, err
		}
		running.Go(func() { forwarder.Run(ctx) })
	}
	return &running, nil
}

type tokenCmd struct {
	New tokenNewCmd `cmd:"" help:"Make a token for the HTTP API: prints the secret once, and the line for the token file."`
}

type tokenNewCmd struct {
	Name      string   `arg:"" help:"Whose token it is; appears in the audit log."`
	Authority string   `required:"" help:"The one authority that it may speak for."`
	Rights    []string `default:"send,read" help:"Any of send, read, handover."`
}

// Help shows examples.
func (tokenNewCmd) Help() string {
	return "Example:\n  gatewayd token new fachapplikation --authority bauinspektorat --rights send,read,handover >> token.txt"
}

// Run makes the token.
func (t tokenNewCmd) Run(c console) error {
	var rights []directory.Right
	for _, r := range t.Rights {
		rights = append(rights, directory.Right(strings.TrimSpace(r)))
	}
	secret, line, err := directory.NewToken(t.Name, t.Authority, rights...)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "secret (shown only now): %s\nline for the token file:  %s\n", secret, line)
	_, err = b.WriteTo(c.out)
	return err
}
