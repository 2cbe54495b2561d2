package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// times is how often a test repeats: as the environment says, or as is fit for
// CI, or less with -short.
func times(name string, ci, short int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	if testing.Short() {
		return short
	}
	return ci
}

// TestKill kills the gateway at random moments while 20 clients send, and
// starts it again. Every acknowledged message must end once at the platform,
// or visibly in the queue; a registered one never twice; the data folder must
// be clean each time (quality goals R1, R13, R15).
func TestKill(t *testing.T) {
	kills := times("GATEWAYD_KILLS", 30, 5)
	if kills <= killRound {
		killed(t, kills)
		return
	}
	for from := 0; from < kills; from += killRound {
		n := min(killRound, kills-from)
		t.Run(fmt.Sprintf("%d to %d", from+1, from+n), func(t *testing.T) { killed(t, n) })
	}
}

// killRound is how many kills one folder lives through: each check of it reads
// everything that lies there.
const killRound = 100

func killed(t *testing.T, kills int) {
	r := newRig(t, tormentable)
	ack, stop := r.underLoad(20)
	defer stop()
	for n := range kills {
		r.start()
		time.Sleep(200*time.Millisecond + rand.N(500*time.Millisecond))
		r.kill()
		if out, code := r.run("queue", "check"); code != 0 {
			t.Fatalf("after kill %d: queue check: exit %d\n%s", n+1, code, out)
		}
	}
	stop()
	r.start()
	r.settled()
	r.account(ack, fmt.Sprintf("%d kills", kills))
	if len(ack.sent) < kills*5 {
		t.Errorf("only %d messages were acknowledged: the load does not test anything", len(ack.sent))
	}
	r.sound("after all kills")
}

// TestStopUnderLoad: SIGTERM while 20 clients send ends the program in order
// and loses nothing (quality goal R18: within ten seconds; the figure is
// logged, a busy machine may take longer).
func TestStopUnderLoad(t *testing.T) {
	r := newRig(t, tormentable)
	ack, stop := r.underLoad(20)
	defer stop()
	longest := time.Duration(0)
	stops := times("GATEWAYD_STOPS", 3, 1)
	for range stops {
		r.start()
		ack.acknowledges(t, 20)
		longest = max(longest, r.stop())
		r.sound("after SIGTERM")
	}
	stop()
	r.start()
	r.settled()
	r.account(ack, fmt.Sprintf("%d stops, the longest took %s", stops, longest.Round(time.Millisecond)))
	if longest > 3*drainTime {
		t.Errorf("SIGTERM took %s", longest)
	}
}
