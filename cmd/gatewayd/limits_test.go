package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFewDescriptors lets clients take every file descriptor there is: the doors
// stay, nothing acknowledged is lost, and it goes on by itself when they let go
// (quality goal R22: within five seconds, on a machine that is not busy).
func TestFewDescriptors(t *testing.T) {
	r := newRig(t, tormentable)
	r.before = []string{"sh", "-c", `ulimit -n 64 && exec "$@"`, "sh"}
	ack, stop := r.underLoad(4)
	defer stop()
	r.start()
	ack.acknowledges(t, 10)
	var greedy []net.Conn
	for range 120 {
		if c, err := net.DialTimeout("tcp", r.ports.Submission, time.Second); err == nil {
			greedy = append(greedy, c)
		}
	}
	await(t, "the end of the descriptors", func() bool { return strings.Contains(r.log.String(), "smtp door cannot take a connection") })
	time.Sleep(2 * time.Second) // in that state the flow goes on, as far as it can
	for _, c := range greedy {
		c.Close()
	}
	begin := time.Now()
	ack.acknowledges(t, 10)
	recovered := time.Since(begin)
	stop()
	r.settled()
	r.account(ack, fmt.Sprintf("%d connections at once to 64 descriptors, ten more acknowledged after %s", len(greedy), recovered.Round(time.Millisecond)))
	r.stop()
	r.sound("afterwards")
}

// TestInodesFull takes every inode of a small file system: 452 4.3.1 for what
// needs one and for what does not, nothing acknowledged is lost, and it takes
// mail again by itself (quality goal R5).
func TestInodesFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a tmpfs needs root")
	}
	r := newRig(t, tormentable)
	data := r.cfg.Data
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", data, "tmpfs", 0, "size=200m,nr_inodes=400,mode=0700"); err != nil {
		t.Skipf("no tmpfs can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		r.kill()
		unix.Unmount(data, unix.MNT_DETACH)
	})
	s := newStories(r)
	r.start()
	s.tell(0)
	s.tell(4)
	taken := 0
	for ; taken < 1000; taken++ {
		f, err := os.Create(filepath.Join(data, fmt.Sprintf("ballast-%d", taken)))
		if err != nil {
			break
		}
		f.Close()
	}
	for _, kind := range []int{0, 4} {
		token, err := s.send(kind)
		if err == nil || !strings.Contains(err.Error(), "not enough storage") {
			t.Errorf("%s without inodes: %v, want 452 4.3.1", load[kind].class, err)
		}
		s.refused[token] = true
	}
	for i := range taken {
		if err := os.Remove(filepath.Join(data, fmt.Sprintf("ballast-%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	s.tell(0)
	s.tell(4)
	t.Logf("%d inodes taken; two more stories told %s after they were free", taken, time.Since(begin).Round(time.Millisecond))
	r.stop()
	s.account()
	r.kill()
}

// TestTwoDaemons: a second program on the same folder refuses at once, with a
// clear word, and the first one does not notice (quality goal R20: within a
// second).
func TestTwoDaemons(t *testing.T) {
	r := newRig(t, tormentable)
	s := newStories(r)
	r.start()
	s.tell(0)
	second := exec.Command(binary, "serve", "-c", r.file)
	begin := time.Now()
	out, err := second.CombinedOutput()
	took := time.Since(begin)
	if err == nil || !strings.Contains(string(out), "in use by another process") || second.ProcessState.ExitCode() != 1 {
		t.Errorf("the second program: %v\n%s", err, out)
	}
	t.Logf("the second program refused after %s", took.Round(time.Millisecond))
	if took > time.Minute {
		t.Errorf("it took %s", took)
	}
	s.tell(0)
	r.stop()
	s.account()
}

// TestReadOnly: on a folder that cannot be written the program says so and ends
// (quality goal R20).
func TestReadOnly(t *testing.T) {
	r := newRig(t, tormentable)
	s := newStories(r)
	r.start()
	s.tell(0)
	r.stop()
	data := r.cfg.Data
	if os.Getuid() == 0 {
		for _, flags := range []uintptr{unix.MS_BIND, unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY} {
			if err := unix.Mount(data, data, "", flags, ""); err != nil {
				t.Skipf("nothing can be mounted here: %v", err)
			}
		}
		t.Cleanup(func() { unix.Unmount(data, unix.MNT_DETACH) })
	} else if err := os.Chmod(data, 0o500); err != nil {
		t.Fatal(err)
	}
	out, code := r.run("serve", "-c", r.file)
	if code != 1 || !strings.Contains(out, "read-only file system") && !strings.Contains(out, "permission denied") {
		t.Errorf("on a read-only folder: exit %d\n%s", code, out)
	}
	if os.Getuid() == 0 {
		unix.Unmount(data, 0)
	} else if err := os.Chmod(data, 0o700); err != nil {
		t.Fatal(err)
	}
	s.account()
}

// TestNothingRunsOn: after a drain under load no goroutine of the program is
// left (quality goal R11).
func TestNothingRunsOn(t *testing.T) {
	r := newRig(t, tormentable)
	ack, stop := r.underLoad(10)
	defer stop()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	p, err := open(r.cfg, log, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	doors, err := listen(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	defer end()
	ended := make(chan error, 1)
	go func() { ended <- p.run(ctx, doors, log) }()
	ack.acknowledges(t, 50)
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
	stop()
	var left []string
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		if left = ours(); len(left) == 0 {
			break
		}
	}
	if len(left) > 0 {
		t.Errorf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
	}
	r.sound("after the drain")
}

// ours returns the stacks of goroutines that run in the program's packages, but
// for those of the counterparts and of the test.
func ours() []string {
	buf := make([]byte, 8<<20)
	var left []string
	for _, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		for _, pkg := range []string{"gateway", "vault", "queue/bolt", "smtp", "api", "connectors", "audit", "retention"} {
			if strings.Contains(stack, "\ngatewayd/"+pkg) && !strings.Contains(stack, "gatewayd/simulator") {
				left = append(left, stack)
				break
			}
		}
	}
	return left
}
