package calendar

import (
	"strings"
	"testing"
)

func TestParseCalendars(t *testing.T) {
	good, err := parseCalendars("version 1\nCH 08-01 Bundesfeier\nZZ easter+1 Ostermontag\n")
	if err != nil || good["ZZ"].Version() != "1" || good["ZZ"].Holiday(Day{2026, 8, 1}) != "Bundesfeier" || good["ZZ"].Holiday(Day{2026, 4, 6}) != "Ostermontag" {
		t.Errorf("%v, %v", good, err)
	}
	for _, text := range []string{
		"", "CH 08-01 Bundesfeier", "version 1\nCH 08-01", "version 1\nCH 13-01 x", "version 1\nCH easter x", "version 1\nCH easter+999 x",
		"version 1\nBaselland 01-01 x", "version 1\nversion 2\n", "version 1\nCH 02-29 x",
	} {
		if got, err := parseCalendars(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func FuzzParseCalendars(f *testing.F) {
	f.Add(holidayText)
	f.Add("version 1\nCH easter-2 x")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseCalendars(text)
		for id, c := range all {
			if err != nil || len(id) != 2 || c.ID() != id || c.Version() == "" || strings.ContainsAny(c.Version(), "\n") {
				t.Fatalf("%q: %v", id, err)
			}
		}
	})
}
