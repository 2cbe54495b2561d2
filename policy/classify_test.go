package policy_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"gatewayd/message"
	"gatewayd/policy"
)

func TestSensitivity(t *testing.T) {
	tests := []struct {
		values []string
		class  message.Class
		held   bool
	}{
		{nil, message.Normal, false},
		{[]string{""}, message.Normal, false},
		{[]string{"Normal"}, message.Normal, false},
		{[]string{"Company-Confidential"}, message.Confidential, false},
		{[]string{"company-confidential"}, message.Confidential, false},
		{[]string{"COMPANY-CONFIDENTIAL"}, message.Confidential, false},
		{[]string{" Company-\r\n Confidential\t"}, message.Confidential, false},
		{[]string{"Company Confidential"}, message.Confidential, false},
		{[]string{"Private"}, message.Private, false},
		{[]string{"Personal"}, message.Private, false},
		{[]string{"Private", "Private"}, message.Private, false},
		{[]string{"Company-Confidential", "Normal"}, message.Confidential, false},
		{[]string{"Normal", "Company-Confidential"}, message.Confidential, false},
		{[]string{"Private", "Company-Confidential"}, message.Private, false},
		{[]string{"Confidential"}, message.Normal, true},
		{[]string{"Company-Confidental"}, message.Normal, true},
		{[]string{"Vertraulich"}, message.Normal, true},
		{[]string{"Private", "3"}, message.Private, true},
		{[]string{"Company-Confidential, Private"}, message.Normal, true},
	}
	p := compile(t, policy.Options{})
	for _, tt := range tests {
		f := baseFacts(t)
		f.Message.Marks.Sensitivity = tt.values
		class, because, problem := p.Classify(f)
		if class != tt.class || (problem != "") != tt.held || problem != "" && len(because) == 0 {
			t.Errorf("%q: %s, problem %q; want %s, held %v", tt.values, class, problem, tt.class, tt.held)
		}
	}
}

// TestMarksTogether: every pair of classes said by API and header field.
func TestMarksTogether(t *testing.T) {
	const n, c, e, p, r, b = message.Normal, message.Confidential, message.Personal, message.Private, message.Registered, message.Bulk
	const held = message.Class("held")
	want := map[[2]message.Class]message.Class{
		{n, n}: n, {n, c}: c, {n, e}: e, {n, p}: p, {n, r}: r, {n, b}: b,
		{c, c}: c, {c, e}: e, {c, p}: p, {c, r}: r, {c, b}: c,
		{e, e}: e, {e, p}: held, {e, r}: r, {e, b}: e,
		{p, p}: p, {p, r}: held, {p, b}: p,
		{r, r}: r, {r, b}: r,
		{b, b}: b,
	}
	pol := compile(t, policy.Options{})
	for pair, class := range want {
		for _, order := range [][2]message.Class{pair, {pair[1], pair[0]}} {
			f := baseFacts(t)
			f.Message.Class = order[0]
			f.Message.Marks.Class = []string{string(order[1])}
			d := pol.Decide(f)
			_, _, problem := pol.Classify(f)
			if got := d.Class; problem != "" && class != held || problem == "" && got != class {
				t.Errorf("%v: %s, problem %q; want %s", order, got, problem, class)
			}
			if d.Verdict != message.Hold {
				t.Errorf("%v: %s without any route", order, d.Verdict)
			}
		}
	}
}

func TestAHV(t *testing.T) {
	tests := map[string]bool{
		"756.9217.0769.85":                true, // the example of the Central Compensation Office
		"7569217076985":                   true,
		"AHV-Nr. 756.9217.0769.85, x":     true,
		"756 9217 0769 85":                true,
		"756-9217-0769-85":                true,
		"756–9217–0769–85":                true,
		"７５６.９２１７.０７６９.８５":                true,
		"(756.9217.0769.85)":              true,
		"756\u00a09217\u00a00769\u00a085": true,
		"756 7569217076985":               true,
		"756.9217.0769.84":                false,
		"756.9217.0769.8":                 false,
		"756.9217.0769.851":               false,
		"1756.9217.0769.85":               false,
		"757.9217.0769.85":                false,
		"756..9217.0769.85":               false,
		"756.9217.0769":                   false,
		"Telefon 061 552 50 00":           false,
		"":                                false,
	}
	on, off := compile(t, policy.Options{}), compile(t, policy.Options{IgnoreAHV: true})
	for subject, want := range tests {
		f := baseFacts(t)
		f.Message.Subject = subject
		if class, _, _ := on.Classify(f); (class == message.Confidential) != want {
			t.Errorf("%q: class %s, want AHV number %v", subject, class, want)
		}
		if class, _, _ := off.Classify(f); class != message.Normal {
			t.Errorf("%q: class %s with the classifier off", subject, class)
		}
	}
}

// TestAHVCheckDigit: of the ten possible last digits exactly one is right.
func TestAHVCheckDigit(t *testing.T) {
	p := compile(t, policy.Options{})
	base := baseFacts(t)
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 999_999_999).Draw(rt, "n")
		right := 0
		for last := range 10 {
			s := fmt.Sprintf("756%09d%d", n, last)
			f := base
			f.Message.Subject = fmt.Sprintf("%s.%s.%s.%s", s[:3], s[3:7], s[7:11], s[11:])
			if class, _, _ := p.Classify(f); class == message.Confidential {
				right++
			}
		}
		if right != 1 {
			rt.Fatalf("756%09d: %d check digits are taken", n, right)
		}
	})
}

// TestStrangersCommandNothing: of inbound mail only Sensitivity counts, and it
// never stops the mail.
func TestStrangersCommandNothing(t *testing.T) {
	p := compile(t, policy.Options{Routes: testRoutes()})
	f := baseFacts(t)
	f.Direction = message.Inbound
	f.Recipient.Internal = true
	f.Message.Subject = "<r> dump4DebugT0f!l3: 756.9217.0769.85"
	f.Message.Marks = policy.Marks{Sensitivity: []string{"Geheim", "Company-Confidential"}, Class: []string{"registered"}, Forwarded: true}
	d := p.Decide(f)
	if d.Verdict != message.Deliver || d.Class != message.Confidential || d.Via != policy.ViaMailbox || d.Keep != message.KeepUntilHandedOver {
		t.Errorf("inbound: %+v", d)
	}
}
