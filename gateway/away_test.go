package gateway_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/smime"
	"gatewayd/gateway"
	"gatewayd/gateway/targets"
	"gatewayd/message"
	"gatewayd/policy"
)

// TestAgentAway: while nobody knows the authority's own keys, what is signed waits
// untried; private mail, which is only encrypted, leaves; the list of keys says what is
// not known. Afterwards the event of the hand-over names the key that signed.
func TestAgentAway(t *testing.T) {
	t.Parallel()
	k := newKeyRig(t, func(o *gateway.Options) {
		rules, errs := policy.Compile(policy.Options{GiveUpLimit: o.Windows.GiveUpLimit(), Routes: []policy.Route{
			{Name: "alles", When: `message.class in ["confidential", "private"]`, Via: []string{"smime"}},
		}})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		o.Policy = rules
	})
	bob := k.ca.issue("bob@partner.example", k.w.time().AddDate(1, 0, 0))
	bau := k.ca.issue("bau@bl.example", k.w.time().AddDate(1, 0, 0))
	k.put(t, "partners/bob@partner.example.crt", certPEM(bob.Cert))
	k.put(t, "own/bau/mail.crt", certPEM(bau.Cert))
	k.put(t, "own/bau/mail.key", keyPEM(bau))
	k.reload(t)
	known := k.ring.Load()
	away := fmt.Errorf("key agent: %w: %w", cms.ErrKeyAway, errors.New("it does not answer"))
	k.ring.Store(known.WithOwn(nil, away))
	k.g.KeyAgent(t.Context(), away)

	waits := k.submit(submission("bob@partner.example"), confidential("1"))
	private := k.submit(submission("bob@partner.example"), "From: bau@bl.example\r\nSubject: x\r\nSensitivity: Private\r\nMessage-ID: <2@bl.example>\r\n\r\ngeheim\r\n")
	k.becomes(private, message.Done)
	if d := k.data(private, message.EventHanded); d["own_key"] != "" {
		t.Errorf("private mail is signed: %v", d)
	}
	if item := k.item(key(waits, 1)); item.State != message.Waiting || item.Attempts != 0 {
		t.Errorf("without own keys: %s, %d attempts", item.State, item.Attempts)
	}
	list, err := k.g.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	said := false
	for _, one := range list {
		said = said || one.Kind == "own" && strings.HasPrefix(one.State, "unknown") && strings.Contains(one.Why, "does not answer")
	}
	if !said {
		t.Errorf("the list of keys does not say what is not known: %+v", list)
	}
	k.ring.Store(known)
	k.g.KeyAgent(t.Context(), nil)
	k.pass(targets.AskAgain)
	k.becomes(waits, message.Done)
	if d := k.data(waits, message.EventHanded); d["own_key"] != smime.Fingerprint(bau.Cert) {
		t.Errorf("which key signed: %v", d)
	}
	if list, err = k.g.Keys(t.Context()); err != nil || len(list) == 0 || strings.HasPrefix(list[0].State, "unknown") {
		t.Errorf("afterwards: %+v, %v", list, err)
	}
}
