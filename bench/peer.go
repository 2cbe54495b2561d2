package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// mode is what a peer shall do with its mail.
type mode int

const (
	accepting  mode = iota // queue it and deliver nothing
	parking                // the same, but taken in over TLS as from an authority's mail server
	delivering             // hand it to the sink
	securing               // sign, encrypt, hand it to the sink
)

// peer is a mail system.
type peer struct {
	name    string
	version string
	modes   []mode
	about   func(*lab) (string, error) // its version, or why it cannot take part
	start   func(context.Context, setup) (*running, error)
}

// setup is how a peer is to be started.
type setup struct {
	lab  *lab
	dir  string
	mode mode
	wrap []string // command in front of it: strace
	keys *keyPair // securing
}

// running is a started peer.
type running struct {
	entrance
	*process
	spool string // where its queue lies on the disk
}

const (
	gatewaydName = "gatewayd"
	postfixName  = "postfix"
)

// allPeers lists everybody in the order of the tables.
func allPeers() []peer {
	return []peer{
		{name: gatewaydName, modes: []mode{accepting, parking, delivering, securing}, about: aboutGatewayd, start: startGatewayd},
		{name: postfixName, modes: []mode{accepting, parking, delivering, securing}, about: aboutPostfix, start: startPostfix},
		{name: "exim", modes: []mode{accepting, delivering}, about: aboutExim, start: startExim},
		{name: "opensmtpd", modes: []mode{accepting, delivering}, about: aboutOpenSMTPD, start: startOpenSMTPD},
		{name: "chasquid", modes: []mode{accepting}, about: aboutChasquid, start: startChasquid},
		{name: "maddy", modes: []mode{accepting, delivering}, about: aboutMaddy, start: startMaddy},
		{name: "mox", modes: []mode{accepting}, about: aboutMox, start: startMox},
	}
}

// peerNames are those that gatewayd can be compared with.
func peerNames() (names []string) {
	for _, p := range allPeers() {
		if p.name != gatewaydName {
			names = append(names, p.name)
		}
	}
	return names
}

// firstLine runs a program and returns the first line that it prints.
func firstLine(name string, args ...string) (string, error) { return lineWith("", name, args...) }

// lineWith returns the first line with a word in it. Some programs print their
// version and say that it was no success.
func lineWith(word, name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, word) {
			return strings.TrimSpace(line), nil
		}
	}
	return "", fmt.Errorf("%s tells no version: %w", name, err)
}

func aboutGatewayd(l *lab) (string, error) { return firstLine(l.gatewayd, "version") }

// gatewaydLimits open what protects one client from another: here one client is
// all.
const gatewaydLimits = `
[limits]
connections = 2000
connections_per_ip = 2000
message_size = "100 MB"
`

// gatewaydDelivery is as parallel as the peers are set to.
const gatewaydDelivery = `
[delivery]
concurrency = 50
per_target = 50
`

var dataKey = regexp.MustCompile(`(?m)^data\s*=.*$`)

// startGatewayd runs the program with the development configuration: policy,
// audit and sealing on, as it is.
//
// Accepting, mail for an authority comes in at the inbound port, in the clear
// like at the peers, and is filed in the mailbox meanwhile. In every other mode
// it comes in at the submission port: TLS, signed in by client certificate; it
// is parked while the next system is silent.
func startGatewayd(ctx context.Context, s setup) (*running, error) {
	text, err := os.ReadFile(s.lab.file("gatewayd.toml"))
	if err != nil {
		return nil, err
	}
	data := filepath.Join(s.dir, "data")
	conf := dataKey.ReplaceAllLiteralString(string(text), fmt.Sprintf("data = %q", data))
	if s.mode == securing {
		ring := filepath.Join(s.dir, "keyring")
		if err := s.keys.ring(ring); err != nil {
			return nil, err
		}
		conf = fmt.Sprintf("keyring = %q\n", ring) + dropTests(conf)
	}
	file := s.lab.file(filepath.Base(s.dir) + ".toml") // names of files are relative to its folder
	conf += gatewaydLimits
	if s.mode == delivering || s.mode == securing {
		conf += gatewaydDelivery
	}
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		return nil, err
	}
	r := &running{spool: data, entrance: entrance{addr: s.lab.addr(portInbound), from: "amt@sender.example", to: "bauinspektorat@bl.example"}}
	if s.mode != accepting {
		r.entrance = entrance{addr: s.lab.addr(portSubmission), from: "bauinspektorat@bl.example", to: "kunde@rcpt.example", tls: s.lab.clientTLS}
	}
	if s.mode == securing {
		r.subject, r.to = "[vertraulich] ", partner
	}
	if r.process, err = spawn(s.dir, s.wrap, s.lab.gatewayd, "serve", "-c", file); err != nil {
		return nil, err
	}
	if err := r.answers(ctx, r.addr); err != nil {
		r.kill()
		return nil, err
	}
	return r, nil
}

// dropTests takes the assertions away: they name keys that are others here.
func dropTests(conf string) string {
	head, _, _ := strings.Cut(conf, "[[test]]")
	return head
}
