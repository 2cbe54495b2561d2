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
	jumped    time.Time // when the clock last had a gap: nothing is erased by it for a day
	restarts  int
	cuts      int
	outcomes  map[string]int
	steps     int
}

func newYear(t *testing.T, n int) *year {
	time.Sleep(time.Until(time.Date(2026, 11, 23, 5, 0, 0, 0, time.UTC))) // a bubble begins in the year 2000
	seed := uint64(time.Now().UnixNano())                                 //nolint:gosec // any number will do
	y := &year{rnd: rand.New(rand.NewPCG(seed, 1)), refs: map[string]*sent{}, active: map[string]bool{}, outcomes: map[string]int{}}
	for range n {
		y.todo = append(y.todo, time.Now().Add(time.Duration(y.rnd.Int64N(int64((yearDays-1)*24*time.Hour)))))
	}
	slices.SortFunc(y.todo, time.Time.Compare)
	w := newWorld(t)
	w.clock = func() time.Time { return time.Now().UTC() }
	w.know(t, yearPeople())
	w.links["smtp"].on(y.anybody)
	y.office = &office{start: time.Now(), over: true, edit: y.wire}
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

// intake is the gateway that runs now.
type intake struct{ y *year }

// Willing implements smtp.Intake.
func (i intake) Willing(ctx context.Context, s message.Submission, to message.Address) error {
	return i.y.g.Willing(ctx, s, to)
}

// Accept implements smtp.Intake.
func (i intake) Accept(ctx context.Context, s message.Submission, body io.Reader) (message.ID, error) {
	return i.y.g.Accept(ctx, s, body)
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
			y.t.Fatalf("step %d at %s\n%s", y.steps, y.now(), tailText(y.log.String(), 3000))
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
	if y.chance(step, 20*24*time.Hour) { // the program ends, and is started again some time later
		y.restarts++
		y.halt()
		off := []time.Duration{time.Second, 20 * time.Minute, 5 * time.Hour}[y.rnd.IntN(3)]
		if time.Sleep(off); off > time.Hour {
			y.jumped = time.Now()
		}
		y.office.open(y.t, y.w, y.dir)
		y.begin()
		synctest.Wait()
	}
}

// chance is true about once in that time.
func (y *year) chance(step, every time.Duration) bool {
	return y.rnd.Int64N(int64(every)) < int64(step)
}

// halt ends the gateway without the checks of close.
func (y *year) halt() {
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
	y.sweep()
}

func (y *year) check(step time.Duration) {
	y.checkContent()
	y.checkLogs(step)
	y.checkProtocols(step)
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

// steady reports whether the clock has run long enough for every step of an erasure:
// doom after a day of steady clock, and the key's end a day later.
func (y *year) steady() bool { return time.Since(y.jumped) > 56*time.Hour }

// checkContent: what has passed its limit now is gone, and so is a sample of what
// had before; a sample of what has not and was not let go is there.
func (y *year) checkContent() {
	now := y.now()
	for ; y.limits < len(y.all) && !now.Before(y.all[y.limits].eraseBy); y.limits++ {
		s := y.all[y.limits]
		y.gone(s)
		if y.steady() && y.keys.Exists(seal.Content, s.ref.Day) {
			y.t.Errorf("at %s the content key of %s is still there", now, s.ref.Day)
		}
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

// checkLogs: log data are there to the last step of their window, and gone a day
// after it.
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
	slack := 30 * time.Hour
	for ; y.steady() && y.logs < len(y.all) && now.After(y.all[y.logs].logEnd.Add(slack)); y.logs++ {
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
		if want := now.Before(end); want != there[day.String()] && (want && y.active[day.String()] || !want && y.steady() && now.After(end.Add(30*time.Hour))) {
			y.t.Errorf("at %s: day file %s there: %v, its window ends %s", now, day, there[day.String()], end)
		}
	}
}

// checkProtocols verifies the protocols that are new, and that they continue the
// chain. A key that restarts have kept alive, because they moved the clock, goes at
// its limit, and a protocol that was cut off is ended later; reads have refused for
// days then.
func (y *year) checkProtocols(step time.Duration) {
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
		if err != nil || tail.Previous != y.prevName || tail.PrevHash != y.prevHash || h.Family == retention.Content && (tail.Key.DoomedAt.After(h.CutOff) || y.steady() && tail.Finished.After(h.CutOff.Add(step))) {
			y.t.Errorf("protocol %s: %v, follows %q, before it stands %q; finished %s, limit %s", found[0], err, tail.Previous, y.prevName, tail.Finished, h.CutOff)
		}
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
	if r, err := y.ret.VerifyProtocols(); err != nil || !r.OK() || r.Protocols != y.protocols || r.Protocols < 400 {
		y.t.Errorf("protocols: %+v %v, seen %d", r, err, y.protocols)
	}
	y.t.Logf("%d messages in %d steps, %d restarts, %d sweeps cut off, %d protocols; %v", len(y.all), y.steps, y.restarts, y.cuts, y.protocols, y.outcomes)
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
