package evidence

import "golang.org/x/sys/unix"

// SystemClock asks the kernel how well its clock is kept (adjtimex, which reads
// only). What it does not say is nil.
func SystemClock() Clock {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return Clock{}
	}
	unit := 1e3 // microseconds
	if t.Status&unix.STA_NANO != 0 {
		unit = 1e6
	}
	good := t.Status&unix.STA_UNSYNC == 0
	offset, estimated := float64(t.Offset)/unit, float64(t.Esterror)/1e3
	c := Clock{Synchronised: &good, Offset: &offset}
	if good {
		c.Error = &estimated
	}
	return c
}
