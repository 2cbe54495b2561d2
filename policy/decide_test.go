package policy_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatewayd/message"
	"gatewayd/policy"
)

var update = flag.Bool("update", false, "rewrite testdata")

func testRoutes() []policy.Route {
	return []policy.Route{
		{Name: "entscheide", When: `message.class == "registered"`, Via: []string{"incamail", "privasphere"}},
		{Name: "vertraulich", When: `message.class in ["confidential", "personal"]`, Via: []string{"incamail", "privasphere", "smime", "openpgp", "mailbox"}},
		{Name: "privat", When: `message.class == "private"`, Via: []string{"smtp", "incamail"}},
		{Name: "intern", When: `message.class in ["normal", "bulk"] and recipient.internal`, Via: []string{"mailbox"}},
		{Name: "übrige Post", When: `message.class == "normal"`, Via: []string{"smtp"}},
	}
}

func compile(t testing.TB, o policy.Options) *policy.Policy {
	t.Helper()
	p, errs := policy.Compile(o)
	if len(errs) > 0 {
		t.Fatalf("Compile: %v", errs)
	}
	return p
}

func address(t testing.TB, s string) message.Address {
	t.Helper()
	a, err := message.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func baseFacts(t testing.TB) policy.Facts {
	t.Helper()
	return policy.Facts{
		Direction: message.Outbound,
		Sender:    policy.Sender{Authority: "bauinspektorat", Account: "fachapplikation-bau", Address: address(t, "bauinspektorat@bl.example")},
		Message:   policy.Message{Subject: "Baugesuch 12/2026", Size: 4096},
		Recipient: policy.Recipient{Address: address(t, "buerger@example.ch"), Known: true},
		Platforms: map[string]policy.PlatformState{
			"incamail": {
				Configured: true, Recognised: true, MaxSize: 30_000_000,
				Tags: map[message.Class]string{message.Registered: "<r> ", message.Confidential: "<c> ", message.Personal: "<p> "},
			},
			"privasphere": {
				Configured: true, Recognised: true,
				Tags: map[message.Class]string{message.Registered: "<egov> ", message.Confidential: "<s> "},
			},
		},
	}
}

// apply changes facts by one word of testdata/decisions.txt.
func apply(t *testing.T, f *policy.Facts, word string) {
	t.Helper()
	key, value, _ := strings.Cut(word, "=")
	list := strings.Split(value, ",")
	number := func() int {
		n, err := strconv.Atoi(value)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	state := f.Platforms[value]
	switch key {
	case "-":
	case "subject":
		f.Message.Subject = value
	case "sens":
		f.Message.Marks.Sensitivity = strings.Split(strings.ReplaceAll(value, `\r\n`, "\r\n"), ",")
	case "class":
		f.Message.Class = message.Class(value)
	case "header":
		f.Message.Marks.Class = list
	case "forwarded":
		f.Message.Marks.Forwarded = true
	case "bulk":
		f.Message.Bulk = number()
	case "size":
		f.Message.Size = int64(number())
	case "approved":
		f.Message.Approved = true
	case "dir":
		f.Direction = message.Direction(value)
	case "to":
		f.Recipient.Address = address(t, value)
	case "on":
		for _, name := range list {
			name, identified := strings.CutSuffix(name, "!")
			f.Recipient.Platforms = append(f.Recipient.Platforms, policy.PlatformFact{Name: name, Identified: identified})
		}
	case "consent":
		f.Recipient.Consent = true
	case "unknown":
		f.Recipient.Known = false
	case "internal":
		f.Recipient.Internal = true
	case "own":
		f.Recipient.PrivateOfSender = true
	case "key":
		f.Recipient.Keys = list
	case "suffix":
		f.Recipient.Suffix = value
	case "unrecognised":
		state.Recognised = false
		f.Platforms[value] = state
	case "unconfigured":
		delete(f.Platforms, value)
	case "untagged":
		state.Tags = nil
		f.Platforms[value] = state
	default:
		t.Fatalf("unknown word %q", word)
	}
}

type row struct{ name, said, situation, want, rule string }

func readRows(t *testing.T) (rows []row, lines []string) {
	t.Helper()
	raw, err := os.ReadFile("testdata/decisions.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines = strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
	for _, line := range lines {
		if line == "" || line[0] == '#' {
			rows = append(rows, row{})
			continue
		}
		cells := strings.Split(line, " | ")
		if len(cells) != 5 {
			t.Fatalf("%q has %d cells, want 5", line, len(cells))
		}
		rows = append(rows, row{cells[0], cells[1], cells[2], cells[3], cells[4]})
	}
	return rows, lines
}

func factsOf(t *testing.T, r row) policy.Facts {
	t.Helper()
	f := baseFacts(t)
	for _, cell := range []string{r.said, r.situation} {
		for _, word := range strings.Split(cell, "; ") {
			apply(t, &f, word)
		}
	}
	return f
}

// TestDecisions walks every class through every situation.
func TestDecisions(t *testing.T) {
	p := compile(t, policy.Options{Routes: testRoutes()})
	rows, lines := readRows(t)
	for i, r := range rows {
		if r.name == "" {
			continue
		}
		d := p.Decide(factsOf(t, r))
		got := fmt.Sprintf("%s %s %q %s %q", d.Verdict, d.Class, d.Route, d.Via, d.Tag)
		why, ok := policy.Deciding(d)
		if !ok {
			t.Errorf("%s: no reason decided: %+v", r.name, d.Because)
		}
		if *update {
			lines[i] = strings.Join([]string{r.name, r.said, r.situation, got, why.Rule}, " | ")
		} else if got != r.want || why.Rule != r.rule {
			t.Errorf("%s:\n got %s by %s\nwant %s by %s\n%+v", r.name, got, why.Rule, r.want, r.rule, d.Because)
		}
	}
	if *update {
		if err := os.WriteFile("testdata/decisions.txt", []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEveryDecisionIsWhole checks what must hold whatever the row says.
func TestEveryDecisionIsWhole(t *testing.T) {
	p := compile(t, policy.Options{Routes: testRoutes()})
	rows, _ := readRows(t)
	for _, r := range rows {
		if r.name == "" {
			continue
		}
		f := factsOf(t, r)
		checkWhole(t, r.name, f, p.Decide(f))
	}
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// checkWhole proves the promises about one decision.
func checkWhole(t fataler, name string, f policy.Facts, d message.Decision) {
	t.Helper()
	if d.Verdict == "" || d.Class == "" || len(d.Because) == 0 {
		t.Fatalf("%s: %+v says too little", name, d)
	}
	for _, r := range d.Because {
		if r.Rule == "" || r.Says == "" || r.Text == "" {
			t.Fatalf("%s: empty reason %+v", name, r)
		}
		if strings.Contains(r.Text, f.Recipient.Address.String()) || f.Message.Subject != "" && strings.Contains(r.Text, f.Message.Subject) {
			t.Fatalf("%s: %q tells an address or the subject", name, r.Text)
		}
	}
	if d.Verdict != message.Deliver {
		if d.Via != "" || d.Tag != "" || len(d.Owed) > 0 {
			t.Fatalf("%s: %s, but a way is named: %+v", name, d.Verdict, d)
		}
		return
	}
	if d.Via == "" || d.Route == "" || d.Keep == "" || d.GiveUp <= 0 {
		t.Fatalf("%s: deliver without all it needs: %+v", name, d)
	}
	platform := slices.Contains(policy.Platforms(), d.Via)
	switch d.Class {
	case message.Registered:
		state := f.Platforms[d.Via]
		if !platform || d.Tag == "" || len(d.Owed) != 4 || d.Owed[0] != message.Abgabequittung || d.Keep == message.KeepUntilDone && f.Direction == message.Outbound ||
			!f.Recipient.Consent || !state.Recognised || state.Tags[message.Registered] != d.Tag {
			t.Fatalf("%s: registered decision breaks a duty: %+v", name, d)
		}
	case message.Confidential, message.Personal:
		if f.Direction == message.Outbound && d.Via == policy.ViaSMTP {
			t.Fatalf("%s: %s leaves by plain SMTP", name, d.Class)
		}
	case message.Bulk:
		if !f.Message.Approved {
			t.Fatalf("%s: mass mail leaves without approval", name)
		}
	}
	if platform != (d.Tag != "") {
		t.Fatalf("%s: via %s with tag %q", name, d.Via, d.Tag)
	}
}

// TestDutiesHoldForAnyFacts: whatever the facts and whatever the routes, the
// built-in duties hold.
func TestDutiesHoldForAnyFacts(t *testing.T) {
	var everything []*policy.Policy
	for _, via := range [][]string{policy.Vias(), {"smtp", "mailbox", "smime", "openpgp", "privasphere", "incamail"}, {"smtp"}} {
		everything = append(everything, compile(t, policy.Options{Routes: []policy.Route{{Name: "all", When: "true", Via: via}}}))
	}
	everything = append(everything, compile(t, policy.Options{Routes: testRoutes()}), compile(t, policy.Options{}))
	subjects := []string{
		"Guten Tag", "<r> V", "<c> V", "<p> V", "[einschreiben] V", "<R> V", "V <r>", "AW: <r> V", "756.9217.0769.85", "<r> <c> x", "dump4DebugT0f!l3: x", "",
	}
	base := baseFacts(t)
	rapid.Check(t, func(rt *rapid.T) {
		f := base
		subset := func(label string, all []string) []string {
			return rapid.SliceOfNDistinct(rapid.SampledFrom(all), 0, len(all), rapid.ID[string]).Draw(rt, label)
		}
		f.Message.Subject = rapid.SampledFrom(subjects).Draw(rt, "subject")
		f.Message.Class = rapid.SampledFrom(append(message.Classes(), "", "wrong")).Draw(rt, "class")
		f.Message.Marks.Sensitivity = subset("sensitivity", []string{"Private", "Personal", "Company-Confidential", "Normal", "Geheim"})
		f.Message.Marks.Class = subset("header", []string{"normal", "confidential", "registered", "private", "bulk", "x"})
		f.Message.Marks.Forwarded = rapid.Bool().Draw(rt, "forwarded")
		f.Message.Bulk = rapid.SampledFrom([]int{0, 500, 501}).Draw(rt, "bulk")
		f.Message.Approved = rapid.Bool().Draw(rt, "approved")
		f.Message.Size = rapid.SampledFrom([]int64{0, 30_000_000, 30_000_001}).Draw(rt, "size")
		f.Recipient.Known = rapid.Bool().Draw(rt, "known")
		f.Recipient.Consent = rapid.Bool().Draw(rt, "consent")
		f.Recipient.Internal = rapid.Bool().Draw(rt, "internal")
		f.Recipient.PrivateOfSender = rapid.Bool().Draw(rt, "own")
		f.Recipient.Suffix = rapid.SampledFrom([]string{"", "incamail", "privasphere"}).Draw(rt, "suffix")
		f.Recipient.Keys = subset("keys", []string{"smime", "openpgp"})
		f.Recipient.Platforms = nil
		for _, name := range subset("on", policy.Platforms()) {
			f.Recipient.Platforms = append(f.Recipient.Platforms, policy.PlatformFact{Name: name, Identified: rapid.Bool().Draw(rt, "identified")})
		}
		f.Platforms = map[string]policy.PlatformState{}
		for _, name := range subset("configured", policy.Platforms()) {
			state := base.Platforms[name]
			state.Recognised = rapid.Bool().Draw(rt, "recognised")
			f.Platforms[name] = state
		}
		for _, p := range everything {
			d := p.Decide(f)
			checkWhole(rt, "rapid", f, d)
			checkDuties(rt, f, d)
		}
	})
}

func checkDuties(t fataler, f policy.Facts, d message.Decision) {
	t.Helper()
	if d.Verdict != message.Deliver {
		return
	}
	said := strings.ToLower(strings.Join(f.Message.Marks.Sensitivity, " ") + " " + strings.Join(f.Message.Marks.Class, " ") + " " + string(f.Message.Class))
	switch {
	case f.Message.Marks.Forwarded:
		t.Fatalf("forwarded mail leaves: %+v", d)
	case (f.Message.Bulk > 500 || strings.Contains(said, "bulk")) && !f.Message.Approved:
		t.Fatalf("mass mail leaves: %+v", d)
	case f.Recipient.PrivateOfSender && d.Class != message.Private:
		t.Fatalf("official mail to the own private address: %+v", d)
	case strings.Contains(said, "geheim") || strings.Contains(said, "wrong") || strings.Contains(" "+said+" ", " x "):
		t.Fatalf("a misspelt mark is passed: %+v", d)
	case d.Via == policy.ViaSMTP && (strings.Contains(said, "confidential") || strings.Contains(said, "registered") || strings.Contains(f.Message.Subject, "756")):
		t.Fatalf("leaves by plain SMTP: %+v", d)
	case slices.Contains(policy.Platforms(), d.Via) && !f.Platforms[d.Via].Recognised:
		t.Fatalf("goes by a platform that is not recognised: %+v", d)
	case f.Recipient.Suffix != "" && d.Via != f.Recipient.Suffix:
		t.Fatalf("the suffix asked for %s: %+v", f.Recipient.Suffix, d)
	case d.Via == policy.ViaMailbox && !f.Recipient.Internal:
		t.Fatalf("no mailbox there: %+v", d)
	}
}

func TestGiveUpAndKeep(t *testing.T) {
	limit := 46*24*time.Hour - time.Hour
	p := compile(t, policy.Options{
		HoldFor: time.Hour, GiveUpLimit: limit,
		Routes: []policy.Route{
			{Name: "lang", When: `message.class == "registered"`, Via: []string{"incamail"}, GiveUp: limit, Keep: message.KeepWindow},
			{Name: "rest", When: `message.class == "normal"`, Via: []string{"smtp"}},
		},
	})
	f := baseFacts(t)
	if d := p.Decide(f); d.GiveUp != 5*24*time.Hour || d.Keep != message.KeepUntilDone {
		t.Errorf("normal: give up %s, keep %s", d.GiveUp, d.Keep)
	}
	f.Message.Subject, f.Recipient.Consent, f.Recipient.Platforms = "<r> V", true, []policy.PlatformFact{{Name: "incamail"}}
	if d := p.Decide(f); d.GiveUp != limit || d.Keep != message.KeepWindow {
		t.Errorf("registered: give up %s, keep %s", d.GiveUp, d.Keep)
	}
	f.Recipient.Consent = false
	if d := p.Decide(f); d.GiveUp != time.Hour {
		t.Errorf("held: give up %s, want the hold limit", d.GiveUp)
	}
}

// TestBecauseTellsWhyNot: every way and route that was not taken is explained.
func TestBecauseTellsWhyNot(t *testing.T) {
	p := compile(t, policy.Options{Routes: testRoutes()})
	f := baseFacts(t)
	f.Message.Subject, f.Recipient.Consent = "<c> Akten", true
	f.Recipient.Platforms = []policy.PlatformFact{{Name: "privasphere"}}
	f.Platforms["privasphere"] = policy.PlatformState{Configured: true, Tags: f.Platforms["privasphere"].Tags}
	d := p.Decide(f)
	var got []string
	for _, r := range d.Because {
		got = append(got, r.Rule+": "+r.Says+": "+r.Text)
	}
	want := []string{
		"mark:subject: mark: the tag in the subject says confidential",
		"entscheide: no match: its condition does not hold",
		"vertraulich: passed over: incamail: recipient not on incamail",
		"vertraulich: passed over: privasphere: the platform is not recognised today",
		"vertraulich: passed over: smime: no usable key of the recipient",
		"vertraulich: passed over: openpgp: no usable key of the recipient",
		"vertraulich: passed over: mailbox: the recipient has no mailbox on this gateway",
		"duty:encrypt: hold: no way of this route protects the content for this recipient: TLS alone is not encryption",
	}
	if !slices.Equal(got, want) {
		t.Errorf("Because:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestDutiesNameTheirLaw: a duty that rests on a law says which.
func TestDutiesNameTheirLaw(t *testing.T) {
	p := compile(t, policy.Options{Routes: testRoutes()})
	rows, _ := readRows(t)
	laws := map[string]string{}
	for _, r := range rows {
		if r.name == "" {
			continue
		}
		for _, because := range p.Decide(factsOf(t, r)).Because {
			if because.Law != "" && strings.HasPrefix(because.Rule, "duty:") {
				laws[because.Rule] = because.Law
			}
		}
	}
	want := []string{
		"duty:bulk", "duty:consent", "duty:encrypt", "duty:forwarding", "duty:identified", "duty:mailbox",
		"duty:own-private-address", "duty:private", "duty:registered",
	}
	if got := slices.Sorted(maps.Keys(laws)); !slices.Equal(got, want) {
		t.Errorf("duties with a law: %q, want %q", got, want)
	}
}

func TestExplainIsDecide(t *testing.T) {
	p := compile(t, policy.Options{Routes: testRoutes()})
	rows, _ := readRows(t)
	for _, r := range rows {
		if r.name == "" {
			continue
		}
		f := factsOf(t, r)
		d, x := p.Decide(f), p.Explain(f)
		dj, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		xj, err := json.Marshal(x.Decision)
		if err != nil {
			t.Fatal(err)
		}
		if string(dj) != string(xj) {
			t.Errorf("%s: Explain decides %s, Decide %s", r.name, xj, dj)
		}
		if len(x.Steps) < len(d.Because) || len(x.Facts) != len(policy.FactNames()) {
			t.Errorf("%s: %d steps, %d facts", r.name, len(x.Steps), len(x.Facts))
		}
		for _, route := range testRoutes() {
			if !slices.ContainsFunc(x.Steps, func(s message.Reason) bool { return s.Rule == route.Name }) {
				t.Errorf("%s: nothing about route %q", r.name, route.Name)
			}
		}
		if _, err := json.Marshal(x); err != nil {
			t.Errorf("%s: %v", r.name, err)
		}
	}
}

// TestDecideIsPure: the same facts, the same decision, also from many
// goroutines.
func TestDecideIsPure(t *testing.T) {
	p := compile(t, policy.Options{Routes: testRoutes()})
	f := baseFacts(t)
	f.Message.Subject = "<c> x"
	want := fmt.Sprintf("%+v", p.Decide(f))
	done := make(chan string)
	for range 8 {
		go func() {
			last := ""
			for range 200 {
				if got := fmt.Sprintf("%+v", p.Decide(f)); got != want {
					last = got
				}
			}
			done <- last
		}()
	}
	for range 8 {
		if got := <-done; got != "" {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	p := compile(b, policy.Options{Routes: testRoutes()})
	f := baseFacts(b)
	f.Message.Subject = "Baugesuch Müller, Parzelle 123"
	b.ReportAllocs()
	for b.Loop() {
		if d := p.Decide(f); d.Verdict != message.Deliver {
			b.Fatal(d.Verdict)
		}
	}
}
