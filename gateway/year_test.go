package gateway_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatewayd/audit"
	"gatewayd/calendar"
	"gatewayd/connectors"
	"gatewayd/connectors/incamail"
	"gatewayd/connectors/smtpclient"
	"gatewayd/crypto/seal"
	"gatewayd/gateway"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/retention"
	"gatewayd/simulator"
	"gatewayd/smtp"
	"gatewayd/vault"
)

// TestYear is a year of mail in virtual time, with all outcomes mixed and random
// faults: registered decisions go to the simulated platform, and its receipts come
// back, by SMTP under TLS over net.Pipe. At every step nothing older than its limit
// is readable, no log line is gone early or kept late, no receipt is lost, and every
// protocol of destruction verifies. A short form runs always; with
// GATEWAYD_YEAR=10000 (make year) that many messages are sent and every hour is a
// step.
func TestYear(t *testing.T) {
	n, step := 300, 25*time.Hour // every hour of the day in turn
	if s := os.Getenv("GATEWAYD_YEAR"); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil || n < 1 {
			t.Fatalf("GATEWAYD_YEAR=%s: write a number of messages", s)
		}
		step = time.Hour
	}
	synctest.Test(t, func(t *testing.T) {
		y := newYear(t, n)
		y.live(step)
		y.end()
	})
}

const yearDays = 366

// sent is one message of the year.
type sent struct {
	id      message.ID
	kind    string
	start   time.Time
	ref     message.Ref
	eraseBy time.Time
	logEnd  time.Time
	file    time.Time // when the authority's file takes it; zero: never
	checked bool      // seen before the end of its log window
}

type year struct {
	*office
	rnd       *rand.Rand
	running   atomic.Pointer[gateway.Gateway]
	ca        *simulator.CA
	platform  *simulator.Platform
	toUs      *pipes // the gateway's port 25
	toThem    *pipes // the platform's
	door      *smtp.Server
	serving   sync.WaitGroup
	todo      []time.Time // when messages are to be sent, ascending
	all       []*sent     // in the order of start: limits come in that order, too
	limits    int         // of all: whose content limit has passed
	logs      int         // whose log window has passed
	refs      map[string]*sent
	active    map[string]bool // days on which something happened
	protocols int
	prevName  string
	prevHash  string
	public    ed25519.PublicKey
	stops     []stop
	restarts  int
	late      int // protocols of what went after its limit, because of a stop
	cuts      int
	outcomes  map[string]int
	steps     int
	swept     retention.Result // the last sweep
}

// stop is a time in which the program did not run, and how long its clock could be
// in doubt behind it.
type stop struct{ from, until, doubt time.Time }

// String implements fmt.Stringer.
func (s stop) String() string {
	return fmt.Sprintf("from %s to %s, in doubt to %s", s.from, s.until, s.doubt)
}

func newYear(t *testing.T, n int) *year {
	time.Sleep(time.Until(time.Date(2026, 11, 23, 5, 0, 0, 0, time.UTC))) // a bubble begins in the year 2000
	seed := rand.Uint64()
	if s := os.Getenv("GATEWAYD_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &seed); err != nil {
			t.Fatalf("GATEWAYD_SEED=%s: write a number", s)
		}
	}
	t.Logf("GATEWAYD_SEED=%d", seed)
	y := &year{rnd: rand.New(rand.NewPCG(seed, 1)), refs: map[string]*sent{}, active: map[string]bool{}, outcomes: map[string]int{}}
	for range n {
		y.todo = append(y.todo, time.Now().Add(time.Duration(y.rnd.Int64N(int64((yearDays-1)*24*time.Hour)))))
	}
	slices.SortFunc(y.todo, time.Time.Compare)
	w := newWorld(t)
	w.clock = func() time.Time { return time.Now().UTC() }
	w.know(t, yearPeople())
	w.links["smtp"].on(y.anybody)
	y.office = &office{start: time.Now(), over: true, edit: y.wire, boot: "boot-0"}
	y.office.fallback(t)
	y.world(t)
	y.office.open(t, w, filepath.Join(fastDir(t), "data"))
	key, err := y.keys.SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	y.public = key.Public().(ed25519.PublicKey)
	t.Cleanup(y.shutDown)
	y.begin()
	return y
}

// yearProfiles are the recipients on the platform and what they do.
func yearProfiles() map[string]simulator.Profile {
	return map[string]simulator.Profile{
		"holt@example.ch":       {Kind: simulator.Native, Action: simulator.ActAccept, After: 40 * time.Hour},
		"sofort@example.ch":     {Kind: simulator.AutoAccept},
		"verweigert@example.ch": {Kind: simulator.Native, Action: simulator.ActRefuse, After: 70 * time.Hour},
		"wartet@example.ch":     {Kind: simulator.Native, Action: simulator.ActIgnore},
		"sperrt@example.ch":     {Kind: simulator.BlocksRegistered},
	}
}

func yearPeople() string {
	text := ""
	for address := range yearProfiles() {
		text += fmt.Sprintf("[[recipient]]\naddress = %q\nplatforms = [{ name = \"incamail\", identified = true, checked = 2026-11-01 }]\n"+
			"consent = [{ authority = \"*\", scope = \"all\", form = \"text\", given = 2026-01-05, evidence = \"sha256:%064d\" }]\n", address, 0)
	}
	return text
}

// world makes the platform and the ways to and from it.
func (y *year) world(t *testing.T) {
	var err error
	if y.ca, err = simulator.NewCA("Jahr CA"); err != nil {
		t.Fatal(err)
	}
	server, err1 := y.ca.Server("mgi.incamail.example")
	stamp, err2 := y.ca.Seal("Post CH AG", "noreply@im.post.ch")
	ours, err3 := y.ca.Server("gateway.bl.example")
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	y.toUs, y.toThem = newPipes(), newPipes()
	y.platform, err = simulator.New(simulator.Options{
		Kind: simulator.IncaMail, Hostname: "mgi.incamail.example", TLS: &tls.Config{Certificates: []tls.Certificate{server.TLS()}, MinVersion: tls.VersionTLS12},
		ClientCAs: y.ca.Pool(), Customers: []simulator.Customer{{Domain: "bl.example", Certificate: "bl.example"}}, Seal: stamp, Idle: 10 * time.Minute, Clock: bubbleClock{},
		Deliver: simulator.Delivery{Addr: "gateway.bl.example:25", TLS: &tls.Config{RootCAs: y.ca.Pool(), ServerName: "gateway.bl.example", MinVersion: tls.VersionTLS12}, Dial: y.toUs.dial},
	})
	if err != nil {
		t.Fatal(err)
	}
	for address, p := range yearProfiles() {
		y.platform.SetRecipient(address, p)
	}
	if y.door, err = smtp.New(smtp.Options{
		Hostname: "gateway.bl.example", Kind: message.Inbound, TLS: &tls.Config{Certificates: []tls.Certificate{ours.TLS()}, MinVersion: tls.VersionTLS12}, Now: y.now,
	}, intake{y}, nil); err != nil {
		t.Fatal(err)
	}
	y.serving.Go(func() { _ = y.platform.Serve(y.toThem) })
	y.serving.Go(func() { _ = y.door.Serve(y.toUs) })
}

func (y *year) now() time.Time { return time.Now().UTC() }

type bubbleClock struct{}

// Now implements simulator.Clock.
func (bubbleClock) Now() time.Time { return time.Now().UTC() }

// intake is the gateway that runs now; while none does, who comes must come again.
type intake struct{ y *year }

var errAway = &message.Refusal{Code: 451, Enhanced: "4.3.0", Text: "not now"}

// Willing implements smtp.Intake.
func (i intake) Willing(ctx context.Context, s message.Submission, to message.Address) error {
	if g := i.y.running.Load(); g != nil {
		return g.Willing(ctx, s, to)
	}
	return errAway
}

// Accept implements smtp.Intake.
func (i intake) Accept(ctx context.Context, s message.Submission, body io.Reader) (message.ID, error) {
	if g := i.y.running.Load(); g != nil {
		return g.Accept(ctx, s, body)
	}
	return message.ID{}, errAway
}

// wire puts the real connector and the platform's anchors into the options.
func (y *year) wire(o *gateway.Options) {
	client, err := y.ca.Client("bl.example")
	if err != nil {
		panic(err)
	}
	link, err := incamail.New(incamail.Options{Link: smtpclient.Options{
		Addr: "mgi.incamail.example:25", Hello: "gateway.bl.example", Dial: y.toThem.dial,
		TLS: &tls.Config{RootCAs: y.ca.Pool(), Certificates: []tls.Certificate{client.TLS()}, MinVersion: tls.VersionTLS12},
	}})
	if err != nil {
		panic(err)
	}
	o.Connectors["incamail"] = link
	p := o.Platforms["incamail"]
	p.Roots = y.ca.Pool()
	o.Platforms["incamail"] = p
	o.Authorities[0].Platforms = map[string]message.Address{"incamail": addr("bau@bl.example")}
}

// begin runs the gateway that is open.
func (y *year) begin() {
	y.g.Slower(10 * time.Minute)
	y.run()
	y.running.Store(y.g)
}

// anybody is the rest of the world: it takes, refuses, and loses connections.
func (y *year) anybody(context.Context, connectors.Handover) (connectors.Result, error) {
	switch rand.IntN(12) { // several goroutines ask
	case 0:
		return connectors.Result{}, errNever
	case 1, 2:
		return connectors.Result{}, errLater
	case 3:
		return connectors.Result{SentAs: "<x@gateway.bl.example>"}, errUnclear
	}
	return connectors.Result{Reply: "250 ok"}, nil
}

func (y *year) live(step time.Duration) {
	end := y.office.start.AddDate(0, 0, yearDays)
	for time.Now().Before(end) {
		y.steps++
		until := time.Now().Add(step)
		if midnight := calendar.DayOf(time.Now()).End(); midnight.Before(until) {
			until = midnight // the instant of every limit
		}
		if y.doubted(time.Now()) {
			until = time.Now().Add(time.Hour)
			if end := y.stops[len(y.stops)-1].doubt; end.Before(until) {
				until = end
			}
		}
		for len(y.todo) > 0 && y.todo[0].Before(until) {
			time.Sleep(time.Until(y.todo[0]))
			y.todo = y.todo[1:]
			y.send()
		}
		time.Sleep(time.Until(until))
		synctest.Wait()
		y.trouble(step)
		y.confirm()
		y.sweepOnce()
		synctest.Wait()
		y.check(step)
		if y.t.Failed() {
			y.t.Fatalf("step %d at %s, %+v\n%s", y.steps, y.now(), y.swept, tailText(y.log.String(), 3000))
		}
	}
}

func tailText(s string, n int) string { return s[max(0, len(s)-n):] }

// send sends or receives one message of some kind.
func (y *year) send() {
	mark := fmt.Sprintf("%x", y.rnd.Uint64())
	s := &sent{kind: "normal", start: y.now()}
	text := func(from, subject string) string {
		return "From: " + from + "\r\nSubject: " + subject + "\r\nMessage-ID: <" + mark + "@bl.example>\r\n\r\nINHALT-" + mark + "\r\n"
	}
	var err error
	switch k := y.rnd.IntN(20); {
	case k < 5: // a registered decision
		s.kind = "registered"
		who := []string{"holt@example.ch", "sofort@example.ch", "verweigert@example.ch", "wartet@example.ch", "sperrt@example.ch"}[y.rnd.IntN(5)]
		s.id, err = y.g.Accept(context.Background(), submission(who), strings.NewReader(text("bau@bl.example", "<r> Verfügung")))
	case k < 6: // a registered one without consent: held, and returned
		s.kind = "held"
		s.id, err = y.g.Accept(context.Background(), submission("fremd@example.ch"), strings.NewReader(text("bau@bl.example", "<r> Verfügung")))
	case k < 7: // confidential, and no key
		s.kind = "confidential"
		s.id, err = y.g.Accept(context.Background(), submission("partner@example.org"), strings.NewReader("Sensitivity: Company-Confidential\r\n"+text("bau@bl.example", "Akten")))
	case k < 13: // a citizen writes
		s.kind = "inbound"
		s.id, err = y.inbound("wer@example.org", text("wer@example.org", "Gesuch"), "bau@bl.example")
	default:
		s.id, err = y.g.Accept(context.Background(), submission("x@example.org"), strings.NewReader(text("bau@bl.example", "Brief")))
	}
	if err != nil {
		y.t.Fatalf("%s at %s: %v", s.kind, s.start, err)
	}
	w := retention.Default()
	s.eraseBy, s.logEnd = w.EraseBy(s.start), w.LogDay(s.start).End()
	if y.rnd.IntN(10) < 6 {
		s.file = s.start.Add(time.Duration(y.rnd.Int64N(int64(58 * 24 * time.Hour))))
	}
	time.Sleep(20 * time.Millisecond) // the ledger takes a while what comes right behind something else
	synctest.Wait()
	env, items, err := y.store.Message(context.Background(), s.id)
	if err != nil {
		y.t.Fatalf("%s at %s is not in the ledger: %v", s.kind, s.start, err)
	}
	s.ref = env.Body
	if items[0].Reference != "" {
		y.refs[items[0].Reference] = s
	}
	y.all = append(y.all, s)
	y.active[calendar.DayOf(s.start).String()] = true
}

// trouble changes what goes wrong: at the platform, and with the gateway.
func (y *year) trouble(step time.Duration) {
	if y.chance(step, 3*24*time.Hour) {
		faults := [][]string{nil, {"dup-receipt"}, {"reorder"}, {"late:30h"}, {"4xx:3"}, {"5xx"}, {"bad-seal"}, {"hang-after-data"}, {"dup-receipt", "late:5h"}, nil, nil}
		f, err := simulator.ParseFaults(faults[y.rnd.IntN(len(faults))])
		if err == nil {
			err = y.platform.SetFaults(f)
		}
		if err != nil {
			y.t.Fatal(err)
		}
		synctest.Wait()
	}
	if y.chance(step, 20*24*time.Hour) {
		y.stopAWhile()
	}
}

// stopAWhile ends the program and starts it again some time later: on a machine that
// ran on, on one that was started anew and asks a time service, or on one that knows
// nothing. What is over its limit then is not readable before anything else happens.
func (y *year) stopAWhile() {
	y.sweep() // it looks at its clock every few seconds
	s := stop{from: y.now()}
	y.halt()
	off := []time.Duration{time.Second, 20 * time.Minute, 5 * time.Hour, 30 * time.Hour, 4 * 24 * time.Hour}[y.rnd.IntN(5)]
	time.Sleep(off)
	s.until = y.now()
	s.doubt, y.synced = s.until, y.rnd.IntN(2) == 0
	if y.rnd.IntN(3) > 0 {
		y.boot = fmt.Sprintf("boot-%d", y.restarts+1)
		if off > time.Hour && !y.synced || y.doubted(s.from) { // an old doubt goes on
			s.doubt = s.until.Add(retention.SteadyFor)
		}
	} else if n := len(y.stops); n > 0 && y.stops[n-1].doubt.After(s.until) {
		s.doubt = y.stops[n-1].doubt
	}
	y.restarts++
	if y.doubted(s.from) {
		last := len(y.stops) - 1
		s.from, y.stops = y.stops[last].from, y.stops[:last]
	}
	y.stops = append(y.stops, s)
	y.office.open(y.t, y.w, y.dir)
	for i := y.limits; i < len(y.all) && !s.until.Before(y.all[i].eraseBy); i++ {
		y.gone(y.all[i])
	}
	y.begin()
	synctest.Wait()
}

// doubted reports whether a clock may be in doubt at an instant.
func (y *year) doubted(at time.Time) bool {
	n := len(y.stops)
	return n > 0 && at.Before(y.stops[n-1].doubt)
}

// chance is true about once in that time.
func (y *year) chance(step, every time.Duration) bool {
	return y.rnd.Int64N(int64(every)) < int64(step)
}

// halt ends the gateway without the checks of close.
func (y *year) halt() {
	y.running.Store(nil)
	synctest.Wait()
	y.stop()
	y.stop = nil
	if err := <-y.ended; err != nil {
		y.t.Fatal(err)
	}
	if err := errors.Join(y.bolt.Close(), y.vault.Close()); err != nil {
		y.t.Fatal(err)
	}
}

// confirm lets the authority's file take what it takes now.
func (y *year) confirm() {
	p := gateway.NewPrograms(y.g)
	for _, s := range y.all[y.limits:] {
		if s.file.IsZero() || s.file.After(y.now()) {
			continue
		}
		_, err := p.HandOver(context.Background(), "bau", s.id, message.Filing{Disposition: message.HandedOverGEVER, Ref: "BIT-1", By: "fach"})
		if errors.Is(err, queue.ErrConflict) {
			s.file = y.now().Add(24 * time.Hour) // on its way: again tomorrow
			continue
		}
		if err != nil {
			y.t.Fatalf("hand-over of %s: %v", s.kind, err)
		}
		s.file = time.Time{}
		y.outcomes["filed"]++
	}
}

var errCut = errors.New("cut off here")

// sweepOnce sweeps; now and then it is cut off at some step, and comes again.
func (y *year) sweepOnce() {
	if y.rnd.IntN(40) == 0 {
		left := y.rnd.IntN(6)
		y.hook = func(string) error {
			if left--; left < 0 {
				return errCut
			}
			return nil
		}
		if _, err := y.ret.Sweep(context.Background()); errors.Is(err, errCut) {
			y.cuts++
		}
		y.hook = nil
	}
	y.swept = y.sweep()
}

func (y *year) check(step time.Duration) {
	y.checkContent()
	y.checkLogs(step)
	y.checkProtocols()
	y.checkKeys()
	if y.steps%24 == 0 || step > time.Hour {
		y.checkFiles()
	}
	if y.chance(step, 30*24*time.Hour) {
		y.checkAll()
	}
}

// gone asserts that the content of a message is not readable.
func (y *year) gone(s *sent) {
	if body, err := y.vault.OpenBody(s.ref); !errors.Is(err, vault.ErrGone) {
		if err == nil {
			body.Close()
		}
		y.t.Errorf("%s of %s at %s: OpenBody says %v, its limit was %s", s.kind, s.start, y.now(), err, s.eraseBy)
	}
}

// checkKeys: no key of a day that is over is there, unless the clock is in doubt.
func (y *year) checkKeys() {
	if y.doubted(y.now()) {
		return
	}
	for _, f := range []seal.Family{seal.Content, seal.Log} {
		if days := y.keys.Days(f); len(days) > 0 && days[0] < calendar.DayOf(y.now()).String() {
			y.t.Errorf("at %s the %s key of %s is still there", y.now(), f, days[0])
		}
	}
}

// checkContent: what has passed its limit now is gone, and so is a sample of what
// had before; a sample of what has not and was not let go is there.
func (y *year) checkContent() {
	now := y.now()
	for ; y.limits < len(y.all) && !now.Before(y.all[y.limits].eraseBy); y.limits++ {
		y.gone(y.all[y.limits])
	}
	if y.limits > 0 {
		y.gone(y.all[y.rnd.IntN(y.limits)])
	}
	if y.limits == len(y.all) {
		return
	}
	s := y.all[y.limits+y.rnd.IntN(len(y.all)-y.limits)]
	_, items, err := y.store.Message(context.Background(), s.id)
	if err != nil {
		y.t.Fatal(err)
	}
	kept := items[0].Erased.IsZero() && !items[0].LetsGo() && now.Before(s.eraseBy.Add(-4*24*time.Hour))
	body, err := y.vault.OpenBody(s.ref)
	switch {
	case err == nil:
		body.Close()
	case kept:
		y.t.Errorf("%s of %s at %s, %s: %v, but it is kept until %s", s.kind, s.start, now, items[0].State, err, s.eraseBy)
	}
}

// checkLogs: log data are there to the last step of their window, and gone with it.
func (y *year) checkLogs(step time.Duration) {
	now, ctx := y.now(), context.Background()
	for i := y.logs; i < len(y.all) && y.all[i].logEnd.Sub(now) < 2*step; i++ {
		s := y.all[i]
		if s.checked || !now.Before(s.logEnd) {
			continue
		}
		s.checked = true
		if events, err := y.store.Events(ctx, s.id); err != nil || len(events) < 2 || !strings.Contains(events[0].Data["from"]+events[1].Data["to"], "@") {
			y.t.Errorf("%s of %s at %s: log data are kept until %s: %v, %d events", s.kind, s.start, now, s.logEnd, err, len(events))
		}
	}
	for ; !y.doubted(now) && y.logs < len(y.all) && !now.Before(y.all[y.logs].logEnd); y.logs++ {
		s := y.all[y.logs]
		if _, _, err := y.store.Message(ctx, s.id); !errors.Is(err, queue.ErrNotFound) {
			y.t.Errorf("%s of %s at %s: the ledger says %v, its log window ended %s", s.kind, s.start, now, err, s.logEnd)
		}
	}
}

// checkFiles: every day file of the audit log is there for its window, and not
// longer.
func (y *year) checkFiles() {
	now, w := y.now(), retention.Default()
	entries, err := os.ReadDir(filepath.Join(y.dir, "audit"))
	if err != nil {
		y.t.Fatal(err)
	}
	there := map[string]bool{}
	for _, e := range entries {
		if day, ext, _ := strings.Cut(e.Name(), "."); ext == "log" || ext == "log.gz" {
			there[day] = true
		}
	}
	today := calendar.DayOf(now)
	for day := calendar.DayOf(y.office.start); day.Before(today); day = day.AddDays(1) {
		end := w.LogDay(day.Start()).End()
		fresh := now.Sub(day.End()) < time.Hour // its last lines may still wait in the ledger
		if want := now.Before(end); want != there[day.String()] && (want && y.active[day.String()] && !fresh || !want && !y.doubted(now)) {
			y.t.Errorf("at %s: day file %s there: %v, its window ends %s", now, day, there[day.String()], end)
		}
	}
}

// checkProtocols verifies the protocols that are new, and that they continue the
// chain. Nothing goes after its limit but what a stop has held up, and then the
// protocol says so.
func (y *year) checkProtocols() {
	dir := filepath.Join(y.dir, "protocols")
	for {
		found, err := filepath.Glob(filepath.Join(dir, fmt.Sprintf("%08d-*.jsonl", y.protocols+1)))
		if err != nil || len(found) == 0 {
			return
		}
		text, err := os.ReadFile(found[0])
		if err != nil {
			y.t.Fatal(err)
		}
		h, list, tail, err := protocolOf(text, y.public)
		if err != nil || tail.Previous != y.prevName || tail.PrevHash != y.prevHash {
			y.t.Errorf("protocol %s: %v, follows %q, before it stands %q", found[0], err, tail.Previous, y.prevName)
		}
		y.checkInTime(found[0], h, tail)
		for _, d := range list {
			y.outcomes[d.Disposition]++
			if d.Disposition == "none" {
				y.t.Errorf("protocol %s: %+v", found[0], d)
			}
		}
		sum := sha256.Sum256(text)
		y.protocols, y.prevName, y.prevHash = y.protocols+1, filepath.Base(found[0]), hex.EncodeToString(sum[:])
	}
}

// checkInTime: a day goes at its limit (log) or before it (content). Else the limit
// lay in a stop, or in the doubt behind it, and the day went at its end.
func (y *year) checkInTime(name string, h retention.Head, tail retention.Tail) {
	if h.Family == retention.Log && tail.Finished.Before(h.CutOff) {
		y.t.Errorf("protocol %s: finished %s, the log window ends %s", name, tail.Finished, h.CutOff)
	}
	by := tail.Finished.Sub(h.CutOff)
	if by <= 0 {
		if tail.Late != nil {
			y.t.Errorf("protocol %s: finished %s, limit %s, and it says late: %+v", name, tail.Finished, h.CutOff, tail.Late)
		}
		return
	}
	held := slices.IndexFunc(y.stops, func(s stop) bool {
		return !h.CutOff.Before(s.from) && !h.CutOff.After(s.doubt) && !tail.Finished.After(s.doubt)
	})
	switch l := tail.Late; {
	case held < 0:
		y.t.Errorf("protocol %s: finished %s, limit %s, and no stop explains it: %+v; the last were %v", name, tail.Finished, h.CutOff, l, y.stops[max(0, len(y.stops)-2):])
	case by > time.Hour && (l == nil || l.By != by.Round(time.Second).String() || l.From.After(h.CutOff) || l.Proof == "" || l.Proven.After(tail.Finished)):
		y.t.Errorf("protocol %s: finished %s, limit %s; it says %+v", name, tail.Finished, h.CutOff, l)
	default:
		y.late++
	}
}

// checkAll: the chain of the audit log verifies, and every receipt that the
// platform issued is there with its document.
func (y *year) checkAll() {
	rep, err := audit.Verify(filepath.Join(y.dir, "audit"), audit.Options{})
	if err != nil || !rep.OK() || rep.First != 1 {
		y.t.Errorf("audit at %s: %v %v", y.now(), err, rep.Bad)
	}
	y.checkReceipts()
}

func (y *year) checkReceipts() {
	now := y.now()
	for _, s := range y.platform.Sent() {
		if s.Local && s.Failed != "" {
			y.t.Errorf("the gateway refused a receipt %s: %s", s.Kind, s.Failed)
		}
	}
	for _, m := range y.platform.Messages() {
		_, rest, _ := strings.Cut(m.Subject, "[")
		ref, _, ok := strings.Cut(rest, "]")
		s := y.refs[ref]
		if !ok || s == nil || now.Sub(m.At) < 12*24*time.Hour || !now.Before(s.logEnd.Add(-24*time.Hour)) {
			continue
		}
		got, err := y.store.Receipts(context.Background(), s.id)
		if err != nil {
			y.t.Fatal(err)
		}
		for _, k := range m.Receipts {
			i := slices.IndexFunc(got, func(r message.Receipt) bool { return r.Kind == k })
			if i < 0 {
				y.t.Errorf("%s of %s: receipt %s was issued, the ledger has %d others", ref, s.start, k, len(got))
				continue
			}
			y.outcomes[string(k)]++
			if !got[i].Document.IsZero() {
				if _, err := y.g.Document(context.Background(), got[i]); err != nil {
					y.t.Errorf("%s of %s: receipt %s: %v", ref, s.start, k, err)
				}
			}
		}
	}
}

func (y *year) end() {
	if err := y.platform.SetFaults(simulator.Faults{}); err != nil {
		y.t.Error(err)
	}
	y.checkAll()
	for _, s := range y.all[:y.limits] {
		y.gone(s)
	}
	if r, err := y.ret.VerifyProtocols(); err != nil || !r.OK() || r.Protocols != y.protocols || r.Protocols < 350 {
		y.t.Errorf("protocols: %+v %v, seen %d", r, err, y.protocols)
	}
	y.t.Logf("%d messages in %d steps, %d restarts, %d sweeps cut off, %d protocols, %d of them late; %v", len(y.all), y.steps, y.restarts, y.cuts, y.protocols, y.late, y.outcomes)
	for _, want := range []string{"filed", "handed_over_gever", "export_forced", "no_record", "abgabequittung", "abholquittung", "annahmeverweigerung", "verfallquittung"} {
		if y.outcomes[want] == 0 {
			y.t.Errorf("no %s in a whole year", want)
		}
	}
}

// shutDown ends everything: nothing may run on in the bubble.
func (y *year) shutDown() {
	y.close()
	if err := errors.Join(y.platform.Close(), y.door.Shutdown(context.Background()), y.toUs.Close(), y.toThem.Close()); err != nil {
		y.t.Error(err)
	}
	y.serving.Wait()
}

// pipes is a listener of connections in memory; the time of a bubble applies.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

// Accept implements net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

// Addr implements net.Listener.
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return newBuffered(ours), nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// buffered reads ahead, as the buffers of TCP do: both sides may write first.
type buffered struct {
	net.Conn
	mu   sync.Mutex
	more *sync.Cond
	buf  []byte
	err  error
}

func newBuffered(c net.Conn) *buffered {
	b := &buffered{Conn: c}
	b.more = sync.NewCond(&b.mu)
	go b.pump()
	return b
}

func (b *buffered) pump() {
	p := make([]byte, 16<<10)
	for {
		n, err := b.Conn.Read(p)
		b.mu.Lock()
		b.buf, b.err = append(b.buf, p[:n]...), err
		b.more.Broadcast()
		b.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Read implements net.Conn. A deadline ends the pump, and so the connection.
func (b *buffered) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.buf) == 0 && b.err == nil {
		b.more.Wait()
	}
	if len(b.buf) == 0 {
		return 0, b.err
	}
	n := copy(p, b.buf)
	b.buf = b.buf[n:]
	return n, nil
}
