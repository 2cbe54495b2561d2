package config

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// now is when the tests happen; the certificates are made by the real clock,
// which must lie close.
var now = time.Now()

// development makes one development configuration for all tests that only read
// it: its keys take time.
var development = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "gatewayd-config-")
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "gw")
	return dir, WriteDevelopment(dir, LoopbackPorts(12000))
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := development(); err == nil {
		os.RemoveAll(filepath.Dir(dir))
	}
	os.Exit(code)
}

// folder returns a copy of the development configuration.
func folder(t *testing.T) string {
	t.Helper()
	from, err := development()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// With modes kept: private keys that others can read are refused.
	if err := exec.Command("cp", "-rp", from+"/.", dir).Run(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"master.key", "accounts", "gateway.key", "mta.key"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// put writes a file into dir and returns its path.
func put(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// show writes the problems without their file.
func show(problems []Problem) []string {
	var lines []string
	for _, p := range problems {
		lines = append(lines, strings.TrimPrefix(p.String(), p.File+":"))
	}
	return lines
}
