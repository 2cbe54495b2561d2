package retention_test

import (
	"testing"
	"time"

	"gatewayd/calendar"
	"gatewayd/retention"
)

func TestProfileBS(t *testing.T) {
	w := retention.Windows{Profile: retention.ProfileBS}
	if err := w.Validate(); err != nil {
		t.Error(err)
	}
	for start, want := range map[string]string{
		"2026-11-23": "2029-12-31",
		"2026-12-26": "2029-12-31", // three years and five days end on the eve of the run
		"2026-12-27": "2030-06-30",
		"2024-02-29": "2027-06-30",
		"2028-02-29": "2031-06-30",
		"2026-06-25": "2029-06-30",
		"2026-06-26": "2029-12-31",
	} {
		d, err := calendar.ParseDay(start)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.ContentDay(d.Start()); got.String() != want || w.LogDay(d.End().Add(-1)) != got {
			t.Errorf("%s: content until %s, log %s, want %s", start, got, w.LogDay(d.Start()), want)
		}
	}
	for d := (calendar.Day{Year: 2024, Month: time.January, Day: 1}); d.Year < 2029; d = d.AddDays(1) {
		day := w.ContentDay(d.Start())
		plan := retention.ScheduleOf(retention.Content, day)
		eve := day.AddDays(1)
		if plan.Export.Before(d.AddMonths(36).Start()) || plan.Limit.After(d.AddMonths(42).AddDays(6).End()) || eve.Day != 1 || eve.Month != time.January && eve.Month != time.July {
			t.Errorf("%s: %s", d, day)
		}
		if w.MaxGiveUp(d.Start()) < w.GiveUpLimit() {
			t.Errorf("%s: give up after %s", d, w.MaxGiveUp(d.Start()))
		}
	}
	if err := (retention.Windows{Profile: "zh", ContentMonths: 2, LogMonths: 6}).Validate(); err == nil {
		t.Error("an unknown profile")
	}
}
