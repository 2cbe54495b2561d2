package receipts

import (
	"strings"
	"testing"
	"time"

	"gatewayd/message"
)

func TestParseTime(t *testing.T) {
	tests := []struct{ in, want string }{ // want in UTC
		{"Wed Mar 14 13:20:39 CET 2012", "2012-03-14T12:20:39Z"},
		{"Wed Jul 04 13:20:39 CEST 2012", "2012-07-04T11:20:39Z"},
		{"Sun Mar 25 01:59:59 CET 2012", "2012-03-25T00:59:59Z"},  // last second of winter time
		{"Sun Mar 25 03:00:00 CEST 2012", "2012-03-25T01:00:00Z"}, // first of summer time
		{"Sun Oct 28 02:30:00 CEST 2012", "2012-10-28T00:30:00Z"}, // the hour that comes twice
		{"Sun Oct 28 02:30:00 CET 2012", "2012-10-28T01:30:00Z"},
		{"Sun Oct 25 02:30:00 CEST 2026", "2026-10-25T00:30:00Z"},
		{"Sun Oct 25 02:30:00 CET 2026", "2026-10-25T01:30:00Z"},
		{"Mon Nov  2 08:00:00 CET 2026", "2026-11-02T07:00:00Z"},
		{"Wed Mar 14 13:20:39 MEZ 2012", "2012-03-14T12:20:39Z"},
		{"Wed Jul 04 13:20:39 MESZ 2012", "2012-07-04T11:20:39Z"},
		{"Wed Mar 14 13:20:39 UTC 2012", "2012-03-14T13:20:39Z"},
		{"2026-11-23T14:05:06+01:00", "2026-11-23T13:05:06Z"},
		{"04.07.2012 13:20:39", "2012-07-04T11:20:39Z"},
		{"14.03.2012 13:20:39", "2012-03-14T12:20:39Z"},
		{"Wed Mar 14 13:20:39 PST 2012", ""},
		{"Wed Mar 14 13:20:39 XYZ 2012", ""},
		{"Wed Mar 14 25:20:39 CET 2012", ""},
		{"", ""},
		{"gestern", ""},
	}
	for _, tt := range tests {
		got, ok := parseTime(tt.in)
		if ok != (tt.want != "") {
			t.Errorf("parseTime(%q) ok = %v", tt.in, ok)
		}
		if ok && got.UTC().Format(time.RFC3339) != tt.want {
			t.Errorf("parseTime(%q) = %s, want %s", tt.in, got.UTC().Format(time.RFC3339), tt.want)
		}
	}
}

func TestParseRecord(t *testing.T) {
	const example = "<rM><d>Wed Mar 14 13:20:39 CET 2012</d><dt>0</dt><f>a@b.ch</f><i>6</i><s>Wed Mar 14 13:00:00 CET 2012</s><t>c@d.ch</t><u>Verf&uuml;gung &lt;x&gt; &amp; mehr</u></rM>"
	rec, ok := parseRecord("Titel\n" + example + "\nEnde")
	if !ok || rec.Code != "0" || rec.From != "a@b.ch" || rec.To != "c@d.ch" || rec.Mode != "6" || rec.Subject != "Verfügung <x> & mehr" {
		t.Errorf("%+v, %v", rec, ok)
	}
	if got := rec.Delivered.UTC().Format(time.RFC3339); got != "2012-03-14T12:20:39Z" {
		t.Errorf("delivered %s", got)
	}
	// A subject cannot overwrite what stands before it.
	evil := strings.Replace(example, "Verf&uuml;gung", "</u><dt>12</dt><t>x@y</t><u>", 1)
	if rec, _ = parseRecord(evil); rec.Code != "0" || rec.To != "c@d.ch" {
		t.Errorf("subject overwrites: %+v", rec)
	}
	for _, bad := range []string{"", "<rM>", "<rM>" + strings.Repeat("x", maxRecord) + "</rM>"} {
		if _, ok := parseRecord(bad); ok {
			t.Errorf("%.20q is a record", bad)
		}
	}
	if rec, ok := parseRecord("<rM><d>broken\n line</d><dt>11</rM>"); !ok || rec.Code != "" || !rec.Delivered.IsZero() {
		t.Errorf("damaged: %+v %v", rec, ok)
	}
}

func TestKindOfCode(t *testing.T) {
	want := map[message.ReceiptKind]string{
		message.Abholquittung: "0 2 5 6 7 15 16 18 19 20 21", message.NoticeBlocked: "3", message.Annahmeverweigerung: "11",
		message.Verfallquittung: "12", message.NoticeUndelivered: "13", message.Weitergabe: "17", message.UnknownReceipt: "1 4 8 9 10 14 22 00 x",
	}
	for kind, codes := range want {
		for _, c := range strings.Fields(codes) {
			if got := kindOfCode(c); got != kind {
				t.Errorf("dt %s is %s, want %s", c, got, kind)
			}
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add("<rM><d>Wed Mar 14 13:20:39 CET 2012</d><dt>0</dt><f>a@b</f><i>6</i><s></s><t>c@d</t><u>x</u></rM>")
	f.Add("<rM><rM></rM><dt></dt>")
	r, errs := New(Options{Platforms: DefaultPlatforms()})
	if len(errs) > 0 {
		f.Fatal(errs)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rec, ok := parseRecord(text)
		if !ok && rec != (record{}) {
			t.Fatal("a record out of nothing")
		}
		r.read(r.platforms[0], text)
	})
}
