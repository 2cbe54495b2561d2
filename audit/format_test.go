package audit_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"gatewayd/audit"
	"gatewayd/message"
)

func anEntry() audit.Entry {
	return audit.Entry{Hash: message.Digest{0xab}, Event: message.Event{
		Seq: 7, At: time.Date(2026, 11, 23, 11, 0, 0, 5000, time.UTC), Kind: message.EventHanded, Authority: "bau", Message: message.ID{1}, Item: 2,
		Data: map[string]string{"state": "handed", "to": "planted.person@example.ch", "reply": "250 \"ok\" ] \\ \r\n<13>1 forged", "nobody": "undeclared"},
	}}
}

func written(t *testing.T, f audit.Format, s audit.Shown, entries ...audit.Entry) string {
	t.Helper()
	var b bytes.Buffer
	w, err := audit.NewWriter(&b, f, s, "gateway.bl.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestSyslogLine: the message of RFC 5424, octet for octet; what strangers wrote
// can neither end it nor begin another one.
func TestSyslogLine(t *testing.T) {
	const head = `<110>1 2026-11-23T11:00:00.000005Z gateway.bl.example gatewayd - handed [gatewayd@32473 link="7" ` +
		`hash="ab00000000000000000000000000000000000000000000000000000000000000" authority="bau" message="04000000000000000000000000" item="2"]`
	const tail = " handed 04000000000000000000000000/2\n"
	for name, c := range map[string]struct {
		shown audit.Shown
		data  string
	}{
		"nothing personal": {audit.Shown{}, `[gatewaydData@32473 state="handed"]`},
		"one by name":      {audit.Shown{Personal: []string{"to"}}, `[gatewaydData@32473 state="handed" to="planted.person@example.ch"]`},
		"hostile":          {audit.Shown{Personal: []string{"reply"}}, `[gatewaydData@32473 reply="250 \"ok\" \] \\   <13>1 forged" state="handed"]`},
	} {
		if got := written(t, audit.SYSLOG, c.shown, anEntry()); got != head+c.data+tail {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, head+c.data+tail)
		}
	}
	own := written(t, audit.SYSLOG, audit.Shown{Enterprise: 4711}, anEntry())
	if want := strings.ReplaceAll(head+`[gatewaydData@32473 state="handed"]`+tail, "@32473 ", "@4711 "); own != want {
		t.Errorf("number of the operator:\n%s\nwant\n%s", own, want)
	}
	gone := audit.Entry{Sealed: true, Event: message.Event{Seq: 8, At: anEntry().At}}
	if got := written(t, audit.SYSLOG, audit.Shown{Everything: true}, gone); !strings.Contains(got, ` gatewayd - sealed [gatewayd@32473 link="8" hash=`) {
		t.Errorf("a line whose key is gone: %s", got)
	}
}

// TestWriters: the other formats read as what was written, and show no more than
// they may.
func TestWriters(t *testing.T) {
	var got audit.Entry
	if err := json.Unmarshal([]byte(written(t, audit.JSONL, audit.Shown{Everything: true}, anEntry())), &got); err != nil || got.Data["nobody"] == "" || got.Hash != anEntry().Hash || !got.At.Equal(anEntry().At) {
		t.Errorf("%v %+v", err, got)
	}
	formula := anEntry()
	formula.Data = map[string]string{"reason": "=cmd|' /C calc'!A0"}
	rows, err := csv.NewReader(strings.NewReader(written(t, audit.CSV, audit.Shown{Everything: true}, anEntry(), formula))).ReadAll()
	if err != nil || len(rows) != 3 || rows[1][0] != "7" || rows[1][5] != "2" || !strings.Contains(rows[1][6], "planted.person") {
		t.Fatalf("%v %q", err, rows)
	}
	for _, cell := range rows[2] {
		if strings.HasPrefix(cell, "=") {
			t.Errorf("cell %q is a formula", cell)
		}
	}
	for _, f := range []audit.Format{audit.JSONL, audit.CSV, audit.SYSLOG} {
		if text := written(t, f, audit.Shown{}, anEntry()); strings.Contains(text, "planted.person") || strings.Contains(text, "undeclared") || !strings.Contains(text, "handed") {
			t.Errorf("%s shows: %s", f, text)
		}
	}
	if _, err := audit.NewWriter(&bytes.Buffer{}, "xml", audit.Shown{}, ""); err == nil {
		t.Error("xml is no format")
	}
}

// TestEntries: each field of the filter selects.
func TestEntries(t *testing.T) {
	dir, s := filled(t)
	l := open(t, dir, s.keys)
	rotate(t, l, dayOf(1).Start().Add(time.Hour), 1)
	count := func(f audit.Filter) (n int) {
		t.Helper()
		err := l.Entries(context.Background(), f, func(e audit.Entry) error {
			if e.Sealed || e.Kind != message.EventHanded || e.Hash == (message.Digest{}) {
				t.Errorf("%+v", e)
			}
			n++
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return n
	}
	all := count(audit.Filter{})
	first, rest := count(audit.Filter{Until: dayOf(0)}), count(audit.Filter{From: dayOf(1)})
	one := count(audit.Filter{Message: message.ID{1}})
	if all != 30 || first != 11 || rest != 19 || one != 10 {
		t.Errorf("all %d, first day %d, later %d, one message %d", all, first, rest, one)
	}
	for f, want := range map[string]int{"limit=3": count(audit.Filter{Limit: 3}), "after=28": count(audit.Filter{After: 28}) + 1, "kind": count(audit.Filter{Kinds: []message.EventKind{message.EventRead}}) + 3, "authority": count(audit.Filter{Authority: "bau"}) + 3} {
		if want != 3 {
			t.Errorf("%s: %d", f, want)
		}
	}
	f := audit.Filter{From: dayOf(0), Until: dayOf(1), Kinds: []message.EventKind{"read"}, Authority: "bau", Message: message.ID{1}, After: 3, Limit: 5}
	if got := f.String(); got != "from=2026-11-23 until=2026-11-24 kind=read authority=bau message=04000000000000000000000000 after=3 limit=5" {
		t.Errorf("%s", got)
	}
}
