package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"gatewayd/api"
	"gatewayd/message"
)

// destinationFlags name a destination.
type destinationFlags struct {
	configFlag
	reasonFlag
	Destination string `arg:"" help:"incamail, privasphere, smtp, smime, openpgp, mailbox, forward:AUTHORITY; or one domain: smtp:example.ch."`
}

type queuePauseCmd struct{ destinationFlags }

// Help shows examples.
func (queuePauseCmd) Help() string {
	return "Examples:\n  gatewayd queue pause incamail --reason 'Wartungsfenster der Post'\n  gatewayd queue pause smtp:example.ch --reason 'Empfänger meldet Störung'"
}

// Run pauses.
func (q queuePauseCmd) Run(c console) error {
	return q.operate(c, func(ctx context.Context, op api.Operator) error {
		if err := op.Pause(ctx, q.Destination, q.Reason); err != nil {
			return err
		}
		_, err := fmt.Fprintf(c.out, "paused: %s; what is due waits, and its give-up time runs on\n", q.Destination)
		return err
	})
}

type queueResumeCmd struct{ destinationFlags }

// Run resumes.
func (q queueResumeCmd) Run(c console) error {
	return q.operate(c, func(ctx context.Context, op api.Operator) error {
		if err := op.Resume(ctx, q.Destination, q.Reason); err != nil {
			return err
		}
		_, err := fmt.Fprintln(c.out, "resumed:", q.Destination)
		return err
	})
}

type queueDestinationsCmd struct {
	configFlag
	jsonFlag
}

// Run lists.
func (q queueDestinationsCmd) Run(c console) error {
	return q.operate(c, func(ctx context.Context, op api.Operator) error {
		list, err := op.Destinations(ctx)
		if err != nil {
			return err
		}
		if q.JSON {
			return printJSON(c.out, map[string]any{"destinations": append([]message.Destination{}, list...)})
		}
		t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "DESTINATION\tOPEN\tFAILURES\tRESTS UNTIL\tPAUSED SINCE\tREASON")
		for _, d := range list {
			fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\t%s\n", d.Name, d.Open, d.Failures, local(d.Rests), local(d.Paused), d.Reason)
		}
		return t.Flush()
	})
}
