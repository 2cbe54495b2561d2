package main

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"gatewayd/config"
	"gatewayd/message"
)

// sent is a message that a client was told 250 for.
type sent struct {
	id    message.ID
	class message.Class
}

// acknowledged collects what the clients were told.
type acknowledged struct {
	mu    sync.Mutex
	sent  map[string]sent // by token
	tries atomic.Int64
}

// kinds of mail in the load: class, recipient and subject.
var load = []struct {
	class       message.Class
	to, subject string
}{
	{message.Registered, "buerger@example.ch", "[einschreiben] Entscheid"},
	{message.Registered, "firma@example.ch", "[einschreiben] Entscheid"},
	{message.Confidential, "buerger@example.ch", "[vertraulich] Akten"},
	{message.Normal, "irgendwer@example.net", "Auskunft"},
}

// TestKill kills the gateway at random moments while 20 clients send, and
// starts it again. Every acknowledged message must end once at the platform,
// or visibly in the queue; a registered one never twice; the data folder must
// be clean each time (quality goals R1, R13, R15).
func TestKill(t *testing.T) {
	kills := 30
	if n, err := strconv.Atoi(os.Getenv("GATEWAYD_KILLS")); err == nil {
		kills = n
	} else if testing.Short() {
		kills = 5
	}
	r := newRig(t, func(s string) string {
		return s + "\n[delivery]\nretry_first = \"200ms\"\nretry_max = \"1s\"\nreserve_disk = \"1 MB\"\n\n[limits]\nconnections_per_ip = 400\n"
	})
	ack := &acknowledged{sent: map[string]sent{}}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 20 {
		clients.Go(func() { r.client(i, ack, stop) })
	}
	for n := range kills {
		r.start()
		time.Sleep(200*time.Millisecond + rand.N(500*time.Millisecond))
		r.kill()
		if out, code := r.run("queue", "check"); code != 0 {
			t.Fatalf("after kill %d: queue check: exit %d\n%s", n+1, code, out)
		}
	}
	close(stop)
	clients.Wait()
	r.start()
	r.settled(ack)
	r.account(ack, kills)
	if out, code := r.run("audit", "verify"); code != 0 {
		t.Errorf("audit verify: exit %d\n%s", code, out)
	}
}

// client sends one message after the other over one connection until it
// breaks, and then over a new one.
func (r *rig) client(n int, ack *acknowledged, stop <-chan struct{}) {
	conf, err := r.clientTLS()
	if err != nil {
		r.t.Error(err)
		return
	}
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		c, err := gosmtp.DialStartTLS(r.ports.Submission, conf)
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		for k := 0; sendOne(c, fmt.Sprintf("token-%d-%d-%d", n, i, k), (n+k)%len(load), ack) == nil; k++ {
			select {
			case <-stop:
				c.Close()
				return
			default:
			}
		}
		c.Close()
	}
}

// clientTLS signs in by certificate: a password's hash is made to be slow.
func (r *rig) clientTLS() (*tls.Config, error) {
	roots, err := rootsIn(filepath.Join(r.dir, config.SimulatorCA))
	if err != nil {
		return nil, err
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(r.dir, "client.crt"), filepath.Join(r.dir, "client.key"))
	return &tls.Config{RootCAs: roots, ServerName: "gateway.bl.example", MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}, err
}

func sendOne(c *gosmtp.Client, token string, kind int, ack *acknowledged) error {
	ack.tries.Add(1)
	k := load[kind]
	if err := c.Mail("bauinspektorat@bl.example", nil); err != nil {
		return err
	}
	if err := c.Rcpt(k.to, nil); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "From: bauinspektorat@bl.example\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <%s@bl.example>\r\n\r\nInhalt %s\r\n%s\r\n", k.to, k.subject, token, token, strings.Repeat(strings.Repeat("x", 70)+"\r\n", rand.IntN(50)))
	reply, err := w.CloseWithResponse()
	if err != nil {
		return err
	}
	words := strings.Fields(reply.StatusText)
	id, err := message.ParseID(words[len(words)-1])
	if err != nil {
		return err
	}
	ack.mu.Lock()
	defer ack.mu.Unlock()
	ack.sent[token] = sent{id, k.class}
	return nil
}

var tokens = regexp.MustCompile(`Inhalt (token-\d+-\d+-\d+)`)

// arrived counts per token what the platforms and the sink received.
func (r *rig) arrived() map[string]int {
	n := map[string]int{}
	count := func(raw []byte) {
		if m := tokens.FindSubmatch(raw); m != nil {
			n[string(m[1])]++
		}
	}
	for _, m := range r.sims.incamail.Received() {
		count(m.Raw)
	}
	for _, m := range r.sims.privasphere.Received() {
		count(m.Raw)
	}
	for _, m := range r.sink.all() {
		count(m.raw)
	}
	return n
}

// settled waits until nothing more arrives.
func (r *rig) settled(ack *acknowledged) {
	last, since := -1, time.Now()
	for end := time.Now().Add(4 * time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		n := 0
		for _, k := range r.arrived() {
			n += k
		}
		if n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) > 8*time.Second {
			return
		}
	}
	r.t.Errorf("mail still moves after four minutes: %d of %d", last, len(ack.sent))
}

// account compares what was acknowledged with what arrived and with the queue.
func (r *rig) account(ack *acknowledged, kills int) {
	r.t.Helper()
	arrived := r.arrived()
	lost, twice, registeredTwice, visible := 0, 0, 0, 0
	for token, s := range ack.sent {
		switch n := arrived[token]; {
		case n == 0:
			if r.visible(s.id) {
				visible++
				continue
			}
			lost++
			out, _ := r.run("message", "trace", s.id.String())
			r.t.Errorf("%s (%s, %s) was acknowledged, is not at the platform and not in the queue\n%s", token, s.id, s.class, out)
		case n > 1 && s.class == message.Registered:
			registeredTwice++
			r.t.Errorf("%s (%s) is registered and arrived %d times", token, s.id, n)
		case n > 1:
			twice++
			r.explained(token, s.id)
		}
	}
	r.t.Logf("%d kills, %d tries, %d acknowledged: %d lost, %d registered twice, %d other duplicates (each explained), %d visible in the queue",
		kills, ack.tries.Load(), len(ack.sent), lost, registeredTwice, twice, visible)
	if len(ack.sent) < kills*5 {
		r.t.Errorf("only %d messages were acknowledged: the load does not test anything", len(ack.sent))
	}
}

// visible reports whether an operator sees what became of a message that did
// not arrive: it is still open.
func (r *rig) visible(id message.ID) bool {
	for _, s := range r.trace(id.String()) {
		for _, item := range s.Items {
			if !item.State.Final() {
				return true
			}
		}
	}
	return false
}

// explained: a duplicate of a class that is not registered was in flight when
// the gateway died, and the audit log says so.
func (r *rig) explained(token string, id message.ID) {
	for _, s := range r.trace(id.String()) {
		for _, e := range s.Events {
			if e.Kind == message.EventUnclear {
				return
			}
		}
	}
	r.t.Errorf("%s (%s) arrived twice and the audit log does not say why", token, id)
}
