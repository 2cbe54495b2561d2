package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"gatewayd/api"
	"gatewayd/message"
	"gatewayd/queue"
)

type handoverCmd struct {
	List    handoverListCmd    `cmd:"" help:"List messages whose content nobody has filed yet, with the day on which they are exported."`
	Show    handoverShowCmd    `cmd:"" help:"Show what was said of a message: filed where, by whom, when."`
	Confirm handoverConfirmCmd `cmd:"" help:"Say that the authority's file has messages and their receipts, or what else became of them."`
}

type handoverListCmd struct {
	mailboxFlags
	jsonFlag
	After string `help:"Continue after this cursor."`
	Limit int    `default:"100" help:"Messages on a page."`
}

// Help shows examples.
func (handoverListCmd) Help() string {
	return "Examples:\n  gatewayd handover list --authority bauinspektorat\n  gatewayd handover list --authority bauinspektorat --json"
}

// Run lists a page.
func (l handoverListCmd) Run(c console) error {
	return l.operate(c, func(ctx context.Context, op api.Operator) error {
		page, next, err := op.Unfiled(ctx, l.Authority, l.After, l.Limit)
		if err != nil {
			return err
		}
		if l.JSON {
			return printJSON(c.out, map[string]any{"messages": append([]message.Unfiled{}, page...), "next": next})
		}
		t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "MESSAGE\tDIRECTION\tCLASS\tTIME\tEXPORTED FROM\tERASE BY\tREMARK")
		for _, u := range page {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", u.ID, u.Direction, u.Class, local(u.Received), local(u.Export), local(u.EraseBy), unfiledRemark(u))
		}
		if next != "" {
			defer fmt.Fprintln(c.out, "more: --after", next)
		}
		return t.Flush()
	})
}

func unfiledRemark(u message.Unfiled) string {
	switch {
	case u.Lost:
		return "destroyed at its limit, and nobody has it"
	case u.Exported:
		return "exported to the fallback key"
	case u.Open:
		return "still on its way"
	case !u.Filed.IsZero():
		return string(u.Filed.Disposition) + " " + u.Filed.Ref
	}
	return ""
}

type handoverShowCmd struct {
	messageFlags
	jsonFlag
}

// Help shows examples.
func (handoverShowCmd) Help() string {
	return "Example:\n  gatewayd handover show --authority bauinspektorat 06h0n3r8scyk5be5avjc55wtjc"
}

// Run shows it, recipient by recipient. Exit code 1 if it is not settled.
func (s handoverShowCmd) Run(c console) error {
	id, err := message.ParseID(s.Message)
	if err != nil {
		return fmt.Errorf("%q: %w", s.Message, err)
	}
	return s.operate(c, func(ctx context.Context, op api.Operator) error {
		story, err := op.Message(ctx, id)
		if err == nil && story.Envelope.Authority != s.Authority {
			err = fmt.Errorf("message %s: %w", id, queue.ErrNotFound)
		}
		if err != nil {
			return err
		}
		return s.tell(c, story.Items)
	})
}

func (s handoverShowCmd) tell(c console, items []message.Item) error {
	settled := true
	list := []message.Filing{}
	for _, i := range items {
		settled = settled && !i.HandedOver.IsZero()
		list = append(list, i.Filed)
	}
	if s.JSON {
		if err := printJSON(c.out, map[string]any{"settled": settled, "filed": list}); err != nil {
			return err
		}
	} else {
		for n, f := range list {
			switch {
			case f.IsZero() && items[n].HandedOver.IsZero():
				fmt.Fprintf(c.out, "%s  nothing was said of it; content until %s\n", items[n].Key, local(items[n].EraseBy))
			case f.IsZero(): // recorded by an older version
				fmt.Fprintf(c.out, "%s  %s  %s\n", items[n].Key, message.HandedOverGEVER, local(items[n].HandedOver))
			default:
				fmt.Fprintf(c.out, "%s  %s  %s  by %s  %s\n", items[n].Key, f.Disposition, f.Ref, f.By, local(f.At))
			}
		}
	}
	if !settled {
		return errNo
	}
	return nil
}

type handoverConfirmCmd struct {
	mailboxFlags
	jsonFlag
	Messages    []string `arg:"" help:"Message ids."`
	Ref         string   `required:"" help:"Reference of the authority's file, the offer, the accession, or the rule: a code that names nobody."`
	Disposition string   `enum:"handed_over_gever,offered_archive,taken_archive,declined_archive,no_record" default:"handed_over_gever" help:"What became of it. offered_archive settles nothing yet."`
	Sha256      string   `name:"sha256" help:"SHA-256 of the message that the file has; another one than was accepted is refused. With one message only."`
}

// Help shows examples.
func (handoverConfirmCmd) Help() string {
	return "Content whose route keeps it until_handed_over is erased after this. The export to the fallback key is for what nobody has confirmed.\n\n" +
		"Examples:\n  gatewayd handover confirm --authority bauinspektorat --ref BIT-2026-00417 06h0n3r8scyk5be5avjc55wtjc\n" +
		"  gatewayd handover confirm --authority bauinspektorat --disposition taken_archive --ref StABL-2026-112 06h0n3r8scyk5be5avjc55wtjc"
}

// Run records it. What cannot be recorded is named and does not keep the others;
// exit code 1 then.
func (h handoverConfirmCmd) Run(c console) error {
	if h.Sha256 != "" && len(h.Messages) != 1 {
		return errors.New("--sha256 goes with one message")
	}
	ids := make([]message.ID, len(h.Messages))
	for i, text := range h.Messages {
		var err error
		if ids[i], err = message.ParseID(text); err != nil {
			return fmt.Errorf("%q: %w", text, err)
		}
	}
	return h.operate(c, func(ctx context.Context, op api.Operator) error {
		said := map[string]message.Filing{}
		var errs []error
		for _, id := range ids {
			f, err := op.HandOver(ctx, h.Authority, id, message.Filing{Disposition: message.Disposition(h.Disposition), Ref: h.Ref, SHA256: h.Sha256})
			if err != nil {
				errs = append(errs, fmt.Errorf("message %s: %w", id, err))
				continue
			}
			if said[id.String()] = f; !h.JSON {
				fmt.Fprintf(c.out, "%s  %s  %s  by %s  %s\n", id, f.Disposition, f.Ref, f.By, local(f.At))
			}
		}
		if h.JSON {
			errs = append(errs, printJSON(c.out, said))
		}
		return errors.Join(errs...)
	})
}
