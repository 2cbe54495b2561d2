package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"gatewayd/api"
	"gatewayd/message"
)

type keysCmd struct {
	List    keysListCmd    `cmd:"" help:"List keys, certificates and trust anchors with source, trust and expiry."`
	Show    keysShowCmd    `cmd:"" help:"Show everything about one key."`
	Find    keysFindCmd    `cmd:"" help:"Say which key would be used for an address, and why not the others. Exit code 1 if none."`
	Import  keysImportCmd  `cmd:"" help:"Put a key or certificate into the key folder: PKCS #12, PEM, or OpenPGP."`
	Export  keysExportCmd  `cmd:"" help:"Write the public part of a key to standard output."`
	Approve keysApproveCmd `cmd:"" help:"Let a key or an issuer be used that waits for approval."`
	Revoke  keysRevokeCmd  `cmd:"" help:"Take a key out of use for good. An own key signs no more, and still opens old mail."`
	CSR     keysCSRCmd     `cmd:"" name:"csr" help:"Make a private key for an authority and write the request for its certificate to standard output."`
}

type keysListCmd struct {
	configFlag
	jsonFlag
	Waiting   bool   `help:"Only what waits for approval."`
	Expiring  int    `help:"Only what ends within so many days, or has ended."`
	Authority string `help:"Only the keys of this authority."`
}

// Help shows examples.
func (keysListCmd) Help() string {
	return "Examples:\n  gatewayd keys list --waiting\n  gatewayd keys list --expiring 30\n  gatewayd keys list --authority bauinspektorat --json"
}

// Run lists.
func (k keysListCmd) Run(c console) error {
	return k.operate(c, func(ctx context.Context, op api.Operator) error {
		all, err := op.Keys(ctx)
		if err != nil {
			return err
		}
		list := []message.KeyInfo{}
		for _, one := range all {
			if k.wants(one, time.Now()) {
				list = append(list, one)
			}
		}
		if k.JSON {
			return printJSON(c.out, list)
		}
		t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "KIND\tOF\tTECHNIQUE\tSOURCE\tTRUST\tSTATE\tUNTIL\tLAST USED\tFINGERPRINT")
		for _, one := range list {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", one.Kind, dash(one.Authority+one.Address+one.Set), one.Technique, one.Source, one.Trust, one.State,
				day(one.Until), day(one.LastUsed), one.Fingerprint)
		}
		return t.Flush()
	})
}

func (k keysListCmd) wants(one message.KeyInfo, now time.Time) bool {
	if one.Fingerprint == "" {
		return true // no key: that some are not known now
	}
	return (k.Authority == "" || one.Authority == k.Authority) && (!k.Waiting || one.Trust == "waiting") &&
		(k.Expiring == 0 || !one.Until.IsZero() && one.Until.Before(now.AddDate(0, 0, k.Expiring)))
}

func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateOnly)
}

// keyFlags name one key.
type keyFlags struct {
	configFlag
	Fingerprint string `arg:"" help:"Fingerprint, or its beginning (at least 8 digits)."`
}

// find returns the one key that is meant.
func (k keyFlags) find(ctx context.Context, op api.Operator) ([]message.KeyInfo, error) {
	want := strings.ToLower(strings.NewReplacer(" ", "", ":", "").Replace(k.Fingerprint))
	if len(want) < 8 {
		return nil, errors.New("at least 8 digits of the fingerprint are needed")
	}
	all, err := op.Keys(ctx)
	if err != nil {
		return nil, err
	}
	var found []message.KeyInfo
	for _, one := range all {
		if strings.HasPrefix(one.Fingerprint, want) {
			if len(found) > 0 && one.Fingerprint != found[0].Fingerprint {
				return nil, fmt.Errorf("%s: several keys begin so", want)
			}
			found = append(found, one)
		}
	}
	if found == nil {
		return nil, fmt.Errorf("%s: no such key", want)
	}
	return found, nil
}

// do asks the gateway to act on the key.
func (k keyFlags) do(c console, done string, act func(context.Context, api.Operator, string) error) error {
	return k.operate(c, func(ctx context.Context, op api.Operator) error {
		found, err := k.find(ctx, op)
		if err != nil {
			return err
		}
		if err := act(ctx, op, found[0].Fingerprint); err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.out, done, found[0].Fingerprint)
		return err
	})
}

type keysShowCmd struct {
	keyFlags
	jsonFlag
}

// Run shows.
func (k keysShowCmd) Run(c console) error {
	return k.operate(c, func(ctx context.Context, op api.Operator) error {
		found, err := k.find(ctx, op)
		if err != nil {
			return err
		}
		if k.JSON {
			return printJSON(c.out, found)
		}
		for _, one := range found {
			printKey(c, one)
		}
		return nil
	})
}

func printKey(c console, k message.KeyInfo) {
	for _, f := range [][2]string{
		{"kind", k.Kind},
		{"of", k.Authority + k.Address + k.Set},
		{"technique", k.Technique},
		{"fingerprint", k.Fingerprint},
		{"subject", k.Subject},
		{"issuer", k.Issuer},
		{"stands for", strings.Join(k.Names, ", ")},
		{"algorithm", k.Algorithm},
		{"source", k.Source},
		{"file", k.File},
		{"trust", k.Trust},
		{"state", k.State},
		{"why", k.Why},
		{"from", local(k.From)},
		{"until", local(k.Until)},
		{"found", local(k.Found)},
		{"first used", day(k.FirstUsed)},
		{"last used", day(k.LastUsed)},
		{"signs until", local(k.SignEnd)},
		{"opens until", local(k.DecryptEnd)},
	} {
		if f[1] != "" && f[1] != "-" {
			fmt.Fprintf(c.out, "%-12s %s\n", f[0], f[1])
		}
	}
	fmt.Fprintln(c.out)
}

type keysFindCmd struct {
	configFlag
	jsonFlag
	LookUp  bool   `name:"look-up" help:"Ask the configured sources now, whatever they said before."`
	Address string `arg:"" help:"Mail address."`
}

// Help shows examples.
func (keysFindCmd) Help() string {
	return "Examples:\n  gatewayd keys find bob@partner.example\n  gatewayd keys find bob@partner.example --look-up"
}

// Run finds.
func (k keysFindCmd) Run(c console) error {
	a, err := message.ParseAddress(k.Address)
	if err != nil {
		return fmt.Errorf("%q: %w", k.Address, err)
	}
	return k.operate(c, func(ctx context.Context, op api.Operator) error {
		answer, err := op.FindKey(ctx, a, k.LookUp)
		if err != nil {
			return err
		}
		if k.JSON {
			err = printJSON(c.out, answer)
		} else {
			err = printAnswer(c, answer)
		}
		if err == nil && len(answer.Ways) == 0 {
			err = errNo
		}
		return err
	})
}

func printAnswer(c console, answer message.KeyAnswer) error {
	for _, a := range answer.Asked {
		fmt.Fprintf(c.out, "asked %s: %d found %s%s\n", a.Source, a.Found, strings.Join(a.Learned, " "), a.Error)
	}
	if len(answer.Ways) == 0 {
		fmt.Fprintln(c.out, "no usable key: confidential mail is held")
	} else {
		fmt.Fprintln(c.out, "encrypts by:", strings.Join(answer.Ways, ", "), answer.Method)
	}
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, k := range answer.Keys {
		mark := " "
		if k.Chosen {
			mark = "*"
		}
		fmt.Fprintf(t, "%s %s\t%s\t%s\t%s\t%s\tuntil %s\t%s\n", mark, k.Technique, k.Source, k.Trust, k.Fingerprint, k.State, day(k.Until), k.File)
	}
	return t.Flush()
}

type keysExportCmd struct{ keyFlags }

// Run exports.
func (k keysExportCmd) Run(c console) error {
	return k.operate(c, func(ctx context.Context, op api.Operator) error {
		found, err := k.find(ctx, op)
		if err != nil {
			return err
		}
		text, err := op.ExportKey(ctx, found[0].Fingerprint)
		if err == nil {
			_, err = c.out.Write(text)
		}
		return err
	})
}

type keysApproveCmd struct {
	keyFlags
	reasonFlag
}

// Help shows examples.
func (keysApproveCmd) Help() string {
	return "Example:\n  gatewayd keys approve 3f2a90c1d4 --reason 'Fingerabdruck am Telefon verglichen'"
}

// Run approves.
func (k keysApproveCmd) Run(c console) error {
	return k.do(c, "approved:", func(ctx context.Context, op api.Operator, fp string) error { return op.ApproveKey(ctx, fp, k.Reason) })
}

type keysRevokeCmd struct {
	keyFlags
	reasonFlag
	OpensUntil string `help:"An own key opens old mail until this day (2029-12-31); empty: without end."`
}

// Run revokes.
func (k keysRevokeCmd) Run(c console) error {
	var until time.Time
	if k.OpensUntil != "" {
		var err error
		if until, err = time.ParseInLocation(time.DateOnly, k.OpensUntil, time.Local); err != nil {
			return fmt.Errorf("--opens-until %q: write 2029-12-31", k.OpensUntil)
		}
	}
	return k.do(c, "revoked:", func(ctx context.Context, op api.Operator, fp string) error {
		return op.RevokeKey(ctx, fp, until, k.Reason)
	})
}
