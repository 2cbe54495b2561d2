package main

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"gatewayd/api"
	"gatewayd/calendar"
	"gatewayd/crypto/cms"
	"gatewayd/crypto/tsp"
	"gatewayd/gateway"
	"gatewayd/retention"
)

// operator is the flow with its erasure, as administrators ask it.
type operator struct {
	*gateway.Gateway
	erase *gateway.Retention
}

func (p *parts) operator() api.Operator { return operator{p.gateway, p.erase} }

// RetentionReport implements api.Operator.
func (o operator) RetentionReport(ctx context.Context, at time.Time) (json.RawMessage, error) {
	report, err := o.erase.Report(ctx, at)
	if err != nil {
		return nil, err
	}
	return json.Marshal(report)
}

// RetentionSweep implements api.Operator.
func (o operator) RetentionSweep(ctx context.Context) (retention.Result, error) {
	return o.erase.Sweep(ctx)
}

type retentionCmd struct {
	Report   retentionReportCmd   `cmd:"" help:"Tell what is kept, until when, and what becomes of it."`
	Simulate retentionSimulateCmd `cmd:"" help:"Tell what would be gone on a day. Nothing is changed."`
	Verify   retentionVerifyCmd   `cmd:"" help:"Verify the protocols of destruction and their chain. Exit code 1 if it is broken; the first bad one is named."`
	Run      retentionRunCmd      `cmd:"" help:"Do now what is due. The running gateway does so by itself."`
	Release  retentionReleaseCmd  `cmd:"" help:"Release a half-yearly run of destruction (profile bs-bwpv): two persons must."`
	Clock    retentionClockCmd    `cmd:"" help:"Set the high-water mark to now, after the machine's clock was set right."`
}

type retentionReportCmd struct {
	configFlag
	jsonFlag
}

// Run reports on now.
func (r retentionReportCmd) Run(c console) error {
	return report(c, r.configFlag, r.JSON, time.Now())
}

type retentionSimulateCmd struct {
	configFlag
	jsonFlag
	At string `required:"" help:"Day (2027-01-23) or instant (RFC 3339)."`
}

// Help shows examples.
func (retentionSimulateCmd) Help() string {
	return "Example:\n  gatewayd retention simulate --at 2027-01-23"
}

// Run simulates.
func (r retentionSimulateCmd) Run(c console) error {
	at, err := time.Parse(time.RFC3339, r.At)
	if err != nil {
		day, err := calendar.ParseDay(r.At)
		if err != nil {
			return fmt.Errorf("%q: write a day like 2027-01-23 or an instant like 2027-01-23T12:00:00+01:00", r.At)
		}
		at = day.End()
	}
	return report(c, r.configFlag, r.JSON, at)
}

func report(c console, f configFlag, asJSON bool, at time.Time) error {
	return f.operate(c, func(ctx context.Context, op api.Operator) error {
		raw, err := op.RetentionReport(ctx, at)
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c.out, raw)
		}
		var report gateway.RetentionReport
		if err := json.Unmarshal(raw, &report); err != nil {
			return err
		}
		if report.Windows.BS() {
			fmt.Fprintf(c.out, "at %s: profile bs-bwpv: on 1 January and 1 July goes what was closed more than 180 days before; the days below are those of the keys\n", local(report.At))
			if r := report.Run; r != nil && r.Done {
				fmt.Fprintf(c.out, "the run of %s is done\n", r.Run)
			} else if r != nil {
				fmt.Fprintf(c.out, "the run of %s would take %d messages, %d octets, and export %d of them before; %d of 2 persons have released it\n", r.Run, r.Messages, r.Bytes, r.Exports, len(r.Released))
			}
		} else {
			fmt.Fprintf(c.out, "at %s: content at most %d months, log data exactly %d\n", local(report.At), report.Windows.ContentMonths, report.Windows.LogMonths)
		}
		t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "DAY\tFAMILY\tSTAGE\tMESSAGES\tOPEN\tUNCONFIRMED\tLET GO\tREFUSES FROM\tGONE FROM\tLIMIT")
		for _, d := range report.Days {
			fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n", d.Day, d.Family, d.Stage, d.Messages, d.Open, d.Unconfirmed, d.LetGo, local(d.Doom), local(d.Destroy), local(d.Limit))
		}
		return t.Flush()
	})
}

type retentionVerifyCmd struct {
	configFlag
	jsonFlag
	Folder    string `help:"Verify this copy of the protocols folder instead; no configuration, key or gateway is needed."`
	PublicKey string `help:"With --folder: the gateway's public key in hexadecimal (retention verify shows it). Left out: that of the first protocol, which only proves that the folder agrees with itself."`
	TSARoots  string `name:"tsa-roots" type:"existingfile" help:"With --folder: PEM file with the issuers of the time-stamping authority. Left out: time stamps are only counted."`
}

// Help shows examples.
func (retentionVerifyCmd) Help() string {
	return "On the gateway itself every destroyed key must have its protocol, so that a cut-off end is found, too.\n\n" +
		"Examples:\n  gatewayd retention verify\n  gatewayd retention verify --folder /mnt/copy/protocols --public-key 3f…"
}

// Run verifies.
func (v retentionVerifyCmd) Run(c console) error {
	public, err := publicKey(v.PublicKey, v.Folder)
	if err != nil {
		return err
	}
	if v.Folder != "" {
		if _, err := os.Stat(v.Folder); err != nil {
			return err
		}
		report, err := v.folder(public)
		if err != nil {
			return err
		}
		return v.tell(c, report)
	}
	return v.operate(c, func(ctx context.Context, op api.Operator) error {
		report, err := op.VerifyProtocols(ctx)
		if err != nil {
			return err
		}
		return v.tell(c, report)
	})
}

// folder verifies a copy.
func (v retentionVerifyCmd) folder(public ed25519.PublicKey) (retention.ChainReport, error) {
	var check func([]byte, io.Reader) error
	if v.TSARoots != "" {
		text, err := os.ReadFile(v.TSARoots)
		if err != nil {
			return retention.ChainReport{}, err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return retention.ChainReport{}, fmt.Errorf("%s: no certificate in it", v.TSARoots)
		}
		check = func(response []byte, content io.Reader) error {
			return tsp.Check(response, content, cms.TrustPool(roots))
		}
	}
	report, err := retention.VerifyProtocols(v.Folder, public, nil)
	if err != nil {
		return report, err
	}
	return report, report.CheckStamps(v.Folder, check)
}

func (v retentionVerifyCmd) tell(c console, r retention.ChainReport) error {
	switch {
	case v.JSON:
		if err := printJSON(c.out, r); err != nil {
			return err
		}
	case !r.OK():
		fmt.Fprintln(c.out, r.Bad)
	case r.Protocols == 0:
		fmt.Fprintln(c.out, "nothing was destroyed yet: there is no protocol")
	default:
		fmt.Fprintf(c.out, "the chain is whole: %d protocols name %d messages; the last is %s, SHA-256 %s\npublic key %s\n", r.Protocols, r.Objects, r.Last, r.SHA256, r.PublicKey)
		fmt.Fprintf(c.out, "%d of them bear a time stamp, %d of these were checked\n", r.Stamps, r.Stamped)
	}
	if !r.OK() {
		return errNo
	}
	return nil
}

// VerifyProtocols implements api.Operator.
func (o operator) VerifyProtocols(context.Context) (retention.ChainReport, error) {
	return o.erase.VerifyProtocols()
}

type retentionRunCmd struct {
	configFlag
	jsonFlag
}

// Run sweeps once.
func (r retentionRunCmd) Run(c console) error {
	return r.operate(c, func(ctx context.Context, op api.Operator) error {
		did, err := op.RetentionSweep(ctx)
		if err != nil {
			return err
		}
		if r.JSON {
			return printJSON(c.out, did)
		}
		_, err = fmt.Fprintf(c.out, "let go %d, exported %d, expired %d, doomed %v, destroyed %v, failed exports %d\n", did.Released, did.Exported, did.Expired, did.Doomed, did.Destroyed, did.Failed)
		return err
	})
}

type retentionReleaseCmd struct {
	configFlag
	reasonFlag
	Day string `name:"run" required:"" placeholder:"2027-07-01" help:"Day of the run that is due, or of the next one."`
}

// Help shows examples.
func (retentionReleaseCmd) Help() string {
	return "Look first at what it would take. The run destroys when a second person has released it; both names stand in its protocol.\n\n" +
		"Examples:\n  gatewayd retention simulate --at 2027-07-01\n  gatewayd retention release --run 2027-07-01 --reason 'Antrag 2027-14'"
}

// Run notes the release in the name of who sits at the keyboard.
func (r retentionReleaseCmd) Run(c console) error {
	return r.operate(c, func(ctx context.Context, op api.Operator) error {
		n, err := op.ReleaseRun(ctx, r.Day, reader(), r.Reason)
		if err != nil {
			return err
		}
		if n < 2 {
			_, err = fmt.Fprintf(c.out, "released by %s; it needs a second person\n", reader())
		} else {
			_, err = fmt.Fprintf(c.out, "released by %s; the run may destroy\n", reader())
		}
		return err
	})
}

// ReleaseRun implements api.Operator.
func (o operator) ReleaseRun(ctx context.Context, run, by, reason string) (int, error) {
	return o.erase.Release(ctx, run, by, reason)
}

type retentionClockCmd struct {
	configFlag
	reasonFlag
}

// Run sets the mark.
func (r retentionClockCmd) Run(c console) error {
	return r.operate(c, func(ctx context.Context, op api.Operator) error {
		if err := op.ResetClock(ctx, r.Reason); err != nil {
			return err
		}
		_, err := fmt.Fprintln(c.out, "the mark of the clock stands at now")
		return err
	})
}

// ResetClock implements api.Operator.
func (o operator) ResetClock(ctx context.Context, reason string) error {
	return o.erase.ResetClock(ctx, reason)
}
