package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"gatewayd/api"
	"gatewayd/archive"
	"gatewayd/config"
	"gatewayd/evidence"
	"gatewayd/gateway"
	"gatewayd/message"
	"gatewayd/queue"
)

type archiveCmd struct {
	Export archiveExportCmd `cmd:"" help:"Write messages with receipts and evidence as a package for the archive (SIP, eCH-0160 version 1.2)."`
}

type archiveExportCmd struct {
	mailboxFlags
	purposeFlag
	Messages  []string `arg:"" help:"Message ids."`
	Dir       string   `required:"" help:"Folder below which the package is written."`
	Number    string   `help:"Number of the delivery, as agreed with the archive; stands in the folder's name."`
	Offer     string   `help:"Number of the offer."`
	Appraisal string   `help:"Reference of the archive's decision on what it takes."`
}

// Help shows examples.
func (archiveExportCmd) Help() string {
	return `Needs [archive] schemas in the configuration: the XSDs are not part of the program. Private mail is refused. What was protected
stands in it as it came and opened. Nothing in the package is encrypted: bring it to the archive by a way that is.
When the archive has answered: gatewayd handover confirm --disposition taken_archive.

Example:
  gatewayd archive export --authority bauinspektorat --purpose operation --dir /srv/sip --number 2027-03 06h0n3r8scyk5be5avjc55wtjc`
}

// Run writes the package and prints its folder.
func (a archiveExportCmd) Run(c console) error {
	cfg, err := loadConfig(a.Config, c)
	if err != nil {
		return err
	}
	d := archive.Delivery{
		Schemas: cfg.File.Archive.Schemas, Authority: a.Authority, Software: "gatewayd " + version, Created: time.Now(), Number: a.Number, Offer: a.Offer, Appraisal: a.Appraisal,
	}
	if err := archive.CheckSchemas(d.Schemas); err != nil {
		return err
	}
	i := slices.IndexFunc(cfg.Authorities, func(x gateway.Authority) bool { return x.ID == a.Authority })
	if i < 0 {
		return fmt.Errorf("%q is no authority of the configuration", a.Authority)
	}
	d.Name = cfg.Authorities[i].Name
	return a.operate(c, func(ctx context.Context, op api.Operator) error {
		for _, text := range a.Messages {
			m, err := a.message(ctx, op, cfg, text)
			if err != nil {
				return err
			}
			d.Messages = append(d.Messages, m)
		}
		path, err := archive.Write(a.Dir, d)
		if err == nil {
			_, err = fmt.Fprintln(c.out, path)
		}
		return err
	})
}

// message finds one message and says how its parts are read.
func (a archiveExportCmd) message(ctx context.Context, op api.Operator, cfg *config.Config, text string) (archive.Message, error) {
	var m archive.Message
	id, err := message.ParseID(text)
	if err != nil {
		return m, fmt.Errorf("%q: %w", text, err)
	}
	stories, err := op.Trace(ctx, a.reading(), id.String())
	if err == nil && (len(stories) != 1 || stories[0].Envelope.Authority != a.Authority) {
		err = fmt.Errorf("message %s: %w", id, queue.ErrNotFound)
	}
	if err != nil {
		return m, err
	}
	m.Story = stories[0]
	m.Body = func(w io.Writer) error { return op.Fetch(ctx, a.reading(), a.Authority, id, false, w) }
	if protected(m.Story.Events) {
		m.Opened = func(w io.Writer) error { return op.Fetch(ctx, a.reading(), a.Authority, id, true, w) }
	}
	m.Document = func(r message.Receipt) ([]byte, error) {
		_, doc, err := op.Receipt(ctx, a.reading(), a.Authority, id, r.ID.String())
		return doc, err
	}
	if cfg.Evidence.Stamp != nil {
		m.Evidence = func(key message.ItemKey, w io.Writer) error {
			return stampedBundle(ctx, op, a.reading(), key, a.Dir, w)
		}
	}
	return m, nil
}

// stampedBundle is an evidence bundle for the archive, which keeps none without a
// time stamp. Until it is verified it lies in dir, where the package will: it has the
// message in it, readable.
func stampedBundle(ctx context.Context, op api.Operator, r message.Reading, key message.ItemKey, dir string, w io.Writer) error {
	f, err := os.CreateTemp(dir, ".nachweis-*")
	if err != nil {
		return err
	}
	defer func() { f.Close(); os.Remove(f.Name()) }()
	if err := op.Evidence(ctx, r, key, f); err != nil {
		return err
	}
	switch v, err := evidence.Verify(f.Name(), evidence.Options{}); {
	case err != nil:
		return err
	case v.Unstamped:
		return fmt.Errorf("evidence bundle of %s: the time-stamping authority does not answer: export again when it does", key)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

// protected reports whether a received message came signed or encrypted.
func protected(events []message.Event) bool {
	return slices.ContainsFunc(events, func(e message.Event) bool {
		return (e.Kind == message.EventMailbox || e.Kind == message.EventOpened) && (e.Data["encrypted_by"] != "" || e.Data["signed_by"] != "")
	})
}
