package main

import (
	_ "embed"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"gatewayd/audit"
	"gatewayd/config"
	"gatewayd/keyagent"
	"gatewayd/message"
	"gatewayd/retention"
)

type loggingCmd struct {
	Describe loggingDescribeCmd `cmd:"" help:"Describe everything that is logged: each field, what for, whether it names a person, and for how long it is kept."`
}

type loggingDescribeCmd struct {
	jsonFlag
	Config string `short:"c" env:"GATEWAYD_CONFIG" help:"Configuration file, for its windows. Empty: those of the law."`
	Lang   string `enum:"de,en" default:"de" help:"Language: de or en."`
}

// Help shows examples.
func (loggingDescribeCmd) Help() string {
	return "It is made from the declarations by which the program writes, and can be attached to the authority's security concept.\n\n" +
		"Examples:\n  gatewayd logging describe\n  gatewayd logging describe --lang en --json -c gatewayd.toml"
}

// logDescription describes one log.
type logDescription struct {
	Log      string            `json:"log"`
	Name     string            `json:"name"`
	Where    string            `json:"where"`
	Window   string            `json:"window"`
	Personal string            `json:"protection"`
	Fields   []message.Field   `json:"fields"`
	Kinds    []kindDescription `json:"kinds,omitempty"`
}

// kindDescription describes one kind of event.
type kindDescription struct {
	Kind    message.EventKind `json:"kind"`
	Purpose string            `json:"purpose"`
	Fields  []string          `json:"fields"`
}

// Run describes.
func (l loggingDescribeCmd) Run(c console) error {
	var sent config.Syslog
	windows, operational := retention.Default(), config.Log{MaxAge: config.Duration(7 * 24 * time.Hour)}
	if l.Config != "" {
		cfg, err := loadConfig(l.Config, c)
		if err != nil {
			return err
		}
		windows, operational, sent = cfg.Windows, cfg.File.Log, cfg.File.Audit.Syslog
	}
	all := describeLogs(l.say(), windows, operational, sent)
	if l.JSON {
		return printJSON(c.out, all)
	}
	for _, d := range all {
		d.print(c.out, l.say())
	}
	return nil
}

// say returns what translates a text.
func (l loggingDescribeCmd) say() func(en string) string {
	if l.Lang == "en" {
		return func(en string) string { return en }
	}
	words := germanWords()
	return func(en string) string {
		if de, ok := words[en]; ok {
			return de
		}
		return en
	}
}

//go:embed logging.de.txt
var germanText string

// germanWords reads the translations: one a line, "English = Deutsch".
func germanWords() map[string]string {
	words := map[string]string{}
	for line := range strings.Lines(germanText) {
		if en, de, ok := strings.Cut(strings.TrimSpace(line), " = "); ok {
			words[en] = de
		}
	}
	return words
}

// describeLogs describes every log that the program writes.
func describeLogs(say func(string) string, w retention.Windows, l config.Log, sent config.Syslog) []logDescription {
	months := fmt.Sprintf(say("exactly %d calendar months from the event, line by line"), w.LogMonths)
	if w.BS() {
		months = say("to the eve of the first 1 January or 1 July three years later (profile bs-bwpv)")
	}
	logs := []logDescription{
		{
			Log: "audit", Name: say("audit log"), Where: "audit/", Window: months,
			Personal: say("sealed under a key of its day, which is destroyed when the window is over; who reads it states a purpose and is logged"),
			Fields:   lineFields(), Kinds: kinds(say),
		},
		{
			Log: "operational", Name: say("operational log"), Where: firstOf(l.File, say("standard error; who collects it answers for its window")),
			Window:   fmt.Sprintf(say("a file is closed and a closed one removed after %s"), time.Duration(l.MaxAge)),
			Personal: say("no subject, body or mail address; what looks like an address is masked"), Fields: retention.LogFields(),
		},
		{
			Log: "uses", Name: say("log of uses of private keys"), Where: say("with the key agent, out of the gateway's reach (keyagent.uses)"),
			Window: fmt.Sprintf(say("at least %d calendar months from the event; then the file of the day goes"), w.LogMonths), Personal: say("no message, no mail address"), Fields: keyagent.UseFields(),
		},
		{
			Log: "destruction", Name: say("protocols of destruction"), Where: "protocols/", Window: say("kept: they prove the erasure and name nobody"),
			Personal: say("messages under a keyed hash, whose key is destroyed with the log window"), Fields: retention.ProtocolFields(),
		},
		{
			Log: "seals", Name: say("seals of the audit log"), Where: "audit/*.seal", Window: say("kept: they prove order and completeness after erasure"),
			Personal: say("hashes and counts only"), Fields: sealFields(),
		},
	}
	if w.LegalBasis != "" {
		logs[0].Window += " (" + w.LegalBasis + ")"
	}
	if sent.To != "" {
		logs = append(logs, logDescription{
			Log: "syslog", Name: say("audit log, sent on"), Where: sent.To, Window: say("the collector's; it must not be longer than that of the audit log"),
			Personal: say("only the fields listed here leave the gateway"), Fields: sentFields(audit.Shown{Personal: sent.Personal}),
		})
	}
	for i := range logs {
		logs[i].Fields = translated(logs[i].Fields, say)
	}
	return logs
}

// sentFields are those of the lines that a collector gets.
func sentFields(s audit.Shown) (fields []message.Field) {
	for _, f := range lineFields() {
		name, data := strings.CutPrefix(f.Name, "data.")
		if data && s.Shows(name) || !data && name != "day" && name != "prev" {
			fields = append(fields, f)
		}
	}
	return fields
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func translated(fields []message.Field, say func(string) string) []message.Field {
	var all []message.Field
	for _, f := range fields {
		f.Purpose = say(f.Purpose)
		all = append(all, f)
	}
	return all
}

// lineFields are the fields of a line and of its event, and then those of the data
// of all kinds.
func lineFields() []message.Field {
	fields := []message.Field{
		{Name: "seq", Purpose: "number of the line: completeness"},
		{Name: "at", Purpose: "when it happened"},
		{Name: "kind", Purpose: "what happened"},
		{Name: "authority", Purpose: "whose it is"},
		{Name: "message", Purpose: "id of a message"},
		{Name: "item", Purpose: "number of the recipient"},
		{Name: "day", Purpose: "window: which key has sealed the line"},
		{Name: "prev", Purpose: "hash of the line before: order"},
		{Name: "hash", Purpose: "hash of the line: integrity"},
	}
	seen := map[string]bool{}
	for _, r := range message.EventRecords() {
		for _, name := range r.Fields {
			if f, ok := message.EventField(name); ok && !seen[name] {
				seen[name] = true
				f.Name = "data." + name
				fields = append(fields, f)
			}
		}
	}
	return fields
}

func sealFields() []message.Field {
	return []message.Field{
		{Name: "date", Purpose: "day that was sealed"},
		{Name: "count", Purpose: "number of lines"},
		{Name: "runs", Purpose: "numbers and hashes of the first and last line of each stretch: order and completeness"},
		{Name: "merkle_root", Purpose: "root over all lines: proof of a single one"},
		{Name: "file_sha256", Purpose: "digest of the compressed file"},
		{Name: "erased", Purpose: "when the day was erased"},
		{Name: "public_key", Purpose: "key of the signature"},
		{Name: "signature", Purpose: "signature of the gateway"},
	}
}

func kinds(say func(string) string) []kindDescription {
	var all []kindDescription
	for _, r := range message.EventRecords() {
		all = append(all, kindDescription{r.Kind, say(r.Purpose), append([]string{}, r.Fields...)})
	}
	return all
}

func (d logDescription) print(w io.Writer, say func(string) string) {
	fmt.Fprintf(w, "%s (%s)\n  %s: %s\n  %s: %s\n\n", d.Name, d.Where, say("window"), d.Window, say("protection"), d.Personal)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "  %s\t%s\t%s\n", say("FIELD"), say("PERSONAL"), say("PURPOSE"))
	for _, f := range d.Fields {
		personal := say("no")
		if f.Personal {
			personal = say("yes")
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\n", f.Name, personal, f.Purpose)
	}
	t.Flush()
	if len(d.Kinds) > 0 {
		fmt.Fprintln(w)
		t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "  %s\t%s\t%s\n", say("EVENT"), say("PURPOSE"), say("FIELDS"))
		for _, k := range d.Kinds {
			fmt.Fprintf(t, "  %s\t%s\t%s\n", k.Kind, k.Purpose, strings.Join(k.Fields, " "))
		}
		t.Flush()
	}
	fmt.Fprintln(w)
}
