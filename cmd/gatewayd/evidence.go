package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gatewayd/api"
	"gatewayd/calendar"
	"gatewayd/evidence"
	"gatewayd/message"
)

type evidenceCmd struct {
	Export evidenceExportCmd `cmd:"" help:"Write the evidence bundle of each delivery case of a message: sealed, stamped, verifiable offline."`
	Stamp  evidenceStampCmd  `cmd:"" help:"Fetch the time stamp of a bundle that was exported while the time-stamping authority was out of reach."`
	Verify evidenceVerifyCmd `cmd:"" help:"Verify an evidence bundle, offline and without a configuration. Exit code 1 unless it is accepted."`
}

type evidenceExportCmd struct {
	configFlag
	sealFlag
	Question string `arg:"" help:"A message id, MESSAGE/RECIPIENT, Message-ID, reference or recipient's address."`
	// Proof of a delivery is orderly operation unless somebody says otherwise.
	Purpose message.Purpose `default:"operation" help:"What it is taken out for: security, operation, protection, audit or access (Benutzungsreglement BL § 22). It stands in the audit log beside your name."`
	Out     string          `help:"File for the one bundle, or folder for all. Default: nachweis-MESSAGE-RECIPIENT.zip here." placeholder:"FILE"`
}

// Help shows examples.
func (evidenceExportCmd) Help() string {
	return `One bundle for each registered recipient. Who exported it stands in the audit log. Needs [evidence] in the configuration.
While the time-stamping authority does not answer a bundle has no time stamp, which is said (not of one that is encrypted by --to: verify
tells it): gatewayd evidence stamp fetches it later.

Examples:
  gatewayd evidence export BL-7F3K9Q2M
  gatewayd evidence export 06kq2v3x9m4n5p6r7s8t9v0w1x/2 --out dossier.zip
  gatewayd evidence export BL-7F3K9Q2M --to gericht.pem --out dossier.zip.p7m`
}

// Run writes the bundles. Exit code 1 if there is no case.
func (e evidenceExportCmd) Run(c console) error {
	return e.operate(c, func(ctx context.Context, op api.Operator) error {
		cases, err := op.Cases(ctx, e.Question)
		if err != nil {
			return err
		}
		if len(cases) == 0 {
			fmt.Fprintln(c.err, "no delivery case is known of it: only registered messages have one")
			return errNo
		}
		folder, one := ".", ""
		if info, err := os.Stat(e.Out); err == nil && info.IsDir() {
			folder = e.Out
		} else if e.Out != "" {
			if one = e.Out; len(cases) > 1 {
				return fmt.Errorf("%d delivery cases: name one (%s), or a folder by --out", len(cases), cases[0].Item)
			}
		}
		for _, lc := range cases {
			name := bundleName(lc.Item)
			if len(e.To) > 0 {
				name += ".p7m"
			}
			path := cmp.Or(one, filepath.Join(folder, name))
			if err := writeBundle(ctx, op, e.sealFlag, message.Reading{By: reader(), Purpose: e.Purpose}, lc.Item, path); err != nil {
				return err
			}
			fmt.Fprintln(c.out, "written:", path)
			if r, err := evidence.Verify(path, evidence.Options{}); err == nil && r.Unstamped {
				fmt.Fprintf(c.err, "  time stamp pending: the time-stamping authority did not answer. The gateway asks again by itself; then: gatewayd evidence stamp %s\n", path)
			}
		}
		return nil
	})
}

func bundleName(key message.ItemKey) string {
	return fmt.Sprintf("nachweis-%s-%d.zip", key.Message, key.N)
}

// writeBundle writes a new file; after an error none is left.
func writeBundle(ctx context.Context, op api.Operator, s sealFlag, r message.Reading, key message.ItemKey, path string) error {
	return newFile(path, func(f io.Writer) error {
		return s.into(f, func(w io.Writer) error { return op.Evidence(ctx, r, key, w) })
	})
}

type evidenceStampCmd struct {
	configFlag
	Purpose message.Purpose `default:"operation" help:"What the bundle is for: security, operation, protection, audit or access."`
	Bundle  string          `arg:"" type:"existingfile" help:"The bundle: a ZIP as gatewayd evidence export wrote it. It is replaced by the one with the stamp."`
}

// Help shows examples.
func (evidenceStampCmd) Help() string {
	return `Nothing but the seal in the bundle changes. The gateway asks the time-stamping authority at once if it has not got the stamp yet.

Examples:
  gatewayd evidence stamp nachweis-06kq2v3x9m4n5p6r7s8t9v0w1x-1.zip`
}

// Run completes the bundle. Exit code 1 while there is no stamp.
func (e evidenceStampCmd) Run(c console) error {
	r, err := evidence.Verify(e.Bundle, evidence.Options{})
	switch {
	case err != nil:
		return err
	case r.Record == nil || r.Verdict == evidence.Refused:
		return fmt.Errorf("%s: not an unchanged evidence bundle: see gatewayd evidence verify", e.Bundle)
	case !r.Unstamped:
		fmt.Fprintln(c.out, "has its time stamp already:", e.Bundle)
		return nil
	}
	key := message.ItemKey{Message: r.Record.Subject.Message, N: r.Record.Subject.Recipient}
	return e.operate(c, func(ctx context.Context, op api.Operator) error {
		seal, err := op.Seal(ctx, message.Reading{By: reader(), Purpose: e.Purpose}, key, r.Record.ID)
		if err != nil {
			return fmt.Errorf("%s has no time stamp yet: %w", e.Bundle, err)
		}
		if err := completeBundle(e.Bundle, seal); err != nil {
			return err
		}
		fmt.Fprintln(c.out, "stamped:", e.Bundle)
		return nil
	})
}

// completeBundle replaces a bundle by the one with its seal stamped; after an error
// the old one is there.
func completeBundle(path string, seal []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".nachweis-*")
	if err != nil {
		return err
	}
	if err = errors.Join(evidence.Complete(f, path, seal), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	return syncFolder(filepath.Dir(path))
}

type evidenceVerifyCmd struct {
	jsonFlag
	Anchors  string `type:"existingfile" help:"PEM file: roots that you trust for the seal, the time stamp and the platforms' seals. Without it nothing is accepted." placeholder:"CA.pem"`
	Signer   string `help:"Pattern (RE2) that the subject of the seal's certificate must fit, e.g. 'Gateway Kanton BL'."`
	Previous string `type:"path" help:"The bundle of the same case that was made before: must be the one that this one names, unchanged." placeholder:"BUNDLE"`
	Bundle   string `arg:"" help:"The bundle: a ZIP, or the folder that it was unpacked into."`
}

// Help shows examples.
func (evidenceVerifyCmd) Help() string {
	return `Works without network, without the gateway, and after the message was erased. docs/evidence.md tells the same by hand.

Examples:
  gatewayd evidence verify --anchors CA.pem nachweis-06kq2v3x9m4n5p6r7s8t9v0w1x-1.zip
  gatewayd evidence verify --anchors CA.pem --signer 'Bauinspektorat' --json ordner/`
}

// Run verifies. Exit code 1 unless the bundle is accepted under anchors.
func (e evidenceVerifyCmd) Run(c console) error {
	var o evidence.Options
	var err error
	if e.Anchors != "" {
		if o.Roots, err = rootsIn(e.Anchors); err != nil {
			return err
		}
	}
	if e.Signer != "" {
		if o.Signer, err = regexp.Compile(e.Signer); err != nil {
			return fmt.Errorf("--signer: %w", err)
		}
	}
	r, err := evidence.Verify(e.Bundle, o)
	if err != nil {
		return err
	}
	if e.JSON {
		err = printJSON(c.out, r)
	} else {
		printEvidence(c.out, e.Bundle, r, o.Roots)
	}
	if err == nil && r.Verdict != evidence.Accepted {
		err = errNo
	}
	if e.Previous == "" || err != nil {
		return err
	}
	before, err := evidence.Verify(e.Previous, o)
	if err == nil {
		err = r.Follows(before)
	}
	if err != nil {
		return fmt.Errorf("%s does not follow %s: %w", e.Bundle, e.Previous, err)
	}
	return nil
}

// visible makes text out of a foreign bundle harmless on a terminal, where it could
// write over the verdict: no control or format characters, one line.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return utf8.RuneError
		}
		return r
	}, s)
}

// printEvidence shows a verdict to a person.
func printEvidence(w io.Writer, name string, r evidence.Result, roots *x509.CertPool) {
	head := map[string]string{
		evidence.Accepted:       "accepted: complete, unchanged, sealed and stamped under your anchors",
		evidence.Unstamped:      "NOT ACCEPTED, no time proof: complete, unchanged and sealed under your anchors, but without a time stamp nothing proves when. It is fetched by gatewayd evidence stamp",
		evidence.SelfConsistent: "NOT ACCEPTED, only self-consistent: complete and unchanged in itself, but without --anchors nobody vouches for who made it, or when",
		evidence.Refused:        "REFUSED",
	}[r.Verdict]
	fmt.Fprintf(w, "%s: %s\n", name, head)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %-12s %s\n", name, visible(fmt.Sprintf(format, args...)))
	}
	for _, p := range r.Problems {
		line("problem", "%s: %s", p.File, p.Text)
	}
	unproven := ""
	if r.Verdict != evidence.Accepted {
		unproven = " (claimed, not proven)"
	}
	if r.Signer != nil {
		line("sealed by", "%s%s, SHA-256 %s", r.Signer.Subject, unproven, r.Signer.SHA256)
	}
	if r.TSA != nil {
		line("stamped", "%s by %s%s", legalTime(r.Stamped), r.TSA.Subject, unproven)
	}
	line("files", "%d in the manifest", r.Files)
	rec := r.Record
	if rec == nil {
		return
	}
	line("delivery", "%s/%d %s from %s to %s by %s", rec.Subject.Message, rec.Subject.Recipient, rec.Subject.Reference, rec.Sender.Address, rec.Recipient.Address, dash(rec.Subject.Platform))
	line("case", "%s: %s", rec.Case.State, rec.Case.Because)
	line("service", "%s", serviceText(rec.Case.Service))
	line("content", "%s", dash(r.Content))
	for i, f := range r.Receipts {
		text := f.Detail
		if roots == nil && f.Verdict == message.Untrusted {
			text = "its seal fits; no anchor to judge its signer by"
		}
		line(fmt.Sprintf("receipt %d", i+1), "%s: %s, %s", f.File, f.Verdict, text)
	}
	line("", "help, not binding (binding=false)")
}

func legalTime(t time.Time) string { return t.In(calendar.Zone()).Format("2006-01-02 15:04:05 MST") }
