package connectortest

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"testing"
	"time"

	"gatewayd/connectors"
	"gatewayd/connectors/smtpclient"
)

// inside breaks the transfer in the middle of a long message.
func (s *suite) inside(t *testing.T) {
	for name, c := range map[string]struct {
		act  Action
		want connectors.Kind
	}{
		"cut":             {Action{Cut: true}, connectors.Temporary},
		"reads no more":   {Action{Hang: true}, connectors.Temporary},
		"too large":       {Action{Reply: "552 5.3.4 enough", Hang: true}, connectors.Permanent},
		"shutting down":   {Action{Reply: "421 4.3.2 bye", Hang: true}, connectors.Temporary},
		"premature 250":   {Action{Reply: "250 2.0.0 ok", Hang: true}, connectors.Temporary},
		"premature words": {Action{Reply: "what", Hang: true}, connectors.Temporary},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := s.server(t, Script{StepBody: c.act})
			_, err := s.submit(t, srv, bigLetter(s.class, 16<<20), shortBlock)
			wantKind(t, err, c.want)
			never(t, srv, true)
		})
	}
}

// tls: a peer that can't prove who it is hears nothing.
func (s *suite) tls(t *testing.T) {
	good := s.ca.Issue(peerName)
	cases := map[string]ServerOptions{
		"stripped":      {},
		"wrong name":    {TLS: &tls.Config{Certificates: []tls.Certificate{s.ca.Issue("other.test.example")}}},
		"unknown root":  {TLS: &tls.Config{Certificates: []tls.Certificate{NewCA(t).Issue(peerName)}}},
		"TLS 1.1":       {TLS: &tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}},
		"injected":      {TLS: &tls.Config{Certificates: []tls.Certificate{good}}, Script: Script{connectors.StepStartTLS: {Reply: "220 go\r\n250 injected"}}},
		"plain instead": {TLS: &tls.Config{Certificates: []tls.Certificate{good}}, Script: Script{connectors.StepTLS: {Reply: "250 nothing", Cut: true}}},
	}
	for name, o := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := NewServer(t, o)
			_, err := s.submit(t, srv, Letter(s.class), shortDialogue)
			wantKind(t, err, connectors.Temporary)
			if got := srv.Transactions(); len(got) != 0 {
				t.Errorf("a peer without proof got %d letters", len(got))
			}
		})
	}
	t.Run("implicit", func(t *testing.T) {
		o := s.friendly()
		o.Implicit = true
		srv := NewServer(t, o)
		link := Link(s.ca, srv)
		link.Mode = smtpclient.ImplicitTLS
		if _, err := s.submitBy(t, srv, Letter(s.class), link); err != nil {
			t.Fatal(err)
		}
	})
}

// cancel: the end of the context ends every step at once.
func (s *suite) cancel(t *testing.T) {
	steps := append(linkSteps(), connectors.StepTLS, connectors.StepMail, connectors.StepRcpt, connectors.StepData, StepBody, connectors.StepDot)
	for _, step := range steps {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			srv := s.server(t, Script{step: {Hang: true}})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				<-srv.Hanging()
				cancel()
			}()
			h := Letter(s.class)
			if step == StepBody {
				h = bigLetter(s.class, 16<<20)
			}
			link := Link(s.ca, srv)
			link.Timeouts = smtpclient.Timeouts{Grace: 50 * time.Millisecond}
			start := time.Now()
			_, err := s.open(t, link).Submit(ctx, h)
			want := connectors.Temporary
			if step == connectors.StepDot {
				want = connectors.Unclear
			}
			wantKind(t, err, want)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the cause is lost: %v", err)
			}
			if took := time.Since(start); took > time.Minute {
				t.Errorf("took %v after the end of the context", took)
			}
		})
	}
}

// unreadable: the store fails while the message leaves; the peer never gets a
// part as a whole.
func (s *suite) unreadable(t *testing.T) {
	srv := s.server(t, nil)
	h := bigLetter(s.class, 4<<20)
	h.Body = &failsLater{lines: h.Body.(*lines)}
	_, err := s.submit(t, srv, h, patient)
	wantKind(t, err, connectors.Temporary)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the cause is lost: %v", err)
	}
	never(t, srv, true)
}

// failsLater reads well to the end once and breaks off the second time.
type failsLater struct {
	*lines
	over bool
}

func (f *failsLater) Read(p []byte) (int, error) {
	n, err := f.lines.Read(p)
	if errors.Is(err, io.EOF) && !f.over {
		f.over = true
		f.fail = f.size / 2
	}
	return n, err
}
