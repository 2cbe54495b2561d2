package main

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"gatewayd/api"
	"gatewayd/audit"
	"gatewayd/message"
)

type auditCmd struct {
	Verify auditVerifyCmd `cmd:"" help:"Verify the hash chain of the audit log, or the proof of one line. Exit code 1 if it does not hold; the first bad record is named."`
	List   auditListCmd   `cmd:"" help:"List lines of the audit log."`
	Export auditExportCmd `cmd:"" help:"Write lines of the audit log as JSON lines, CSV or syslog messages."`
	Prove  auditProveCmd  `cmd:"" help:"Write the proof that one line stands in the log of its day; it holds without the log."`
}

type auditVerifyCmd struct {
	configFlag
	jsonFlag
	Folder     string       `help:"Verify this copy of the audit folder instead; no configuration, key or gateway is needed."`
	PublicKey  string       `help:"With --folder or --proof: the gateway's public key in hexadecimal, whose seals and checkpoints count (audit verify shows it). Left out: that of the first seal, which only proves that the folder agrees with itself."`
	Mark       []audit.Mark `placeholder:"LINK:HASH" help:"A link that the chain must have, with its hash, as a syslog collector or an older export has it; may be repeated."`
	Checkpoint string       `help:"A checkpoint that was kept elsewhere: the chain must pass through it."`
	Proof      string       `help:"Check this proof of one line (audit prove) instead, with --public-key. No configuration, folder or gateway is needed."`
}

// Help shows examples.
func (auditVerifyCmd) Help() string {
	return "Examples:\n  gatewayd audit verify --json\n  gatewayd audit verify --folder /mnt/copy/audit --public-key 3f…\n  gatewayd audit verify --proof proof.json --public-key 3f…\n\nIt reads no events, so it needs no purpose."
}

// Run verifies.
func (a auditVerifyCmd) Run(c console) error {
	public, err := publicKey(a.PublicKey, cmp.Or(a.Folder, a.Proof))
	if err != nil {
		return err
	}
	if a.Proof != "" {
		return a.proof(c, public)
	}
	marks := a.Mark
	if a.Checkpoint != "" {
		text, err := os.ReadFile(a.Checkpoint)
		if err != nil {
			return err
		}
		kept, err := audit.ParseCheckpoint(text, public)
		if err != nil {
			return fmt.Errorf("%s: %w", a.Checkpoint, err)
		}
		marks = append(marks, audit.Mark{Seq: kept.Seq, Hash: kept.Hash, From: "the checkpoint " + a.Checkpoint})
	}
	if a.Folder != "" {
		report, err := audit.Verify(a.Folder, audit.Options{Public: public, Marks: marks})
		if err != nil {
			return err
		}
		return a.tell(c, report)
	}
	return a.operate(c, func(ctx context.Context, op api.Operator) error {
		report, err := op.VerifyAudit(ctx, marks)
		if err != nil {
			return err
		}
		return a.tell(c, report)
	})
}

// publicKey reads --public-key, which needs --folder (or --proof).
func publicKey(text, folder string) (ed25519.PublicKey, error) {
	if text == "" {
		return nil, nil
	}
	key, err := hex.DecodeString(text)
	switch {
	case err != nil || len(key) != ed25519.PublicKeySize:
		return nil, errors.New("--public-key: 64 hexadecimal digits are needed")
	case folder == "":
		return nil, errors.New("--public-key goes with --folder; the gateway knows its own")
	}
	return key, nil
}

// proof checks the proof of one line. Without the gateway's key it agrees with
// itself at best, which proves nothing.
func (a auditVerifyCmd) proof(c console, public ed25519.PublicKey) error {
	text, err := readFile(a.Proof, maxProof)
	if err != nil {
		return err
	}
	p, err := audit.ParseProof(text)
	if err != nil {
		return fmt.Errorf("%s: %w", a.Proof, err)
	}
	bad := p.Verify(public)
	answer := proofAnswer{Holds: bad == nil && public != nil, Day: p.Seal.Day.String(), Line: p.Line, Event: p.Event, PublicKey: hex.EncodeToString(p.Seal.PublicKey)}
	switch {
	case bad != nil:
		answer.Reason = bad.Error()
		answer.Event = nil
	case public == nil:
		answer.Reason = "it agrees with itself, which proves nothing: say whose seal counts with --public-key (audit verify at the gateway shows it)"
	}
	if a.JSON {
		err = printJSON(c.out, answer)
	} else {
		answer.print(c.out)
	}
	if err == nil && !answer.Holds {
		err = errNo
	}
	return err
}

// maxProof bounds a proof, in octets: its seal has a run for each gap of a day.
const maxProof = 16 << 20

type proofAnswer struct {
	Holds     bool           `json:"holds"`
	Reason    string         `json:"reason,omitempty"`
	Day       string         `json:"date"`
	Line      string         `json:"line"`
	Event     *message.Event `json:"event,omitempty"`
	PublicKey string         `json:"public_key"`
}

func (a proofAnswer) print(w io.Writer) {
	if a.Reason != "" {
		fmt.Fprintln(w, "not proven:", a.Reason)
		return
	}
	fmt.Fprintf(w, "proven: the line stands in the log of %s, sealed by %s\n", a.Day, a.PublicKey)
	if a.Event == nil {
		fmt.Fprintln(w, "what it said can no longer be read")
		return
	}
	fmt.Fprintf(w, "link %d  %s  %s  %s  %s\n", a.Event.Seq, local(a.Event.At), a.Event.Kind, a.Event.Authority, details(a.Event.Data))
}

func (a auditVerifyCmd) tell(c console, r audit.Report) error {
	if a.JSON {
		if err := printJSON(c.out, r); err != nil {
			return err
		}
	} else {
		tellReport(c, r)
	}
	if !r.OK() {
		return errNo
	}
	return nil
}

func tellReport(c console, r audit.Report) {
	if !r.OK() {
		fmt.Fprintln(c.out, r.Bad)
		return
	}
	fmt.Fprintf(c.out, "the chain is whole: %d links in %d files, %d to %d, head %s\n", r.Links, r.Files, r.First, r.Last, r.Head)
	if r.Erased > 0 {
		fmt.Fprintf(c.out, "%d days were erased; their seals vouch for %d links\n", r.Erased, r.Gone)
	}
	if p := r.Checkpoint; p != nil {
		fmt.Fprintf(c.out, "signed up to link %d at %s\n", p.Seq, local(p.At))
	}
	if r.PublicKey != "" {
		fmt.Fprintln(c.out, "public key", r.PublicKey)
	}
	for _, n := range r.Unproven {
		fmt.Fprintf(c.out, "link %d lies inside an erased day: its hash can no longer be compared\n", n)
	}
}
