package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestImage stands for the container image, because no engine runs here: the
// static binary works as an ordinary user in a root folder that holds nothing
// but itself and its configuration.
func TestImage(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("chroot needs root")
	}
	const user = 10001
	r := newRig(t, nil)
	root := t.TempDir()
	for d := root; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{binary: "gatewayd", r.dir: "gw"} {
		if out, err := exec.Command("cp", "-r", from, filepath.Join(root, to)).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v\n%s", err, out)
		}
	}
	if err := filepath.WalkDir(filepath.Join(root, "gw"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, user, user)
	}); err != nil {
		t.Fatal(err)
	}
	inside := func(args ...string) *exec.Cmd {
		cmd := exec.Command("/gatewayd", args...)
		cmd.Dir, cmd.Env = "/", []string{}
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: user, Gid: user}}
		return cmd
	}
	serve := inside("serve", "-c", "/gw/gatewayd.toml")
	serve.Stdout, serve.Stderr = r.log, r.log
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	r.process = serve
	await(t, "the health check", func() bool { return inside("health", "-c", "/gw/gatewayd.toml").Run() == nil })
	path, _ := letter(t, "[einschreiben] Baubewilligung", "Inhalt")
	out, err := r.swaks("--to", "buerger@example.ch", "--data", "@"+path)
	if err != nil {
		t.Fatalf("swaks: %v\n%s", err, out)
	}
	await(t, "the decision at the platform", func() bool { return len(r.sims.incamail.Received()) == 1 })
	if took := r.stop(); took > 30*time.Second {
		t.Errorf("SIGTERM took %s", took)
	}
}
