package main

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"gatewayd/message"
)

// verbs says of every command how it treats authorities. Who can open the
// operator's socket administers the whole gateway; a verb that speaks for one
// authority finds nothing of another one.
var verbs = map[string]string{
	"serve": "operator", "init": "operator", "config check": "operator", "config describe": "operator", "route explain": "operator", "route facts": "operator",
	"queue list": "operator", "queue show": "operator", "queue release": "operator", "queue hold": "operator", "queue drop": "operator", "queue retry": "operator", "queue check": "operator",
	"keys list": "operator", "keys show": "operator", "keys find": "operator", "keys import": "operator", "keys export": "operator", "keys approve": "operator", "keys revoke": "operator", "keys csr": "operator",
	"masterkey rotate": "operator", "keyagent run": "operator", "keyagent status": "operator", "keyagent verify": "operator",
	"queue pause": "operator", "queue resume": "operator", "queue destinations": "operator",
	"message inspect": "file", "message trace": "operator", "receipts inspect": "file", "crypto inspect": "file", "receipts unmatched": "operator", "audit verify": "operator", "audit list": "operator", "person show": "operator", "logging describe": "operator", "audit export": "operator", "audit prove": "operator",
	"retention report": "operator", "retention verify": "operator", "retention simulate": "operator", "retention run": "operator", "retention clock": "operator", "retention release": "operator",
	"account hash": "operator", "token new": "operator", "demo": "operator", "simulate": "operator", "health": "operator", "completion": "operator", "complete": "operator", "version": "operator",
	"evidence verify": "file", "evidence export": "operator", "evidence stamp": "operator",
	"case show": "operator", "case close": "operator", "case expects": "operator",
	"mailbox list": "authority", "mailbox show": "authority", "mailbox export": "authority", "mailbox parts": "authority",
	"archive export": "authority", "handover list": "authority", "handover show": "authority", "handover confirm": "authority",
}

// TestVerbs: each verb has an entry, and each that speaks for an authority
// finds nothing of another one.
func TestVerbs(t *testing.T) {
	var cmds commands
	parser, err := kong.New(&cmds, kong.Name("gatewayd"), kong.Bind(console{}))
	if err != nil {
		t.Fatal(err)
	}
	verbs, scoped := maps.Clone(verbs), map[string]*kong.Node{}
	for _, leaf := range parser.Model.Leaves(false) {
		name := strings.TrimSpace(strings.TrimPrefix(leaf.FullPath(), "gatewayd"))
		switch verbs[name] {
		case "":
			t.Errorf("verb %q has no entry: say how it treats authorities", name)
		case "authority":
			scoped[name] = leaf
		}
		delete(verbs, name)
	}
	for name := range verbs {
		t.Errorf("entry %q: there is no such verb", name)
	}
	r := newRig(t, nil)
	r.start()
	if err := r.stranger("Subject: fremd\r\n\r\ngeheim\r\n", "bauinspektorat@bl.example"); err != nil {
		t.Fatal(err)
	}
	var id message.ID
	await(t, "the mail in the mailbox", func() bool {
		for _, s := range r.trace("bauinspektorat@bl.example") {
			id = s.Envelope.ID
			return s.Items[0].State == message.Done
		}
		return false
	})
	for name, leaf := range scoped {
		args := append(strings.Fields(name), "--authority", "steuerverwaltung")
		if len(leaf.Positional) > 0 {
			args = append(args, id.String())
		}
		for _, f := range leaf.Flags {
			switch f.Name {
			case "dir":
				args = append(args, "--dir", filepath.Join(t.TempDir(), "x"))
			case "purpose":
				args = append(args, "--purpose", "operation")
			}
			if f.Name == "ref" {
				args = append(args, "--ref", "X-1")
			}
		}
		out, code := r.run(args...)
		if strings.Contains(out, "geheim") || strings.Contains(out, "wer@example.org") || len(leaf.Positional) > 0 && code != exitFailed {
			t.Errorf("%v: exit %d; it finds another authority's mail:\n%s", args, code, out)
		}
	}
}
