package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatewayd/config"
)

// TestUnits: systemd takes the units, finds them hardened, and they name the users
// and paths that the configuration names.
func TestUnits(t *testing.T) {
	analyze := need(t, "systemd-analyze", "systemd")
	dir := t.TempDir()
	if out, err := exec.Command("cp", "-r", "../../deploy/systemd/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	units := map[string]string{}
	for _, name := range []string{"gatewayd", "gatewayd-keyagent"} {
		path := filepath.Join(dir, name+".service")
		replaceIn(t, path, "/usr/local/bin/gatewayd", binary)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		units[name] = string(text)
		if out, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		// The lower the better; 10.0 is a service without any of it.
		// The gateway asks for the state of the clock (adjtimex), which costs a point.
		threshold := map[string]string{"gatewayd": "21", "gatewayd-keyagent": "10"}[name]
		if out, err := exec.Command(analyze, "security", "--offline=true", "--no-pager", "--threshold="+threshold, path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, tailOf(string(out), 200))
		}
		fields := strings.Fields(units[name][strings.Index(units[name], "ExecStart=")+len("ExecStart="):])
		if code := run(append(fields[1:2], "--help"), console{&lockedBuffer{}, &lockedBuffer{}}); code != 0 {
			t.Errorf("%s runs %q", name, fields[:2])
		}
	}
	for unit, words := range map[string][]string{
		"gatewayd":          {"User=gatewayd\n", "NoNewPrivileges=yes", "ProtectSystem=strict"},
		"gatewayd-keyagent": {"User=gatewayd-keys\n", "NoNewPrivileges=yes", "ProtectSystem=strict", "PrivateNetwork=yes", `keys.agent = "/run/gatewayd-keys/agent.sock"`, `keyagent.uses = "/var/lib/gatewayd-keys/uses"`},
	} {
		for _, word := range words {
			if !strings.Contains(units[unit], word) {
				t.Errorf("%s: no %q", unit, word)
			}
		}
	}
	for _, word := range []string{`"/run/gatewayd-keys/agent.sock"`, `"/var/lib/gatewayd-keys/uses"`, `users = ["gatewayd"]`} {
		if !strings.Contains(config.Describe(), word) {
			t.Errorf("config describe: no %s", word)
		}
	}
}
