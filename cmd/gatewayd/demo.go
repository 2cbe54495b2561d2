package main

import (
	"context"
	_ "embed" // the sample decision
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gatewayd/config"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/simulator"
)

//go:embed sample/entscheid.eml
var sampleDecision []byte

// demoPatience is how long one step of the story may take.
const demoPatience = 20 * time.Second

type demoCmd struct {
	Once     bool   `help:"End after the story: 0 if every promised receipt was verified and matched and the held message was held."`
	JSON     bool   `name:"json" help:"One JSON object per event."`
	Keep     string `help:"New folder: leave there what the simulators received, the receipts, the anchors and the data folder." placeholder:"DIR"`
	Evidence string `help:"New folder: show the delivery case of each registered recipient, and write its evidence bundle and anchors.pem there." placeholder:"DIR"`
	Message  string `type:"existingfile" help:"Decision to send (.eml) instead of the built-in sample."`
	Verbose  bool   `help:"Print the operational log, too."`
}

// Help shows examples.
func (demoCmd) Help() string {
	return `Everything runs in this process, on free loopback ports, with one clock that is moved forward by seven days.

Examples:
  gatewayd demo
  gatewayd demo --once --json
  gatewayd demo --once --evidence /tmp/dossier && gatewayd evidence verify --anchors /tmp/dossier/anchors.pem /tmp/dossier/nachweis-*-1.zip
  gatewayd demo --once --keep /tmp/demo --message entscheid.eml`
}

// demo is one run of the story.
type demo struct {
	demoCmd
	c        console
	dir      string
	cfg      *config.Config
	clock    clockFromNow
	parts    *parts
	sims     pair
	next     *sink        // the next mail server, for what the gateway encrypts itself
	stamps   *http.Server // the time-stamping authority
	doors    []door
	ports    config.Ports
	timeline *timeline
}

// Run tells the story.
func (d demoCmd) Run(c console) error {
	if d.Evidence != "" {
		if entries, err := os.ReadDir(d.Evidence); err == nil && len(entries) > 0 {
			return fmt.Errorf("%s is not empty: choose a new folder", d.Evidence)
		}
		if err := os.MkdirAll(d.Evidence, 0o700); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir := d.Keep
	if dir == "" {
		tmp, err := os.MkdirTemp("", "gatewayd-demo-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		dir = tmp
	}
	s := &demo{demoCmd: d, c: c, dir: dir, clock: newClock()}
	return s.run(ctx)
}

func (s *demo) run(ctx context.Context) (err error) {
	if err := s.prepare(); err != nil {
		return err
	}
	defer s.sims.close()
	defer s.next.server.Close()
	defer s.stamps.Close()
	flow, stopFlow := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.parts.run(flow, s.doors, s.log()) }()
	defer func() {
		stopFlow()
		err = errors.Join(err, <-ended, s.keep(), s.parts.close())
	}()
	watched := make(chan struct{})
	watchCtx, stopWatch := context.WithCancel(ctx)
	go func() { defer close(watched); s.timeline.watch(watchCtx) }()
	good, err := s.tell(ctx)
	if err == nil && !s.Once && ctx.Err() == nil {
		s.stayUp(ctx)
	}
	stopWatch()
	<-watched
	if err == nil && !good && s.Once {
		err = errNo
	}
	return err
}

func (s *demo) log() *slog.Logger {
	if s.Verbose {
		return slog.New(slog.NewTextHandler(s.c.err, nil))
	}
	return slog.New(slog.DiscardHandler)
}

// prepare writes the configuration with free ports and opens everything.
func (s *demo) prepare() error {
	var sims []net.Listener
	for _, addr := range []*string{&s.ports.Submission, &s.ports.SubmissionTLS, &s.ports.Inbound, &s.ports.IncaMail, &s.ports.PrivaSphere, &s.ports.Relay, &s.ports.TSA} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		*addr = l.Addr().String()
		switch addr {
		case &s.ports.Submission:
			s.doors = append(s.doors, door{l, message.Outbound, false})
		case &s.ports.SubmissionTLS:
			s.doors = append(s.doors, door{l, message.Outbound, true})
		case &s.ports.Inbound:
			s.doors = append(s.doors, door{l, message.Inbound, false})
		default:
			sims = append(sims, l)
		}
	}
	if err := config.WriteDevelopment(s.dir, s.ports); err != nil {
		return err
	}
	var err error
	if s.cfg, err = loadConfig(filepath.Join(s.dir, "gatewayd.toml"), s.c); err != nil {
		return err
	}
	if s.parts, err = open(s.cfg, s.log(), s.clock.Now); err != nil {
		return err
	}
	if s.sims, err = newPair(s.cfg, s.clock, s.ports.Inbound, s.log()); err != nil {
		return err
	}
	go s.sims.incamail.Serve(sims[0])
	go s.sims.privasphere.Serve(sims[1])
	if s.next, err = newSink(s.dir); err != nil {
		return err
	}
	go s.next.server.Serve(sims[2])
	if s.stamps, err = newTSA(s.dir, s.clock.Now); err != nil {
		return err
	}
	go s.stamps.Serve(sims[3])
	s.timeline = newTimeline(s.c.out, s.JSON, s.parts)
	return nil
}

// tell runs the story and reports whether everything promised came true.
func (s *demo) tell(ctx context.Context) (bool, error) {
	s.timeline.say("A decision leaves the Bauinspektorat for three recipients, registered.")
	decision, err := s.send(s.decision(), "buerger@example.ch", "firma@example.ch", "nachbar@example.ch")
	if err != nil {
		return false, err
	}
	ok := s.await(ctx, "three Abgabequittungen", func() bool { return s.inCase(decision, message.CaseSubmitted) == 3 })
	s.timeline.say("The citizen collects it, the company refuses it, the neighbour does nothing.")
	ok = s.act(s.sims.incamail, "buerger@example.ch", s.sims.incamail.Accept) && ok
	ok = s.act(s.sims.privasphere, "firma@example.ch", s.sims.privasphere.Refuse) && ok
	ok = s.await(ctx, "Abholquittung and Annahmeverweigerung", func() bool {
		return s.inCase(decision, message.CaseCollected) == 1 && s.inCase(decision, message.CaseRefused) == 1
	}) && ok
	s.timeline.say("Seven days pass.")
	s.clock.Advance(7*24*time.Hour + time.Minute)
	s.sims.incamail.Tick()
	s.sims.privasphere.Tick()
	s.parts.gateway.Wake()
	ok = s.await(ctx, "Verfallquittung", func() bool { return s.inCase(decision, message.CaseExpired) == 1 }) && ok
	s.timeline.say("A confidential message goes to two whose keys we have: S/MIME and OpenPGP.")
	sealed, err := s.send([]byte(demoConfidential), "treuhand@example.net", "verein@example.net")
	if err != nil {
		return false, err
	}
	ok = s.await(ctx, "both encrypted messages at the next mail server", func() bool { return len(s.next.all()) == 2 && s.inState(sealed, message.Done) == 2 }) && ok
	s.timeline.say("A confidential message goes to somebody without key or platform.")
	held, err := s.send([]byte(demoConfidential), "ohne.schluessel@example.net")
	if err != nil {
		return false, err
	}
	ok = s.await(ctx, "held, and the sender told", func() bool { return s.isHeld(held) && s.told(held) }) && ok
	s.timeline.say("The citizen writes back over the platform.")
	_, err = s.sims.incamail.Inbound(simulator.CitizenMail{
		From: "buerger@example.ch", To: "bauinspektorat@bl.example", Class: message.Confidential, Subject: "Rückfrage zur Baubewilligung", Text: "Guten Tag, ich habe eine Frage zum Entscheid.",
	})
	if err != nil {
		return false, err
	}
	ok = s.await(ctx, "the reply in the mailbox", s.replied) && ok
	ok = s.allVerified(decision) && ok
	s.timeline.catchUp(ctx)
	s.timeline.table(ctx, decision, sealed, held)
	return ok, s.evidence(ctx, decision)
}

const demoConfidential = "From: Bauinspektorat <bauinspektorat@bl.example>\r\nTo: undisclosed-recipients:;\r\nSubject: [vertraulich] Unterlagen\r\n" +
	"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nDiese Zeilen verlassen das Haus nur verschluesselt.\r\n"

// decision is what the demo's client sends: the sample, or the user's file with
// a header field that says the class.
func (s *demo) decision() []byte {
	if s.Message == "" {
		return sampleDecision
	}
	text, err := os.ReadFile(s.Message)
	if err != nil {
		return nil
	}
	text = []byte(strings.ReplaceAll(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n", "\r\n"))
	return append([]byte("X-Gatewayd-Class: registered\r\n"), text...)
}

// await polls until the story has come that far.
func (s *demo) await(ctx context.Context, what string, there func() bool) bool {
	for end := time.Now().Add(demoPatience); time.Now().Before(end) && ctx.Err() == nil; {
		if there() {
			return true
		}
		time.Sleep(30 * time.Millisecond)
	}
	s.timeline.say("DID NOT COME: " + what)
	return false
}

func (s *demo) items(id message.ID) []message.Item {
	story, err := s.parts.gateway.Story(context.Background(), id)
	if err != nil {
		return nil
	}
	return story.Items
}

func (s *demo) inCase(id message.ID, c message.CaseState) int {
	n := 0
	for _, item := range s.items(id) {
		if item.Case == c {
			n++
		}
	}
	return n
}

func (s *demo) inState(id message.ID, state message.State) int {
	n := 0
	for _, item := range s.items(id) {
		if item.State == state {
			n++
		}
	}
	return n
}

func (s *demo) isHeld(id message.ID) bool {
	items := s.items(id)
	return len(items) == 1 && items[0].State == message.Held && !items[0].Told.IsZero()
}

// mailbox calls f for every message that lies in the authority's mailbox.
func (s *demo) mailbox(f func(message.Envelope) bool) bool {
	items, _, err := s.parts.gateway.List(context.Background(), queue.Query{Authority: "bauinspektorat", Limit: 1000})
	if err != nil {
		return false
	}
	for _, item := range items {
		if item.Decision.Via == "mailbox" && item.State == message.Done {
			if story, err := s.parts.gateway.Story(context.Background(), item.Key.Message); err == nil && f(story.Envelope) {
				return true
			}
		}
	}
	return false
}

func (s *demo) told(id message.ID) bool {
	return s.mailbox(func(e message.Envelope) bool { return e.Direction == message.Notice && e.About.Message == id })
}

// replied looks for inbound mail that was no receipt.
func (s *demo) replied() bool {
	return s.mailbox(func(e message.Envelope) bool {
		story, err := s.parts.gateway.Story(context.Background(), e.ID)
		if err != nil || e.Direction != message.Inbound {
			return false
		}
		for _, ev := range story.Events {
			if ev.Kind == message.EventMailbox {
				return true
			}
		}
		return false
	})
}

// act lets a recipient do something on a platform.
func (s *demo) act(p *simulator.Platform, to string, do func(string) error) bool {
	for _, m := range p.Messages() {
		if m.To == to && m.State == simulator.AwaitingPickup {
			return do(m.ID) == nil
		}
	}
	return false
}

// allVerified: each item has its Abgabequittung and exactly one closing
// receipt, every one verified.
func (s *demo) allVerified(id message.ID) bool {
	story, err := s.parts.gateway.Story(context.Background(), id)
	if err != nil {
		return false
	}
	for _, item := range story.Items {
		first, closing := 0, 0
		for _, r := range story.Receipts {
			switch {
			case r.Item != item.Key:
			case r.Verdict != message.Verified:
				return false
			case r.Kind == message.Abgabequittung || r.Kind == message.ArchiveCopy:
				first++
			default:
				closing++
			}
		}
		if first == 0 || closing != 1 || item.State != message.Done {
			return false
		}
	}
	return len(story.Items) == 3
}

// evidence shows the delivery cases of a message with their dates, and writes a
// bundle for each, with the anchors that it is verified by beside it.
func (s *demo) evidence(ctx context.Context, id message.ID) error {
	if s.Evidence == "" {
		return nil
	}
	cases, err := s.parts.gateway.Cases(ctx, id.String())
	if err != nil {
		return err
	}
	s.timeline.say("Each registered recipient's delivery case, and its evidence bundle.")
	for _, c := range cases {
		path := filepath.Join(s.Evidence, bundleName(c.Item))
		if err := writeBundle(ctx, s.parts.operator(), sealFlag{}, message.Reading{By: reader(), Purpose: message.ForOperation}, c.Item, path); err != nil {
			return err
		}
		s.timeline.showCase(c, path)
	}
	var anchors []byte
	for _, name := range []string{config.SimulatorCA, config.SimulatorAnchors} {
		text, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			return err
		}
		anchors = append(anchors, text...)
	}
	return os.WriteFile(filepath.Join(s.Evidence, "anchors.pem"), anchors, 0o644) //nolint:gosec // certificates
}

// stayUp prints how to go on and waits; recipients collect after three seconds.
func (s *demo) stayUp(ctx context.Context) {
	password, _ := os.ReadFile(filepath.Join(s.dir, config.DevelopmentPassword))
	for _, r := range []string{"buerger@example.ch", "nachbar@example.ch"} {
		s.sims.incamail.SetRecipient(r, simulator.Profile{Kind: simulator.Native, Action: simulator.ActAccept, After: 3 * time.Second})
	}
	s.sims.privasphere.SetRecipient("firma@example.ch", simulator.Profile{Kind: simulator.Native, Action: simulator.ActAccept, After: 3 * time.Second})
	fmt.Fprintf(s.c.out, `
Everything stays up; recipients now collect after three seconds. Send the next one:

  swaks --server %s --tls --auth PLAIN --auth-user sachbearbeitung --auth-password %s \
    --from bauinspektorat@bl.example --to buerger@example.ch --header 'Subject: [einschreiben] Noch ein Entscheid'

Configuration: %s   End with Ctrl-C.
`, s.ports.Submission, strings.TrimSpace(string(password)), filepath.Join(s.dir, "gatewayd.toml"))
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
			s.sims.incamail.Tick()
			s.sims.privasphere.Tick()
		}
	}
}

// keep leaves what a visitor wants to check by himself.
func (s *demo) keep() error {
	if s.Keep == "" {
		return nil
	}
	var errs []error
	write := func(name string, text []byte) {
		errs = append(errs, os.WriteFile(filepath.Join(s.dir, name), text, 0o600))
	}
	for name, p := range map[string]*simulator.Platform{"incamail": s.sims.incamail, "privasphere": s.sims.privasphere} {
		for _, r := range p.Received() {
			write(fmt.Sprintf("received-%s-%d.eml", name, r.Number), r.Raw)
		}
	}
	for i, m := range s.next.all() {
		write(fmt.Sprintf("received-encrypted-%d.eml", i+1), m.raw)
	}
	for _, story := range s.timeline.stories() {
		for _, r := range story.Receipts {
			if r.Document.IsZero() {
				continue
			}
			text, err := s.parts.gateway.Document(context.Background(), r)
			errs = append(errs, err)
			ext := filepath.Ext(r.FileName)
			if ext == "" {
				ext = ".bin"
			}
			write(fmt.Sprintf("receipt-%s-%d-%s%s", r.Item.Message, r.Item.N, r.Kind, ext), text)
		}
	}
	anchors, err := os.ReadFile(filepath.Join(s.dir, config.SimulatorAnchors))
	errs = append(errs, err)
	write("anchors.pem", anchors)
	return errors.Join(errs...)
}
