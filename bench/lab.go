package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// lab is one run of the benchmark: where things lie, who takes part, and what
// was found.
type lab struct {
	options
	say       io.Writer
	dir       string // everything that is thrown away
	home      string // what gatewayd init has written
	base      int    // first of the ports
	peers     []peer // that are here, gatewayd first
	missing   []string
	conf      *tls.Config // of the sink
	clientTLS *tls.Config // of the clients
	durable   map[string]durability
	results   []Result
	started   int // peers, for the names of their folders
}

// newLab finds the peers and prepares what they share.
func newLab(ctx context.Context, o options, say io.Writer) (_ *lab, err error) {
	l := &lab{options: o, say: say, durable: map[string]durability{}}
	for _, path := range []*string{&l.gatewayd, &l.out, &l.run} {
		if *path, err = filepath.Abs(*path); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(os.MkdirAll(l.out, 0o755), os.MkdirAll(l.run, 0o755)); err != nil {
		return nil, err
	}
	adopt()
	if l.dir, err = os.MkdirTemp(l.run, "run-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if err := os.Chmod(l.dir, 0o755); err != nil { // peers have users of their own
		return nil, err
	}
	if l.base, err = freePorts(); err != nil {
		return nil, err
	}
	l.home = filepath.Join(l.dir, "home")
	if text, err := exec.CommandContext(ctx, l.gatewayd, "init", "--dir", l.home, "--port", fmt.Sprint(l.base)).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s init: %w\n%s", l.gatewayd, err, text)
	}
	if err := l.certificates(); err != nil {
		return nil, err
	}
	l.find()
	return l, nil
}

// close ends whatever still runs and clears away.
func (l *lab) close() error {
	endStrays()
	return os.RemoveAll(l.dir)
}

// Offsets of the ports. Those below 90 are those of gatewayd init.
const (
	portInbound    = 25
	portSink       = 28
	portSubmission = 87
	portPeer       = 90
	portPeerAgain  = 91 // where the content filter of W4 brings mail back
)

// freePorts returns a base above which every port that we use is free; any one,
// so that two runs at once hardly meet.
func freePorts() (int, error) {
	for range 100 {
		base := 20000 + 100*rand.IntN(120)
		free := true
		for _, n := range []int{portInbound, 26, 27, portSink, 65, portSubmission, portPeer, portPeerAgain} {
			c, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+n))
			if err != nil {
				free = false
				break
			}
			c.Close()
		}
		if free {
			return base, nil
		}
	}
	return 0, errors.New("no free ports between 20000 and 32000")
}

func (l *lab) addr(offset int) string { return fmt.Sprintf("127.0.0.1:%d", l.base+offset) }

// file names a file of the development configuration.
func (l *lab) file(name string) string { return filepath.Join(l.home, name) }

func (l *lab) certificates() error {
	server, err := tls.LoadX509KeyPair(l.file("sim/relay-server.crt"), l.file("sim/relay-server.key"))
	if err != nil {
		return err
	}
	client, err := tls.LoadX509KeyPair(l.file("client.crt"), l.file("client.key"))
	if err != nil {
		return err
	}
	text, err := os.ReadFile(l.file("ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return errors.New("ca.crt holds no certificate")
	}
	l.conf = &tls.Config{Certificates: []tls.Certificate{server}, MinVersion: tls.VersionTLS12}
	l.clientTLS = &tls.Config{Certificates: []tls.Certificate{client}, RootCAs: roots, ServerName: "gateway.bl.example", MinVersion: tls.VersionTLS12}
	return nil
}

// find asks every peer whether it is here.
func (l *lab) find() {
	for _, p := range allPeers() {
		if p.name != gatewaydName && !slices.Contains(l.options.peers, p.name) {
			continue
		}
		version, err := p.about(l)
		if err != nil {
			l.missing = append(l.missing, fmt.Sprintf("%s (%v)", p.name, err))
			continue
		}
		p.version = version
		l.peers = append(l.peers, p)
	}
}

// headline says what is compared, and on what.
func (l *lab) headline() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", machine(l.dir))
	for _, p := range l.peers {
		fmt.Fprintf(&b, "  %-12s %s\n", p.name, p.version)
	}
	if len(l.missing) > 0 {
		fmt.Fprintf(&b, "  left out: %s\n", strings.Join(l.missing, ", "))
	}
	return b.String()
}

// machine describes where we are.
func machine(dir string) string {
	first := func(path, prefix string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			return "?"
		}
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return strings.Trim(rest, " \t:\n")
			}
		}
		return "?"
	}
	load, _ := os.ReadFile("/proc/loadavg")
	kind := "disk"
	if inMemory(dir) {
		kind = "MEMORY: syncs cost nothing here, the figures of durable peers are worthless"
	}
	return fmt.Sprintf("%s, %d cores (%s), Linux %s, data on %s, load before: %.14s", time.Now().UTC().Format("2006-01-02 15:04"), runtime.NumCPU(),
		first("/proc/cpuinfo", "model name"), first("/proc/sys/kernel/osrelease", ""), kind, load)
}

func inMemory(dir string) bool {
	var fs syscall.Statfs_t
	return syscall.Statfs(dir, &fs) == nil && (fs.Type == 0x01021994 || fs.Type == -0x7a7ba70a) // tmpfs, ramfs
}

// able returns the peers that can do something.
func (l *lab) able(m mode) (all []peer) {
	for _, p := range l.peers {
		if slices.Contains(p.modes, m) {
			all = append(all, p)
		}
	}
	return all
}

// with starts a peer on an empty folder, lets it be measured, and clears away.
func (l *lab) with(ctx context.Context, p peer, s setup, measure func(*running) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.started++
	s.lab, s.dir = l, filepath.Join(l.dir, fmt.Sprintf("%s-%d", p.name, l.started))
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		return err
	}
	err := l.quiet(ctx)
	if err == nil {
		err = l.measured(ctx, p, s, measure)
	}
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w%s", err, lastWords(s.dir))
	}
	err = errors.Join(err, os.RemoveAll(s.dir))
	syscall.Sync() // what one leaves behind must not slow the next one down
	return err
}

func (l *lab) measured(ctx context.Context, p peer, s setup, measure func(*running) error) error {
	r, err := p.start(ctx, s)
	if err != nil {
		return err
	}
	defer func() { r.kill() }() // measure may have started it anew
	return measure(r)
}

// quiet waits until nobody listens where the next peer shall: else we would
// measure the wrong one.
func (l *lab) quiet(ctx context.Context) error {
	for _, port := range []int{portInbound, portSubmission, portPeer, portPeerAgain} {
		for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
			c, err := net.Listen("tcp", l.addr(port))
			if err == nil {
				c.Close()
				break
			}
			if ctx.Err() != nil || time.Now().After(end) {
				return fmt.Errorf("port of the peers: %w", err)
			}
		}
	}
	return nil
}

// lastWords is the end of a peer's log.
func lastWords(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil || len(text) == 0 {
		return ""
	}
	return "; its log ends:\n" + string(text[max(0, len(text)-600):])
}

// sinkFor opens the sink of one measurement.
func (l *lab) sinkFor(want string) (*sink, error) { return listen(l.addr(portSink), l.conf, want) }

// windows measures one point: in each window all peers one after the other,
// the first one another each time. A peer that fails is named and left out of
// that window.
func (l *lab) windows(ctx context.Context, c cell, reps int, peers []peer, measure func(peer) (sample, error)) error {
	var all []map[string]sample
	for rep := range reps {
		window := map[string]sample{}
		for i := range peers {
			p := peers[(i+rep)%len(peers)]
			got, err := measure(p)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				fmt.Fprintf(l.say, "%s, %s: %v\n", c, p.name, err)
				continue
			}
			window[p.name] = got
		}
		all = append(all, window)
	}
	l.add(summarise(c, all)...)
	return nil
}

func (l *lab) add(results ...Result) {
	for i := range results {
		if d, ok := l.durable[results[i].Peer]; ok {
			results[i].Fsync = &d.durable
		}
	}
	l.results = append(l.results, results...)
}

// save writes everything that is known.
func (l *lab) save() error {
	return errors.Join(writeJSON(filepath.Join(l.out, "results.json"), l.results), l.saveTable(), writeChart(filepath.Join(l.out, "results.svg"), l.results))
}

func (l *lab) saveTable() error {
	f, err := os.Create(filepath.Join(l.out, "results.txt"))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, l.headline())
	return errors.Join(err, l.writeSyncs(f), writeTable(f, l.results), f.Close())
}
