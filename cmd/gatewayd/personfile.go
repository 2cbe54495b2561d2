package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"gatewayd/api"
	"gatewayd/gateway/personfile"
	"gatewayd/message"
)

type personCmd struct {
	Show personShowCmd `cmd:"" help:"Show everything held about one person, with what names others redacted."`
}

type personShowCmd struct {
	configFlag
	jsonFlag
	purposeFlag
	sealFlag
	Address   string `arg:"" help:"Mail address of the person."`
	Authority string `help:"Only what this authority holds: each answers for its own."`
	Out       string `short:"o" help:"Write the JSON into this new file, readable for its owner only."`
	Lang      string `enum:"de,en" default:"de" help:"Language of the readable form: de or en."`
}

// Help shows examples.
func (personShowCmd) Help() string {
	return "Messages to and from the person, delivery cases, receipts, events, directory, consent, keys. That it was asked for stands in the\n" +
		"audit log, with the digest of the JSON. Read free text before you give it out: it was searched for addresses only.\n\n" +
		"Examples:\n  gatewayd person show buerger@example.ch --authority bauinspektorat --purpose access\n" +
		"  gatewayd person show buerger@example.ch --purpose access -o auskunft.json\n" +
		"  gatewayd person show buerger@example.ch --purpose access --to buerger.pem -o auskunft.p7m"
}

// Run shows the file.
func (p personShowCmd) Run(c console) error {
	a, err := message.ParseAddress(p.Address)
	if err != nil || a.IsNull() {
		return fmt.Errorf("%q: %w", p.Address, message.ErrBadAddress)
	}
	return p.operate(c, func(ctx context.Context, op api.Operator) error {
		text, err := op.Person(ctx, p.reading(), a, p.Authority)
		if err != nil {
			return err
		}
		if p.Out != "" {
			return newFile(p.Out, func(w io.Writer) error { return p.into(w, writing(text)) })
		}
		if p.JSON || len(p.To) > 0 {
			return p.into(c.out, writing(text))
		}
		var file personfile.File
		if err := json.Unmarshal(text, &file); err != nil {
			return err
		}
		printPerson(c.out, file, p.Lang)
		return nil
	})
}

func writing(text []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	}
}

// printPerson shows a file to the person, in German or English.
func printPerson(w io.Writer, f personfile.File, lang string) {
	say := func(de, en string) string {
		if lang == "en" {
			return en
		}
		return de
	}
	fmt.Fprintf(w, say("Auskunft über %s, Stand %s\n", "What is held about %s, as of %s\n"), f.Address, local(f.At))
	if f.Authority != "" {
		fmt.Fprintf(w, say("nur was %s hält\n", "only what %s holds\n"), f.Authority)
	}
	if d := f.Directory; d != nil {
		fmt.Fprintf(w, "\n%s: %s %s\n", say("Verzeichnis", "Directory"), d.Name, d.Canton)
		for _, pl := range d.Platforms {
			fmt.Fprintf(w, "  %s %s  %s %s\n", say("Plattform", "platform"), pl.Name, say("identifiziert:", "identified:"), yesNo(pl.Identified, say))
		}
		for _, consent := range d.Consents {
			fmt.Fprintf(w, "  %s %s  %s %s  %s %s\n", say("Zustimmung gegenüber", "consent to"), consent.Authority, say("erteilt", "given"), local(consent.Given), say("widerrufen", "revoked"), local(consent.Revoked))
		}
	}
	fmt.Fprintf(w, "\n%s: %d\n", say("Nachrichten", "Messages"), len(f.Messages))
	for _, m := range f.Messages {
		fmt.Fprintf(w, "  %s  %s  %s  %s %s  %d %s  %s %s\n", local(m.Received), m.ID, m.Authority, say("von", "from"), dash(m.From), m.Content.Size, say("Bytes", "octets"), say("Inhalt noch vorhanden:", "content still held:"), yesNo(m.Held, say))
		for _, i := range m.Items {
			fmt.Fprintf(w, "    → %s  %s  %s  %s %s\n", dash(i.Recipient.Address.String()), i.Decision.Class, i.State, say("gelöscht bis", "erased by"), local(i.EraseBy))
		}
		if m.Others > 0 {
			fmt.Fprintf(w, say("    und %d weitere Empfänger\n", "    and %d other recipients\n"), m.Others)
		}
		for _, r := range m.Receipts {
			fmt.Fprintf(w, "    %s %s (%s) %s  %s\n", say("Quittung", "receipt"), r.Kind, r.Platform, local(r.At), r.Verdict)
		}
		for _, lc := range m.Cases {
			fmt.Fprintf(w, "    %s %s  %s %s\n", say("Zustellfall", "delivery case"), lc.State, say("Zustellung", "service"), serviceText(lc.Service))
		}
	}
	for _, r := range f.Unmatched {
		fmt.Fprintf(w, "  %s %s %s  %s\n", say("Quittung ohne Nachricht", "receipt without a message"), r.Kind, local(r.At), r.Detail)
	}
	fmt.Fprintf(w, "\n%s: %d\n", say("Schlüssel", "Keys"), len(f.Keys))
	for _, k := range f.Keys {
		fmt.Fprintf(w, "  %s  %s  %s  %s\n", k.Technique, k.Fingerprint, k.Source, k.State)
	}
	fmt.Fprintf(w, "\n%s: %d\n", say("Ereignisse im Protokoll", "Events in the log"), len(f.Events))
	for _, e := range f.Events {
		fmt.Fprintf(w, "  %s  %s  %s  %s\n", local(e.At), e.Kind, dash(ofMessage(e.Message)), details(e.Data))
	}
	fmt.Fprintf(w, "\n%s\n", say("Was diese Auskunft nicht zeigt:", "What this does not show:"))
	remarks := germanWords()
	for _, r := range f.Remarks {
		if de := remarks[r]; de != "" {
			r = say(de, r)
		}
		fmt.Fprintln(w, "  -", strings.TrimSpace(r))
	}
}

func ofMessage(id message.ID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}

func yesNo(yes bool, say func(de, en string) string) string {
	if yes {
		return say("ja", "yes")
	}
	return say("nein", "no")
}
