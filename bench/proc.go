package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a program that we have started, with everything it starts.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// spawn starts a program in a process group of its own; what it says goes to
// dir/log. before is put in front of the command line (strace).
func spawn(dir string, before []string, name string, args ...string) (*process, error) {
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	line := append(append([]string(nil), before...), append([]string{name}, args...)...)
	p := &process{cmd: exec.Command(line[0], line[1:]...), ended: make(chan struct{})} //nolint:gosec // that is what it is for
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// kill ends the program and all its descendants, at once: its data folder is
// thrown away.
func (p *process) kill() { p.end(0) }

// end asks the program and its descendants to end, and kills after a while what
// is still there. Who has gone to a session of its own (Postfix does) is found
// by its parent.
func (p *process) end(wait time.Duration) {
	pids := tree(p.pid())
	if wait > 0 {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
		gone(pids, p.pid(), wait)
	}
	_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	gone(pids, p.pid(), time.Minute)
}

// gone waits until none of the processes is there. A zombie whose threads still
// wait for the disk holds its ports: it is gone only when its parent has taken
// note, which is package exec for first and we for what was adopted.
func gone(pids []int, first int, wait time.Duration) {
	for end := time.Now().Add(wait); ; time.Sleep(10 * time.Millisecond) {
		left := 0
		for _, pid := range pids {
			if pid != first {
				_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
			}
			if _, state := parentOf(strconv.Itoa(pid)); state != "" {
				left++
			}
		}
		if left == 0 || time.Now().After(end) {
			return
		}
	}
}

// adopt makes this process the parent of what its children leave behind, so
// that nothing escapes and no zombie stays.
func adopt() {
	const setChildSubreaper = 36 // PR_SET_CHILD_SUBREAPER, prctl(2)
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0)
}

// endStrays kills what has been started in the name of this process and is
// still there.
func endStrays() {
	for range 10 {
		strays := tree(os.Getpid())[1:]
		if len(strays) == 0 {
			return
		}
		for _, pid := range strays {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		gone(strays, 0, 10*time.Second)
	}
}

// answers waits until something greets at addr; it fails when the program ends
// before.
func (p *process) answers(ctx context.Context, addr string) error {
	for end := time.Now().Add(patience); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		select {
		case <-p.ended:
			return fmt.Errorf("%s has ended; its log is %s", p.cmd.Path, filepath.Join(p.cmd.Dir, "log"))
		default:
		}
		if greets(addr) {
			return nil
		}
	}
	return fmt.Errorf("%s does not answer at %s; its log is %s", p.cmd.Path, addr, filepath.Join(p.cmd.Dir, "log"))
}

func greets(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	if c.SetDeadline(time.Now().Add(10*time.Second)) != nil {
		return false
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil {
		_, err = c.Write([]byte("QUIT\r\n"))
	}
	return err == nil && strings.HasPrefix(line, "220")
}

// parentOf returns the parent of a process and its state.
func parentOf(pid string) (parent int, state string) {
	b, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return 0, ""
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 2 {
		return 0, ""
	}
	parent, _ = strconv.Atoi(f[1])
	return parent, f[0]
}

// tree lists a process and its descendants.
func tree(root int) []int {
	children := map[int][]int{}
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, e := range entries {
		pid, _ := strconv.Atoi(filepath.Base(e))
		parent, _ := parentOf(filepath.Base(e))
		children[parent] = append(children[parent], pid)
	}
	all := []int{root}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// memoryUse is what a process and its descendants take, in MiB. PSS splits
// shared pages fairly; anonymous memory is what no file stands behind.
type memoryUse struct {
	pss, anonymous float64
	processes      int
}

func memoryOf(root int) (m memoryUse) {
	for _, pid := range tree(root) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue
		}
		m.processes++
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) < 2 {
				continue
			}
			kib, _ := strconv.ParseFloat(f[1], 64)
			switch f[0] {
			case "Pss:":
				m.pss += kib / 1024
			case "Anonymous:":
				m.anonymous += kib / 1024
			}
		}
	}
	return m
}

// watch samples until stop is closed and returns the largest use seen.
func watch(root int, stop <-chan struct{}) <-chan memoryUse {
	most := make(chan memoryUse, 1)
	go func() {
		var m memoryUse
		for {
			now := memoryOf(root)
			m.pss, m.anonymous, m.processes = max(m.pss, now.pss), max(m.anonymous, now.anonymous), max(m.processes, now.processes)
			select {
			case <-stop:
				most <- m
				return
			case <-time.After(300 * time.Millisecond):
			}
		}
	}()
	return most
}

// allocated sums the blocks that a folder takes on the disk, in octets.
func allocated(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // files come and go
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				n += st.Blocks * 512
			}
		}
		return nil
	})
	return n
}

// program finds a program; daemons lie beside the usual path.
func program(name string, more ...string) (string, error) {
	for _, path := range append(more, name, filepath.Join("/usr/sbin", name)) {
		if found, err := exec.LookPath(path); err == nil {
			return filepath.Abs(found)
		}
	}
	return "", fmt.Errorf("no program %s", name)
}
