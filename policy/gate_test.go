package policy_test

import (
	"testing"

	"gatewayd/message"
	"gatewayd/policy"
)

// TestUsableRightAfterDecide: what was just decided may be used.
func TestUsableRightAfterDecide(t *testing.T) {
	p := compile(t, policy.Options{Routes: testRoutes()})
	rows, _ := readRows(t)
	for _, r := range rows {
		if r.name == "" {
			continue
		}
		f := factsOf(t, r)
		d := p.Decide(f)
		f.Message.Subject, f.Message.Marks = "", policy.Marks{} // the gate no longer reads the body
		if reason, open := p.Usable(f, d); open != (d.Verdict == message.Deliver) || open != (reason == "") {
			t.Errorf("%s: %s, but Usable = %q, %v", r.name, d.Verdict, reason, open)
		}
	}
}

// TestGateCloses: each thing that can change between decision and attempt.
func TestGateCloses(t *testing.T) {
	p := compile(t, policy.Options{Routes: testRoutes()})
	decided := func(subject string) (policy.Facts, message.Decision) {
		f := baseFacts(t)
		f.Message.Subject, f.Recipient.Consent = subject, true
		f.Recipient.Platforms = []policy.PlatformFact{{Name: "incamail", Identified: true}}
		d := p.Decide(f)
		if d.Verdict != message.Deliver || d.Via != "incamail" {
			t.Fatalf("%s: %+v", subject, d)
		}
		return f, d
	}
	set := func(f *policy.Facts, change func(*policy.PlatformState)) {
		s := f.Platforms["incamail"]
		change(&s)
		f.Platforms["incamail"] = s
	}
	changes := map[string]func(*policy.Facts){
		"recipient.platforms": func(f *policy.Facts) { f.Recipient.Platforms = nil },
		"recognition":         func(f *policy.Facts) { set(f, func(s *policy.PlatformState) { s.Recognised = false }) },
		"configuration":       func(f *policy.Facts) { delete(f.Platforms, "incamail") },
		"tag gone":            func(f *policy.Facts) { set(f, func(s *policy.PlatformState) { s.Tags = nil }) },
		"tag changed": func(f *policy.Facts) {
			set(f, func(s *policy.PlatformState) {
				s.Tags = map[message.Class]string{message.Registered: "<x> ", message.Confidential: "<x> "}
			})
		},
		"size": func(f *policy.Facts) { f.Message.Size = 1 << 40 },
	}
	for _, subject := range []string{"<r> x", "<c> x"} {
		for name, change := range changes {
			f, d := decided(subject)
			change(&f)
			if reason, open := p.Usable(f, d); open || reason == "" {
				t.Errorf("%s, %s: still open (%q)", subject, name, reason)
			}
		}
	}
	for name, change := range map[string]func(*policy.Facts){
		"consent": func(f *policy.Facts) { f.Recipient.Consent = false }, "directory": func(f *policy.Facts) { f.Recipient.Known = false },
	} {
		f, d := decided("<r> x")
		change(&f)
		if _, open := p.Usable(f, d); open {
			t.Errorf("registered, %s: still open", name)
		}
		f, d = decided("<c> x")
		change(&f)
		if reason, open := p.Usable(f, d); !open {
			t.Errorf("confidential, %s: closed (%s)", name, reason)
		}
	}
}
