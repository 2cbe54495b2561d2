package retention_test

import (
	"strings"
	"testing"
	"time"

	"gatewayd/calendar"
	"gatewayd/retention"
)

func TestWindowDays(t *testing.T) {
	tests := []struct{ start, content, log string }{
		{"2026-12-31", "2027-02-28", "2027-06-30"},
		{"2026-02-28", "2026-04-28", "2026-08-28"},
		{"2027-12-31", "2028-02-29", "2028-06-30"},
		{"2026-11-23", "2027-01-23", "2027-05-23"},
		{"2026-08-31", "2026-10-31", "2027-02-28"},
	}
	w := retention.Default()
	for _, tt := range tests {
		d, err := calendar.ParseDay(tt.start)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []time.Time{d.Start().UTC(), d.End().Add(-time.Nanosecond).UTC()} {
			if got := w.ContentDay(at); got.String() != tt.content {
				t.Errorf("ContentDay(%s) = %s, want %s", at, got, tt.content)
			}
			if got := w.LogDay(at); got.String() != tt.log {
				t.Errorf("LogDay(%s) = %s, want %s", at, got, tt.log)
			}
			if got := w.EraseBy(at); !got.Equal(w.ContentDay(at).End()) {
				t.Errorf("EraseBy(%s) = %s", at, got)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		w     retention.Windows
		wants []string // nothing: valid
	}{
		{retention.Default(), nil},
		{retention.Windows{ContentMonths: 1, LogMonths: 6}, nil},
		{retention.Windows{ContentMonths: 2, LogMonths: 12, LegalBasis: "§ 7 Spezialgesetz"}, nil},
		{retention.Windows{ContentMonths: 3, LogMonths: 6}, []string{"content_months"}},
		{retention.Windows{ContentMonths: 0, LogMonths: 6}, []string{"content_months"}},
		{retention.Windows{ContentMonths: 2, LogMonths: 5}, []string{"log_months"}},
		{retention.Windows{ContentMonths: 2, LogMonths: 12, LegalBasis: "  "}, []string{"log_months"}},
		{retention.Windows{ContentMonths: 2, LogMonths: 1200, LegalBasis: "x"}, []string{"log_months"}},
		{retention.Windows{ContentMonths: -1, LogMonths: 0}, []string{"content_months", "log_months"}},
	}
	for _, tt := range tests {
		err := tt.w.Validate()
		if (err == nil) != (len(tt.wants) == 0) {
			t.Errorf("Validate(%+v) = %v", tt.w, err)
		}
		for _, want := range tt.wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("Validate(%+v) = %v, want a word about %s", tt.w, err, want)
			}
		}
	}
}

// TestEveryStartDay proves the windows for each start in nine years, at both
// ends of the day.
func TestEveryStartDay(t *testing.T) {
	for _, months := range []int{1, 2} {
		w := retention.Windows{ContentMonths: months, LogMonths: 6}
		least := time.Duration(1 << 62)
		for d := calendar.Date(2024, time.January, 1); d.Year < 2033; d = d.AddDays(1) {
			for _, at := range []time.Time{d.Start(), d.End().Add(-time.Nanosecond)} {
				least = min(least, checkStart(t, w, d, at))
			}
		}
		if limit := w.GiveUpLimit(); least < limit || least > limit+time.Hour {
			t.Errorf("%d months: the least MaxGiveUp is %s, GiveUpLimit says %s", months, least, limit)
		}
	}
}

func checkStart(t *testing.T, w retention.Windows, d calendar.Day, at time.Time) time.Duration {
	t.Helper()
	end := w.EraseBy(at)
	if ceiling := time.Date(d.Year, d.Month+time.Month(w.ContentMonths), d.Day, 0, 0, 0, 0, calendar.Zone()).AddDate(0, 0, 1); end.After(ceiling) {
		t.Fatalf("start %s: erase by %s, after the ceiling %s", at, end, ceiling)
	}
	if !end.After(at) || w.LogDay(at).Before(w.ContentDay(at)) {
		t.Fatalf("start %s: content until %s, log until %s", at, end, w.LogDay(at))
	}
	give := w.MaxGiveUp(at)
	if rest := end.Sub(at.Add(give)); rest != 13*24*time.Hour {
		t.Fatalf("start %s: %s remain after the give-up, want 13 days", at, rest)
	}
	return give
}
