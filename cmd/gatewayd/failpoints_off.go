//go:build !failpoints

package main

import (
	"time"

	"gatewayd/connectors"
	"gatewayd/gateway"
	"gatewayd/queue"
	"gatewayd/queue/bolt"
	"gatewayd/smtp"
	"gatewayd/vault"
)

// taps is where a build for fault tests hangs itself into the program
// (failpoints_on.go, docs/faults.md). This build has none.
type taps struct{}

func newTaps() taps { return taps{} }

func (taps) clock(now func() time.Time) func() time.Time { return now }

func (taps) vault() (none vault.Hooks) { return none }

func (taps) bolt() (none bolt.Hooks) { return none }

func (taps) sweep() func(string) error { return nil }

func (taps) store(s queue.Store) queue.Store { return s }

func (taps) ledger(l gateway.Ledger) gateway.Ledger { return l }

func (taps) links(l map[string]connectors.Connector) map[string]connectors.Connector { return l }

func (taps) intake(i smtp.Intake) smtp.Intake { return i }
