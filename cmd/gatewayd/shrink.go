package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// shrink gives back what only starting needed: the garbage in the heap, and the
// pages of the program's own file, of which tables that are built once are the
// larger part. Those that are needed after all come back by themselves.
func shrink() error {
	debug.FreeOSMemory()
	own, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return err
	}
	defer f.Close()
	stretches, err := cleanStretches(f, own)
	if err != nil {
		return err
	}
	for _, s := range stretches {
		if _, _, e := unix.Syscall(unix.SYS_MADVISE, s.from, s.to-s.from, unix.MADV_DONTNEED); e != 0 {
			return fmt.Errorf("madvise: %w", e)
		}
	}
	return nil
}

// stretch is a stretch of the address space.
type stretch struct{ from, to uintptr }

// cleanStretches reads, in the format of /proc/PID/smaps (proc(5)), which
// stretches of a file are mapped without leave to write and are the file's
// octets, every one. What a dynamic linker has changed before it took the leave
// away is none: it would be lost.
func cleanStretches(smaps io.Reader, file string) ([]stretch, error) {
	var all []stretch
	var s stretch
	candidate, told := false, false
	flush := func() {
		if candidate && told {
			all = append(all, s)
		}
		candidate, told = false, false
	}
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		line := lines.Text()
		var perms, offset, device, inode string
		var next stretch
		if n, _ := fmt.Sscanf(line, "%x-%x %4s %s %s %s", &next.from, &next.to, &perms, &offset, &device, &inode); n == 6 {
			flush()
			s = next
			candidate = perms[0] == 'r' && perms[1] == '-' && perms[3] == 'p' && strings.HasSuffix(line, " "+file)
			continue
		}
		name, value, _ := bytes.Cut(lines.Bytes(), []byte(":"))
		switch string(name) {
		case "Anonymous", "Swap":
			kept := string(bytes.TrimSpace(value)) == "0 kB"
			candidate = candidate && kept
			told = told || string(name) == "Anonymous"
		}
	}
	flush()
	return all, lines.Err()
}
