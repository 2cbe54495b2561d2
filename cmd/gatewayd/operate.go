package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"gatewayd/api"
	"gatewayd/calendar"
	"gatewayd/legal"
	"gatewayd/message"
	"gatewayd/queue"
)

// configFlag is shared by every command that works on an installation.
type configFlag struct {
	Config string `short:"c" default:"/etc/gatewayd/gatewayd.toml" env:"GATEWAYD_CONFIG" help:"Configuration file."`
}

// jsonFlag is shared by every command with an answer.
type jsonFlag struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// socketPath is where the running daemon answers operators.
func socketPath(data string) string { return filepath.Join(data, "admin.sock") }

// operate asks the running daemon, or opens the data folder itself when none
// runs.
func (f configFlag) operate(c console, ask func(context.Context, api.Operator) error) error {
	cfg, err := loadConfig(f.Config, c)
	if err != nil {
		return err
	}
	ctx := context.Background()
	path := socketPath(cfg.Data)
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return ask(ctx, api.NewClient(path))
	}
	p, err := open(cfg, quietLog(), time.Now)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.gateway.Catchup(ctx); err != nil {
		return err
	}
	return ask(ctx, p.operator())
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

type queueCmd struct {
	List         queueListCmd         `cmd:"" help:"List items by state."`
	Show         queueShowCmd         `cmd:"" help:"Show everything about one item."`
	Release      queueReleaseCmd      `cmd:"" help:"Let a held item go, for a reason."`
	Hold         queueHoldCmd         `cmd:"" help:"Hold a waiting or unclear item, for a reason."`
	Drop         queueDropCmd         `cmd:"" help:"End a held item without sending it, for a reason."`
	Retry        queueRetryCmd        `cmd:"" help:"Try a waiting item now."`
	Pause        queuePauseCmd        `cmd:"" help:"Let nothing go to a platform or destination until it is resumed, for a reason."`
	Resume       queueResumeCmd       `cmd:"" help:"Let a paused destination go on, for a reason."`
	Destinations queueDestinationsCmd `cmd:"" help:"List destinations with open attempts, at rest after failures, or paused."`
	Check        queueCheckCmd        `cmd:"" help:"Verify every invariant of queue and vault. Exit code 1 if something is wrong."`
}

type queueListCmd struct {
	configFlag
	jsonFlag
	State     string `help:"Only items in this state: waiting, sending, unclear, held, handed, done, refused, dropped, expired."`
	Authority string `help:"Only items of this authority."`
	After     string `help:"Continue after this cursor."`
	Limit     int    `default:"100" help:"Items on a page."`
}

// Help shows examples.
func (queueListCmd) Help() string {
	return "Examples:\n  gatewayd queue list --state held\n  gatewayd queue list --authority bauinspektorat --json"
}

// Run lists one page.
func (q queueListCmd) Run(c console) error {
	return q.operate(c, func(ctx context.Context, op api.Operator) error {
		items, next, err := op.List(ctx, queue.Query{State: message.State(q.State), Authority: q.Authority, After: q.After, Limit: q.Limit})
		if err != nil {
			return err
		}
		if q.JSON {
			return printJSON(c.out, map[string]any{"items": items, "next": next})
		}
		t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "MESSAGE\tRECIPIENT\tCLASS\tVIA\tSTATE\tCASE\tNEXT TRY\tREMARK")
		for _, i := range items {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", i.Key, i.Recipient.Address, i.Decision.Class, i.Decision.Via, i.State, i.Case, local(i.NextTry), remark(i))
		}
		if next != "" {
			defer fmt.Fprintln(c.out, "more: --after", next)
		}
		return t.Flush()
	})
}

func remark(i message.Item) string {
	if i.Alarm != "" {
		return i.Alarm
	}
	return i.Reply
}

func local(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.In(calendar.Zone()).Format("2006-01-02 15:04:05")
}

type queueCheckCmd struct {
	configFlag
	jsonFlag
	Repair bool `help:"First make a new ledger out of everything that opens, and take what it lost from the vault; the gateway must be stopped. The old file is kept under corrupt/."`
}

// Help shows examples.
func (queueCheckCmd) Help() string {
	return "Examples:\n  gatewayd queue check\n  systemctl stop gatewayd && gatewayd queue check --repair && systemctl start gatewayd"
}

// Run checks and reports.
func (q queueCheckCmd) Run(c console) error {
	if q.Repair {
		if err := q.repair(c); err != nil {
			return err
		}
	}
	return q.operate(c, func(ctx context.Context, op api.Operator) error {
		problems, err := op.Check(ctx)
		if err != nil {
			return err
		}
		counts, err := op.Counts(ctx)
		if err != nil {
			return err
		}
		if q.JSON {
			err = printJSON(c.out, map[string]any{"ok": len(problems) == 0, "problems": append([]string{}, problems...), "items": counts})
		} else {
			for _, p := range problems {
				fmt.Fprintln(c.out, p)
			}
			var parts []string
			for _, s := range message.States() {
				if counts[s] > 0 {
					parts = append(parts, fmt.Sprintf("%d %s", counts[s], s))
				}
			}
			fmt.Fprintf(c.out, "%d problems; items: %s\n", len(problems), strings.Join(parts, ", "))
		}
		if err == nil && len(problems) > 0 {
			err = errNo
		}
		return err
	})
}

type messageCmd struct {
	Inspect messageInspectCmd `cmd:"" help:"Read a message file: subject, people, parts, and what mail programs would read differently. No gateway is needed."`
	Trace   traceCmd          `cmd:"" help:"Tell the story of a message as a time line."`
}

type traceCmd struct {
	configFlag
	jsonFlag
	purposeFlag
	Question string `arg:"" help:"A message id, Message-ID, reference or recipient's address."`
}

// Help shows examples.
func (traceCmd) Help() string {
	return "Examples:\n  gatewayd message trace 06kq2v3x9m4n5p6r7s8t9v0w1x --purpose operation\n  gatewayd message trace BL-7F3K9Q2M --purpose operation\n  gatewayd message trace buerger@example.ch --purpose security --json"
}

// Run prints the stories.
func (t traceCmd) Run(c console) error {
	return t.operate(c, func(ctx context.Context, op api.Operator) error {
		stories, err := op.Trace(ctx, t.reading(), t.Question)
		if err != nil {
			return err
		}
		if len(stories) == 0 && !t.JSON {
			fmt.Fprintln(c.out, "nothing is known of it")
			return errNo
		}
		traced := []tracedStory{}
		for _, s := range stories {
			cases, err := op.Cases(ctx, s.Envelope.ID.String())
			if err != nil {
				return err
			}
			traced = append(traced, tracedStory{s, cases})
		}
		if t.JSON {
			return printJSON(c.out, traced)
		}
		for _, s := range traced {
			printStory(c.out, s.Story)
			for _, lc := range s.Cases {
				printCase(c.out, lc)
			}
		}
		return nil
	})
}

// tracedStory is a story with its delivery cases.
type tracedStory struct {
	message.Story
	Cases []legal.Case `json:"cases,omitempty"`
}

func printStory(w io.Writer, s message.Story) {
	fmt.Fprintf(w, "%s  %s  from %s  %d octets\n", s.Envelope.ID, s.Envelope.Authority, s.Envelope.From, s.Envelope.Content.Size)
	for _, e := range s.Events {
		who := ""
		if e.Item > 0 {
			who = fmt.Sprintf("/%d", e.Item)
		}
		fmt.Fprintf(w, "  %s  %-3s %-18s %s\n", local(e.At), who, e.Kind, details(e.Data))
	}
	for _, i := range s.Items {
		fmt.Fprintf(w, "  → %s: %s, %s", i.Recipient.Address, i.Decision.Class, i.State)
		if i.Case != "" {
			fmt.Fprintf(w, ", %s", i.Case)
		}
		fmt.Fprintf(w, "; erased by %s", local(i.EraseBy))
		if r := remark(i); r != "" {
			fmt.Fprintf(w, "; %s", r)
		}
		fmt.Fprintln(w)
	}
}

// maxDetail bounds a value that is shown, in octets.
const maxDetail = 1000

// details shows the data of an event, without what no person reads.
func details(data map[string]string) string {
	var parts []string
	for k, v := range data {
		if len(v) > maxDetail { // the seal of an evidence bundle; --json has all of it
			v = fmt.Sprintf("%.40s… (%d characters)", v, len(v))
		}
		if v != "" {
			parts = append(parts, k+"="+v)
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}
