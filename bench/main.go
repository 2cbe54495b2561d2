// Command bench measures gatewayd beside other mail systems on one machine: the
// same load and the same sink for all, one after the other in one window, and
// that several times. What counts is the ratio to Postfix within a window;
// absolute numbers of a shared machine do not (docs/performance.md).
//
//	make bench                                                  everything that is installed
//	make bench PEERS=postfix WORKLOADS=W1 SIZES=4k SESSIONS="1 50" REPS=2
//
// It imports nothing of the gateway: it starts the program as an operator does
// and speaks SMTP with it. Every port is one of 127.0.0.1.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := command(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

// command runs what the first argument names: nothing (the benchmark), unpack
// (fetch peers that cannot be installed beside each other), or filter (what
// Postfix calls in W4).
func command(ctx context.Context, args []string) error {
	switch {
	case len(args) == 0:
		o, err := optionsFrom(os.Getenv)
		if err != nil {
			return err
		}
		return bench(ctx, o, os.Stdout)
	case args[0] == "unpack" && len(args) == 1:
		return unpack(ctx, filepath.Join("bench", "out", "peers"), os.Stdout)
	case args[0] == "filter" && len(args) == 4:
		return filter(args[1], args[2], args[3], os.Stdin)
	}
	return errors.New("usage: bench | bench unpack | bench filter FOLDER SENDER RECIPIENT")
}

// options say what is measured. Zero sizes or sessions: each workload takes its
// own.
type options struct {
	gatewayd  string   // the program
	out       string   // results
	run       string   // data folders of what is measured: on the disk that shall be measured
	peers     []string // beside gatewayd
	workloads []string
	sizes     []int // octets of a body
	sessions  []int
	reps      int           // windows
	time      time.Duration // of one point by time
	warm      time.Duration // before each point
	prove     bool          // find out who truly syncs
	backlog   int           // W3, messages
	queued    int           // W5, messages
	expired   int           // W6, items
}

func defaultOptions() options {
	return options{
		gatewayd: filepath.Join("bin", "gatewayd"), out: filepath.Join("bench", "out"), run: filepath.Join("bench", "out", "run"),
		peers: peerNames(), workloads: []string{"W1", "W2", "W3", "W4", "W5", "W6", "W7"},
		reps: 3, time: 2 * time.Second, warm: 500 * time.Millisecond, prove: true, backlog: 20_000, queued: 20_000, expired: 20_000,
	}
}

// optionsFrom reads the variables of make bench.
func optionsFrom(getenv func(string) string) (options, error) {
	o := defaultOptions()
	if getenv("GATEWAYD_LONG") != "" {
		o.queued, o.expired = 1_000_000, 1_000_000
	}
	var errs []error
	list := func(name string, set func([]string) error) {
		if v := strings.Fields(getenv(name)); len(v) > 0 {
			if err := set(v); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
	}
	numbers := func(to *[]int, parse func(string) (int, error)) func([]string) error {
		return func(words []string) (err error) {
			*to, err = each(words, parse)
			return err
		}
	}
	one := func(to *int) func([]string) error {
		return func(words []string) (err error) {
			*to, err = count(words[0])
			return err
		}
	}
	list("PEERS", func(w []string) error { o.peers = w; return known(w, append(peerNames(), gatewaydName, "none")) })
	list("WORKLOADS", func(w []string) error { o.workloads = w; return known(w, defaultOptions().workloads) })
	list("SIZES", numbers(&o.sizes, parseSize))
	list("SESSIONS", numbers(&o.sessions, count))
	list("REPS", one(&o.reps))
	list("BACKLOG", one(&o.backlog))
	list("QUEUED", one(&o.queued))
	list("EXPIRED", one(&o.expired))
	list("T", func(w []string) (err error) { o.time, err = time.ParseDuration(w[0]); return err })
	list("GATEWAYD", func(w []string) error { o.gatewayd = w[0]; return nil })
	list("BENCH_RUN", func(w []string) error { o.run = w[0]; return nil })
	return o, errors.Join(errs...)
}

func each(words []string, parse func(string) (int, error)) (all []int, err error) {
	for _, w := range words {
		n, err := parse(w)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

func known(words, names []string) error {
	for _, w := range words {
		if !slices.Contains(names, w) {
			return fmt.Errorf("%q is none of %v", w, names)
		}
	}
	return nil
}

// count reads a number of things: at least one.
func count(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is no number above zero", s)
	}
	return n, nil
}

// parseSize reads 4k or 10m as octets.
func parseSize(s string) (int, error) {
	digits, unit := strings.TrimRight(s, "km"), 1
	switch strings.TrimLeft(s, "0123456789") {
	case "k":
		unit = 1 << 10
	case "m":
		unit = 1 << 20
	case "":
	default:
		return 0, fmt.Errorf("%q is no size such as 4k or 10m", s)
	}
	n, err := count(digits)
	return n * unit, err
}

func sizeText(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

// bench measures, and writes what it finds after every workload, so that a run
// that is cut off leaves what it has.
func bench(ctx context.Context, o options, out io.Writer) (err error) {
	l, err := newLab(ctx, o, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	workloads := map[string]func(context.Context, *lab) error{
		"W1": acceptance, "W2": relaying, "W3": backlog, "W4": secure, "W5": memory, "W6": sweep, "W7": slowDisk,
	}
	fmt.Fprintln(out, l.headline())
	if o.prove {
		if err := l.syncs(ctx); err != nil {
			return err
		}
	}
	for _, w := range o.workloads {
		from := len(l.results)
		start := time.Now()
		if err := workloads[w](ctx, l); err != nil {
			return fmt.Errorf("%s: %w", w, err)
		}
		if err := writeTable(out, l.results[from:]); err != nil {
			return err
		}
		fmt.Fprintf(out, "(%s took %s)\n\n", w, time.Since(start).Round(time.Second))
		if err := l.save(); err != nil {
			return err
		}
	}
	return nil
}
