package policy_test

import (
	"strings"
	"testing"
	"unicode"

	"gatewayd/message"
	"gatewayd/policy"
)

func TestRead(t *testing.T) {
	const r, c, p = message.Registered, message.Confidential, message.Personal
	tests := []struct {
		subject string
		class   message.Class
		rest    string
		held    bool
	}{
		{"", "", "", false},
		{"Guten Tag", "", "Guten Tag", false},
		{"<r> Verfügung", r, "Verfügung", false},
		{"<r>Verfügung", r, "Verfügung", false},
		{"  \t<r>  Verfügung", r, "Verfügung", false},
		{"\u00a0<r> Verfügung", r, "Verfügung", false}, // no-break space
		{"<r>", r, "", false},
		{"<c> Akten", c, "Akten", false},
		{"<p> Lohn", p, "Lohn", false},
		{"[einschreiben] Verfügung", r, "Verfügung", false},
		{"[Einschreiben] Verfügung", r, "Verfügung", false},
		{"[registered] decision", r, "decision", false},
		{"[vertraulich] x", c, "x", false},
		{"[confidential] x", c, "x", false},
		{"[persönlich] x", p, "x", false},
		{"<r> [einschreiben] x", r, "x", false},
		{"<r> Re: x", r, "Re: x", false},
		{"<r> Re: <c> x", r, "Re: <c> x", false},
		// quoted by a reply prefix: no command
		{"Re: <r> x", "", "Re: <r> x", false},
		{"AW: <r> [BL-7F3K9Q2M] Verfügung", "", "AW: <r> [BL-7F3K9Q2M] Verfügung", false},
		{"Fwd: [einschreiben] x", "", "Fwd: [einschreiben] x", false},
		{"WG: AW: <r> x", "", "WG: AW: <r> x", false},
		{"Re[2]: <r> x", "", "Re[2]: <r> x", false},
		{"RE : <R> x", "", "RE : <R> x", false},
		// ordinary subjects
		{"[BL-7F3K9Q2M] Verfügung", "", "[BL-7F3K9Q2M] Verfügung", false},
		{"[extern] Offerte", "", "[extern] Offerte", false},
		{"[SPAM] x", "", "[SPAM] x", false},
		{"(a) Baugesuch", "", "(a) Baugesuch", false},
		{"(r) Baugesuch", "", "(r) Baugesuch", false},
		{"[1] Baugesuch", "", "[1] Baugesuch", false},
		{"a) Baugesuch", "", "a) Baugesuch", false},
		{"<50 dB Lärm", "", "<50 dB Lärm", false},
		{"< 50 dB, > 30 dB", "", "< 50 dB, > 30 dB", false},
		{"Einschreiben vom 3. März", "", "Einschreiben vom 3. März", false},
		{"Personal gesucht", "", "Personal gesucht", false},
		{"[Personalamt] x", "", "[Personalamt] x", false},
		// misspelt, in other brackets, incomplete
		{"<R> x", "", "<R> x", true},
		{"< r > x", "", "< r > x", true},
		{"<r > x", "", "<r > x", true},
		{"＜r＞ x", "", "＜r＞ x", true},
		{"‹r› x", "", "‹r› x", true},
		{"<r\u200b> x", "", "<r\u200b> x", true},
		{"\u200b<r> x", "", "\u200b<r> x", true},
		{"<e> x", "", "<e> x", true},
		{"<с> x", "", "<с> x", true}, // Cyrillic
		{"<rr> x", "", "<rr> x", true},
		{"<r x", "", "<r x", true},
		{"r> x", "", "r> x", true},
		{"[einschreibn] x", "", "[einschreibn] x", true},
		{"[EINSCHREIBEN] x", "", "[EINSCHREIBEN] x", true},
		{"[ einschreiben ] x", "", "[ einschreiben ] x", true},
		{"(einschreiben) x", "", "(einschreiben) x", true},
		{"<einschreiben> x", "", "<einschreiben> x", true},
		{"[einschreiben x", "", "[einschreiben x", true},
		{"einschreiben] x", "", "einschreiben] x", true},
		{"[Einschreiben:] x", "", "[Einschreiben:] x", true},
		{"[vertaulich] x", "", "[vertaulich] x", true},
		{"[confidental] x", "", "[confidental] x", true},
		{"[persoenlich] x", "", "[persoenlich] x", true},
		{"[private] x", "", "[private] x", true},
		{"[Privat] x", "", "[Privat] x", true},
		{"<c> [vertraulch] x", "", "<c> [vertraulch] x", true},
		// in the wrong place, or several
		{"Verfügung <r>", "", "Verfügung <r>", true},
		{"Protokoll [Vertraulich]", "", "Protokoll [Vertraulich]", true},
		{"<r> <c> x", "", "<r> <c> x", true},
		{"<r> Verfügung <c>", "", "<r> Verfügung <c>", true},
		{"<r> Verfügung <r>", r, "Verfügung <r>", false},
	}
	v := policy.DefaultVocabulary()
	for _, tt := range tests {
		class, rest, problem := v.Read(tt.subject)
		if class != tt.class || rest != tt.rest || (problem != "") != tt.held {
			t.Errorf("Read(%q) = %q, %q, %q; want %q, %q, held %v", tt.subject, class, rest, problem, tt.class, tt.rest, tt.held)
		}
	}
}

// TestProblemsHelp: the sentence names the tag to write, never the user's text.
func TestProblemsHelp(t *testing.T) {
	v := policy.DefaultVocabulary()
	for subject, want := range map[string]string{
		"[einschreibn] Müller":  "[einschreiben]",
		"<R> Müller":            "<r>",
		"Müller [Vertraulich]":  "[Vertraulich]",
		"<r> <c> Müller":        "keep one",
		"[Einschreibenn] Mülle": "inschreiben]",
	} {
		_, _, problem := v.Read(subject)
		if !strings.Contains(problem, want) || strings.Contains(problem, "Mülle") {
			t.Errorf("Read(%q): problem %q, want %q in it", subject, problem, want)
		}
	}
}

func TestReadOwnVocabulary(t *testing.T) {
	v := policy.Vocabulary{Tags: map[string]message.Class{"{recommandé}": message.Registered, "{recommandé-plus}": message.Confidential}}
	if class, rest, problem := v.Read("{recommandé-plus} x"); class != message.Confidential || rest != "x" || problem != "" {
		t.Errorf("the longer tag: %q %q %q", class, rest, problem)
	}
	if class, _, problem := v.Read("{recommande} x"); class != "" || problem == "" {
		t.Errorf("without accent: %q %q", class, problem)
	}
	if class, rest, problem := v.Read("[einschreiben] x"); class != "" || rest != "[einschreiben] x" || problem != "" {
		t.Errorf("a word of another vocabulary: %q %q %q", class, rest, problem)
	}
	var none policy.Vocabulary
	if class, rest, problem := none.Read("<r> x"); class != "" || rest != "<r> x" || problem != "" {
		t.Errorf("no vocabulary: %q %q %q", class, rest, problem)
	}
}

func TestSplitSuffix(t *testing.T) {
	v := policy.DefaultVocabulary()
	tests := []struct{ in, out, platform string }{
		{"anna@example.ch.incamail.ch", "anna@example.ch", "incamail"},
		{"anna@Example.CH.IncaMail.ch", "anna@example.ch", "incamail"},
		{"anna@example.ch", "anna@example.ch", ""},
		{"anna@incamail.ch", "anna@incamail.ch", ""},
		{"anna@www.incamail.ch", "anna@www.incamail.ch", ""},
		{"anna@example.chincamail.ch", "anna@example.chincamail.ch", ""},
		{`"a b"@x.example.ch.incamail.ch`, `"a b"@x.example.ch`, "incamail"},
	}
	for _, tt := range tests {
		got, platform := v.SplitSuffix(address(t, tt.in))
		if got.String() != tt.out || platform != tt.platform {
			t.Errorf("SplitSuffix(%s) = %s %q, want %s %q", tt.in, got, platform, tt.out, tt.platform)
		}
	}
}

func TestMarks(t *testing.T) {
	v := policy.DefaultVocabulary()
	header := func(lines ...string) func(string) []string {
		return func(name string) []string {
			var values []string
			for _, l := range lines {
				if field, value, _ := strings.Cut(l, ":"); strings.EqualFold(field, name) {
					values = append(values, strings.TrimSpace(value))
				}
			}
			return values
		}
	}
	m := v.Marks(header("sensitivity: Private", "Sensitivity: Company-Confidential", "x-gatewayd-class: registered"))
	if len(m.Sensitivity) != 2 || len(m.Class) != 1 || m.Class[0] != "registered" || m.Forwarded {
		t.Errorf("Marks = %+v", m)
	}
	for _, line := range []string{
		"Auto-Submitted: auto-forwarded; reason=rule", "X-MS-Exchange-Inbox-Rules-Loop: a@b.ch", "X-Forwarded-To: x@y.ch",
	} {
		if !v.Marks(header(line)).Forwarded {
			t.Errorf("%s is not seen as forwarding", line)
		}
	}
	for _, line := range []string{"Auto-Submitted: auto-replied", "Auto-Submitted: no", "Subject: Fwd: x", "References: <a@b>"} {
		if v.Marks(header(line)).Forwarded {
			t.Errorf("%s is seen as forwarding", line)
		}
	}
	v.Header = ""
	if m := v.Marks(header(": registered")); len(m.Class) != 0 {
		t.Errorf("no header name: %+v", m)
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{
		"<r> x", "Re: <r> x", "[einschreibn] x", "＜r＞", "< r", "x <c>", "<r> <c>", "\u200b[", "[]", "<>", ")(", "a\xff\xfe<r>", "<r>\r\nBcc: x", strings.Repeat("[", 100),
	} {
		f.Add(s)
	}
	v := policy.DefaultVocabulary()
	f.Fuzz(func(t *testing.T, s string) {
		class, rest, problem := v.Read(s)
		if problem != "" {
			if class != "" || rest != s {
				t.Fatalf("Read(%q) = %q, %q with a problem", s, class, rest)
			}
			return
		}
		if !strings.HasSuffix(s, rest) || rest != "" && strings.TrimLeftFunc(rest, unicode.IsSpace) != rest {
			t.Fatalf("Read(%q): rest %q", s, rest)
		}
		start := strings.TrimLeftFunc(s, unicode.IsSpace)
		tagged := false
		for tag, c := range v.Tags {
			tagged = tagged || strings.HasPrefix(start, tag) && c == class
		}
		if tagged != (class != "") {
			t.Fatalf("Read(%q) = %q, but tagged = %v", s, class, tagged)
		}
		if class == "" {
			if again, rest2, problem := v.Read(rest); again != "" || rest2 != rest || problem != "" {
				t.Fatalf("Read is not stable: %q → %q → %q %q %q", s, rest, again, rest2, problem)
			}
		}
	})
}
