package gateway

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is what the operating system knows about the time, beside the wall clock.
type Machine struct {
	// Steady only ever grows, while the machine sleeps, too, and whoever sets the wall
	// clock does not touch it.
	Steady func() time.Duration
	// Boot names the run of the machine in which Steady counts: a program that is
	// started again in it goes on with it. Empty: Steady counts in this process only.
	Boot string
	// Synced reports whether a time service keeps the wall clock. Whoever sets the
	// clock by hand takes that back (clock_settime in the kernel), until the service has
	// looked at its servers again. nil: nobody knows.
	Synced func() bool
}

// bootVariable names the run of the machine where /proc cannot be read: the unit of
// systemd sets it (%b).
const bootVariable = "GATEWAYD_BOOT"

// ThisMachine asks the Linux kernel.
func ThisMachine() Machine {
	start := time.Now()
	m := Machine{Steady: func() time.Duration { return time.Since(start) }, Synced: synced}
	if _, ok := boottime(); !ok {
		return m
	}
	m.Steady = func() time.Duration { d, _ := boottime(); return d }
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		text = []byte(os.Getenv(bootVariable))
	}
	m.Boot = strings.ReplaceAll(strings.TrimSpace(string(text)), "-", "")
	return m
}

// boottime is CLOCK_BOOTTIME: it counts suspended time, too.
func boottime() (time.Duration, bool) {
	var at unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &at)
	return time.Duration(at.Nano()), err == nil
}

// synced asks adjtimex(2), which anybody may who only reads. The kernel lets the
// error grow while no service speaks, and gives the clock up at 16 seconds.
func synced() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
}
