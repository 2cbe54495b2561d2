package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"os"

	"gatewayd/api"
	"gatewayd/message"
	"gatewayd/receipts"
)

type receiptsCmd struct {
	Inspect   inspectCmd   `cmd:"" help:"Read and verify a receipt (.eml or .pdf), or read a bounce, without a running gateway."`
	Unmatched unmatchedCmd `cmd:"" help:"List receipts that belong to no known message."`
}

// maxReceipt bounds a file to inspect, in octets.
const maxReceipt = 64 << 20

type inspectCmd struct {
	jsonFlag
	Config  string `short:"c" env:"GATEWAYD_CONFIG" help:"Configuration file, for its patterns and anchors. Empty: the built-in patterns, and --anchors."`
	Anchors string `type:"existingfile" help:"PEM file: issuers of the platforms' seals."`
	File    string `arg:"" type:"existingfile" help:"The receipt."`
}

// Help shows examples.
func (inspectCmd) Help() string {
	return "Examples:\n  gatewayd receipts inspect Abgabequittung.pdf --anchors anchors.pem --json\n  gatewayd receipts inspect quittung.eml -c gatewayd.toml"
}

// Run inspects. Exit code 1 if nothing in it is verified.
func (i inspectCmd) Run(c console) error {
	recogniser, roots, err := i.tools(c)
	if err != nil {
		return err
	}
	f, err := os.Open(i.File)
	if err != nil {
		return err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxReceipt+1))
	if err != nil {
		return err
	}
	if len(raw) > maxReceipt {
		return fmt.Errorf("%s: larger than 64 MiB", i.File)
	}
	found, err := recogniser.Inspect(raw, roots)
	if err != nil {
		return err
	}
	if report, ok := readBounce(raw); ok && len(found.Receipts) == 0 {
		return printBounce(c, report, i.JSON)
	}
	if i.JSON {
		err = printJSON(c.out, found)
	} else {
		err = printInspection(c, found)
	}
	for _, r := range found.Receipts {
		if r.Verdict == message.Verified {
			return err
		}
	}
	if err == nil {
		err = errNo
	}
	return err
}

// tools are the configured ones, or the built-in ones.
func (i inspectCmd) tools(c console) (*receipts.Recogniser, map[string]*x509.CertPool, error) {
	roots := map[string]*x509.CertPool{}
	if i.Anchors != "" {
		pool, err := rootsIn(i.Anchors)
		if err != nil {
			return nil, nil, err
		}
		roots["incamail"], roots["privasphere"] = pool, pool
	}
	if i.Config == "" {
		r, errs := receipts.New(receipts.Options{Platforms: receipts.DefaultPlatforms()})
		if errs != nil {
			return nil, nil, errs[0]
		}
		return r, roots, nil
	}
	cfg, err := loadConfig(i.Config, c)
	if err != nil {
		return nil, nil, err
	}
	if i.Anchors == "" {
		for name, p := range cfg.Platforms {
			roots[name] = p.Roots
		}
	}
	return cfg.Recogniser, roots, nil
}

func printInspection(c console, found receipts.Inspection) error {
	if len(found.Receipts) == 0 {
		_, err := fmt.Fprintln(c.out, "no receipt in it")
		return err
	}
	for _, r := range found.Receipts {
		fmt.Fprintf(c.out, "%s by %s: %s\n", r.Kind, r.Platform, r.Verdict)
		for _, f := range [][2]string{
			{"time", local(r.At)},
			{"reference", r.Reference},
			{"sender", r.Sender},
			{"recipient", r.Recipient},
			{"code", r.Code},
			{"signer", r.Signer},
			{"file", r.FileName},
			{"sha256", r.SHA256.String()},
			{"remark", r.Detail},
		} {
			if f[1] != "" {
				fmt.Fprintf(c.out, "  %-10s %s\n", f[0], f[1])
			}
		}
	}
	return nil
}

type unmatchedCmd struct {
	configFlag
	jsonFlag
	purposeFlag
}

// Run lists them.
func (u unmatchedCmd) Run(c console) error {
	return u.operate(c, func(ctx context.Context, op api.Operator) error {
		rs, err := op.Unmatched(ctx, u.reading(), 1000)
		if err != nil {
			return err
		}
		if u.JSON {
			return printJSON(c.out, append([]message.Receipt{}, rs...))
		}
		for _, r := range rs {
			fmt.Fprintf(c.out, "%s  %s  %s by %s, %s: %s\n", local(r.Received), r.ID, r.Kind, r.Platform, r.Verdict, r.Detail)
		}
		fmt.Fprintf(c.out, "%d receipts that belong to no known message\n", len(rs))
		return nil
	})
}
