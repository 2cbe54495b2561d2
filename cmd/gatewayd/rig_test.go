package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"gatewayd/api"
	"gatewayd/config"
	"gatewayd/message"
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "gatewayd-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "gatewayd")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// need names the Debian package of a missing program; in CI that is a failure.
func need(t *testing.T, program, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		path = filepath.Join("/usr/sbin", program)
		if _, err := os.Stat(path); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("needs %s: apt-get install %s", program, pkg)
			}
			t.Skipf("needs %s: apt-get install %s", program, pkg)
		}
	}
	return path
}

// rig is an installation made by `gatewayd init`, with the simulators in the
// test and the gateway as a process of its own.
type rig struct {
	t        *testing.T
	dir      string
	file     string
	ports    config.Ports
	password string
	cfg      *config.Config
	sims     pair
	sink     *sink
	clock    clockFromNow
	process  *exec.Cmd
	client   *api.Client // of its operator's door
	binary   string      // the program under test
	env      []string    // for it, beside ours
	before   []string    // words in front of its command line
	as       *syscall.SysProcAttr
	ahead    time.Duration // how far its clock is ahead of ours
	log      *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newRig writes the configuration and starts the simulators, not the gateway.
// edit may change the configuration text.
func newRig(t *testing.T, edit func(string) string) *rig {
	t.Helper()
	r := &rig{t: t, dir: filepath.Join(t.TempDir(), "gw"), clock: newClock(), log: &lockedBuffer{}, binary: binary}
	listeners := map[string]net.Listener{}
	for name, addr := range map[string]*string{
		"sub": &r.ports.Submission, "subtls": &r.ports.SubmissionTLS, "in": &r.ports.Inbound,
		"inca": &r.ports.IncaMail, "psph": &r.ports.PrivaSphere, "relay": &r.ports.Relay, "tsa": &r.ports.TSA,
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		*addr, listeners[name] = l.Addr().String(), l
	}
	for _, name := range []string{"sub", "subtls", "in", "tsa"} {
		listeners[name].Close() // the gateway opens them itself; nobody stamps here
	}
	if err := config.WriteDevelopment(r.dir, r.ports); err != nil {
		t.Fatal(err)
	}
	r.file = filepath.Join(r.dir, "gatewayd.toml")
	if edit != nil {
		text, err := os.ReadFile(r.file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.file, []byte(edit(string(text))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r.load(listeners)
	t.Cleanup(func() {
		r.kill()
		r.sims.close()
		r.sink.server.Close()
		if t.Failed() {
			t.Logf("log of the gateway:\n%s", tailOf(r.log.String(), 6000))
		}
	})
	return r
}

func tailOf(s string, n int) string { return s[max(0, len(s)-n):] }

func (r *rig) load(listeners map[string]net.Listener) {
	r.t.Helper()
	cfg, problems := config.Load(r.file, time.Now())
	for _, p := range problems {
		r.t.Error(p)
	}
	if r.t.Failed() {
		r.t.FailNow()
	}
	r.cfg = cfg
	password, err := os.ReadFile(filepath.Join(r.dir, config.DevelopmentPassword))
	if err != nil {
		r.t.Fatal(err)
	}
	r.password = strings.TrimSpace(string(password))
	if r.sims, err = newPair(cfg, r.clock, r.ports.Inbound, slog.New(slog.DiscardHandler)); err != nil {
		r.t.Fatal(err)
	}
	go r.sims.incamail.Serve(listeners["inca"])
	go r.sims.privasphere.Serve(listeners["psph"])
	if r.sink, err = newSink(r.dir); err != nil {
		r.t.Fatal(err)
	}
	go r.sink.server.Serve(listeners["relay"])
}

// start runs the gateway and waits until its ports answer.
func (r *rig) start() {
	r.t.Helper()
	line := append(slices.Clone(r.before), r.binary, "serve", "-c", r.file)
	r.process = exec.Command(line[0], line[1:]...)
	r.process.Env, r.process.SysProcAttr = append(os.Environ(), r.env...), r.as
	r.process.Stdout, r.process.Stderr = r.log, r.log
	if err := r.process.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.answers()
}

// answers waits until the ports of the gateway answer.
func (r *rig) answers() {
	r.t.Helper()
	for end := time.Now().Add(patience); !r.reachable(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("the gateway does not answer:\n%s", r.log)
		}
	}
}

// reachable reports whether both ports and the operator's door answer.
func (r *rig) reachable() bool {
	for _, port := range []string{r.ports.Submission, r.ports.Inbound} {
		c, err := net.DialTimeout("tcp", port, time.Second)
		if err != nil {
			return false
		}
		c.Close()
	}
	c, err := net.DialTimeout("unix", socketPath(r.cfg.Data), time.Second)
	if err != nil {
		return false // commands would open the folder themselves
	}
	c.Close()
	return true
}

// kill ends the gateway without warning.
func (r *rig) kill() {
	if r.process != nil && r.process.Process != nil {
		r.process.Process.Kill()
		r.process.Wait()
		r.process = nil
	}
}

// stop ends it as an operator would, and returns how long that took.
func (r *rig) stop() time.Duration {
	r.t.Helper()
	begin := time.Now()
	r.process.Process.Signal(syscall.SIGTERM)
	if err := r.process.Wait(); err != nil {
		r.t.Errorf("after SIGTERM the gateway ended with %v\n%s", err, r.log)
	}
	r.process = nil
	return time.Since(begin)
}

// run runs a command of the program and returns its output and exit code.
func (r *rig) run(args ...string) (string, int) {
	r.t.Helper()
	cmd := exec.Command(r.binary, args...)
	cmd.Env = append(os.Environ(), "GATEWAYD_CONFIG="+r.file, "GATEWAYD_FAILPOINTS_CLOCK="+r.ahead.String())
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// testReading is who reads in tests.
func testReading() message.Reading {
	return message.Reading{By: "test", Purpose: message.ForOperation}
}

// trace asks the program for stories.
func (r *rig) trace(question string) []message.Story {
	r.t.Helper()
	out, code := r.run("message", "trace", question, "--json", "--purpose", "operation")
	if code != 0 {
		r.t.Fatalf("message trace %s: exit %d\n%s", question, code, out)
	}
	var stories []message.Story
	if err := json.Unmarshal([]byte(out), &stories); err != nil {
		r.t.Fatalf("message trace: %v\n%s", err, out)
	}
	return stories
}

// patience is how long a test waits for what must come: far longer than a busy
// machine with the race detector needs, because only what never comes is a fault.
const patience = 3 * time.Minute

// await polls until something is there.
func await(t *testing.T, what string, there func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if there() {
			return
		}
	}
	t.Fatalf("did not come: %s", what)
}

// swaks submits like a clerk's mail program and returns the dialogue.
func (r *rig) swaks(args ...string) (string, error) {
	r.t.Helper()
	path := need(r.t, "swaks", "swaks")
	all := append([]string{
		"--server", r.ports.Submission, "--tls", "--tls-ca-path", filepath.Join(r.dir, "ca.crt"), "--auth", "PLAIN",
		"--auth-user", "sachbearbeitung", "--auth-password", r.password, "--from", "bauinspektorat@bl.example", "--helo", "client.bl.example",
	}, args...)
	out, err := exec.Command(path, all...).CombinedOutput()
	return string(out), err
}

// idIn finds the id in the 250 reply of a dialogue.
func idIn(t *testing.T, dialogue string) message.ID {
	t.Helper()
	for _, line := range strings.Split(dialogue, "\n") {
		if _, rest, ok := strings.Cut(line, "accepted as "); ok {
			id, err := message.ParseID(strings.TrimSpace(rest))
			if err == nil {
				return id
			}
		}
	}
	t.Fatalf("no id in:\n%s", dialogue)
	return message.ID{}
}

// split cuts a message behind the blank line.
func split(raw []byte) (head, body []byte) {
	i := bytes.Index(raw, []byte("\r\n\r\n"))
	if i < 0 {
		return raw, nil
	}
	return raw[:i+2], raw[i+4:]
}

func replaceIn(t *testing.T, path, from, to string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(from)) {
		t.Fatalf("%s does not contain %q", path, from)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(text, []byte(from), []byte(to)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// stranger sends from outside to the inbound port.
func (r *rig) stranger(text, to string) error {
	conf, err := r.clientTLS()
	if err != nil {
		return err
	}
	conf.Certificates = nil
	c, err := gosmtp.DialStartTLS(r.ports.Inbound, conf)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.SendMail("wer@example.org", []string{to}, strings.NewReader(text))
}

func digestHex(b []byte) string { return message.Digest(sha256.Sum256(b)).String() }
