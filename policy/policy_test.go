package policy_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/message"
	"gatewayd/policy"
)

func one(when string) policy.Options {
	return policy.Options{Routes: []policy.Route{{Name: "x", When: when, Via: []string{"smtp"}}}}
}

// TestConditions evaluates conditions over the base facts.
func TestConditions(t *testing.T) {
	f := baseFacts(t)
	f.Recipient.Platforms = []policy.PlatformFact{{Name: "incamail"}}
	f.Message.Subject = "Baugesuch Müller"
	tests := map[string]bool{
		`true`:                                   true,
		`false`:                                  false,
		`message.class == "normal"`:              true,
		`message.class != "normal"`:              false,
		`message.class in ["normal", "private"]`: true,
		`message.class not in ["normal", "private"]`:                               false,
		`not (message.class == "registered")`:                                      true,
		`message.sensitivity == ""`:                                                true,
		`message.size > 4000 && message.size < 10_000`:                             true,
		`message.size * 2 > 9000`:                                                  false,
		`message.subject contains "Müller"`:                                        true,
		`lower(message.subject) startsWith "baugesuch"`:                            true,
		`message.subject matches "^Baugesuch [A-ZÄÖÜ]"`:                            true,
		`len(message.subject) > 100`:                                               false,
		`sender.authority == "bauinspektorat" and sender.account != ""`:            true,
		`sender.address == "bauinspektorat@bl.example"`:                            true,
		`sender.domain endsWith ".example"`:                                        true,
		`recipient.address == "buerger@example.ch"`:                                true,
		`recipient.domain in ["example.ch"]`:                                       true,
		`"incamail" in recipient.platforms`:                                        true,
		`"privasphere" in recipient.platforms`:                                     false,
		`len(recipient.platforms) == 1`:                                            true,
		`"smime" in recipient.keys`:                                                false,
		`recipient.suffix == "incamail"`:                                           false,
		`recipient.known and not recipient.internal and not recipient.consent`:     true,
		`recipient.internal ? message.size < 10 : sender.authority != ""`:          true,
		"message.class == \"normal\" and\n  recipient.known":                       true,
		`trim(upper(sender.account)) == "FACHAPPLIKATION-BAU"`:                     true,
		`sender.account + "@" + sender.domain == "fachapplikation-bau@bl.example"`: true,
		`1 < message.size`:                                                         true,
		`message["class"] == "normal"`:                                             true,
	}
	for when, want := range tests {
		p, errs := policy.Compile(one(when))
		if len(errs) > 0 {
			t.Errorf("Compile(%s): %v", when, errs)
			continue
		}
		if got := p.Decide(f).Route == "x"; got != want {
			t.Errorf("%s = %v, want %v", when, got, want)
		}
	}
}

// TestBadConditions: what is wrong, where, and what was probably meant.
func TestBadConditions(t *testing.T) {
	tests := []struct {
		when  string
		wants []string
	}{
		{``, []string{`"true"`}},
		{` `, []string{`"true"`}},
		{`message.class = "normal"`, []string{"column 15"}},
		{`message.class ==`, []string{"column"}},
		{`message.clas == "normal"`, []string{"column 1:", `"message.clas"`, `did you mean "message.class"?`}},
		{`message.class == "normal" and recipient.platform == "x"`, []string{"column 31:", `did you mean "recipient.platforms"?`}},
		{`class == "normal"`, []string{"column 1:", `did you mean "message.class"?`}},
		{`Message.Class == "normal"`, []string{`did you mean "message.class"?`}},
		{`message == "normal"`, []string{`"message"`}},
		{"message.class == \"normal\" and\n  recpient.known", []string{"line 2, column 3:", `did you mean "recipient.known"?`}},
		{`message.class == "registred"`, []string{"column 18:", `message.class is never "registred"`, `did you mean "registered"?`}},
		{`"confidental" != message.class`, []string{`did you mean "confidential"?`}},
		{`message.class in ["normal", "privat"]`, []string{"column 29:", `did you mean "private"?`}},
		{`"incamial" in recipient.platforms`, []string{`did you mean "incamail"?`}},
		{`recipient.suffix == ".incamail.ch"`, []string{"never", "incamail"}},
		{`message.sensitivity == "Private"`, []string{`did you mean "private"?`}},
		{`message.size == "big"`, []string{"column"}},
		{`message.size`, []string{"bool"}},
		{`"yes"`, []string{"bool"}},
		{`message.subject matches message.class`, []string{"constant"}},
		{`message.subject matches "("`, []string{"column 25:", "bad pattern"}},
		{`now().Year() > 2020`, []string{"unknown function"}},
		{`lowr(message.subject) == "x"`, []string{`did you mean "lower"?`}},
		{`any(recipient.platforms, # == "incamail")`, []string{"unknown function"}},
		{`all(1..1000000, all(1..1000000, true))`, []string{"unknown function"}},
		{`5 in 1..10`, []string{"operator .. is not allowed"}},
		{`let x = message.subject; x + x == ""`, []string{"not allowed"}},
		{`message?.class == "normal"`, []string{"not allowed"}},
		{`recipient.platforms[0] == "incamail"`, []string{"documented facts"}},
		{`recipient.platforms[0:1] == ["incamail"]`, []string{"not allowed"}},
		{`{"a": 1} == {"a": 1}`, []string{"not allowed"}},
		{`message.class == nil`, []string{"not allowed"}},
		{`$env.message.class == "normal"`, []string{"documented facts"}},
		{`message.size % 2 == 0`, []string{"operator % is not allowed"}},
		{`message.size ** 99 > 1`, []string{"operator ** is not allowed"}},
		{`message.subject.Foo() == 1`, []string{"unknown function"}},
		{`sum([1,2]) == 3; true`, []string{"not allowed"}},
		{strings.Repeat("true and ", 120) + "true", []string{"1084 bytes", "at most 1000"}},
		{strings.Repeat("(", 400) + "true" + strings.Repeat(")", 400), nil}, // deep, but harmless
		{strings.Repeat("1+", 300) + "1==1", []string{"nodes"}},
		{strings.Repeat("!", 900) + "true", []string{"nodes"}},
	}
	for _, tt := range tests {
		_, errs := policy.Compile(one(tt.when))
		all := ""
		for _, err := range errs {
			all += err.Error() + "\n"
			if !strings.HasPrefix(err.Error(), `route "x": when`) {
				t.Errorf("%.60s: %q does not name route and condition", tt.when, err)
			}
		}
		if (len(errs) > 0) != (tt.wants != nil) {
			t.Errorf("%.60s: errors %v", tt.when, errs)
		}
		for _, want := range tt.wants {
			if !strings.Contains(all, want) {
				t.Errorf("%.60s: %s\nwant %q in it", tt.when, all, want)
			}
		}
	}
}

// TestAllMistakesAtOnce: one run of Compile shows everything.
func TestAllMistakesAtOnce(t *testing.T) {
	_, errs := policy.Compile(policy.Options{
		BulkLimit: -1,
		Vocabulary: policy.Vocabulary{
			Tags: map[string]message.Class{
				"einschreiben": message.Registered, "": message.Registered, "[ x ]": message.Normal, "[a]b]": message.Normal, "[x)": message.Normal, "[y]": "geheim",
			},
			Suffixes: map[string]string{"incamail.ch": "incamail", ".Post.ch": "incamail", ".x.ch": "incamial"},
		},
		Routes: []policy.Route{
			{Name: "", When: "true", Via: []string{"smtp"}},
			{Name: "a", When: `clas == "x" or foo.bar == message.siz`, Via: []string{"incamial", "smtp", "smtp"}, Keep: "until_donne", GiveUp: 400 * time.Hour},
			{Name: "a", When: "true"},
			{Name: "b", When: "true", Via: []string{"fax"}, Keep: "for ever", GiveUp: -1},
		},
	})
	wants := []string{
		"limits must not be negative",
		`tag "einschreiben": write one word in brackets`, `tag "": write`, `tag "[ x ]": write`, `tag "[a]b]": write`, `tag "[x)": write`, `tag "[y]": unknown class "geheim"`,
		`suffix "incamail.ch": begins with a dot`, `suffix ".Post.ch": begins with a dot`, `suffix ".x.ch": unknown platform "incamial"`,
		"route 1: has no name",
		`route "a": when, column 1: unknown name "clas"`, `route "a": when, column 16: unknown name "foo.bar"`, `unknown name "message.siz"; did you mean "message.size"?`,
		`route "a": via: unknown "incamial"; did you mean "incamail"?`, `route "a": via: "smtp" stands twice`, `keep: unknown "until_donne"; did you mean "until_done"?`, `route "a": give_up 400h0m0s`,
		`route "a": the name stands twice`, `route "a": via is empty`,
		`route "b": via: unknown "fax"; use one of`, `route "b": keep: unknown "for ever"`, `route "b": give_up -1ns`,
	}
	var got []string
	for _, err := range errs {
		got = append(got, err.Error())
	}
	for _, want := range wants {
		if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("no error has %q", want)
		}
	}
	if len(got) != len(wants) {
		t.Errorf("%d errors, want %d:\n%s", len(got), len(wants), strings.Join(got, "\n"))
	}
}

// TestFactNames: every documented fact compiles with its type and values, and
// every field that conditions can see is documented.
func TestFactNames(t *testing.T) {
	constant := map[string]string{"string": `== "x"`, "int": `> 1`, "bool": `== true`}
	x := compile(t, policy.Options{}).Explain(baseFacts(t))
	for i, doc := range policy.FactNames() {
		if doc.Text == "" || strings.HasSuffix(doc.Text, ".") {
			t.Errorf("%s: text %q", doc.Name, doc.Text)
		}
		when := doc.Name + " " + constant[doc.Type]
		if len(doc.Values) > 0 && doc.Type == "string" {
			when = doc.Name + ` == "` + doc.Values[len(doc.Values)-1] + `"`
		}
		if doc.Type == "[]string" {
			when = `"` + doc.Values[0] + `" in ` + doc.Name
		}
		if _, errs := policy.Compile(one(when)); len(errs) > 0 {
			t.Errorf("%s: %v", when, errs)
		}
		if x.Facts[i].Name != doc.Name || reflect.TypeOf(x.Facts[i].Value).String() != doc.Type {
			t.Errorf("Explain shows %s as %T, want %s as %s", x.Facts[i].Name, x.Facts[i].Value, doc.Name, doc.Type)
		}
	}
	if n := len(policy.FactNames()); n != 16 {
		t.Errorf("%d facts are documented; does Explain know them all?", n)
	}
}

// TestRoutesAreCopied: changing the options later changes nothing.
func TestRoutesAreCopied(t *testing.T) {
	o := one("true")
	p := compile(t, o)
	o.Routes[0].Via[0] = "mailbox"
	if d := p.Decide(baseFacts(t)); d.Via != "smtp" {
		t.Errorf("via = %s", d.Via)
	}
}

func TestNoRoutesHolds(t *testing.T) {
	d := compile(t, policy.Options{}).Decide(baseFacts(t))
	if why, _ := policy.Deciding(d); d.Verdict != message.Hold || why.Rule != "routes" {
		t.Errorf("without routes: %+v", d)
	}
	if _, ok := policy.Deciding(message.Decision{}); ok {
		t.Error("an empty decision has a reason")
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{
		`message.class == "registered"`, `"incamail" in recipient.platforms`, `not recipient.known or message.size > 1`, `message.subject matches "^a+$"`,
		`let x = 1; x == 1`, `1..9`, `any([1], # > 0)`, `a?.b`, `"\u{41}" + 'x'`, "true\n# c", `message.size == 9223372036854775808`, `-1 < 1 ? true : false`, `$env`, `message["class"]`, `len("a", "b")`, `1e999 > 1`,
	} {
		f.Add(s)
	}
	facts := baseFacts(f)
	facts.Message.Subject = strings.Repeat("Aa1 ", 20)
	f.Fuzz(func(t *testing.T, when string) {
		p, errs := policy.Compile(one(when))
		if len(errs) > 0 {
			for _, err := range errs {
				if !strings.HasPrefix(err.Error(), `route "x": when`) {
					t.Fatalf("%q: %v", when, err)
				}
			}
			return
		}
		start := time.Now()
		d := p.Decide(facts)
		if d.Verdict == "" || time.Since(start) > 10*time.Second {
			t.Fatalf("%q: %+v after %s", when, d, time.Since(start))
		}
		for _, r := range d.Because {
			if strings.Contains(r.Text, "could not be evaluated") {
				t.Fatalf("%q compiles, but cannot be evaluated", when)
			}
		}
	})
}
