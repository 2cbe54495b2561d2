package policy_test

import (
	"mime"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"gatewayd/policy"
)

// controlStrings are those of docs/platforms.md § 3.2 and IncaMail's prefixes,
// with the name that Hygiene gives them.
func controlStrings() map[string]string {
	return map[string]string{
		"eLs!: x": "eLs!:", "eLs!Pdf:": "eLs!Pdf:", "eLs!MiMe:": "eLs!MiMe:", "psph_no_muc_": "psph_no_muc_", "eLs!:psph_no_muc_ Hello": "eLs!:",
		"<sms:+41 79 123 45 67>": "<sms:>", `<PSPMUCSMS phone="+41 79/123-4567" />`: "<pspmucsms>",
		"<fax:+41 61 123 45 67>": "<fax:>", `<PSPMUCFax phone ="+41 61" />`: "<pspmucfax>",
		"<muc:12345>": "<muc:>", "<muc4all:abcde>": "<muc4all:>", "<nomuc>": "<nomuc>", "<muctext:Ihr Code>": "<muctext:>",
		"<hidesender>": "<hidesender>", "<showsender>": "<showsender>", "<hidesubject>": "<hidesubject>", "<showsubject>": "<showsubject>",
		"<safeRoute>": "<saferoute>", "<unSafeRoute>": "<unsaferoute>", "<lang:de>": "<lang:>", `<PSPLang="de" />`: "<psplang>",
		"<onlyWeb>": "<onlyweb>", "<egov>": "<egov>", "<PSPeGov3161/>": "<pspegov3161>",
		"<r>": "<r>", "<c>": "<c>", "<p>": "<p>", "<s>": "<s>",
		"dump4DebugT0f!l3:": "dump4DebugT0f!l3:",
	}
}

// oracle is another, slower way to find control strings: NFKC, no blanks, no
// invisible characters, lower case, then the patterns as written in the
// documentation.
func oracle(s string) string {
	s = norm.NFKC.String(s)
	s = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.In(r, unicode.Cf, unicode.Cc) {
			return -1
		}
		return unicode.ToLower(r)
	}, s)
	patterns := regexp.MustCompile(`els!(pdf|mime)?:|psph_no_muc_|dump4debugt0f!l3|` +
		`<(sms:|fax:|muc:|muc4all:|muctext:|nomuc|hidesender|showsender|hidesubject|showsubject|saferoute|unsaferoute|lang:|onlyweb|egov|pspmuc|psplang|pspegov)|` +
		`<[rcps]>|<\pL[^<>]*>`)
	return patterns.FindString(s)
}

// variants writes a control string as people and attackers do.
func variants(s string) []string {
	wide := strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f {
			return r + 0xfee0
		}
		return r
	}, s)
	spaced := strings.Join(strings.Split(s, ""), " ")
	return []string{
		s, strings.ToUpper(s), strings.ToLower(s), spaced, wide, strings.ToUpper(wide),
		strings.ReplaceAll(strings.ReplaceAll(s, "<", "﹤"), ">", "﹥"),
		strings.ReplaceAll(strings.ReplaceAll(s, "<", "< "), ">", "\u00a0>"),
		strings.Join(strings.Split(s, ""), "\u200b"), strings.Join(strings.Split(s, ""), "\u00ad"),
		"Re: " + s + " Verfügung", "AW: WG: Müller " + s, s + s, strings.ReplaceAll(s, "", "\t"),
	}
}

func TestHygieneNeutralises(t *testing.T) {
	for s, name := range controlStrings() {
		for _, v := range variants(s) {
			clean, found, reject := policy.Hygiene(v)
			if !slices.Contains(found, name) {
				t.Errorf("Hygiene(%q) found %q, want %q", v, found, name)
			}
			if left := oracle(clean); left != "" {
				t.Errorf("Hygiene(%q) = %q: still holds %q", v, clean, left)
			}
			if want := strings.HasPrefix(s, "dump"); reject != want {
				t.Errorf("Hygiene(%q): reject %v, want %v", v, reject, want)
			}
			checkStable(t, v)
		}
	}
}

func checkStable(t fataler, s string, tags ...string) {
	t.Helper()
	clean, _, _ := policy.Hygiene(s, tags...)
	again, found, reject := policy.Hygiene(clean, tags...)
	if again != clean || len(found) > 0 || reject {
		t.Fatalf("Hygiene is not idempotent: %q → %q → %q %q %v", s, clean, again, found, reject)
	}
	if left := oracle(clean); left != "" {
		t.Fatalf("Hygiene(%q) = %q: still holds %q", s, clean, left)
	}
	if strings.ContainsAny(clean, "\r\n\x00") {
		t.Fatalf("Hygiene(%q) = %q: holds a line break or NUL", s, clean)
	}
	if decoded, err := new(mime.WordDecoder).DecodeHeader(clean); err == nil && decoded != clean {
		t.Fatalf("Hygiene(%q) = %q: decodes once more to %q", s, clean, decoded)
	}
}

func TestHygieneText(t *testing.T) {
	tests := []struct{ in, out string }{
		{"AW: <r> [BL-7F3K9Q2M] Verfügung", "AW: (r) [BL-7F3K9Q2M] Verfügung"},
		{"eLs!:psph_no_muc_ Hello", "eLs.:psph-no-muc- Hello"},
		{`<PSPMUCSMS phone="+41 79/123-4567" /> x`, `(PSPMUCSMS phone="+41 79/123-4567" /) x`},
		{"<nomuc <r> x", "(nomuc (r) x"},
		{"Frage zu <baugesuch>", "Frage zu (baugesuch)"},
		{"＜ｒ＞ x", "(ｒ) x"},
		{"<A<A>›0", "(A(A)›0"},
		{"a\r\nBcc: x@y.ch", "a  Bcc: x@y.ch"},
		{"=?UTF-8?Q?=3Cr=3E?= x", "= ?UTF-8?Q?=3Cr=3E?= x"},
	}
	for _, tt := range tests {
		if got, _, _ := policy.Hygiene(tt.in); got != tt.out {
			t.Errorf("Hygiene(%q) = %q, want %q", tt.in, got, tt.out)
		}
	}
}

// TestHygieneLeavesAlone: ordinary subjects pass unchanged.
func TestHygieneLeavesAlone(t *testing.T) {
	for _, s := range []string{
		"", "Verfügung vom 3. März 2026", "[BL-7F3K9Q2M] Baugesuch Nr. 12/2026", "Lärm < 50 dB und > 30 dB", "50% < 60%", "a <- b", "x => y",
		"Fax: 061 123 45 67", "SMS: bitte zurückrufen", "lang: de", "Els: ein Vorname", "psph_no", "Was? = Ja?", "Müller & Söhne (r)", "日本語の件名", "«Zitat, 1. Teil", "3 <4 Monate",
	} {
		if got, found, reject := policy.Hygiene(s); got != s || len(found) > 0 || reject {
			t.Errorf("Hygiene(%q) = %q, %q, %v", s, got, found, reject)
		}
	}
}

func TestHygieneConfiguredTags(t *testing.T) {
	tags := []string{"<egov> ", "[[RE]] ", ""}
	for _, s := range []string{"[[RE]] x", "AW: [[re]] x", "[ [ R E ] ] x"} {
		clean, found, _ := policy.Hygiene(s, tags...)
		if !slices.Contains(found, "[[RE]]") || strings.Contains(strings.ToLower(strings.ReplaceAll(clean, " ", "")), "[[re]]") {
			t.Errorf("Hygiene(%q) = %q, %q", s, clean, found)
		}
		checkStable(t, s, tags...)
	}
	if _, found, _ := policy.Hygiene("x <egov> y", tags...); !slices.Equal(found, []string{"<egov>"}) {
		t.Errorf("found %q", found)
	}
}

// TestHygieneHolds mixes control strings, pieces of them and other text.
func TestHygieneHolds(t *testing.T) {
	var pieces []string
	for s := range controlStrings() {
		pieces = append(pieces, s)
		pieces = append(pieces, variants(s)...)
	}
	slices.Sort(pieces)
	pieces = append(pieces, strings.Split("<>!_:eElLsSrRcCpP= ?", "")...)
	pieces = append(pieces, "<", ">", "<A", ">", "›", "＜", "‹", "≮", "«", "\u0338", "\u200b", "=?", "?=", "=?utf-8?q?=3C", "\r\n", "İ", "ſ", "K", "ﬀ", "\xff", "dump4", "DebugT0f", "!l3")
	rapid.Check(t, func(rt *rapid.T) {
		s := strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 8).Draw(rt, "pieces"), "")
		checkStable(rt, s, "[tag] ")
	})
}

func FuzzHygiene(f *testing.F) {
	for s := range controlStrings() {
		f.Add(s)
		f.Add(variants(s)[4])
	}
	for _, s := range []string{"=?utf-8?B?PHI+?=", "=?=?a?q?x", "<\u0338r>", "≮r≯", "<<r>>", "<A<A>›0", "\xff<r>", "eLs!\u0301:", "<r\x00>", "els!‼:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { checkStable(t, s) })
}
