package legal_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/calendar"
	"gatewayd/legal"
	"gatewayd/message"
)

var theKey = message.ItemKey{Message: message.ID{1}, N: 1}

// at reads an instant: RFC 3339, or local time in Zurich.
func at(t *testing.T, s string) time.Time {
	t.Helper()
	if v, err := time.Parse(time.RFC3339, s); err == nil {
		return v
	}
	v, err := time.ParseInLocation("2006-01-02 15:04", s, calendar.Zone())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// situation is what a test starts from: handed over at the given time to an
// addressee of the directory.
type situation struct {
	t *testing.T
	legal.Input
}

func handed(t *testing.T, when string, who legal.Addressee) *situation {
	t.Helper()
	left := at(t, when)
	return &situation{t, legal.Input{
		Item: message.Item{
			Key: theKey, State: message.Handed, Attempts: 1, HandedAt: left, Recipient: message.Recipient{Address: message.Address{Local: "buerger", Domain: "example.ch"}},
			Decision: message.Decision{Class: message.Registered, Via: "incamail"},
		},
		Events: []message.Event{{Seq: 1, At: left, Kind: message.EventHanded, Item: 1, Data: who.Data()}},
		Rules:  legal.DefaultRules(),
	}}
}

var identified = legal.Addressee{Identified: true, Checked: "2026-06-01", Expects: legal.Yes, Calendar: "BL", Consent: "GEVER 1"}

// got adds a verified receipt: the platform's time and ours.
func (s *situation) got(k message.ReceiptKind, platform, ours string) *situation {
	s.Receipts = append(s.Receipts, message.Receipt{
		ID: message.ID{2, byte(len(s.Receipts))}, Item: theKey, Kind: k, Platform: "incamail", Verdict: message.Verified, At: at(s.t, platform), Received: at(s.t, ours),
	})
	return s
}

func (s *situation) said(a legal.Answer, when string) *situation {
	s.Events = append(s.Events, message.Event{At: at(s.t, when), Kind: message.EventStated, Item: 1, Data: legal.Statement(a, "fuchs", "Verfahren hängig")})
	return s
}

func (s *situation) closed(code, when string) *situation {
	s.Events = append(s.Events, message.Event{At: at(s.t, when), Kind: message.EventTaskClosed, Item: 1, Data: map[string]string{legal.KeyTask: code, legal.KeyBy: "fuchs", legal.KeyReason: "eingeschriebener Brief"}})
	return s
}

func (s *situation) on(now string) legal.Case {
	s.Now = at(s.t, now)
	return legal.Open(s.Input)
}

func lastDay(c legal.Case, p calendar.Profile) string {
	for _, q := range c.Periods {
		if q.Profile == p {
			return q.Last.String()
		}
	}
	return ""
}

// TestWorkedExamples is the table of docs/law.md § 9 with its receipts.
func TestWorkedExamples(t *testing.T) {
	stranger := identified
	stranger.Identified = false
	available := func(when string, who legal.Addressee) *situation {
		return handed(t, when, who).got(message.Abgabequittung, when, when)
	}
	tests := []struct {
		row     string
		s       *situation
		now     string
		state   legal.State
		service string
		basis   legal.Basis
		bl, ch  string
	}{
		{"1", available("2026-11-30 10:00", identified), "2026-12-08 00:00", legal.ServedByFiction, "2026-12-07", legal.Fiction, "2026-12-17", "2027-01-22"},
		{"1, a moment before", available("2026-11-30 10:00", identified), "2026-12-07 23:59", legal.Available, "", legal.None, "", ""},
		{"2", available("2026-11-28 10:00", identified), "2026-12-09 10:00", legal.ServedByFiction, "2026-12-05", legal.Fiction, "2026-12-15", "2027-01-20"},
		{"3", available("2026-12-01 10:00", identified).got(message.Abholquittung, "2026-12-05 11:00", "2026-12-05 11:01"), "2026-12-05 12:00", legal.Served, "2026-12-05", legal.Download, "2026-12-15", "2027-01-20"},
		{"4", available("2026-12-14 10:00", identified).got(message.Abholquittung, "2026-12-15 11:00", "2026-12-15 11:01"), "2026-12-15 12:00", legal.Served, "2026-12-15", legal.Download, "2026-12-28", "2027-02-01"},
		{"5", available("2026-12-18 10:00", identified), "2026-12-30 10:00", legal.ServedByFiction, "2026-12-25", legal.Fiction, "2027-01-04", "2027-02-01"},
		{"6", available("2026-03-30 10:00", identified), "2026-04-10 10:00", legal.ServedByFiction, "2026-04-06", legal.Fiction, "2026-04-16", "2026-05-12"},
		{"7", available("2026-07-10 10:00", identified), "2026-07-20 10:00", legal.ServedByFiction, "2026-07-17", legal.Fiction, "2026-07-27", "2026-09-14"},
		{"8, waiting", available("2026-11-30 10:00", identified).got(message.Annahmeverweigerung, "2026-12-02 09:00", "2026-12-02 09:01"), "2026-12-03 10:00", legal.RefusedWait, "", legal.None, "", ""},
		{"8", available("2026-11-30 10:00", identified).got(message.Annahmeverweigerung, "2026-12-02 09:00", "2026-12-02 09:01"), "2026-12-08 10:00", legal.ServedByFiction, "2026-12-07", legal.Fiction, "2026-12-17", "2027-01-22"},
		{"9, waiting", available("2026-11-30 10:00", stranger), "2026-12-09 10:00", legal.Available, "", legal.None, "", ""},
		{"9", available("2026-11-30 10:00", stranger).got(message.Verfallquittung, "2026-12-07 10:00", "2026-12-07 10:01"), "2026-12-09 10:00", legal.NotServed, "", legal.None, "", ""},
		{"10", available("2026-10-24T22:30:00Z", identified), "2026-11-03 10:00", legal.ServedByFiction, "2026-11-01", legal.Fiction, "2026-11-11", "2026-12-01"},
		{"12, before", available("2026-11-30 10:00", identified), "2026-12-08 12:00", legal.ServedByFiction, "2026-12-07", legal.Fiction, "2026-12-17", ""},
		{"12", available("2026-11-30 10:00", identified).got(message.Abholquittung, "2026-12-04 16:00", "2026-12-09 08:00"), "2026-12-09 09:00", legal.Served, "2026-12-04", legal.Download, "2026-12-14", ""},
	}
	for _, tt := range tests {
		c := tt.s.on(tt.now)
		date := ""
		if !c.Service.Date.IsZero() {
			date = c.Service.Date.String()
		}
		if c.State != tt.state || date != tt.service || c.Service.Basis != tt.basis || lastDay(c, calendar.BLVwVG) != tt.bl || tt.ch != "" && lastDay(c, calendar.CHVwVG) != tt.ch || c.Binding {
			t.Errorf("row %s: %s on %q by %s, BL until %s, CH until %s", tt.row, c.State, date, c.Service.Basis, lastDay(c, calendar.BLVwVG), lastDay(c, calendar.CHVwVG))
		}
		if (date == "") != (len(c.Periods) == 0) || c.Because == "" || c.Service.Basis != legal.None && c.Service.Rule == "" {
			t.Errorf("row %s: %+v", tt.row, c)
		}
	}
}

// TestRefusal shows the other reading of row 8, and the rule that prefers it.
func TestRefusal(t *testing.T) {
	s := handed(t, "2026-11-30 10:00", identified).got(message.Abgabequittung, "2026-11-30 10:00", "2026-11-30 10:01").
		got(message.Annahmeverweigerung, "2026-12-02 09:00", "2026-12-02 09:01")
	c := s.on("2026-12-08 10:00")
	if c.Alternative == nil || c.Alternative.Date.String() != "2026-12-02" || c.Alternative.Basis != legal.Refusal {
		t.Errorf("alternative %+v", c.Alternative)
	}
	s.Rules.RefusalServes = true
	c = s.on("2026-12-03 10:00")
	if c.State != legal.Served || c.Service.Date.String() != "2026-12-02" || lastDay(c, calendar.BLVwVG) != "2026-12-14" || c.Alternative == nil || c.Alternative.Date.String() != "2026-12-07" {
		t.Errorf("%s %+v, alternative %+v", c.State, c.Service, c.Alternative)
	}
	s.Rules.RefusalServes = false
	s.Events[0].Data["identified"] = "no"
	if c = s.on("2026-12-03 10:00"); c.State != legal.NotServed || len(c.Tasks) != 1 || c.Tasks[0].Code != legal.TaskPost {
		t.Errorf("not identified: %s %+v", c.State, c.Tasks)
	}
}

// TestCorrection: what was shown before stays to be seen.
func TestCorrection(t *testing.T) {
	s := handed(t, "2026-11-30 10:00", identified).got(message.Abgabequittung, "2026-11-30 10:00", "2026-11-30 10:01").
		got(message.Abholquittung, "2026-12-04 16:00", "2026-12-09 08:00")
	v := s.on("2026-12-10 09:00").Versions
	if len(v) != 3 {
		t.Fatalf("%d versions: %+v", len(v), v)
	}
	if v[0].State != legal.Available || v[1].State != legal.ServedByFiction || v[1].Service.Date.String() != "2026-12-07" || !v[1].At.Equal(at(t, "2026-12-08 00:00")) {
		t.Errorf("before: %+v", v[:2])
	}
	if v[2].State != legal.Served || v[2].Service.Date.String() != "2026-12-04" || v[2].Corrects != 2 || len(v[2].Receipts) != 1 || v[2].LastDays[0].String() != "2026-12-14" {
		t.Errorf("correction: %+v", v[2])
	}
	if !v[2].At.Equal(at(t, "2026-12-09 08:00")) || !v[2].Service.At.Equal(at(t, "2026-12-04 16:00")) {
		t.Errorf("the times are mixed: %+v", v[2])
	}
	// Collected after the seventh day: it had counted as served.
	late := handed(t, "2026-11-30 10:00", identified).got(message.Abgabequittung, "2026-11-30 10:00", "2026-11-30 10:01").
		got(message.Abholquittung, "2026-12-09 16:00", "2026-12-09 16:01").on("2026-12-10 09:00")
	if late.State != legal.ServedByFiction || late.Service.Date.String() != "2026-12-07" || late.Alternative == nil || late.Alternative.Date.String() != "2026-12-09" || len(late.Versions) != 3 || late.Versions[2].Corrects != 0 {
		t.Errorf("late: %s %+v, alternative %+v, versions %+v", late.State, late.Service, late.Alternative, late.Versions)
	}
}

// TestExpectation: without anybody's word there is no fiction.
func TestExpectation(t *testing.T) {
	open := identified
	open.Expects = legal.Unknown
	s := handed(t, "2026-11-30 10:00", open).got(message.Abgabequittung, "2026-11-30 10:00", "2026-11-30 10:01").
		got(message.Verfallquittung, "2026-12-07 10:00", "2026-12-07 10:01")
	c := s.on("2026-12-08 10:00")
	if c.State != legal.Undecided || !c.Service.Date.IsZero() || c.Expected.String() != "2026-12-07" || !c.Open() || c.Tasks[0].Code != legal.TaskExpect {
		t.Fatalf("%s %+v %+v", c.State, c.Service, c.Tasks)
	}
	no := *s
	no.Events = slices.Clone(s.Events)
	if c = no.said(legal.No, "2026-12-08 11:00").on("2026-12-08 12:00"); c.State != legal.NotServed || c.Tasks[0].Code != legal.TaskPost || !strings.Contains(c.Because, "rechnen") {
		t.Errorf("no: %s %+v", c.State, c.Tasks)
	}
	c = s.said(legal.Yes, "2026-12-08 11:00").on("2026-12-08 12:00")
	if c.State != legal.ServedByFiction || c.Service.Date.String() != "2026-12-07" || c.Addressee.SaidBy != "fuchs" || c.Open() {
		t.Errorf("yes: %s %+v %+v", c.State, c.Service, c.Addressee)
	}
	if n := len(c.Tasks); n != 1 || c.Tasks[0].Closed.IsZero() || c.Tasks[0].How != "Verfahren hängig" {
		t.Errorf("tasks %+v", c.Tasks)
	}
	if len(c.Versions) != 3 || c.Versions[1].State != legal.Undecided || c.Versions[2].State != legal.ServedByFiction {
		t.Errorf("versions %+v", c.Versions)
	}
	// Collected after the seventh day, and nobody has said: both readings.
	late := handed(t, "2026-11-30 10:00", open).got(message.Abgabequittung, "2026-11-30 10:00", "2026-11-30 10:01").
		got(message.Abholquittung, "2026-12-09 16:00", "2026-12-09 16:01").on("2026-12-10 09:00")
	if late.State != legal.Served || late.Alternative == nil || late.Alternative.Basis != legal.Fiction {
		t.Errorf("late: %s, alternative %+v", late.State, late.Alternative)
	}
}

// TestReceiptsThatProveLittle: unsigned, forged, foreign and mismatching ones.
func TestReceiptsThatProveLittle(t *testing.T) {
	base := func() *situation {
		return handed(t, "2026-11-30 10:00", identified).got(message.Abgabequittung, "2026-11-30 10:00", "2026-11-30 10:01")
	}
	for _, verdict := range []message.Authenticity{message.Unsigned, message.Untrusted, message.Forged} {
		s := base().got(message.Abholquittung, "2026-12-01 10:00", "2026-12-01 10:01")
		s.Receipts[1].Verdict = verdict
		if c := s.on("2026-12-02 10:00"); c.State != legal.Available || len(c.Versions) != 1 || len(c.Trail) != 3 || c.Trail[2].Code == legal.Collected {
			t.Errorf("%s: %s %+v", verdict, c.State, c.Trail)
		}
	}
	other := base().got(message.Abholquittung, "2026-12-01 10:00", "2026-12-01 10:01")
	other.Receipts[1].Item.N = 2
	if c := other.on("2026-12-02 10:00"); c.State != legal.Available || len(c.Trail) != 2 {
		t.Errorf("another recipient's receipt: %s %+v", c.State, c.Trail)
	}
	s := base().got(message.Abholquittung, "2026-12-01 10:00", "2026-12-01 10:01")
	s.Receipts[1].Mismatch = "an attachment is missing"
	c := s.on("2026-12-02 10:00")
	if c.State != legal.EvidenceInvalid || c.Service.Basis != legal.None || len(c.Periods) != 0 || c.Tasks[0].Code != legal.TaskEvidence || !hasAlarm(c, legal.AlarmMismatch) {
		t.Errorf("mismatch: %s %+v %+v", c.State, c.Tasks, c.Alarms)
	}
	c = s.closed(string(legal.TaskEvidence), "2026-12-02 11:00").on("2026-12-02 12:00")
	if c.State != legal.Served || c.Service.Date.String() != "2026-12-01" || hasAlarm(c, legal.AlarmMismatch) || len(c.Versions) != 3 {
		t.Errorf("checked: %s %+v %+v", c.State, c.Service, c.Versions)
	}
}

func hasAlarm(c legal.Case, code legal.AlarmCode) bool {
	return slices.ContainsFunc(c.Alarms, func(a legal.Alarm) bool { return a.Code == code })
}

// TestAvailability: what the platform says of the mailbox counts before what it
// says of itself, and the other platform's before ours.
func TestAvailability(t *testing.T) {
	first := func() *situation {
		return handed(t, "2026-11-30 10:00", identified).got(message.Abgabequittung, "2026-11-30 10:00", "2026-11-30 10:01")
	}
	if c := first().got(message.Weitergabe, "2026-12-01 10:00", "2026-12-01 10:01").on("2026-12-02 10:00"); c.State != legal.Relayed || c.Expected.String() != "2026-12-08" {
		t.Errorf("relayed: %s, expected %s", c.State, c.Expected)
	}
	if c := first().got(message.Bereitstellung, "2026-12-02 10:00", "2026-12-02 10:01").on("2026-12-03 10:00"); c.State != legal.Available || c.Expected.String() != "2026-12-09" {
		t.Errorf("available: %s, expected %s", c.State, c.Expected)
	}
	// The first receipt is lost: nobody knows where the seven days begin.
	lost := handed(t, "2026-11-30 10:00", identified).got(message.Verfallquittung, "2026-12-07 10:00", "2026-12-07 10:01")
	if c := lost.on("2026-12-09 10:00"); c.State != legal.Undecided || c.Tasks[0].Code != legal.TaskReceipt {
		t.Errorf("lost: %s %+v", c.State, c.Tasks)
	}
	if c := lost.got(message.Abgabequittung, "2026-11-30 10:00", "2026-12-10 10:00").on("2026-12-10 11:00"); c.State != legal.ServedByFiction || c.Open() || len(c.Versions) != 2 {
		t.Errorf("found: %s %+v", c.State, c.Versions)
	}
}

// TestBeforeAnyReceipt is what the gateway itself knows.
func TestBeforeAnyReceipt(t *testing.T) {
	for _, tt := range []struct {
		state message.State
		left  bool
		after time.Duration
		want  legal.State
	}{
		{message.Held, false, 0, legal.Held},
		{message.Waiting, false, 0, legal.Queued},
		{message.Sending, false, 0, legal.Submitting},
		{message.Unclear, false, 0, legal.Uncertain},
		{message.Refused, false, 0, legal.Returned},
		{message.Dropped, false, 0, legal.Returned},
		{message.Handed, true, time.Minute, legal.Submitted},
		{message.Handed, true, 15 * time.Minute, legal.ReceiptMissing},
		{message.Expired, true, 1000 * time.Hour, legal.ReceiptMissing},
	} {
		s := handed(t, "2026-11-30 10:00", identified)
		s.Now = s.Item.HandedAt.Add(tt.after)
		if s.Item.State = tt.state; !tt.left {
			s.Item.HandedAt = time.Time{}
		}
		c := legal.Open(s.Input)
		if c.State != tt.want || c.Because == "" || len(c.Versions) != 0 {
			t.Errorf("%s: %s, want %s", tt.state, c.State, tt.want)
		}
		if tt.state == message.Handed && hasAlarm(c, legal.AlarmOverdue) != (tt.want == legal.ReceiptMissing) {
			t.Errorf("%s after %s: alarms %+v", tt.state, tt.after, c.Alarms)
		}
	}
}

// TestAlarms walks along the time line: each alarm comes and goes at its
// instant, and Next names the next one.
func TestAlarms(t *testing.T) {
	s := handed(t, "2026-11-30 10:00", identified).got(message.Abgabequittung, "2026-11-30 10:00", "2026-11-30 10:01").
		got(message.Verfallquittung, "2026-12-07 10:00", "2026-12-07 10:01")
	all := s.Receipts
	for _, tt := range []struct {
		now  string
		want []legal.AlarmCode
		next string
	}{
		{"2026-12-01 10:00", nil, "2026-12-05 00:00"},
		{"2026-12-05 00:00", []legal.AlarmCode{legal.AlarmUnclaimed}, "2026-12-08 00:00"},
		{"2026-12-07 10:01", []legal.AlarmCode{legal.AlarmExpired, legal.AlarmFiction}, "2026-12-14 00:00"},
		{"2026-12-14 00:00", []legal.AlarmCode{legal.AlarmExpired, legal.AlarmFiction, legal.AlarmDeadline}, "2026-12-18 00:00"},
		{"2026-12-18 00:00", []legal.AlarmCode{legal.AlarmExpired, legal.AlarmFiction}, ""},
	} {
		s.Receipts = all[:1]
		if !at(t, tt.now).Before(all[1].Received) {
			s.Receipts = all
			s.Item.State = message.Done
		}
		c := s.on(tt.now)
		var got []legal.AlarmCode
		for _, a := range c.Alarms {
			got = append(got, a.Code)
		}
		next := ""
		if !c.Next.IsZero() {
			next = c.Next.In(calendar.Zone()).Format("2006-01-02 15:04")
		}
		if !slices.Equal(got, tt.want) || next != tt.next || (c.Attention() == "") != (len(got) == 0) {
			t.Errorf("%s: alarms %v, next %s; want %v, %s", tt.now, got, next, tt.want, tt.next)
		}
	}
	s.Item.HandedOver = at(t, "2026-12-13 09:00")
	if c := s.on("2026-12-14 00:00"); len(c.Alarms) != 1 || c.Alarms[0].Code != legal.AlarmDeadline {
		t.Errorf("taken over: %+v", c.Alarms)
	}
	if c := s.closed(string(legal.AlarmDeadline), "2026-12-14 08:00").on("2026-12-14 09:00"); c.Attention() != "" {
		t.Errorf("acknowledged: %q", c.Attention())
	}
}

// TestTaskByPost: a person closes it, with a word on how.
func TestTaskByPost(t *testing.T) {
	s := handed(t, "2026-11-30 10:00", identified).got(message.Abgabequittung, "2026-11-30 10:00", "2026-11-30 10:01").
		got(message.NoticeBlocked, "2026-11-30 10:05", "2026-11-30 10:06")
	c := s.on("2026-11-30 11:00")
	if c.State != legal.NotServed || !c.Open() || c.Tasks[0].Code != legal.TaskPost || !hasAlarm(c, legal.AlarmNotServed) || !c.Expected.IsZero() {
		t.Fatalf("%s %+v %+v", c.State, c.Tasks, c.Alarms)
	}
	c = s.closed(string(legal.TaskPost), "2026-12-01 09:00").on("2026-12-01 10:00")
	if c.Open() || c.Tasks[0].By != "fuchs" || c.Tasks[0].How == "" || hasAlarm(c, legal.AlarmNotServed) || c.State != legal.NotServed {
		t.Errorf("%+v %+v", c.Tasks, c.Alarms)
	}
	dt13 := handed(t, "2026-11-30 10:00", identified).got(message.Abgabequittung, "2026-11-30 10:00", "2026-11-30 10:01").
		got(message.NoticeUndelivered, "2026-11-30 10:05", "2026-11-30 10:06")
	dt13.Receipts[1].Code = "13"
	if c := dt13.on("2026-11-30 11:00"); len(c.Tasks) != 2 || c.Tasks[1].Code != legal.TaskDelivery || !hasAlarm(c, legal.AlarmCheck) {
		t.Errorf("dt 13: %+v %+v", c.Tasks, c.Alarms)
	}
}

// TestCalendarOfTheParty: the holidays of the party's canton count.
func TestCalendarOfTheParty(t *testing.T) {
	for _, tt := range []struct{ calendar, last string }{{"BL", "2026-12-28"}, {"BS", "2026-12-28"}, {"CH", "2026-12-25"}, {"XX", "2026-12-28"}} {
		who := identified
		who.Calendar = tt.calendar
		c := handed(t, "2026-12-14 10:00", who).got(message.Abgabequittung, "2026-12-14 10:00", "2026-12-14 10:01").
			got(message.Abholquittung, "2026-12-15 11:00", "2026-12-15 11:01").on("2026-12-15 12:00")
		p, ok := c.Period()
		if !ok || p.Last.String() != tt.last || p.Version == "" {
			t.Errorf("%s: %+v", tt.calendar, p)
		}
	}
}

// TestTables: every code that a receipt or event can have stands in the table of
// meanings, and names repeat nowhere.
func TestTables(t *testing.T) {
	seen := map[legal.Code]bool{}
	for _, m := range legal.Meanings() {
		if seen[m.Code] || m.German == "" || m.Issuer == "" || m.Weight == "" {
			t.Errorf("%+v", m)
		}
		seen[m.Code] = true
	}
	s := handed(t, "2026-11-30 10:00", identified)
	for _, k := range []message.ReceiptKind{
		message.Abgabequittung, message.Bereitstellung, message.Abholquittung, message.Annahmeverweigerung, message.Verfallquittung,
		message.Weitergabe, message.NoticeBlocked, message.NoticeUndelivered, message.ArchiveCopy, message.UnknownReceipt,
	} {
		s.got(k, "2026-11-30 10:00", "2026-11-30 10:01")
	}
	for _, k := range []message.EventKind{
		message.EventAccepted, message.EventDecided, message.EventHanded, message.EventRefused, message.EventBounced, message.EventStated,
		message.EventTaskClosed, message.EventHandedOver, message.EventErased, message.EventAttempt,
	} {
		s.Events = append(s.Events, message.Event{At: at(t, "2026-11-30 10:00"), Kind: k, Item: 1, Data: map[string]string{}})
	}
	for _, e := range s.on("2026-12-01 10:00").Trail {
		if !seen[e.Code] {
			t.Errorf("%s has no meaning", e.Code)
		}
	}
	if legal.MeaningOf("NEW").Code != "NEW" {
		t.Error("an unknown code loses its name")
	}
}
