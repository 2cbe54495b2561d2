package policy_test

import (
	"strings"
	"testing"

	"gatewayd/message"
	"gatewayd/policy"
)

// TestFooter: a route's footer is decided with the way, never for private mail, for
// what a platform proves, or for what stays here; Explain says so.
func TestFooter(t *testing.T) {
	routes := testRoutes()
	for i := range routes {
		routes[i].Footer = "amtlich"
	}
	p := compile(t, policy.Options{Routes: routes})
	for name, c := range map[string]struct {
		edit func(*policy.Facts)
		want string
		says string
	}{
		"smtp": {func(*policy.Facts) {}, "amtlich", "the footer amtlich is put under its text"},
		"smime": {func(f *policy.Facts) {
			f.Message.Class, f.Recipient.Keys = message.Confidential, []string{policy.ViaSMIME}
		}, "amtlich", "the footer amtlich"},
		"private": {func(f *policy.Facts) { f.Message.Class = message.Private }, "", "no footer: private"},
		"platform": {func(f *policy.Facts) {
			f.Message.Class, f.Recipient.Platforms = message.Confidential, []policy.PlatformFact{{Name: "incamail"}}
		}, "", "no footer by incamail"},
		"mailbox": {func(f *policy.Facts) { f.Recipient.Internal = true }, "", "stays on this gateway"},
		"held":    {func(f *policy.Facts) { f.Message.Class = message.Confidential }, "", ""},
	} {
		f := baseFacts(t)
		c.edit(&f)
		x := p.Explain(f)
		var said []string
		for _, s := range x.Steps {
			said = append(said, s.Text)
		}
		if x.Decision.Footer != c.want || !strings.Contains(strings.Join(said, "\n"), c.says) {
			t.Errorf("%s: footer %q\n%s", name, x.Decision.Footer, strings.Join(said, "\n"))
		}
		if d, ok := policy.Deciding(x.Decision); c.want != "" && (!ok || d.Rule != x.Decision.Route) {
			t.Errorf("%s: decided by %+v", name, d)
		}
	}
}
