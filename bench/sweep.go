package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// sweepMark stands before the figures in the output of the test.
const sweepMark = "sweep figures: "

// sweep is W6: gatewayd alone erases expired items while mail comes in. Windows
// last months, so the test in package gateway moves a clock of its own.
func sweep(ctx context.Context, l *lab) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-timeout", "2h", "-run", "^TestSweepAtScale$", "-v", "./gateway")
	cmd.Env = append(os.Environ(), fmt.Sprint("GATEWAYD_SWEEP_ITEMS=", l.expired), "TMPDIR="+l.dir)
	cmd.Dir = root()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("sweep: %w\n%s", err, out[max(0, len(out)-2000):])
	}
	figures, err := figuresIn(out)
	if err != nil {
		return err
	}
	c := cell{workload: "W6", variant: "expired items", size: 0, sessions: int(figures["writers"]), measure: perS}
	l.add(summarise(c, []map[string]sample{{gatewaydName: {perS: figures["items"] / figures["sweep_s"], p99: figures["accept_p99_during_ms"], detail: figures}}})...)
	return nil
}

// figuresIn finds the figures in the output of the test.
func figuresIn(out []byte) (map[string]float64, error) {
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		if _, rest, ok := bytes.Cut(s.Bytes(), []byte(sweepMark)); ok {
			var figures map[string]float64
			err := json.Unmarshal(rest, &figures)
			return figures, err
		}
	}
	return nil, fmt.Errorf("the sweep told no figures:\n%s", out[max(0, len(out)-2000):])
}

// root is the folder of the module: the working folder or one above it.
func root() string {
	dir, err := os.Getwd()
	for ; err == nil && dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	return "."
}
