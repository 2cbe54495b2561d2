package main

import (
	"crypto/tls"
	"io"
	"log"
	"path/filepath"
	"sync"

	gosmtp "github.com/emersion/go-smtp"

	"gatewayd/config"
)

// sink takes ordinary mail over TLS, as the next mail server would.
type sink struct {
	server *gosmtp.Server
	mu     sync.Mutex
	mails  []sunk
}

type sunk struct {
	from, to string
	raw      []byte
}

// newSink makes it from a development configuration.
func newSink(dir string) (*sink, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, config.RelayServer+".crt"), filepath.Join(dir, config.RelayServer+".key"))
	if err != nil {
		return nil, err
	}
	s := &sink{}
	s.server = gosmtp.NewServer(gosmtp.BackendFunc(func(*gosmtp.Conn) (gosmtp.Session, error) { return &sinkSession{sink: s}, nil }))
	s.server.Domain, s.server.TLSConfig = "relay.example", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	s.server.EnableSMTPUTF8, s.server.EnableDSN = true, true
	s.server.ErrorLog = log.New(io.Discard, "", 0)
	return s, nil
}

func (s *sink) all() []sunk {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]sunk(nil), s.mails...)
}

type sinkSession struct {
	sink     *sink
	from, to string
}

// Reset implements gosmtp.Session.
func (s *sinkSession) Reset() {}

// Logout implements gosmtp.Session.
func (s *sinkSession) Logout() error { return nil }

// Mail implements gosmtp.Session.
func (s *sinkSession) Mail(from string, _ *gosmtp.MailOptions) error { s.from = from; return nil }

// Rcpt implements gosmtp.Session.
func (s *sinkSession) Rcpt(to string, _ *gosmtp.RcptOptions) error { s.to = to; return nil }

// Data implements gosmtp.Session.
func (s *sinkSession) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.sink.mu.Lock()
	defer s.sink.mu.Unlock()
	s.sink.mails = append(s.sink.mails, sunk{s.from, s.to, raw})
	return nil
}
