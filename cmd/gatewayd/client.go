package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"gatewayd/config"
	"gatewayd/message"
)

// send submits as a clerk's mail program would: STARTTLS, a login, one message
// to all recipients. It returns the id of the 250 reply.
func (s *demo) send(text []byte, to ...string) (message.ID, error) {
	roots, err := rootsIn(filepath.Join(s.dir, config.SimulatorCA))
	if err != nil {
		return message.ID{}, err
	}
	password, err := os.ReadFile(filepath.Join(s.dir, config.DevelopmentPassword))
	if err != nil {
		return message.ID{}, err
	}
	c, err := gosmtp.DialStartTLS(s.ports.Submission, &tls.Config{RootCAs: roots, ServerName: s.cfg.Hostname, MinVersion: tls.VersionTLS12})
	if err != nil {
		return message.ID{}, err
	}
	defer c.Close()
	if err := c.Auth(sasl.NewPlainClient("", "sachbearbeitung", strings.TrimSpace(string(password)))); err != nil {
		return message.ID{}, err
	}
	if err := c.Mail("bauinspektorat@bl.example", nil); err != nil {
		return message.ID{}, err
	}
	for _, r := range to {
		if err := c.Rcpt(r, nil); err != nil {
			return message.ID{}, err
		}
	}
	w, err := c.Data()
	if err != nil {
		return message.ID{}, err
	}
	if _, err := bytes.NewReader(text).WriteTo(w); err != nil {
		return message.ID{}, err
	}
	reply, err := w.CloseWithResponse()
	if err != nil {
		return message.ID{}, err
	}
	words := strings.Fields(reply.StatusText)
	if len(words) == 0 {
		return message.ID{}, fmt.Errorf("the reply names no id: %q", reply.StatusText)
	}
	return message.ParseID(words[len(words)-1])
}
