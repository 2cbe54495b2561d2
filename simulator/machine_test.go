package simulator

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestProfiles(t *testing.T) {
	const x = "[BL-1] x"
	tests := []struct {
		profile    string
		inca, psph State
		mails      []string // from IncaMail, then from PrivaSphere
	}{
		{"native", AwaitingPickup, AwaitingPickup, []string{"Abgabequittung: " + x, "Archivkopie: " + x}},
		{"business", AwaitingPickup, AwaitingPickup, []string{"Abgabequittung: " + x, "Archivkopie: " + x}},
		{"auto-accept", PickedUp, PickedUp, []string{
			"Abgabequittung: " + x, "Abholquittung: " + x, "Archivkopie: " + x, "Lesebestätigung: " + x,
		}},
		{"unregistered", Undeliverable, Undeliverable, []string{
			"Abgabequittung: " + x, "Nicht zustellbar: " + x, "Archivkopie: " + x, "Nicht zustellbar: " + x,
		}},
		{"blocks-registered", Blocked, Blocked, []string{
			"Abgabequittung: " + x, "Eingeschriebene Nachrichten gesperrt: " + x,
			"Archivkopie: " + x, "Eingeschriebene Nachrichten gesperrt: " + x,
		}},
		{"small-mailbox:0", Undeliverable, Undeliverable, []string{
			"Abgabequittung: " + x, "Nicht zustellbar: " + x, "Archivkopie: " + x, "Nicht zustellbar: " + x,
		}},
		{"small-mailbox:1", AwaitingPickup, AwaitingPickup, []string{"Abgabequittung: " + x, "Archivkopie: " + x}},
	}
	for _, tt := range tests {
		t.Run(tt.profile, func(t *testing.T) {
			w := newWorld(t)
			w.profile(w.inca, citizen, tt.profile)
			w.profile(w.psph, citizen, tt.profile)
			w.mustSubmit(w.inca, citizen, "<r> "+x)
			w.mustSubmit(w.psph, citizen, "<egov> "+x)
			if a, b := w.state(w.inca), w.state(w.psph); a != tt.inca || b != tt.psph {
				t.Errorf("states %s and %s, want %s and %s", a, b, tt.inca, tt.psph)
			}
			if got := w.subjects(); !slices.Equal(got, tt.mails) {
				t.Errorf("mails %q, want %q", got, tt.mails)
			}
		})
	}
}

// TestSevenDays: exactly at 7 d + 1 s yes, at 7 d - 1 s no, also over the
// change to winter time, and whatever steps the clock makes.
func TestSevenDays(t *testing.T) {
	w := newWorld(t)
	w.profile(w.inca, citizen, "native")
	w.mustSubmit(w.inca, citizen, "<r> [BL-1] x")
	w.advance(7*day - time.Second)
	if got := w.state(w.inca); got != AwaitingPickup {
		t.Fatalf("at 7 d - 1 s: %s", got)
	}
	if got := w.subjects(); len(got) != 1 {
		t.Fatalf("at 7 d - 1 s: %q", got)
	}
	w.advance(2 * time.Second)
	if got := w.state(w.inca); got != Expired {
		t.Fatalf("at 7 d + 1 s: %s", got)
	}
	if got := w.subjects(); len(got) != 2 || got[1] != "Verfallquittung: [BL-1] x" {
		t.Fatalf("at 7 d + 1 s: %q", got)
	}
	if m := w.inca.Messages()[0]; !m.Ended.Equal(start.Add(7 * day)) {
		t.Errorf("ended %s", m.Ended)
	}
	has(t, "receipt", pdfText(t, w.documents()[1]), "Zeitpunkt: 2026-10-31T11:00:00+01:00")
	if err := w.inca.Accept(w.inca.Messages()[0].ID); !errors.Is(err, ErrState) {
		t.Errorf("accepting an expired message: %v", err)
	}
}

// TestLateCatchUp: a person who acts on a clock that has passed the window
// comes too late, even before any tick.
func TestActAfterTheWindow(t *testing.T) {
	w := newWorld(t)
	w.profile(w.inca, citizen, "native")
	w.mustSubmit(w.inca, citizen, "<r> x")
	w.clock.Advance(8 * day)
	if err := w.inca.Accept(w.inca.Messages()[0].ID); !errors.Is(err, ErrState) {
		t.Errorf("accept after 8 days: %v", err)
	}
}

func TestOrderOfALongJump(t *testing.T) {
	w := newWorld(t)
	for addr, profile := range map[string]string{
		"a@example.ch": "native accepts-after:3d", "b@example.ch": "native refuses-after:1d", "c@example.ch": "native",
	} {
		w.profile(w.inca, addr, profile)
	}
	for _, to := range []string{"c@example.ch", "a@example.ch", "b@example.ch"} {
		w.mustSubmit(w.inca, to, "<r> "+to[:1])
	}
	w.advance(30 * day)
	want := []string{"Annahmeverweigerungsquittung: b", "Abholquittung: a", "Verfallquittung: c"}
	if got := w.subjects()[3:]; !slices.Equal(got, want) {
		t.Errorf("order %q, want %q", got, want)
	}
	for i, m := range w.inca.Messages() {
		if want := start.Add([]time.Duration{7 * day, 3 * day, day}[i]); !m.Ended.Equal(want) {
			t.Errorf("message %d ended %s, want %s", i, m.Ended, want)
		}
	}
}

func TestIgnoreAndWithdraw(t *testing.T) {
	w := newWorld(t)
	w.profile(w.inca, citizen, "native accepts-after:1d")
	w.mustSubmit(w.inca, citizen, "<r> x")
	w.mustSubmit(w.inca, citizen, "<r> y")
	m := w.inca.Messages()
	if err := w.inca.Ignore(m[0].ID); err != nil {
		t.Fatal(err)
	}
	if err := w.inca.Withdraw(m[1].ID); err != nil {
		t.Fatal(err)
	}
	if err := w.inca.Withdraw("incamail-999999"); !errors.Is(err, ErrNoMessage) {
		t.Errorf("unknown message: %v", err)
	}
	w.advance(8 * day)
	m = w.inca.Messages()
	if m[0].State != Expired || m[1].State != Withdrawn || len(m[1].Receipts) != 1 {
		t.Errorf("states %s, %s with %d receipts", m[0].State, m[1].State, len(m[1].Receipts))
	}
}

// TestHandOver: the recipient acts on the other platform, the sender's own
// platform issues the receipts.
func TestHandOver(t *testing.T) {
	w := newWorld(t)
	for _, p := range []*Platform{w.inca, w.psph} {
		w.profile(p, "a@example.ch", "other-platform")
	}
	w.mustSubmit(w.inca, "a@example.ch", "<r> nowhere")
	if got := w.inca.Messages()[0].State; got != Undeliverable {
		t.Errorf("known nowhere: %s", got)
	}
	w.profile(w.inca, citizen, "other-platform")
	w.profile(w.psph, citizen, "native")
	w.mustSubmit(w.inca, citizen, "<r> one")
	w.mustSubmit(w.inca, citizen, "<r> two")
	if got := w.inca.Messages()[1]; got.State != HandedOver {
		t.Errorf("state %s", got.State)
	}
	if err := w.inca.Accept(w.inca.Messages()[1].ID); !errors.Is(err, ErrState) {
		t.Errorf("accepted on the wrong platform: %v", err)
	}
	there := w.psph.Messages()
	if err := w.psph.Accept(there[len(there)-2].ID); err != nil {
		t.Fatal(err)
	}
	w.advance(7*day + time.Second)
	want := []string{
		"Abgabequittung: nowhere", "Nicht zustellbar: nowhere", "Abgabequittung: one", "Abgabequittung: two",
		"Abholquittung: one", "Verfallquittung: two",
	}
	if got := w.subjects(); !slices.Equal(got, want) {
		t.Errorf("mails %q, want %q", got, want)
	}
	m := w.inca.Messages()
	if m[1].State != PickedUp || m[2].State != Expired {
		t.Errorf("states %s, %s", m[1].State, m[2].State)
	}
}

func TestHandOverByPrivaSphere(t *testing.T) {
	w := newWorld(t)
	w.profile(w.psph, citizen, "other-platform")
	w.profile(w.inca, citizen, "native accepts-after:2d")
	w.mustSubmit(w.psph, citizen, "<egov> x")
	w.advance(3 * day)
	var text strings.Builder
	for _, doc := range w.documents() {
		text.WriteString(pdfText(t, doc))
	}
	has(t, "documents", text.String(), "<dt>17</dt>", "<dt>18</dt>")
	if got := w.state(w.psph); got != PickedUp {
		t.Errorf("state %s", got)
	}
}

func TestConfidentialHasNoReceipts(t *testing.T) {
	w := newWorld(t)
	w.profile(w.inca, citizen, "native")
	for _, s := range []string{"x", "<c> x", "<p> x", "=?UTF-8?Q?=3Cr=3E_x?="} {
		w.mustSubmit(w.inca, citizen, s)
	}
	w.profile(w.inca, citizen, "small-mailbox:0")
	w.mustSubmit(w.inca, citizen, "<c> big")
	w.advance(8 * day)
	if got := w.subjects(); !slices.Equal(got, []string{"Nicht zustellbar: big"}) {
		t.Errorf("mails %q", got)
	}
	for i, m := range w.inca.Messages() {
		if want := Delivered; i < 4 && m.State != want {
			t.Errorf("message %d: %s, want %s", i, m.State, want)
		}
	}
}

func TestParseProfile(t *testing.T) {
	good := map[string]Profile{
		"native":                     {Kind: Native},
		"business,accepts-after:48h": {Kind: Business, Action: ActAccept, After: 2 * day},
		"native refuses-after:2d":    {Kind: Native, Action: ActRefuse, After: 2 * day},
		"small-mailbox:5 ignores":    {Kind: SmallMailbox, MailboxMB: 5, Action: ActIgnore},
		"other-platform":             {Kind: OtherPlatform},
		"blocks-registered":          {Kind: BlocksRegistered},
		"unregistered":               {Kind: Unregistered},
		"auto-accept":                {Kind: AutoAccept},
	}
	for s, want := range good {
		if got, err := ParseProfile(s); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "x", "native:5", "small-mailbox", "small-mailbox:x", "small-mailbox:-1", "native sleeps",
		"native accepts-after", "native accepts-after:-1h", "native accepts-after:99999999d", "native ignores ignores",
	} {
		if _, err := ParseProfile(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}
