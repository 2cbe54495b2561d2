package directory

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/calendar"
)

const delegatesText = `
[[delegate]]
authority = "bauinspektorat"
account   = "stv-meier"
may       = ["send"]
from      = 2026-12-01
until     = 2026-12-31
reason    = "Ferienvertretung"

[[delegate]]
authority = "bauinspektorat"
token     = "kanzlei"
may       = ["read", "handover"]
from      = 2026-12-01
reason    = "gemeinsames Sekretariat"
`

func TestDelegates(t *testing.T) {
	d, problems := Load(write(t, delegatesText))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	first := calendar.Day{Year: 2026, Month: 12, Day: 1}.Start()
	end := calendar.Day{Year: 2026, Month: 12, Day: 31}.End()
	for _, tt := range []struct {
		at   time.Time
		acts bool
	}{{first.Add(-time.Second), false}, {first, true}, {end.Add(-time.Second), true}, {end, false}} {
		if got := d.AccountActs("stv-meier", "bauinspektorat", tt.at); got != tt.acts {
			t.Errorf("at %s: %v", tt.at, got)
		}
	}
	for _, other := range [][2]string{{"stv-meier", "steuern"}, {"kanzlei", "bauinspektorat"}, {"", "bauinspektorat"}, {"stv-meier", ""}} {
		if d.AccountActs(other[0], other[1], first) {
			t.Errorf("%q acts", other)
		}
	}
	if got := d.TokenActs("kanzlei", "bauinspektorat", end.AddDate(5, 0, 0)); !slices.Equal(got, []Right{RightRead, RightHandover}) {
		t.Errorf("rights %v", got)
	}
	if got := d.TokenActs("stv-meier", "bauinspektorat", first); got != nil {
		t.Errorf("an account's rights for a token: %v", got)
	}
	if got := (*Directory)(nil).TokenActs("kanzlei", "bauinspektorat", first); got != nil || (*Directory)(nil).AccountActs("a", "b", first) {
		t.Error("without a directory somebody acts")
	}
}

// TestDelegateMistakes: each is one mistake in an entry that is good otherwise.
func TestDelegateMistakes(t *testing.T) {
	for _, tt := range []struct{ old, new, says string }{
		{`account   = "stv-meier"`, ``, "either an account"},
		{`account   = "stv-meier"`, "account = \"a\"\ntoken = \"b\"", "either an account"},
		{`may       = ["send"]`, `may = ["send", "read"]`, `an account may only "send"`},
		{`may       = ["send"]`, `may = ["everything"]`, "must list"},
		{`may       = ["send"]`, `may = []`, "is empty"},
		{`until     = 2026-12-31`, `until = 2026-11-29`, "ends before it begins"},
		{`until     = 2026-12-31`, `until = 2026-02-30`, "no date"},
		{`authority = "bauinspektorat"`, `authority = "zwei worte"`, "without spaces"},
		{`reason    = "Ferienvertretung"`, ``, `lacks the key "reason"`},
		{`from      = 2026-12-01`, ``, `lacks the key "from"`},
	} {
		_, problems := Load(write(t, strings.Replace(delegatesText, tt.old, tt.new, 1)))
		if len(problems) != 1 || !strings.Contains(problems[0].Text, tt.says) {
			t.Errorf("%s → %q: %v", tt.old, tt.new, problems)
		}
	}
}
