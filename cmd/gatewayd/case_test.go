package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/legal"
	"gatewayd/message"
)

// command runs a command against the stage's gateway, over its socket.
func (s *stage) command(args ...string) (string, int) {
	var out bytes.Buffer
	code := run(append(args, "-c", filepath.Join(s.dir, "gatewayd.toml")), console{&out, &out})
	return out.String(), code
}

func (s *stage) cases(question string) []legal.Case {
	s.t.Helper()
	out, code := s.command("case", "show", question, "--json")
	var cases []legal.Case
	if err := json.Unmarshal([]byte(out), &cases); code != 0 || err != nil {
		s.t.Fatalf("case show %s: exit %d, %v\n%s", question, code, err, out)
	}
	return cases
}

// TestCaseCommands: the commands show a case, take a person's word and close its
// task, all over the running gateway's socket.
func TestCaseCommands(t *testing.T) {
	s := newStage(t, nil)
	id := s.decide("[einschreiben] Entscheid", "nachbar@example.ch")
	s.until(id, "the Abgabequittung", inCase(message.CaseSubmitted))
	out, code := s.command("case", "show", id.String())
	for _, want := range []string{"available: ", "expected", "identified", "had to expect it", "SUBMITTED", "binding=false", "version"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("case show lacks %q, exit %d:\n%s", want, code, out)
		}
	}
	if out, code := s.command("case", "expects", id.String()+"/1", "no", "--reason", "kein Verfahren hängig"); code != 0 {
		t.Fatalf("case expects: exit %d\n%s", code, out)
	}
	s.pass(7*24*time.Hour + time.Minute)
	item := s.until(id, "the Verfallquittung", inCase(message.CaseExpired))
	s.until(id, "the task", func(i message.Item) bool { return strings.Contains(i.Alarm, "serve it by post") })
	c := s.cases(item.Reference)[0]
	if c.State != legal.NotServed || !c.Open() || c.Binding || c.Addressee.SaidWhy != "kein Verfahren hängig" {
		t.Errorf("%+v", c)
	}
	if out, code := s.command("case", "close", id.String()+"/1", "serve_by_post", "--reason", "eingeschrieben am 2. Dezember"); code != 0 {
		t.Errorf("case close: exit %d\n%s", code, out)
	}
	if out, code := s.command("case", "close", id.String()+"/1", "serve_by_post", "--reason", "noch einmal"); code != exitFailed || !strings.Contains(out, "no such open task") {
		t.Errorf("closed twice: exit %d\n%s", code, out)
	}
	if c := s.cases(id.String() + "/1")[0]; c.Open() || c.Tasks[0].How != "eingeschrieben am 2. Dezember" || c.Tasks[0].By != "administrator" {
		t.Errorf("%+v", c.Tasks)
	}
	if out, _ := s.command("message", "trace", id.String(), "--purpose", "operation"); !strings.Contains(out, "not_served: ") || !strings.Contains(out, "closed ") {
		t.Errorf("trace does not show the case:\n%s", out)
	}
	if out, code := s.command("case", "show", "BL-00000000"); code != exitFailed || !strings.Contains(out, "no delivery case") {
		t.Errorf("nothing known: exit %d\n%s", code, out)
	}
}

// TestCaseOfMany: one message, three recipients, three cases; the other
// platform's receipts count, too.
func TestCaseOfMany(t *testing.T) {
	s := newStage(t, nil)
	id := s.decide("[einschreiben] Entscheid", "buerger@example.ch", "firma@example.ch", "nachbar@example.ch")
	await(t, "three Abgabequittungen", func() bool { return s.inCase(id, message.CaseSubmitted) == 3 })
	if !s.act(s.sims.incamail, "buerger@example.ch", s.sims.incamail.Accept) || !s.act(s.sims.privasphere, "firma@example.ch", s.sims.privasphere.Refuse) {
		t.Fatal("the platforms have no such messages")
	}
	await(t, "two closing receipts", func() bool { return s.inCase(id, message.CaseCollected) == 1 && s.inCase(id, message.CaseRefused) == 1 })
	cases := s.cases(id.String())
	if len(cases) != 3 || cases[0].State != legal.Served || cases[0].Service.Basis != legal.Download || len(cases[0].Periods) != 3 {
		t.Fatalf("%d cases: %+v", len(cases), cases)
	}
	if cases[1].State != legal.RefusedWait || cases[1].Alternative == nil || cases[2].State != legal.Available {
		t.Errorf("firma: %+v\nnachbar: %+v", cases[1], cases[2])
	}
	s.pass(8 * 24 * time.Hour)
	await(t, "the Verfallquittung", func() bool { return s.inCase(id, message.CaseExpired) == 1 })
	for _, c := range s.cases(id.String())[1:] {
		if c.State != legal.ServedByFiction || c.Service.Basis != legal.Fiction || c.Service.Rule == "" || len(c.Periods) != 3 {
			t.Errorf("%s: %s %+v", c.Recipient, c.State, c.Service)
		}
	}
}
