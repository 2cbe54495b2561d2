package connectortest

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"gatewayd/connectors"
	"gatewayd/connectors/smtpclient"
	"gatewayd/message"
)

// peerName is the name in the server's certificate.
const peerName = "peer.test.example"

// Open makes the connector under test, which reaches its next system by link.
type Open func(t *testing.T, link smtpclient.Options) connectors.Connector

// Run is the contract of connectors.Connector as a test: class is one that the
// connector carries.
func Run(t *testing.T, class message.Class, open Open) {
	s := &suite{class: class, open: open, ca: NewCA(t)}
	s.cert = s.ca.Issue(peerName)
	t.Run("delivers", s.delivers)
	t.Run("replies", s.replies)
	t.Run("broken dialogue", s.broken)
	t.Run("after the final dot", s.afterDot)
	t.Run("second message", s.second)
	t.Run("second message on a broken connection", s.secondBroken)
	t.Run("left open", s.leftOpen)
	t.Run("in chunks", s.inChunks)
	t.Run("after the last chunk", s.afterLast)
	t.Run("inside the message", s.inside)
	t.Run("tls", s.tls)
	t.Run("cancel", s.cancel)
	t.Run("size", s.size)
	t.Run("needs", s.needs)
	t.Run("smuggling", s.smuggling)
	t.Run("unreadable body", s.unreadable)
	t.Run("secrets", s.secrets)
	t.Run("no server", s.noServer)
}

type suite struct {
	class message.Class
	open  Open
	ca    *CA
	cert  tls.Certificate // of peerName
}

// Link returns options that reach the server by verified STARTTLS with a login
// and short times.
func Link(ca *CA, s *Server) smtpclient.Options {
	return smtpclient.Options{
		Addr:       s.Addr,
		ServerName: peerName,
		TLS:        Trust(ca),
		Login:      &smtpclient.Login{Name: PlantedAccount, Password: PlantedPassword},
		Hello:      "gateway.bl.example",
		Timeouts: smtpclient.Timeouts{
			Command: 5 * time.Second, Data: 5 * time.Second, Block: 5 * time.Second, Dot: 5 * time.Second,
			TLS: 5 * time.Second, Quit: 200 * time.Millisecond,
		},
	}
}

// Trust returns a client's TLS configuration with ca as the only root.
func Trust(ca *CA) *tls.Config { return &tls.Config{RootCAs: ca.Pool()} }

// Friendly returns the options of a server with a certificate of ca that takes
// everything.
func Friendly(ca *CA) ServerOptions {
	return ServerOptions{TLS: &tls.Config{Certificates: []tls.Certificate{ca.Issue(peerName)}}}
}

// single are the offers of a peer that hears one command at a time.
func single() []string {
	return []string{"SIZE 50000000", "8BITMIME", "SMTPUTF8", "DSN", "AUTH LOGIN PLAIN"}
}

// friendly is Friendly with one certificate for the whole suite.
func (s *suite) friendly() ServerOptions {
	return ServerOptions{TLS: &tls.Config{Certificates: []tls.Certificate{s.cert}}}
}

func (s *suite) server(t *testing.T, script Script) *Server {
	t.Helper()
	o := s.friendly()
	o.Script = script
	return NewServer(t, o)
}

// submit hands one letter to the server and checks what must always hold: one
// attempt, nothing of it in clear, no secret in the error.
func (s *suite) submit(t *testing.T, srv *Server, h connectors.Handover, p patience) (connectors.Result, error) {
	t.Helper()
	const d = 150 * time.Millisecond
	link := Link(s.ca, srv)
	switch p {
	case shortDialogue:
		link.Timeouts.Command, link.Timeouts.Data, link.Timeouts.TLS = d, d, d
	case shortBlock:
		link.Timeouts.Block = d
	case shortDot:
		link.Timeouts.Dot = d
	}
	return s.submitBy(t, srv, h, link)
}

// patience says which of the times is short: that which the test lets pass.
type patience int

const (
	patient patience = iota
	shortDialogue
	shortBlock
	shortDot
)

func (s *suite) submitBy(t *testing.T, srv *Server, h connectors.Handover, link smtpclient.Options) (connectors.Result, error) {
	t.Helper()
	res, err := s.open(t, link).Submit(t.Context(), h)
	srv.Wait()
	noSecret(t, err)
	begun := 0
	for _, tr := range srv.Transactions() {
		if len(tr.Wire) > 1 { // one octet tries out BDAT
			begun++
		}
	}
	if begun > 1 {
		t.Errorf("%d messages in one Submit: a connector never repeats by itself", begun)
	}
	if clear := srv.Clear(); strings.Contains(strings.ToUpper(clear), "MAIL FROM") || strings.Contains(strings.ToUpper(clear), "AUTH ") {
		t.Errorf("said in clear: %q", clear)
	}
	return res, err
}

func noSecret(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	text := fmt.Sprintf("%v %+v %s %q", err, err, err, err)
	for _, secret := range []string{
		PlantedSubject, PlantedBody, PlantedRecipient, PlantedSender, PlantedPassword, PlantedAccount,
		base64.StdEncoding.EncodeToString([]byte(PlantedPassword)),
		base64.StdEncoding.EncodeToString([]byte("\x00" + PlantedAccount + "\x00" + PlantedPassword)),
	} {
		if strings.Contains(text, secret) {
			t.Errorf("the error tells %q: %s", secret, text)
		}
	}
}

func wantKind(t *testing.T, err error, want connectors.Kind) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want a %v one", want)
	} else if got := connectors.KindOf(err); got != want {
		t.Errorf("error is %v, want %v: %v", got, want, err)
	}
}

func (s *suite) delivers(t *testing.T) {
	srv := s.server(t, nil)
	res, err := s.submit(t, srv, Letter(s.class), patient)
	if err != nil {
		t.Fatal(err)
	}
	got := srv.Transactions()
	if len(got) != 1 || !got[0].Complete {
		t.Fatalf("the server has %d transactions, want 1 complete", len(got))
	}
	msg := got[0].Message()
	if body := string(BodyOf(t, msg)); body != BodyPart {
		t.Errorf("body part left as %q, want %q", body, BodyPart)
	}
	if !bytes.HasPrefix(msg, []byte("Received: from pc by gateway.bl.example")) {
		t.Errorf("the trace field is not on top: %q", firstLine(msg))
	}
	for _, line := range []string{"X-Odd:   kept   exactly \r\n\tas it is\r\n", "From: Bauinspektorat <" + PlantedSender + "@bl.example>\r\n"} {
		if !bytes.Contains(msg, []byte(line)) {
			t.Errorf("changed or lost: %q", line)
		}
	}
	if bytes.Contains(bytes.ToLower(msg), []byte("bcc:")) {
		t.Error("the Bcc field left")
	}
	if !bytes.Contains(msg, []byte("Message-ID: "+res.SentAs+"\r\n")) || res.SentAs == "" {
		t.Errorf("SentAs = %q is not the Message-ID that left", res.SentAs)
	}
	if res.RemoteID != "4XyZ12" || res.Reply == "" {
		t.Errorf("Result = %+v, want the id 4XyZ12 and the reply", res)
	}
}

func firstLine(msg []byte) string { return string(bytes.SplitN(msg, []byte("\r\n"), 2)[0]) }

// linkSteps are those whose failure says nothing about the message.
func linkSteps() []connectors.Step {
	return []connectors.Step{
		connectors.StepBanner, connectors.StepHello, connectors.StepStartTLS, StepTLSHello, connectors.StepAuth,
	}
}

func mailSteps() []connectors.Step {
	return []connectors.Step{connectors.StepMail, connectors.StepRcpt, connectors.StepData, connectors.StepDot}
}

// replies runs every class of reply at every step.
func (s *suite) replies(t *testing.T) {
	for _, step := range append(linkSteps(), mailSteps()...) {
		for reply, want := range map[string]connectors.Kind{
			"450 4.2.0 later":                       connectors.Temporary,
			"421 4.3.2 going down":                  connectors.Temporary,
			"452-4.3.1 disk\r\n452 4.3.1 full":      connectors.Temporary,
			"530 5.7.0 must authenticate":           connectors.Temporary,
			"550 5.1.1 no":                          connectors.Permanent,
			"554-5.7.1 no\r\n554-\r\n554 5.7.1 not": connectors.Permanent,
			"554":                                   connectors.Permanent,
		} {
			for _, l := range linkSteps() {
				if step == l {
					want = connectors.Temporary
				}
			}
			for mode, offers := range map[string][]string{"pipelined": nil, "single": single()} {
				t.Run(string(step)+"/"+reply[:3]+"/"+mode, func(t *testing.T) {
					t.Parallel()
					o := s.friendly()
					o.Script, o.Offers = Script{step: {Reply: reply}}, offers
					srv := NewServer(t, o)
					_, err := s.submit(t, srv, Letter(s.class), patient)
					wantKind(t, err, want)
					if e, ok := errors.AsType[*connectors.Error](err); !ok || fmt.Sprint(e.Code) != reply[:3] || e.Step != said(step) {
						t.Errorf("step or code is lost: %v", err)
					}
					never(t, srv, step != connectors.StepDot)
				})
			}
		}
	}
}

// said is the step as the connector names it.
func said(step connectors.Step) connectors.Step {
	if step == StepTLSHello {
		return connectors.StepHello
	}
	return step
}

// never checks that the final dot was not said.
func never(t *testing.T, srv *Server, checked bool) {
	t.Helper()
	for _, tr := range srv.Transactions() {
		if checked && tr.Complete {
			t.Error("the final dot was said")
		}
	}
}

// broken cuts, hangs and talks nonsense at every step before the final dot:
// always Temporary.
func (s *suite) broken(t *testing.T) {
	steps := append(linkSteps(), connectors.StepTLS, connectors.StepMail, connectors.StepRcpt, connectors.StepData)
	for _, step := range steps {
		for name, act := range brokenActions() {
			if step == connectors.StepStartTLS && act.Reply != "" {
				act.Cut = true
			}
			t.Run(string(step)+"/"+name, func(t *testing.T) {
				t.Parallel()
				srv := s.server(t, Script{step: act})
				start := time.Now()
				_, err := s.submit(t, srv, Letter(s.class), shortDialogue)
				wantKind(t, err, connectors.Temporary)
				never(t, srv, true)
				if took := time.Since(start); took > 4*time.Second {
					t.Errorf("took %v in spite of short times", took)
				}
			})
		}
	}
}

func brokenActions() map[string]Action {
	return map[string]Action{
		"cut":           {Cut: true},
		"hang":          {Hang: true},
		"half a line":   {Reply: "250-half", Hang: true},
		"no code":       {Reply: "hello there"},
		"letters":       {Reply: "2x0 ok"},
		"code changes":  {Reply: "250-one\r\n251 two"},
		"code 999":      {Reply: "999 ok"},
		"code 199":      {Reply: "199 ok"},
		"no separator":  {Reply: "250ok"},
		"empty":         {Reply: "\r\n"},
		"long line":     {Reply: "250 " + strings.Repeat("x", 5000)},
		"endless":       {Reply: strings.Repeat("250-more\r\n", 5000) + "250 end"},
		"NUL":           {Reply: "\x00\x00\x00 ok"},
		"binary":        {Reply: "\xff\xfe\x16\x03\x01"},
		"3xx":           {Reply: "301 moved"},
		"another 3xx":   {Reply: "399 what"},
		"short":         {Reply: "25"},
		"cut in a line": {Reply: "250-first", Cut: true},
	}
}

// afterDot: from the final dot on only a whole reply tells. No letter is sent a
// second time.
func (s *suite) afterDot(t *testing.T) {
	for name, act := range brokenActions() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := s.server(t, Script{connectors.StepDot: act})
			res, err := s.submit(t, srv, Letter(s.class), shortDot)
			wantKind(t, err, connectors.Unclear)
			if res.SentAs == "" {
				t.Error("SentAs is empty: a receipt could not be matched")
			}
			if got := srv.Transactions(); len(got) != 1 || !got[0].Complete {
				t.Error("the server does not have exactly one letter")
			}
		})
	}
}

func (s *suite) size(t *testing.T) {
	t.Run("announced", func(t *testing.T) {
		o := s.friendly()
		o.Offers = []string{"SIZE 1000", "8BITMIME", "AUTH PLAIN"}
		srv := NewServer(t, o)
		_, err := s.submit(t, srv, bigLetter(s.class, 5000), patient)
		wantKind(t, err, connectors.Permanent)
		if got := srv.Transactions(); len(got) != 0 {
			t.Error("MAIL was said for a message that is too large")
		}
	})
	t.Run("limit of the connector", func(t *testing.T) {
		srv := s.server(t, nil)
		c := s.open(t, Link(s.ca, srv))
		limit := c.Limits().MaxSize
		if limit == 0 {
			t.Skip("the connector has no limit of its own")
		}
		_, err := c.Submit(t.Context(), bigLetter(s.class, limit+1))
		wantKind(t, err, connectors.Permanent)
		srv.Wait()
		if got := srv.Commands(); len(got) != 0 {
			t.Errorf("the server heard %q", got)
		}
	})
}

// needs: what the message needs and the peer lacks is a clear refusal.
func (s *suite) needs(t *testing.T) {
	wide := Letter(s.class)
	wide.To.Local = "m\u00fcller"
	for name, c := range map[string]struct {
		offers []string
		h      connectors.Handover
		status string
	}{
		"8BITMIME": {[]string{"AUTH PLAIN"}, Letter(s.class), "5.6.3"},
		"SMTPUTF8": {[]string{"AUTH PLAIN", "8BITMIME"}, wide, "5.6.7"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := s.friendly()
			o.Offers = c.offers
			srv := NewServer(t, o)
			_, err := s.submit(t, srv, c.h, patient)
			wantKind(t, err, connectors.Permanent)
			if e, ok := errors.AsType[*connectors.Error](err); !ok || e.Enhanced != c.status {
				t.Errorf("status is not %s: %v", c.status, err)
			}
			if got := srv.Transactions(); len(got) != 0 {
				t.Error("MAIL was said")
			}
		})
	}
}

// Smuggling returns the payloads A1 to A13 of "SMTP smuggling" by name.
func Smuggling() map[string]string {
	return map[string]string{
		"A1": "\n.\n", "A2": "\n.\r\n", "A3": "\r.\r", "A4": "\r.\r\n", "A5": "\r\n.\n", "A6": "\r\n.\r", "A7": "\x00\r\n.\r\n",
		"A8": "\r\n\x00.\r\n", "A9": "\r\x00\n.\r\n", "A10": "\x00\r\n.\r\n", "A11": "\r\n.\x00\r\n", "A12": "\r\n.\r\x00\n", "A13": "\r\n.\r\n\x00",
	}
}

// smuggling: a stored body with an irregular line end never reaches a peer.
func (s *suite) smuggling(t *testing.T) {
	second := "MAIL FROM:<a@evil.test>\r\nRCPT TO:<b@evil.test>\r\nDATA\r\nSubject: SMUGGLED\r\n\r\nx\r\n.\r\n"
	for name, payload := range Smuggling() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := s.server(t, nil)
			_, err := s.submit(t, srv, With(s.class, Header("Brief")+"first"+payload+second), patient)
			wantKind(t, err, connectors.Permanent)
			if got := srv.Commands(); len(got) != 0 {
				t.Errorf("the server heard %q", got)
			}
		})
	}
	t.Run("standard end", func(t *testing.T) {
		srv := s.server(t, nil)
		if _, err := s.submit(t, srv, With(s.class, Header("Brief")+"first\r\n.\r\n"+second), patient); err != nil {
			t.Fatal(err)
		}
		if got := srv.Transactions(); len(got) != 1 || string(BodyOf(t, got[0].Message())) != "first\r\n.\r\n"+second {
			t.Error("a dot on a line of its own did not arrive as it was")
		}
	})
}

// secrets: a peer that repeats everything it heard makes no error talkative.
func (s *suite) secrets(t *testing.T) {
	all := strings.Join([]string{
		PlantedSubject, PlantedBody, PlantedRecipient, PlantedSender, PlantedPassword, PlantedAccount,
		base64.StdEncoding.EncodeToString([]byte(PlantedPassword)),
	}, " ")
	for _, step := range append(linkSteps(), mailSteps()...) {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			srv := s.server(t, Script{step: {Reply: "550 5.1.1 " + all}})
			_, err := s.submit(t, srv, Letter(s.class), patient)
			e, ok := errors.AsType[*connectors.Error](err)
			if !ok {
				t.Fatalf("not a *connectors.Error: %v", err)
			}
			if strings.Contains(e.Text, PlantedPassword) && step == connectors.StepAuth {
				t.Error("the reply to AUTH was kept")
			}
		})
	}
}

func (s *suite) noServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	srv := s.server(t, nil)
	link := Link(s.ca, srv)
	link.Addr = addr
	_, err = s.submitBy(t, srv, Letter(s.class), link)
	wantKind(t, err, connectors.Temporary)
}
