//go:build faults

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	gosmtp "github.com/emersion/go-smtp"
)

// TestLittleMemory lets 200 clients send large mail at once to a gateway that
// may use 256 MiB (a memory cgroup): it is slow or answers 4xx, and is not
// killed (quality goal R21). GATEWAYD_MEMORY_MB is the size of each mail,
// default 4; the goal says 50.
func TestLittleMemory(t *testing.T) {
	const limit, clients = 256 << 20, 200
	group := newCgroup(t, limit)
	r := newRig(t, func(s string) string {
		return strings.ReplaceAll(tormentable(s), "[limits]\n", "[limits]\ndata = \"30m\"\n")
	})
	r.before = []string{"sh", "-c", `echo $$ > "$0" && exec "$@"`, filepath.Join(group, "cgroup.procs")}
	r.start()
	conf, err := r.clientTLS()
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("x", 70) + "\r\n"
	lines := times("GATEWAYD_MEMORY_MB", 4, 2) << 20 / len(line)
	var sending sync.WaitGroup
	var taken, later, other atomic.Int64
	var first sync.Once
	for i := range clients {
		sending.Go(func() {
			err := func() error {
				c, err := gosmtp.DialStartTLS(r.ports.Submission, conf)
				if err != nil {
					return err
				}
				defer c.Close()
				return c.SendMail("bauinspektorat@bl.example", []string{"irgendwer@example.net"}, io.MultiReader(
					strings.NewReader(fmt.Sprintf("Subject: Plan %d\r\n\r\n", i)), io.LimitReader(repeated(line), int64(lines*len(line)))))
			}()
			var reply *gosmtp.SMTPError
			switch {
			case err == nil:
				taken.Add(1)
			case errors.As(err, &reply) && reply.Code < 500:
				later.Add(1)
			default:
				other.Add(1)
				first.Do(func() { t.Logf("a client: %v", err) })
			}
		})
	}
	sending.Wait()
	await(t, "delivery of what was taken", func() bool { return int64(len(r.sink.all())) >= taken.Load() })
	oom := field(t, group, "memory.oom_control", "oom_kill ") + field(t, group, "memory.events", "oom_kill ")
	t.Logf("%d × %d MiB at once in 256 MiB: %d taken and delivered, %d told 4xx, %d other; peak %d MiB, %d kills for want of memory",
		clients, lines*len(line)>>20, taken.Load(), later.Load(), other.Load(), peak(group)>>20, oom)
	if oom > 0 || taken.Load() == 0 || other.Load() > 0 {
		t.Error("it must go on, slowly or with 4xx")
	}
	r.stop()
	r.sound("afterwards")
}

// repeated reads a text again and again.
type repeated string

// Read implements io.Reader.
func (r repeated) Read(p []byte) (int, error) {
	n := 0
	for n+len(r) <= len(p) {
		n += copy(p[n:], r)
	}
	if n == 0 {
		return 0, io.ErrShortBuffer
	}
	return n, nil
}

// newCgroup makes a group with a limit of memory, of version 2 or 1.
func newCgroup(t *testing.T, limit int) string {
	t.Helper()
	name := fmt.Sprintf("gatewayd-test-%d", os.Getpid())
	for root, file := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		dir := filepath.Join(root, name)
		if os.Mkdir(dir, 0o700) != nil {
			continue
		}
		t.Cleanup(func() { os.Remove(dir) })
		if f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0); err == nil { // else it is no cgroup
			_, err := f.WriteString(strconv.Itoa(limit))
			f.Close()
			if err == nil {
				return dir
			}
		}
	}
	t.Skip("needs root and a memory cgroup")
	return ""
}

// field reads a number behind a word in a file of the group; 0 without one.
func field(t *testing.T, group, file, word string) int {
	t.Helper()
	text, _ := os.ReadFile(filepath.Join(group, file))
	for _, line := range strings.Split(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, word); ok {
			n, err := strconv.Atoi(strings.TrimSpace(rest))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

func peak(group string) int {
	for _, file := range []string{"memory.max_usage_in_bytes", "memory.peak"} {
		if text, err := os.ReadFile(filepath.Join(group, file)); err == nil {
			n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
			return n
		}
	}
	return 0
}
