package main

import (
	"crypto/x509"
	"fmt"
	"io"
	"regexp"
	"time"

	"gatewayd/calendar"
	"gatewayd/evidence"
	"gatewayd/message"
)

type evidenceCmd struct {
	Verify evidenceVerifyCmd `cmd:"" help:"Verify an evidence bundle, offline and without a configuration. Exit code 1 unless it is accepted."`
}

type evidenceVerifyCmd struct {
	jsonFlag
	Anchors string `type:"existingfile" help:"PEM file: roots that you trust for the seal, the time stamp and the platforms' seals. Without it nothing is accepted." placeholder:"CA.pem"`
	Signer  string `help:"Pattern (RE2) that the subject of the seal's certificate must fit, e.g. 'Gateway Kanton BL'."`
	Bundle  string `arg:"" help:"The bundle: a ZIP, or the folder that it was unpacked into."`
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
	return err
}

// printEvidence shows a verdict to a person.
func printEvidence(w io.Writer, name string, r evidence.Result, roots *x509.CertPool) {
	head := map[string]string{
		evidence.Accepted:       "accepted: complete, unchanged, sealed and stamped under your anchors",
		evidence.SelfConsistent: "NOT ACCEPTED, only self-consistent: complete and unchanged in itself, but without --anchors nobody vouches for who made it, or when",
		evidence.Refused:        "REFUSED",
	}[r.Verdict]
	fmt.Fprintf(w, "%s: %s\n", name, head)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %-12s %s\n", name, fmt.Sprintf(format, args...))
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
