package policy

import (
	"testing"

	"gatewayd/message"
)

func TestUsable(t *testing.T) {
	p, errs := Compile(Options{})
	if errs != nil {
		t.Fatal(errs)
	}
	good := func() Facts {
		return Facts{
			Direction: message.Outbound,
			Recipient: Recipient{
				Address: message.Address{Local: "a", Domain: "b.example"}, Known: true, Consent: true,
				Platforms: []PlatformFact{{Name: ViaIncaMail, Identified: true}},
			},
			Platforms: map[string]PlatformState{ViaIncaMail: {Configured: true, Recognised: true, Tags: map[message.Class]string{message.Registered: "<r> "}}},
		}
	}
	d := message.Decision{Class: message.Registered, Via: ViaIncaMail, Tag: "<r>"}
	if reason, ok := p.Usable(good(), d); !ok {
		t.Fatalf("Usable = %q, want open", reason)
	}
	shut := map[string]func(*Facts){
		"consent revoked":    func(f *Facts) { f.Recipient.Consent = false },
		"entry removed":      func(f *Facts) { f.Recipient.Known = false },
		"left the platform":  func(f *Facts) { f.Recipient.Platforms = nil },
		"recognition ended":  func(f *Facts) { s := f.Platforms[ViaIncaMail]; s.Recognised = false; f.Platforms[ViaIncaMail] = s },
		"platform gone":      func(f *Facts) { f.Platforms = nil },
		"tag taken away":     func(f *Facts) { s := f.Platforms[ViaIncaMail]; s.Tags = nil; f.Platforms[ViaIncaMail] = s },
		"tag changed":        func(f *Facts) { f.Platforms[ViaIncaMail].Tags[message.Registered] = "<x>" },
		"no longer this way": func(f *Facts) { f.Recipient.Suffix = ViaPrivaSphere },
	}
	for name, change := range shut {
		f := good()
		change(&f)
		if reason, ok := p.Usable(f, d); ok || reason == "" {
			t.Errorf("%s: Usable = %q, %v, want shut with a reason", name, reason, ok)
		}
	}
	// TLS alone never becomes good enough for confidential mail.
	if _, ok := p.Usable(good(), message.Decision{Class: message.Confidential, Via: ViaSMTP}); ok {
		t.Error("confidential by smtp is open")
	}
}
