package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"gatewayd/api"
	"gatewayd/crypto/entity"
	"gatewayd/message"
)

type mailboxCmd struct {
	List   mailboxListCmd   `cmd:"" help:"List what an authority received and sent, with its receipts."`
	Parts  mailboxPartsCmd  `cmd:"" help:"List what lies in a message: subject, parts, files, also in a winmail.dat."`
	Show   mailboxShowCmd   `cmd:"" help:"Write a message to standard output, as it came or opened."`
	Export mailboxExportCmd `cmd:"" help:"Write a message, its receipts and its story into a folder."`
}

// mailboxFlags name an authority's mailbox.
type mailboxFlags struct {
	configFlag
	Authority string `required:"" help:"Whose mailbox."`
}

type mailboxListCmd struct {
	mailboxFlags
	purposeFlag
	jsonFlag
	Direction string `enum:",in,out,notice" default:"" help:"in: received, out: sent, notice: written by the gateway. Empty: all."`
	After     string `help:"Continue after this cursor."`
	Limit     int    `default:"100" help:"Messages on a page."`
	Subjects  bool   `help:"With subjects, also those that stand inside of the encryption only."`
}

// Help shows examples.
func (mailboxListCmd) Help() string {
	return "Examples:\n  gatewayd mailbox list --authority bauinspektorat --direction in --purpose operation\n  gatewayd mailbox list --authority bauinspektorat --purpose operation --json"
}

// Run lists a page.
func (m mailboxListCmd) Run(c console) error {
	return m.operate(c, func(ctx context.Context, op api.Operator) error {
		page, next, err := op.Mailbox(ctx, m.reading(), m.Authority, message.Direction(m.Direction), m.After, m.Limit, m.Subjects)
		if err != nil {
			return err
		}
		if m.JSON {
			return printJSON(c.out, map[string]any{"messages": append([]message.Story{}, page...), "next": next})
		}
		t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		last := ""
		if m.Subjects {
			last = "\tSUBJECT"
		}
		fmt.Fprintln(t, "MESSAGE\tDIRECTION\tTIME\tFROM\tRECIPIENTS\tSTATE\tRECEIPTS\tVERDICT\tERASE BY"+last)
		for _, s := range page {
			first := s.Items[0]
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", s.Envelope.ID, s.Envelope.Direction, local(s.Envelope.Received), dash(s.Envelope.From.String()),
				recipients(s.Items), states(s.Items), len(s.Receipts), verdict(s.Protection), local(first.EraseBy), s.Subject)
		}
		if next != "" {
			defer fmt.Fprintln(c.out, "more: --after", next)
		}
		return t.Flush()
	})
}

// verdict tells in two words what a received message is worth.
func verdict(p map[string]string) string {
	if p == nil {
		return dash("")
	}
	if p["encryption"] == string(entity.NotEncrypted) {
		return p["verdict"]
	}
	return p["verdict"] + ", " + p["encryption"]
}

func recipients(items []message.Item) string {
	if len(items) == 1 {
		return items[0].Recipient.Address.String()
	}
	return fmt.Sprintf("%s and %d more", items[0].Recipient.Address, len(items)-1)
}

// states names the state of all, or counts them.
func states(items []message.Item) string {
	counts := map[message.State]int{}
	for _, i := range items {
		counts[i.State]++
	}
	if len(counts) == 1 {
		return string(items[0].State)
	}
	text := ""
	for _, s := range message.States() {
		if counts[s] > 0 {
			text += fmt.Sprintf("%d %s ", counts[s], s)
		}
	}
	return text
}

// messageFlags name a message in a mailbox.
type messageFlags struct {
	mailboxFlags
	Message string `arg:"" help:"Message id."`
}

type mailboxShowCmd struct {
	messageFlags
	purposeFlag
	Open bool `help:"As members read it: S/MIME or OpenPGP taken off with the authority's keys; the field X-Gatewayd-Verdict on top says what that was worth."`
}

// Help shows examples.
func (mailboxShowCmd) Help() string {
	return "Example:\n  gatewayd mailbox show --authority bauinspektorat 06h0n3r8scyk5be5avjc55wtjc --open --purpose operation > brief.eml"
}

// Run writes the message.
func (m mailboxShowCmd) Run(c console) error {
	id, err := message.ParseID(m.Message)
	if err != nil {
		return fmt.Errorf("%q: %w", m.Message, err)
	}
	return m.operate(c, func(ctx context.Context, op api.Operator) error {
		return op.Fetch(ctx, m.reading(), m.Authority, id, m.Open, c.out)
	})
}

type mailboxPartsCmd struct {
	messageFlags
	jsonFlag
	purposeFlag
}

// Help shows examples.
func (mailboxPartsCmd) Help() string {
	return "Examples:\n  gatewayd mailbox parts --authority bauinspektorat 06h0n3r8scyk5be5avjc55wtjc --purpose operation\n  gatewayd mailbox parts --authority bauinspektorat 06h0n3r8scyk5be5avjc55wtjc --purpose operation --json"
}

// Run lists.
func (m mailboxPartsCmd) Run(c console) error {
	id, err := message.ParseID(m.Message)
	if err != nil {
		return fmt.Errorf("%q: %w", m.Message, err)
	}
	return m.operate(c, func(ctx context.Context, op api.Operator) error {
		found, err := op.Contents(ctx, m.reading(), m.Authority, id)
		if err != nil {
			return err
		}
		if m.JSON {
			return printJSON(c.out, found)
		}
		fmt.Fprintf(c.out, "subject  %s\nverdict  %s\n", found.Message.Subject, found.Verdict.Line())
		return printItems(c, found.Items, found.Packed)
	})
}

type mailboxExportCmd struct {
	messageFlags
	purposeFlag
	Dir string `required:"" help:"New folder for message.eml, the receipts and story.json."`
}

// Run exports.
func (m mailboxExportCmd) Run(c console) error {
	id, err := message.ParseID(m.Message)
	if err != nil {
		return fmt.Errorf("%q: %w", m.Message, err)
	}
	if err := os.Mkdir(m.Dir, 0o700); err != nil {
		return err
	}
	err = m.operate(c, func(ctx context.Context, op api.Operator) error {
		return errors.Join(m.message(ctx, op, id), m.story(ctx, op, id), syncFolder(filepath.Dir(filepath.Clean(m.Dir))))
	})
	if err != nil {
		err = errors.Join(err, os.RemoveAll(m.Dir)) // half an export would be taken for a whole one
	}
	return err
}

func (m mailboxExportCmd) message(ctx context.Context, op api.Operator, id message.ID) error {
	return newFile(filepath.Join(m.Dir, "message.eml"), func(w io.Writer) error {
		return op.Fetch(ctx, m.reading(), m.Authority, id, false, w)
	})
}

func (m mailboxExportCmd) story(ctx context.Context, op api.Operator, id message.ID) error {
	stories, err := op.Trace(ctx, m.reading(), id.String())
	if err != nil {
		return err
	}
	for _, s := range stories {
		if s.Envelope.Authority != m.Authority {
			continue // another authority's: not there
		}
		if err := newFile(filepath.Join(m.Dir, "story.json"), func(w io.Writer) error { return printJSON(w, s) }); err != nil {
			return err
		}
		for n, r := range s.Receipts {
			if r.Document.IsZero() {
				continue
			}
			_, doc, err := op.Receipt(ctx, m.reading(), m.Authority, id, r.ID.String())
			if err != nil {
				return err
			}
			name := fmt.Sprintf("receipt-%d-%s%s", n+1, r.Kind, extension(r))
			if err := newFile(filepath.Join(m.Dir, name), writing(doc)); err != nil {
				return err
			}
		}
	}
	return nil
}

// extension of the platform's document; its own name is not trusted.
func extension(r message.Receipt) string {
	switch r.MediaType {
	case "application/pdf":
		return ".pdf"
	case "message/rfc822":
		return ".eml"
	}
	return ".bin"
}
