package gateway_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
	"gatewayd/crypto/smime"
	"gatewayd/gateway"
	"gatewayd/mail/footer"
	"gatewayd/message"
	"gatewayd/policy"
)

// TestFooter: the footer stands under what leaves, inside of signature and encryption;
// private mail has none, and what is stored stays as it came.
func TestFooter(t *testing.T) {
	t.Parallel()
	k := newKeyRig(t, func(o *gateway.Options) {
		rules, errs := policy.Compile(policy.Options{GiveUpLimit: o.Windows.GiveUpLimit(), Routes: []policy.Route{
			{Name: "vertraulich", When: `message.class == "confidential"`, Via: []string{"smime"}, Footer: "amtlich"},
			{Name: "fort", When: `recipient.domain == "gone.example"`, Via: []string{"smtp"}, Footer: "fort"},
			{Name: "extern", When: `message.class in ["normal", "private"]`, Via: []string{"smtp"}, Footer: "amtlich"},
		}})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		o.Policy, o.Footers = rules, map[string]footer.Footer{"amtlich": {German: "Bauinspektorat\nBüro 3"}}
	})
	bob := k.ca.issue("bob@partner.example", k.w.time().AddDate(1, 0, 0))
	bau := k.ca.issue("bau@bl.example", k.w.time().AddDate(1, 0, 0))
	k.put(t, "partners/bob@partner.example.crt", certPEM(bob.Cert))
	k.put(t, "own/bau/mail.crt", certPEM(bau.Cert))
	k.put(t, "own/bau/mail.key", keyPEM(bau))
	k.reload(t)

	open := k.submit(submission("anna@example.ch"), "From: bau@bl.example\r\nSubject: x\r\nMessage-ID: <1@bl.example>\r\n\r\nText\r\n")
	k.becomes(open, message.Done)
	want := "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nText\r\n\r\nBauinspektorat\r\nB=C3=BCro 3\r\n"
	if seen := k.w.links["smtp"].seen(); len(seen) != 1 || !strings.HasSuffix(seen[0].body, "Message-ID: <1@bl.example>\r\n"+want) {
		t.Errorf("left by smtp: %+v", seen)
	}
	private := k.submit(submission("anna@example.ch"), "From: bau@bl.example\r\nSubject: x\r\nSensitivity: Private\r\nMessage-ID: <2@bl.example>\r\n\r\nText\r\n")
	k.becomes(private, message.Done)
	if seen := k.w.links["smtp"].seen(); len(seen) != 2 || !strings.HasSuffix(seen[1].body, "\r\n\r\nText\r\n") {
		t.Errorf("private, left by smtp: %+v", seen)
	}
	sealed := k.submit(submission("bob@partner.example"), confidential("3"))
	k.becomes(sealed, message.Done)
	seen := k.w.links["smime"].seen()
	if len(seen) != 1 {
		t.Fatalf("left by smime: %+v", seen)
	}
	recipient, _ := bob.Recipient()
	op, err := entity.Open(strings.NewReader(seen[0].body), int64(len(seen[0].body)), entity.Options{At: k.w.time(), Openers: []entity.Opener{smime.Opener{Keys: []cms.Recipient{recipient}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	var inside bytes.Buffer
	if _, err := op.WriteMessage(&inside); err != nil || !strings.HasSuffix(inside.String(), "\r\n\r\ngeheim\r\n\r\nBauinspektorat\r\nB=C3=BCro 3\r\n") {
		t.Errorf("inside: %v\n%s", err, inside.String())
	}
	if len(op.Layers) != 2 || op.Layers[1].Signatures[0].Verdict != entity.Untrusted { // no anchor here; it fits
		t.Errorf("layers: %+v", op.Layers)
	}
	env, _, err := k.store.Message(t.Context(), sealed)
	if err != nil {
		t.Fatal(err)
	}
	body, err := k.vault.OpenBody(env.Body)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if raw, err := io.ReadAll(body); err != nil || !strings.HasSuffix(string(raw), "\r\n\r\ngeheim\r\n") {
		t.Errorf("stored: %v\n%s", err, raw)
	}
	gone := k.submit(submission("anna@gone.example"), "From: bau@bl.example\r\nSubject: x\r\nMessage-ID: <4@bl.example>\r\n\r\nText\r\n")
	if item := k.becomes(gone, message.Held); !strings.Contains(k.data(gone, message.EventHeld)["reason"]+item.Reply, "footer") {
		t.Errorf("held: %+v, %v", item, k.data(gone, message.EventHeld))
	}
}
