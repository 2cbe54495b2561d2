package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gatewayd/crypto/seal"
	"gatewayd/keyagent"
)

type masterKeyCmd struct {
	Rotate masterKeyRotateCmd `cmd:"" help:"Change the master key. Nothing that was sealed is touched. The gateway must be stopped."`
}

type masterKeyRotateCmd struct {
	configFlag
	To    string `type:"existingfile" help:"File with the new key: 64 hexadecimal digits." xor:"to"`
	Agent bool   `help:"The new key is what the key agent derives from its token." xor:"to"`
}

// Help shows examples.
func (masterKeyRotateCmd) Help() string {
	return `The configuration names the old key until this has succeeded, then the new one. Stopped in between it is run again.

Examples:
  openssl rand -hex 32 > /etc/gatewayd/master.new && chmod 600 /etc/gatewayd/master.new && chown gatewayd /etc/gatewayd/master.new
  systemctl stop gatewayd
  sudo -u gatewayd gatewayd masterkey rotate --to /etc/gatewayd/master.new
  sudo -u gatewayd gatewayd masterkey rotate --agent      # then: master_key = { agent = true }`
}

// Run rotates.
func (m masterKeyRotateCmd) Run(c console) error {
	cfg, err := loadConfig(m.Config, c)
	if err != nil {
		return err
	}
	next, err := m.next(cfg.Ring.Agent())
	if err != nil {
		return err
	}
	keys := filepath.Join(cfg.Data, "keys")
	if uid, _, ok := ownerOf(keys); ok && uid != os.Getuid() {
		return fmt.Errorf("%s belongs to user %d: run this as that user, so that the gateway can read what it makes", keys, uid)
	}
	n, err := seal.Rotate(keys, cfg.Master, next)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "%d keys are wrapped by the new master key. Now let master_key name it; the old one opens copies and backups only: keep it as long as these.\n", n)
	return err
}

// next returns the new key.
func (m masterKeyRotateCmd) next(agent *keyagent.Client) ([]byte, error) {
	switch {
	case m.Agent && agent == nil:
		return nil, errors.New("there is no keys.agent in the configuration")
	case m.Agent:
		return agent.Master(context.Background())
	case m.To == "":
		return nil, errors.New("say where the new key is: --to FILE, or --agent")
	}
	text, err := os.ReadFile(m.To)
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("%s: must hold 32 bytes as 64 hexadecimal digits: openssl rand -hex 32", m.To)
	}
	return key, nil
}
