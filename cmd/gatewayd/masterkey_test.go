package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatewayd/message"
)

// TestMasterKeyRotate: the master key is changed between two runs; what was sealed
// before opens, and the old key no longer does.
func TestMasterKeyRotate(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	dialogue, err := r.swaks("--to", "wer@example.org", "--header", "Subject: x")
	if err != nil {
		t.Fatalf("%v\n%s", err, dialogue)
	}
	id := idIn(t, dialogue)
	await(t, "the message left", func() bool { return r.trace(id.String())[0].Items[0].State == message.Done })
	next := r.temp("next", []byte(strings.Repeat("5a", 32)+"\n"))
	if out, code := r.run("masterkey", "rotate", "--to", next); code != exitFailed || !strings.Contains(out, "stop the gateway") {
		t.Errorf("under a running gateway: exit %d\n%s", code, out)
	}
	r.stop()
	for want, args := range map[string][]string{"--to FILE": nil, "64 hexadecimal": {"--to", r.temp("bad", []byte("5a"))}, "no keys.agent": {"--agent"}} {
		if out, code := r.run(append([]string{"masterkey", "rotate"}, args...)...); code != exitFailed || !strings.Contains(out, want) {
			t.Errorf("%v: exit %d\n%s", args, code, out)
		}
	}
	if out, code := r.run("masterkey", "rotate", "--to", next); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	if out, code := r.run("audit", "verify"); code != exitFailed || !strings.Contains(out, "master key") {
		t.Errorf("the old key: exit %d\n%s", code, out)
	}
	if err := os.Rename(next, filepath.Join(r.dir, "master.key")); err != nil {
		t.Fatal(err)
	}
	r.start()
	if s := r.trace(id.String())[0].Items[0].State; s != message.Done {
		t.Errorf("afterwards it is %s", s)
	}
	if out, code := r.run("audit", "verify"); code != 0 {
		t.Errorf("exit %d\n%s", code, out)
	}
}
