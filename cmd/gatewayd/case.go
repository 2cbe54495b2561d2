package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"gatewayd/api"
	"gatewayd/calendar"
	"gatewayd/legal"
	"gatewayd/message"
)

type caseCmd struct {
	Show    caseShowCmd    `cmd:"" help:"Show delivery cases: service date and its basis, periods, versions, tasks, alarms."`
	Close   caseCloseCmd   `cmd:"" help:"Say that a task of a case is done, or its alarm seen."`
	Expects caseExpectsCmd `cmd:"" help:"Say whether the party had to expect mail; the fiction of the seventh day rests on it."`
}

type caseShowCmd struct {
	configFlag
	jsonFlag
	Question string `arg:"" help:"A message id, MESSAGE/RECIPIENT, Message-ID, reference or recipient's address."`
}

// Help shows examples.
func (caseShowCmd) Help() string {
	return "Everything here is help, never binding.\n\nExamples:\n  gatewayd case show BL-7F3K9Q2M\n  gatewayd case show 06kq2v3x9m4n5p6r7s8t9v0w1x/2 --json"
}

// Run shows the cases. Exit code 1 if there is none.
func (s caseShowCmd) Run(c console) error {
	return s.operate(c, func(ctx context.Context, op api.Operator) error {
		cases, err := op.Cases(ctx, s.Question)
		if err != nil {
			return err
		}
		if s.JSON {
			err = printJSON(c.out, append([]legal.Case{}, cases...))
		} else {
			for _, lc := range cases {
				printCase(c.out, lc)
			}
		}
		if err == nil && len(cases) == 0 {
			fmt.Fprintln(c.err, "no delivery case is known of it")
			err = errNo
		}
		return err
	})
}

type caseCloseCmd struct {
	itemFlags
	Task string `arg:"" help:"Code of the task or alarm, as case show lists it, e.g. serve_by_post."`
	reasonFlag
}

// Help shows examples.
func (caseCloseCmd) Help() string {
	return "Example:\n  gatewayd case close 06kq2v3x9m4n5p6r7s8t9v0w1x/2 serve_by_post --reason 'eingeschrieben am 2. Dezember'"
}

// Run closes it.
func (k caseCloseCmd) Run(c console) error {
	return k.do(c, func(ctx context.Context, op api.Operator, key message.ItemKey) error {
		return op.CloseTask(ctx, key, k.Task, k.Reason)
	})
}

type caseExpectsCmd struct {
	itemFlags
	Answer string `arg:"" enum:"yes,no" help:"yes or no."`
	reasonFlag
}

// Help shows examples.
func (caseExpectsCmd) Help() string {
	return "Example:\n  gatewayd case expects 06kq2v3x9m4n5p6r7s8t9v0w1x/2 yes --reason 'Verfahren hängig seit 3. März'"
}

// Run says it.
func (e caseExpectsCmd) Run(c console) error {
	return e.do(c, func(ctx context.Context, op api.Operator, key message.ItemKey) error {
		return op.SayExpected(ctx, key, legal.Answer(e.Answer), e.Reason)
	})
}

// printCase shows a case to a person.
func printCase(w io.Writer, c legal.Case) {
	fmt.Fprintf(w, "  case %s  %s  %s  %s\n", c.Item, c.Reference, c.Recipient, c.Platform)
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(w, "    %-10s %s\n", name, text)
		}
	}
	line("state", string(c.State)+": "+c.Because)
	line("service", serviceText(c.Service))
	if !c.Expected.IsZero() && c.Service.Date.IsZero() {
		line("expected", dayText(c.Expected)+", if nobody collects it")
	}
	if c.Alternative != nil {
		line("or", serviceText(*c.Alternative))
	}
	for _, p := range c.Periods {
		text := fmt.Sprintf("%-8s %d days, last day %s (%s; holidays %s %s)", p.Profile, p.Days, dayText(p.Last), p.Law, p.Calendar, p.Version)
		if p.Why != "" {
			text += ", not " + p.Raw.String() + ": " + p.Why
		}
		line("period", text)
	}
	line("addressee", addresseeText(c.Addressee))
	for _, e := range c.Trail {
		line("evidence", trailText(e))
	}
	for _, v := range c.Versions {
		text := fmt.Sprintf("%d  %s  %s", v.N, local(v.At), v.State)
		if !v.Service.Date.IsZero() {
			text += ", service " + v.Service.Date.String() + " by " + string(v.Service.Basis)
		}
		if v.Corrects > 0 {
			text += fmt.Sprintf(", corrects version %d", v.Corrects)
		}
		line("version", text)
	}
	for _, t := range c.Tasks {
		text := "open: " + t.Text
		if !t.Closed.IsZero() {
			text = "closed " + local(t.Closed) + " by " + t.By + ": " + t.How
		}
		line("task", string(t.Code)+"  "+text)
	}
	for _, a := range c.Alarms {
		line("alarm", string(a.Code)+"  since "+local(a.At)+": "+a.Text)
	}
	line("", "help, not binding (binding=false)")
}

func dayText(d calendar.Day) string { return d.Weekday().String()[:3] + " " + d.String() }

func serviceText(s legal.Service) string {
	if s.Date.IsZero() {
		return "none"
	}
	text := dayText(s.Date) + " by " + string(s.Basis)
	if !s.At.IsZero() {
		text += ", platform time " + local(s.At)
	}
	return text + " – " + s.Rule
}

func addresseeText(a legal.Addressee) string {
	parts := []string{"not identified"}
	if a.Identified {
		parts[0] = "identified (checked " + a.Checked + ")"
	}
	switch a.Expects {
	case legal.Yes:
		parts = append(parts, "had to expect it")
	case legal.No:
		parts = append(parts, "had not to expect it")
	default:
		parts = append(parts, "nobody has said whether it had to be expected")
	}
	if a.SaidBy != "" {
		parts = append(parts, "said by "+a.SaidBy+": "+a.SaidWhy)
	}
	if a.Consent != "" {
		parts = append(parts, "consent "+a.Consent)
	}
	return strings.Join(append(parts, "holidays of "+a.Calendar), ", ")
}

func trailText(e legal.Entry) string {
	platform := "-"
	if !e.Platform.IsZero() {
		platform = e.Platform.In(calendar.Zone()).Format(time.DateTime)
	}
	return strings.TrimSpace(fmt.Sprintf("%-18s by %-11s platform %-19s gateway %s  %s", e.Code, e.Issuer, platform, local(e.Gateway), e.Detail))
}
