package main

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"gatewayd/api"
	"gatewayd/audit"
)

type auditCmd struct {
	Verify auditVerifyCmd `cmd:"" help:"Verify the hash chain of the audit log. Exit code 1 if it is broken; the first bad record is named."`
}

type auditVerifyCmd struct {
	configFlag
	jsonFlag
	Folder     string       `help:"Verify this copy of the audit folder instead; no configuration, key or gateway is needed."`
	PublicKey  string       `help:"With --folder: the gateway's public key in hexadecimal, whose seals and checkpoints count (audit verify shows it). Left out: that of the first seal, which only proves that the folder agrees with itself."`
	Mark       []audit.Mark `placeholder:"LINK:HASH" help:"A link that the chain must have, with its hash, as a syslog collector or an older export has it; may be repeated."`
	Checkpoint string       `help:"A checkpoint that was kept elsewhere: the chain must pass through it."`
}

// Help shows examples.
func (auditVerifyCmd) Help() string {
	return "Examples:\n  gatewayd audit verify --json\n  gatewayd audit verify --folder /mnt/copy/audit --public-key 3f…\n\nIt reads no events, so it needs no purpose."
}

// Run verifies.
func (a auditVerifyCmd) Run(c console) error {
	public, err := publicKey(a.PublicKey, a.Folder)
	if err != nil {
		return err
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

// publicKey reads --public-key, which needs --folder.
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
