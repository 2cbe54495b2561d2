package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"gatewayd/crypto/entity"
	"gatewayd/mail/bounce"
	mailparts "gatewayd/mail/parts"
)

type messageInspectCmd struct {
	jsonFlag
	File string `arg:"" type:"existingfile" help:"The message (.eml)."`
}

// Help shows examples.
func (messageInspectCmd) Help() string {
	return "Example:\n  gatewayd message inspect brief.eml --json"
}

// Run inspects. Exit code 1 if the message goes beyond the limits of reading.
func (m messageInspectCmd) Run(c console) error {
	f, err := os.Open(m.File)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	found, err := mailparts.Inspect(f, info.Size(), mailparts.Limits{})
	if err != nil && !errors.Is(err, mailparts.ErrLimits) {
		return err
	}
	beyond := err
	packed, err := entity.Unpack(f, found.Parts, func(limit int64) entity.Spool { return entity.NewSpool("", limit) })
	if err != nil {
		return err
	}
	if m.JSON {
		return errors.Join(printJSON(c.out, lookedInto{found, packed}), beyond)
	}
	fmt.Fprintf(c.out, "subject  %s\nfrom     %v\nto       %v\ndate     %s\nsize     %d octets, sha256 %s\n", found.Subject, found.From, found.To, local(found.Date), found.Size, found.SHA256)
	if err := printItems(c, entity.Items(found.Parts, packed), packed); err != nil {
		return err
	}
	for _, a := range found.Ambiguous {
		fmt.Fprintf(c.out, "ambiguous: part %s: %s: %s\n", a.Part, a.Kind, a.Detail)
	}
	return beyond
}

// lookedInto is an inspection with what lies in a winmail.dat.
type lookedInto struct {
	mailparts.Inspection
	Packed []entity.Packed `json:"tnef,omitempty"`
}

// printItems lists what lies in a message, and what is wrong with a winmail.dat.
func printItems(c console, items []entity.Item, packed []entity.Packed) error {
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, i := range items {
		fmt.Fprintf(t, "  %s\t%s\t%s\t%d octets\t%s\n", i.ID, i.Type, i.FileName, i.Size, i.SHA256)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, p := range packed {
		if p.Message != nil {
			bodies := words(p.Class, p.Subject, yes(p.Text != "", "text"), yes(p.HTML > 0, "HTML"), yes(p.RTF > 0, "RTF"))
			fmt.Fprintf(c.out, "winmail.dat: part %s: %s\n", p.Part, strings.Join(append(bodies, p.Damage...), ", "))
		}
		if p.Error != "" {
			fmt.Fprintf(c.out, "winmail.dat: part %s: %s\n", p.Part, p.Error)
		}
	}
	return nil
}

// readBounce reads a report of failed or late delivery. Of a mailbox file with
// several, it gives the recipients of all; the rest is told by the first.
func readBounce(raw []byte) (bounce.Report, bool) {
	var all bounce.Report
	found := false
	for _, one := range mailparts.Messages(raw) {
		sections, err := mailparts.Sections(bytes.NewReader(one), int64(len(one)))
		if err != nil {
			return bounce.Report{}, false
		}
		report, ok := bounce.Read(sections)
		switch {
		case ok && !found:
			all, found = report, true
		case ok:
			all.Recipients = append(all.Recipients, report.Recipients...)
		}
	}
	return all, found
}

func printBounce(c console, r bounce.Report, asJSON bool) error {
	if asJSON {
		return printJSON(c.out, r)
	}
	for _, to := range r.Recipients {
		kind := "temporary"
		if to.Permanent {
			kind = "permanent"
		}
		fmt.Fprintf(c.out, "%s: %s, status %s, %s, %s\n", to.Address, to.Action, dash(to.Status), kind, to.Reason)
	}
	return nil
}
