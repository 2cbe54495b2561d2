package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"gatewayd/crypto/seal"
	"gatewayd/queue/bolt"
)

// repair makes the ledger whole again while no gateway runs.
func (q queueCheckCmd) repair(c console) error {
	cfg, err := loadConfig(q.Config, c)
	if err != nil {
		return err
	}
	if conn, err := net.DialTimeout("unix", socketPath(cfg.Data), time.Second); err == nil {
		conn.Close()
		return errors.New("the gateway is running: stop it first")
	}
	ctx := context.Background()
	if _, err := os.Stat(filepath.Join(cfg.Data, "ledger.db")); err == nil {
		keys, err := seal.Open(filepath.Join(cfg.Data, "keys"), cfg.Master)
		if err != nil {
			return err
		}
		rep, err := bolt.Repair(ctx, bolt.Options{
			Path: filepath.Join(cfg.Data, "ledger.db"), Keys: keys, Now: time.Now, LogDay: func(t time.Time) string { return cfg.Windows.LogDay(t).String() },
		}, filepath.Join(cfg.Data, "corrupt"))
		if err != nil {
			return fmt.Errorf("%w; to go on without this ledger move it away and repair again: everything is taken from the vault, and held", err)
		}
		for _, line := range rep.Lost {
			fmt.Fprintln(c.err, "lost in the ledger:", line)
		}
		fmt.Fprintf(c.err, "ledger made anew: %d messages, %d items, %d receipts, %d events; the old one is %s\n", rep.Messages, rep.Items, rep.Receipts, rep.Events, rep.Old)
	}
	p, err := open(cfg, quietLog(), time.Now)
	if err != nil {
		return err
	}
	defer p.close()
	n, err := p.gateway.Salvage(ctx, p.store)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.err, "taken from the vault: %d items; what an authority had sent is held\n", n)
	return err
}
