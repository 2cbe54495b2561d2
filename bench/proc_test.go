package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestProcess: everything that a peer has started ends with it, also what has
// gone to a session of its own, and no zombie stays.
func TestProcess(t *testing.T) {
	adopt()
	dir := t.TempDir()
	p, err := spawn(dir, []string{"env", "X=1"}, "sh", "-c", "sleep 300 & setsid sleep 301 & echo started $X; wait")
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	var family []int
	for end := time.Now().Add(time.Minute); len(family) < 3 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		family = tree(p.pid())
	}
	if len(family) < 3 {
		t.Fatalf("family %v", family)
	}
	use := memoryOf(p.pid())
	if use.processes < 3 || use.pss <= 0 || use.anonymous <= 0 {
		t.Errorf("memory %+v", use)
	}
	stop := make(chan struct{})
	most := watch(p.pid(), stop)
	close(stop)
	if m := <-most; m.pss <= 0 || m.processes < 3 {
		t.Errorf("watched %+v", m)
	}
	p.end(time.Minute)
	for _, pid := range family {
		if parent, state := parentOf(strconv.Itoa(pid)); state != "" {
			t.Errorf("process %d is still there: state %s, parent %d", pid, state, parent)
		}
	}
	if text, _ := os.ReadFile(filepath.Join(dir, "log")); string(text) != "started 1\n" {
		t.Errorf("log %q", text)
	}
	if words := lastWords(dir); !strings.HasSuffix(words, "started 1\n") {
		t.Errorf("last words %q", words)
	}
	if lastWords(t.TempDir()) != "" {
		t.Error("last words of nobody")
	}
}

// TestDeadPeer: a peer that ends at once is told, not waited for.
func TestDeadPeer(t *testing.T) {
	p, err := spawn(t.TempDir(), nil, "false")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.answers(context.Background(), "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("answers: %v", err)
	}
	p.kill()
	if _, err := spawn(t.TempDir(), nil, "/no/such/program"); err == nil {
		t.Error("a program that is not there has started")
	}
}

func TestAllocated(t *testing.T) {
	dir := t.TempDir()
	empty := allocated(dir)
	if err := os.WriteFile(filepath.Join(dir, "x"), make([]byte, 100<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := allocated(dir) - empty; n < 100<<10 || n > 120<<10 {
		t.Errorf("%d octets for 100 KiB", n)
	}
}

func TestProgram(t *testing.T) {
	if path, err := program("sh"); err != nil || !filepath.IsAbs(path) {
		t.Errorf("sh: %s %v", path, err)
	}
	if _, err := program("no-such-program"); err == nil {
		t.Error("a program that is not there was found")
	}
	if line, err := lineWith("zwei", "printf", "eins\nzwei 2\n"); err != nil || line != "zwei 2" {
		t.Errorf("lineWith: %q %v", line, err)
	}
	if _, err := firstLine("true"); err == nil {
		t.Error("a version of nothing")
	}
}

func TestTraceLines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "trace")
	text := "1 fsync(3 <unfinished ...>\n2 fdatasync(4) = 0 (DELAYED)\n1 <... fsync resumed>) = 0\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := lines(file); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
	if lines(file+"x") != 0 {
		t.Error("calls in a file that is not there")
	}
}

func TestSweepFigures(t *testing.T) {
	got, err := figuresIn([]byte("=== RUN\n" + sweepMark + `{"items": 5, "sweep_s": 2}` + "\nPASS\n"))
	if err != nil || got["items"] != 5 || got["sweep_s"] != 2 {
		t.Errorf("figures %v %v", got, err)
	}
	if _, err := figuresIn([]byte("PASS\n")); err == nil {
		t.Error("figures out of nothing")
	}
}

func TestConfigurations(t *testing.T) {
	if got := dataKey.ReplaceAllLiteralString("a = 1\ndata       = \"data\"\nb = 2\n", `data = "/x"`); got != "a = 1\ndata = \"/x\"\nb = 2\n" {
		t.Errorf("data key: %q", got)
	}
	if got := dropTests("x\n[[test]]\na\n[[test]]\nb\n"); got != "x\n" {
		t.Errorf("tests: %q", got)
	}
	names := peerNames()
	if slices.Contains(names, gatewaydName) || !slices.Contains(names, postfixName) || len(names) != len(allPeers())-1 {
		t.Errorf("peers %v", names)
	}
}

// TestSpoolIsOurs: the folder that is compiled into OpenSMTPD is emptied only if
// it was made for the benchmark.
func TestSpoolIsOurs(t *testing.T) {
	dir := t.TempDir()
	mail := filepath.Join(dir, "queue", "x")
	if err := os.MkdirAll(filepath.Dir(mail), 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(path string) {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(mail)
	if err := emptySpool(dir); err == nil {
		t.Error("a foreign spool was emptied")
	}
	if _, err := os.Stat(mail); err != nil {
		t.Error("a foreign mail is gone")
	}
	write(filepath.Join(dir, spoolMark))
	if err := emptySpool(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(mail); err == nil {
		t.Error("a mail of ours is still there")
	}
	if _, err := os.Stat(filepath.Join(dir, spoolMark)); err != nil {
		t.Error("the mark is gone")
	}
}
