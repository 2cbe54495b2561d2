package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gatewayd/api"
	"gatewayd/message"
	"gatewayd/queue"
)

// itemFlags name one item.
type itemFlags struct {
	configFlag
	Item string `arg:"" help:"MESSAGE/RECIPIENT as queue list shows it, e.g. 06h0n3r8scyk5be5avjc55wtjc/1."`
}

func (f itemFlags) key() (message.ItemKey, error) {
	id, n, ok := strings.Cut(f.Item, "/")
	if !ok {
		n = "1"
	}
	parsed, err := message.ParseID(id)
	if err != nil {
		return message.ItemKey{}, fmt.Errorf("%q: %w", id, err)
	}
	number, err := strconv.Atoi(n)
	if err != nil || number < 1 {
		return message.ItemKey{}, fmt.Errorf("%q: the recipient is a number from 1", n)
	}
	return message.ItemKey{Message: parsed, N: number}, nil
}

// do asks the gateway to act on the item.
func (f itemFlags) do(c console, act func(context.Context, api.Operator, message.ItemKey) error) error {
	key, err := f.key()
	if err != nil {
		return err
	}
	return f.operate(c, func(ctx context.Context, op api.Operator) error {
		if err := act(ctx, op, key); err != nil {
			return err
		}
		_, err := fmt.Fprintln(c.out, "done:", key)
		return err
	})
}

// reasonFlag is needed wherever a person decides: it stands in the audit log.
type reasonFlag struct {
	Reason string `required:"" help:"Why; stands in the audit log."`
}

type queueShowCmd struct {
	itemFlags
	jsonFlag
}

// Run shows the item with its decision.
func (q queueShowCmd) Run(c console) error {
	key, err := q.key()
	if err != nil {
		return err
	}
	return q.operate(c, func(ctx context.Context, op api.Operator) error {
		s, err := op.Message(ctx, key.Message)
		i := slices.IndexFunc(s.Items, func(i message.Item) bool { return i.Key == key })
		switch {
		case err != nil && !errors.Is(err, queue.ErrNotFound):
			return err
		case i < 0:
			fmt.Fprintln(c.out, "nothing is known of it")
			return errNo
		case q.JSON:
			return printJSON(c.out, s.Items[i])
		}
		printItem(c, s.Items[i])
		return nil
	})
}

func printItem(c console, i message.Item) {
	for _, f := range [][2]string{
		{"item", i.Key.String()},
		{"recipient", i.Recipient.Address.String()},
		{"class", string(i.Decision.Class)},
		{"route", i.Decision.Route},
		{"via", i.Decision.Via},
		{"state", string(i.State)},
		{"case", string(i.Case)},
		{"reference", i.Reference},
		{"attempts", strconv.Itoa(i.Attempts)},
		{"next try", local(i.NextTry)},
		{"erase by", local(i.EraseBy)},
		{"last answer", i.Reply},
		{"alarm", i.Alarm},
	} {
		if f[1] != "" {
			fmt.Fprintf(c.out, "%-12s %s\n", f[0], f[1])
		}
	}
	for _, r := range i.Decision.Because {
		fmt.Fprintf(c.out, "  %-22s %-12s %s\n", r.Rule, r.Says, r.Text)
	}
}

type queueReleaseCmd struct {
	itemFlags
	reasonFlag
}

// Help shows examples.
func (queueReleaseCmd) Help() string {
	return "Example:\n  gatewayd queue release 06h0n3r8scyk5be5avjc55wtjc/1 --reason 'Plattform bestätigt: nicht angekommen'"
}

// Run releases.
func (q queueReleaseCmd) Run(c console) error {
	return q.do(c, func(ctx context.Context, op api.Operator, key message.ItemKey) error {
		return op.Release(ctx, key, q.Reason)
	})
}

type queueHoldCmd struct {
	itemFlags
	reasonFlag
}

// Run holds.
func (q queueHoldCmd) Run(c console) error {
	return q.do(c, func(ctx context.Context, op api.Operator, key message.ItemKey) error {
		return op.Hold(ctx, key, q.Reason)
	})
}

type queueDropCmd struct {
	itemFlags
	reasonFlag
}

// Run drops.
func (q queueDropCmd) Run(c console) error {
	return q.do(c, func(ctx context.Context, op api.Operator, key message.ItemKey) error {
		return op.Drop(ctx, key, q.Reason)
	})
}

type queueRetryCmd struct{ itemFlags }

// Run retries.
func (q queueRetryCmd) Run(c console) error {
	return q.do(c, func(ctx context.Context, op api.Operator, key message.ItemKey) error { return op.Retry(ctx, key) })
}
