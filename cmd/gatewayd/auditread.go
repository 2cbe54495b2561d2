package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"gatewayd/api"
	"gatewayd/audit"
	"gatewayd/calendar"
	"gatewayd/message"
)

// auditFilter selects lines of the log. There is no flag for a person: what is
// kept about one is asked for with person show.
type auditFilter struct {
	From      string              `placeholder:"DAY" help:"Only events of this day and later, e.g. 2026-11-23."`
	Until     string              `placeholder:"DAY" help:"Only events of this day and before."`
	Kind      []message.EventKind `help:"Only these kinds of events (logging describe lists them); may be repeated."`
	Authority string              `help:"Only events of this authority."`
	Message   string              `help:"Only events of this message."`
	After     uint64              `placeholder:"LINK" help:"Only lines with a greater number."`
}

func (a auditFilter) filter(limit int) (f audit.Filter, err error) {
	f = audit.Filter{Kinds: a.Kind, Authority: a.Authority, After: a.After, Limit: limit}
	if f.From, err = dayOf(a.From); err != nil {
		return f, err
	}
	if f.Until, err = dayOf(a.Until); err != nil {
		return f, err
	}
	if a.Message != "" {
		if f.Message, err = message.ParseID(a.Message); err != nil {
			return f, fmt.Errorf("%q: %w", a.Message, err)
		}
	}
	for _, k := range a.Kind {
		if !known(k) {
			return f, fmt.Errorf("%q is no kind of event: gatewayd logging describe lists them", k)
		}
	}
	return f, nil
}

func dayOf(text string) (calendar.Day, error) {
	if text == "" {
		return calendar.Day{}, nil
	}
	day, err := calendar.ParseDay(text)
	if err != nil {
		return day, fmt.Errorf("%q: write a day like 2026-11-23", text)
	}
	return day, nil
}

// readFile reads a file of at most so many octets.
func readFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s: larger than %d octets", path, most)
	}
	return text, err
}

func known(k message.EventKind) bool {
	for _, r := range message.EventRecords() {
		if r.Kind == k {
			return true
		}
	}
	return false
}

type auditListCmd struct {
	configFlag
	jsonFlag
	purposeFlag
	auditFilter
	Limit int `default:"100" help:"Lines, at most 10000."`
}

// Help shows examples.
func (auditListCmd) Help() string {
	return "Examples:\n  gatewayd audit list --from 2026-11-23 --kind forged --purpose security\n  gatewayd audit list --kind read --purpose protection --json"
}

// Run lists lines.
func (a auditListCmd) Run(c console) error {
	f, err := a.filter(a.Limit)
	if err == nil && (a.Limit < 1 || a.Limit > 10_000) {
		err = errors.New("--limit: from 1 to 10000; audit export writes more")
	}
	if err != nil {
		return err
	}
	list := []audit.Entry{}
	err = a.operate(c, func(ctx context.Context, op api.Operator) error {
		return op.ReadAudit(ctx, a.reading(), f, func(e audit.Entry) error {
			list = append(list, e)
			return nil
		})
	})
	if err != nil {
		return err
	}
	if a.JSON {
		return printJSON(c.out, list)
	}
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "LINK\tTIME\tKIND\tAUTHORITY\tMESSAGE\tDATA")
	for _, e := range list {
		kind, of := string(e.Kind), "-"
		if e.Sealed {
			kind = "(its key is gone)"
		}
		if !e.Message.IsZero() {
			of = message.ItemKey{Message: e.Message, N: e.Item}.String()
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\n", e.Seq, local(e.At), kind, dash(e.Authority), of, details(e.Data))
	}
	if len(list) == a.Limit {
		defer fmt.Fprintln(c.out, "more: --after", list[len(list)-1].Seq)
	}
	return t.Flush()
}

type auditExportCmd struct {
	configFlag
	purposeFlag
	auditFilter
	sealFlag
	Format   audit.Format `enum:"jsonl,csv,syslog" default:"jsonl" help:"jsonl: one JSON object a line. csv: a table. syslog: messages of RFC 5424."`
	Out      string       `short:"o" help:"New file, readable for its owner only; left out: standard output."`
	Personal bool         `default:"true" negatable:"" help:"With what names persons. --no-personal leaves it out."`
}

// Help shows examples.
func (auditExportCmd) Help() string {
	return "Examples:\n  gatewayd audit export --from 2026-11-01 --until 2026-11-30 -o november.jsonl --purpose audit\n" +
		"  gatewayd audit export --format csv --no-personal --purpose operation | less\n" +
		"  gatewayd audit export --purpose audit --to revision.pem -o november.p7m\n\n" +
		"What is exported leaves the windows of the gateway: whoever has it must erase it in time. [audit] syslog sends lines on as they come."
}

// Run exports. Half a file is removed: it would be taken for a whole one.
func (a auditExportCmd) Run(c console) error {
	f, err := a.filter(0)
	if err != nil {
		return err
	}
	write := func(w io.Writer) error { return a.into(w, func(w io.Writer) error { return a.export(c, f, w) }) }
	if a.Out == "" {
		return write(c.out)
	}
	return newFile(a.Out, write)
}

func (a auditExportCmd) export(c console, f audit.Filter, w io.Writer) error {
	cfg, err := loadConfig(a.Config, c)
	if err != nil {
		return err
	}
	out, err := audit.NewWriter(w, a.Format, audit.Shown{Everything: a.Personal}, cfg.Hostname)
	if err != nil {
		return err
	}
	return a.operate(c, func(ctx context.Context, op api.Operator) error {
		return errors.Join(op.ReadAudit(ctx, a.reading(), f, out.Write), out.Close())
	})
}

type auditProveCmd struct {
	configFlag
	purposeFlag
	Link uint64 `arg:"" help:"Number of the line, as audit list shows it."`
	Out  string `short:"o" help:"New file, readable for its owner only; left out: standard output."`
}

// Help shows examples.
func (auditProveCmd) Help() string {
	return "The proof holds one line, its place in the Merkle tree of its day, the signed seal of the day, and what the line says.\n" +
		"Check it anywhere: gatewayd audit verify --proof FILE --public-key KEY. It goes on to hold when the log was erased.\n\n" +
		"Example:\n  gatewayd audit prove 4711 -o line-4711.json --purpose audit"
}

// Run writes the proof.
func (a auditProveCmd) Run(c console) error {
	return a.operate(c, func(ctx context.Context, op api.Operator) error {
		p, err := op.Prove(ctx, a.reading(), a.Link)
		if err != nil || a.Out == "" {
			return errors.Join(err, printUnless(err, c.out, p))
		}
		return newFile(a.Out, func(w io.Writer) error { return printJSON(w, p) })
	})
}

func printUnless(err error, w io.Writer, v any) error {
	if err != nil {
		return nil
	}
	return printJSON(w, v)
}
