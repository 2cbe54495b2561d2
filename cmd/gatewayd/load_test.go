package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"gatewayd/api"
	"gatewayd/config"
	"gatewayd/message"
	"gatewayd/queue"
)

// Where a mail of the load ends.
type end string

const (
	endsArrived end = "arrives" // at a platform or at the next mail server
	endsRefused end = "refused" // by the next mail server; its sender gets a DSN
	endsHeld    end = "held"    // its sender gets a notice
	endsLocal   end = "local"   // in the mailbox of another authority
)

// load is the mail that clients send while the gateway is tormented.
var load = []struct {
	class       message.Class
	to, subject string
	end         end
	lines       int // at most
}{
	{message.Registered, "buerger@example.ch", "[einschreiben] Entscheid", endsArrived, 50},
	{message.Registered, "firma@example.ch", "[einschreiben] Entscheid", endsArrived, 50},
	{message.Confidential, "buerger@example.ch", "[vertraulich] Akten", endsArrived, 50},
	{message.Normal, "irgendwer@example.net", "Auskunft", endsArrived, 50},
	{message.Normal, "irgendwer@example.net", "Plan", endsArrived, 9000}, // a file of its own in the vault
	{message.Normal, "abgelehnt@example.net", "Auskunft", endsRefused, 50},
	{message.Confidential, "niemand@example.net", "[vertraulich] Akten", endsHeld, 50},
	{message.Normal, "steuerverwaltung@bl.example", "Amtshilfe", endsLocal, 50},
}

// sent is a message that a client was told 250 for.
type sent struct {
	id   message.ID
	kind int // in load
	body message.Digest
}

// acknowledged collects what the clients were told.
type acknowledged struct {
	mu    sync.Mutex
	sent  map[string]sent // by token
	tries atomic.Int64
	over  bool     // what is acknowledged from now on does not count
	late  int      // what did not
	fives []string // replies that say never: there is no reason for one
}

// tormentable is a configuration for tests under load: quick repetitions, and
// room for many clients.
func tormentable(s string) string {
	return s + "\n[delivery]\nretry_first = \"200ms\"\nretry_max = \"1s\"\nreserve_disk = \"1 MB\"\n\n[limits]\nconnections_per_ip = 400\n"
}

// underLoad starts clients that send until stop is called.
func (r *rig) underLoad(clients int) (ack *acknowledged, stop func()) {
	r.sink.server.Backend = choosy{r.sink.server.Backend}
	ack = &acknowledged{sent: map[string]sent{}}
	done := make(chan struct{})
	var running sync.WaitGroup
	for i := range clients {
		running.Go(func() { r.sends(i, ack, done) })
	}
	return ack, sync.OnceFunc(func() { close(done); running.Wait() })
}

// choosy is a next mail server that refuses one recipient.
type choosy struct{ gosmtp.Backend }

// NewSession implements gosmtp.Backend.
func (b choosy) NewSession(c *gosmtp.Conn) (gosmtp.Session, error) {
	s, err := b.Backend.NewSession(c)
	return choosySession{s}, err
}

type choosySession struct{ gosmtp.Session }

// Rcpt implements gosmtp.Session.
func (s choosySession) Rcpt(to string, o *gosmtp.RcptOptions) error {
	if strings.HasPrefix(to, "abgelehnt@") {
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "no such mailbox"}
	}
	return s.Session.Rcpt(to, o)
}

// sends sends one message after the other over one connection until it
// breaks, and then over a new one.
func (r *rig) sends(n int, ack *acknowledged, stop <-chan struct{}) {
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
		for k := 0; err == nil; k++ {
			err = sendOne(c, fmt.Sprintf("token-%d-%d-%d", n, i, k), (n+k)%len(load), ack)
			select {
			case <-stop:
				c.Close()
				return
			default:
			}
		}
		ack.refused(err)
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

// sendOne sends a mail of that kind; nil only when it was acknowledged.
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
	body := fmt.Sprintf("Inhalt %s\r\n%s", token, strings.Repeat(strings.Repeat("x", 70)+"\r\n", k.lines/2+rand.IntN(k.lines/2)))
	if _, err := fmt.Fprintf(w, "From: bauinspektorat@bl.example\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <%s@bl.example>\r\n\r\n", k.to, k.subject, token); err != nil {
		return err
	}
	if _, err := io.WriteString(w, body); err != nil {
		return err
	}
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
	if ack.over {
		ack.late++
		return nil
	}
	ack.sent[token] = sent{id, kind, sha256.Sum256([]byte(body))}
	return nil
}

// refused notes a reply that is no temporary one.
func (ack *acknowledged) refused(err error) {
	var reply *gosmtp.SMTPError
	if !errors.As(err, &reply) || reply.Code < 500 {
		return
	}
	ack.mu.Lock()
	defer ack.mu.Unlock()
	ack.fives = append(ack.fives, reply.Error())
}

// acknowledges waits until n more messages are acknowledged.
func (ack *acknowledged) acknowledges(t *testing.T, n int) {
	t.Helper()
	want := ack.count() + n
	await(t, "acknowledgements", func() bool { return ack.count() >= want })
}

func (ack *acknowledged) count() int {
	ack.mu.Lock()
	defer ack.mu.Unlock()
	return len(ack.sent)
}

var tokens = regexp.MustCompile(`Inhalt (token-\d+-\d+-\d+)\r\n`)

// arrival is what came to the next systems under one token.
type arrival struct {
	copies  int
	changed bool // a body is not what was sent
}

func (r *rig) arrived(ack *acknowledged) map[string]arrival {
	all := map[string]arrival{}
	count := func(raw []byte) {
		_, body := split(raw)
		m := tokens.FindSubmatch(body)
		if m == nil {
			return
		}
		token := string(m[1])
		a, was := all[token], ack.sent[token]
		a.copies++
		a.changed = a.changed || !was.id.IsZero() && message.Digest(sha256.Sum256(body)) != was.body
		all[token] = a
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
	return all
}

// operator asks the running gateway.
func (r *rig) operator() *api.Client {
	if r.client == nil {
		r.client = api.NewClient(socketPath(r.cfg.Data))
	}
	return r.client
}

// settled waits until nothing moves any more but what waits for a receipt.
func (r *rig) settled() {
	r.t.Helper()
	var n map[message.State]int
	calm := 0
	for end := time.Now().Add(4 * time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		var err error
		if n, err = r.operator().Counts(context.Background()); err == nil && n[message.Waiting]+n[message.Sending] == 0 {
			if calm++; calm == 10 {
				return
			}
			continue
		}
		calm = 0
	}
	r.t.Errorf("mail still moves after four minutes: %v", n)
}

// items returns the state of everything that authorities have sent.
func (r *rig) items() map[message.ID]message.Item {
	r.t.Helper()
	all := map[message.ID]message.Item{}
	q := queue.Query{Limit: 1000}
	for {
		page, next, err := r.operator().List(context.Background(), q)
		if err != nil {
			r.t.Fatalf("list: %v", err)
		}
		for _, item := range page {
			all[item.Key.Message] = item
		}
		if next == "" {
			return all
		}
		q.After = next
	}
}

// tally is what became of the acknowledged mail.
type tally struct {
	lost, changed, registeredTwice, twice, unexplained int

	open   map[message.State]int // arrived nowhere, and visible in the queue
	looked map[end]int           // how many stories of that end were read
}

// account compares what was acknowledged with what arrived and with the queue:
// nothing is lost or changed, nothing registered arrived twice, every other
// duplicate is explained, and who must be told is told once.
func (r *rig) account(ack *acknowledged, what string) {
	r.t.Helper()
	if len(ack.fives) > 0 {
		r.t.Errorf("%d replies say never, the first: %s", len(ack.fives), ack.fives[0])
	}
	y, arrived, items := tally{open: map[message.State]int{}, looked: map[end]int{}}, r.arrived(ack), r.items()
	for token, s := range ack.sent {
		item, there := items[s.id]
		if !there {
			y.lost++
			r.t.Errorf("%s (%s) was acknowledged and is not in the ledger", token, s.id)
			continue
		}
		if arrived[token].changed {
			y.changed++
			r.t.Errorf("%s (%s) arrived changed", token, s.id)
		}
		r.judge(token, s, item, arrived[token].copies, &y)
	}
	r.t.Logf("%s, %d tries, %d acknowledged: %d lost, %d changed, %d registered twice, %d other duplicates (%d unexplained), open and visible in the queue: %v",
		what, ack.tries.Load(), len(ack.sent), y.lost, y.changed, y.registeredTwice, y.twice, y.unexplained, y.open)
}

func (r *rig) judge(token string, s sent, item message.Item, copies int, y *tally) {
	r.t.Helper()
	k := load[s.kind]
	switch {
	case k.end != endsArrived:
		if copies > 0 {
			r.t.Errorf("%s (%s) arrived %d times; it must be %s", token, s.id, copies, k.end)
		}
		r.told(token, s, item, y)
	case copies == 0 && item.State.Final():
		y.lost++
		r.t.Errorf("%s (%s, %s) was acknowledged, is %s and arrived nowhere", token, s.id, k.class, item.State)
	case copies == 0:
		y.open[item.State]++
	case copies > 1 && k.class == message.Registered:
		y.registeredTwice++
		r.t.Errorf("%s (%s) is registered and arrived %d times", token, s.id, copies)
	case copies > 1:
		y.twice++
		if !r.explained(s.id) {
			y.unexplained++
			r.t.Errorf("%s (%s) arrived %d times and the audit log does not say why", token, s.id, copies)
		}
	}
}

// maxStories bounds how many stories of one end are read: each one reads the
// audit file.
const maxStories = 40

// told looks at mail that ends on this gateway.
func (r *rig) told(token string, s sent, item message.Item, y *tally) {
	r.t.Helper()
	k := load[s.kind]
	want := map[end]message.State{endsRefused: message.Refused, endsHeld: message.Held, endsLocal: message.Done}[k.end]
	if item.State != want && !item.State.Final() {
		y.open[item.State]++
		return
	}
	if item.State != want {
		r.t.Errorf("%s (%s) is %s, not %s: %s", token, s.id, item.State, want, item.Alarm)
		return
	}
	if y.looked[k.end]++; y.looked[k.end] > maxStories {
		return
	}
	stories, err := r.operator().Trace(context.Background(), testReading(), "<"+token+"@bl.example>")
	if err != nil {
		r.t.Fatalf("trace: %v", err)
	}
	notices, copies, unclear := 0, 0, 0
	for _, story := range stories {
		if story.Envelope.Direction == message.Inbound {
			copies++
		}
		for _, e := range story.Events {
			if story.Envelope.ID == s.id && e.Kind == message.EventNotice {
				notices++
			}
			if e.Kind == message.EventUnclear || e.Kind == message.EventRetry {
				unclear++
			}
		}
	}
	switch {
	case k.end == endsLocal && copies != 1 && (copies == 0 || unclear == 0):
		r.t.Errorf("%s (%s) lies %d times in the mailbox, %d attempts were unclear", token, s.id, copies, unclear)
	case k.end != endsLocal && notices != 1:
		r.t.Errorf("%s (%s) is %s and its sender was told %d times", token, s.id, item.State, notices)
	}
}

// explained: a duplicate of a class that is not registered was in flight when
// the gateway died, and the audit log says so.
func (r *rig) explained(id message.ID) bool {
	stories, err := r.operator().Trace(context.Background(), testReading(), id.String())
	if err != nil {
		r.t.Fatalf("trace: %v", err)
	}
	for _, s := range stories {
		for _, e := range s.Events {
			if e.Kind == message.EventUnclear {
				return true
			}
		}
	}
	return false
}

// sound fails unless queue and audit log are whole.
func (r *rig) sound(when string) {
	r.t.Helper()
	for _, args := range [][]string{{"queue", "check"}, {"audit", "verify"}} {
		if out, code := r.run(args...); code != 0 {
			r.t.Fatalf("%s: %s: exit %d\n%s", when, strings.Join(args, " "), code, out)
		}
	}
}
