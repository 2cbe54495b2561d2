//go:build linux && amd64

package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// tracer runs the gateway under ptrace and counts the calls by which it changes
// its data folder. One of them, or all from one on, can be spoilt. strace does
// the like, but it counts per thread, and a Go program chooses its threads
// freely: the n-th call of all can be met only so.
type tracer struct {
	dir     string // the data folder
	pid     int
	ended   chan struct{}
	status  unix.WaitStatus // when ended
	threads map[int]*thread // the tracer's goroutine only

	mu     sync.Mutex
	how    spoil
	at, to int // these calls are spoilt
	n      int // calls since arm
	spoilt []string
	full   map[uint64]bool // descriptors that were written short: the next write finds the disk full
}

// thread is one thread of the program.
type thread struct {
	inside bool       // a call
	errno  unix.Errno // that the call shall return
}

// spoil is what happens to a call.
type spoil int

const (
	failsEIO    spoil = iota // is left out, EIO
	failsENOSPC              // is left out, ENOSPC
	failsShort               // half of a write is done, and the next one finds the disk full
	kills                    // the program is killed just before
)

func (s spoil) String() string { return [...]string{"EIO", "ENOSPC", "short write", "kill"}[s] }

// calls that change files, by number.
var calls = map[uint64]string{
	unix.SYS_WRITE: "write", unix.SYS_PWRITE64: "pwrite", unix.SYS_FSYNC: "fsync", unix.SYS_FDATASYNC: "fdatasync",
	unix.SYS_FTRUNCATE: "ftruncate", unix.SYS_FALLOCATE: "fallocate", unix.SYS_OPENAT: "create", unix.SYS_MKDIRAT: "mkdir",
	unix.SYS_RENAMEAT: "rename", unix.SYS_RENAMEAT2: "rename", unix.SYS_LINKAT: "link", unix.SYS_UNLINKAT: "unlink",
}

// traced starts the gateway under a tracer and waits until it answers.
func (r *rig) traced(t *testing.T) *tracer {
	t.Helper()
	tr := r.tracedFrom(t, failsEIO, 0)
	r.answers()
	return tr
}

// tracedFrom starts the gateway under a tracer that is armed from the first
// call on.
func (r *rig) tracedFrom(t *testing.T, how spoil, at int) *tracer {
	t.Helper()
	tr := &tracer{how: how, at: at, to: at, dir: r.cfg.Data + "/", ended: make(chan struct{}), threads: map[int]*thread{}, full: map[uint64]bool{}}
	cmd := exec.Command(r.binary, "serve", "-c", r.file)
	cmd.Env = append(os.Environ(), r.env...)
	cmd.Stdout, cmd.Stderr = r.log, r.log
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // a tracee obeys one thread only; it ends with this goroutine
		err := tr.begin(cmd)
		started <- err
		if err == nil {
			tr.follow()
		}
		close(tr.ended)
	}()
	if err := <-started; err != nil {
		t.Skipf("needs ptrace: %v", err)
	}
	t.Cleanup(tr.kill)
	return tr
}

func (tr *tracer) begin(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &unix.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	tr.pid = cmd.Process.Pid
	var ws unix.WaitStatus
	if _, err := unix.Wait4(tr.pid, &ws, 0, nil); err != nil {
		return err
	}
	const exitKill = 0x100000 // PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(tr.pid, unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACESYSGOOD|exitKill); err != nil {
		return err
	}
	tr.threads[tr.pid] = &thread{}
	return unix.PtraceSyscall(tr.pid, 0)
}

// kill ends the program without warning.
func (tr *tracer) kill() {
	unix.Kill(tr.pid, unix.SIGKILL)
	<-tr.ended
}

// follow lets the program go from call to call until it ends.
func (tr *tracer) follow() {
	for {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return
		case ws.Exited() || ws.Signaled():
			if tid == tr.pid {
				tr.status = ws
				return
			}
			delete(tr.threads, tid)
			continue
		}
		th, known := tr.threads[tid], true
		if th == nil {
			th, known = &thread{}, false
			tr.threads[tid] = th
		}
		signal := int(ws.StopSignal())
		switch {
		case signal == int(unix.SIGTRAP)|0x80:
			tr.call(tid, th)
			signal = 0
		case signal == int(unix.SIGTRAP), signal == int(unix.SIGSTOP) && !known: // a thread was born
			signal = 0
		}
		_ = unix.PtraceSyscall(tid, signal) // it may have been killed meanwhile
	}
}

// call is entered or left.
func (tr *tracer) call(tid int, th *thread) {
	th.inside = !th.inside
	var regs unix.PtraceRegs
	if !th.inside && th.errno == 0 || unix.PtraceGetRegs(tid, &regs) != nil {
		return
	}
	if !th.inside {
		regs.Rax = uint64(-int64(th.errno)) //nolint:gosec // as the kernel does
		_ = unix.PtraceSetRegs(tid, &regs)
		th.errno = 0
		return
	}
	name := calls[regs.Orig_rax]
	if name == "" {
		return
	}
	path := tr.path(tid, name, &regs)
	if !strings.HasPrefix(path, tr.dir) {
		return
	}
	tr.judge(tid, th, name+" "+strings.TrimPrefix(path, tr.dir), &regs)
}

// path is the file that a call is about; empty when it changes none.
func (tr *tracer) path(tid int, name string, regs *unix.PtraceRegs) string {
	switch name {
	case "create":
		if regs.Rdx&unix.O_CREAT == 0 {
			return ""
		}
		return tr.text(tid, regs.Rsi)
	case "mkdir", "rename", "unlink":
		return tr.text(tid, regs.Rsi)
	case "link":
		return tr.text(tid, regs.R10)
	}
	path, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tr.pid, regs.Rdi))
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		path += "/"
	}
	return path
}

// text reads a string of the program.
func (tr *tracer) text(tid int, at uint64) string {
	var b [1024]byte
	n, _ := unix.PtracePeekData(tid, uintptr(at), b[:])
	s, _, _ := bytes.Cut(b[:n], []byte{0})
	return filepath.Clean(string(s))
}

// judge counts a call that is entered and spoils it if it is its turn.
func (tr *tracer) judge(tid int, th *thread, what string, regs *unix.PtraceRegs) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	isWrite := strings.HasPrefix(what, "write") || strings.HasPrefix(what, "pwrite")
	if isWrite && tr.full[regs.Rdi] {
		delete(tr.full, regs.Rdi)
		tr.leaveOut(tid, th, unix.ENOSPC, regs)
		return
	}
	if tr.at == 0 || tr.how == failsShort && !isWrite {
		return
	}
	if tr.n++; tr.n < tr.at || tr.n > tr.to {
		return
	}
	tr.spoilt = append(tr.spoilt, what)
	switch tr.how {
	case failsEIO:
		tr.leaveOut(tid, th, unix.EIO, regs)
	case failsENOSPC:
		tr.leaveOut(tid, th, unix.ENOSPC, regs)
	case failsShort:
		tr.full[regs.Rdi] = true
		regs.Rdx /= 2
		_ = unix.PtraceSetRegs(tid, regs)
	case kills:
		_ = unix.Kill(tr.pid, unix.SIGKILL)
	}
}

// leaveOut makes the kernel do nothing, and remembers what it shall say.
func (tr *tracer) leaveOut(tid int, th *thread, errno unix.Errno, regs *unix.PtraceRegs) {
	regs.Orig_rax = math.MaxUint64
	if unix.PtraceSetRegs(tid, regs) == nil {
		th.errno = errno
	}
}

// arm counts from now on, and spoils the calls from at to to.
func (tr *tracer) arm(how spoil, at, to int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.how, tr.at, tr.to, tr.n, tr.spoilt = how, at, to, 0, nil
}

// disarm lets everything pass again, and tells what was spoilt.
func (tr *tracer) disarm() (spoilt []string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	clear(tr.full)
	tr.at = 0
	return tr.spoilt
}
