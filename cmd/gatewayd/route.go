package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"gatewayd/config"
	"gatewayd/mail"
	"gatewayd/message"
	"gatewayd/policy"
)

type routeCmd struct {
	Explain routeExplainCmd `cmd:"" help:"Tell rule by rule how a message would travel, and why not otherwise. Nothing is sent."`
	Facts   routeFactsCmd   `cmd:"" help:"List the facts that conditions may use."`
}

type routeExplainCmd struct {
	configFlag
	jsonFlag
	From    string `required:"" help:"Sender: an address of an authority."`
	To      string `required:"" help:"Recipient."`
	Class   string `help:"Class asked for: normal, confidential, personal, private, registered, bulk. Empty: found from the message."`
	Subject string `help:"Subject to decide on."`
	Message string `type:"existingfile" help:"Message (.eml) whose header and size count."`
}

// Help shows examples.
func (routeExplainCmd) Help() string {
	return `Examples:
  gatewayd route explain --from bauinspektorat@bl.example --to buerger@example.ch --class registered
  gatewayd route explain --from bauinspektorat@bl.example --to buerger@example.ch --message entscheid.eml --json`
}

// Run explains. Exit code 1 says that the message would not leave.
func (r routeExplainCmd) Run(c console) error {
	cfg, err := loadConfig(r.Config, c)
	if err != nil {
		return err
	}
	q := config.Question{From: r.From, To: r.To, Class: r.Class, Subject: r.Subject, Now: time.Now()}
	if r.Message != "" {
		if q.Header, q.Size, err = readHeader(r.Message); err != nil {
			return err
		}
	}
	x, err := cfg.Explain(q)
	if err != nil {
		return err
	}
	if r.JSON {
		err = printJSON(c.out, x)
	} else {
		err = printExplanation(c, x)
	}
	if err == nil && x.Decision.Verdict != message.Deliver {
		err = errNo
	}
	return err
}

func readHeader(path string) (*mail.Header, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	head, err := mail.ReadHeader(bufio.NewReader(f), 256<<10)
	return head, info.Size(), err
}

func printExplanation(c console, x policy.Explanation) error {
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, f := range x.Facts {
		fmt.Fprintf(t, "%s\t= %v\n", f.Name, f.Value)
	}
	fmt.Fprintln(t)
	for _, s := range x.Steps {
		law := ""
		if s.Law != "" {
			law = "  (" + s.Law + ")"
		}
		fmt.Fprintf(t, "%s\t%s\t%s%s\n", s.Rule, s.Says, s.Text, law)
	}
	fmt.Fprintln(t)
	d := x.Decision
	line := []string{"verdict " + string(d.Verdict), "class " + string(d.Class)}
	for _, f := range [][2]string{{"route", d.Route}, {"via", d.Via}, {"tag", strings.TrimSpace(d.Tag)}, {"footer", d.Footer}} {
		if f[1] != "" {
			line = append(line, f[0]+" "+f[1])
		}
	}
	fmt.Fprintln(t, strings.Join(line, ", "))
	return t.Flush()
}

type routeFactsCmd struct{ jsonFlag }

// Run lists the facts.
func (f routeFactsCmd) Run(c console) error {
	if f.JSON {
		return printJSON(c.out, policy.FactNames())
	}
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, d := range policy.FactNames() {
		fmt.Fprintf(t, "%s\t%s\t%s %s\n", d.Name, d.Type, d.Text, strings.Join(d.Values, " | "))
	}
	return t.Flush()
}
