package policy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gatewayd/message"
)

// TestGermanIsComplete: every rule that the code of this package names, and
// every duty, has a German sentence of its own.
func TestGermanIsComplete(t *testing.T) {
	rules := map[string]bool{"routes": true, "gate": true}
	for _, d := range duties() {
		rules[d.name] = true
	}
	for _, by := range []string{"api", "header"} { // composed in classified.say
		rules["mark:"+by] = true
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`"((?:duty|mark):[a-z-]+)"`)
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") || f == "german.go" {
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllSubmatch(text, -1) {
			rules[string(m[1])] = true
		}
	}
	if len(rules) < 18 {
		t.Errorf("only %d rules found: does the search still find them?", len(rules))
	}
	unknown := German(message.Reason{Rule: "no such rule"})
	for rule := range rules {
		got := German(message.Reason{Rule: rule, Text: "some text"})
		if got == "" || strings.Contains(got, rule) || got == strings.ReplaceAll(unknown, "no such rule", rule) {
			t.Errorf("%s has no German sentence: %q", rule, got)
		}
	}
	for _, g := range german() {
		if !rules[g.rule] {
			t.Errorf("%s stands in the German table, but no rule is called so", g.rule)
		}
	}
}

// TestGermanFollowsTheText: where a rule has several texts the German says the
// same as the English, taken from real decisions.
func TestGermanFollowsTheText(t *testing.T) {
	p, errs := Compile(Options{Routes: []Route{{Name: "übrige", When: `message.class == "normal"`, Via: []string{ViaOpenPGP}}}})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	to := message.Address{Local: "a", Domain: "example.ch"}
	tests := []struct {
		name string
		f    Facts
		want string
	}{
		{"not in the directory", Facts{Message: Message{Class: message.Registered}}, "nicht im Verzeichnis"},
		{"no consent", Facts{Message: Message{Class: message.Registered}, Recipient: Recipient{Known: true}}, "nicht eingewilligt"},
		{"near miss", Facts{Message: Message{Subject: "[einschreibn] x"}}, "genau schreiben"},
		{"two tags", Facts{Message: Message{Subject: "[vertraulich] [einschreiben] x"}}, "zweier verschiedener"},
		{"tag in the middle", Facts{Message: Message{Subject: "Entscheid [einschreiben]"}}, "ganz am Anfang"},
		{"control string", Facts{Message: Message{Subject: "dump4DebugT0f!l3: x"}}, "Support"},
		{"no route", Facts{Message: Message{Class: message.Confidential}}, "Keine Regel"},
		{"no way of a route", Facts{}, "«übrige»"},
		{"contradiction", Facts{Message: Message{Class: message.Registered, Marks: Marks{Sensitivity: []string{"Private"}}}}, "widersprechen"},
		{"bulk", Facts{Message: Message{Class: message.Bulk}}, "Massenversand"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.f.Direction, tt.f.Recipient.Address = message.Outbound, to
			r, ok := Deciding(p.Decide(tt.f))
			if !ok {
				t.Fatal("nothing decided")
			}
			if got := German(r); !strings.Contains(got, tt.want) {
				t.Errorf("German(%q: %q) = %q, want it to contain %q", r.Rule, r.Text, got, tt.want)
			}
		})
	}
	if got := German(message.Reason{}); got == "" {
		t.Error("no sentence for an empty reason")
	}
}
