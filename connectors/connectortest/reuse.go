package connectortest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/connectors"
	"gatewayd/connectors/smtpclient"
)

// kept opens the connector with a pool, which is closed with the test.
func (s *suite) kept(t *testing.T, srv *Server, edit func(*smtpclient.Options)) (connectors.Connector, *smtpclient.Pool) {
	t.Helper()
	pool := smtpclient.NewPool(smtpclient.PoolOptions{Idle: time.Hour})
	t.Cleanup(func() { pool.Close() })
	link := Link(s.ca, srv)
	link.Pool = pool
	// What this suite waits for must come; only what never comes waits for these.
	link.Timeouts = smtpclient.Timeouts{Quit: 200 * time.Millisecond}
	if edit != nil {
		edit(&link)
	}
	return s.open(t, link), pool
}

// settled closes the pool and returns what the server has in the end.
func settled(pool *smtpclient.Pool, srv *Server) []Transaction {
	pool.Close()
	srv.Wait()
	return srv.Transactions()
}

// letters hands over one letter after the other and returns the last error; the
// ones before must arrive.
func (s *suite) letters(t *testing.T, c connectors.Connector, n int) error {
	t.Helper()
	for i := range n {
		_, err := c.Submit(t.Context(), Letter(s.class))
		noSecret(t, err)
		if i == n-1 {
			return err
		}
		if err != nil {
			t.Fatalf("letter %d: %v", i+1, err)
		}
	}
	return nil
}

// second: every class of reply to the second message of a connection means what
// it means to the first, and a third message comes after it in good order. A
// peer that ends the connection before it took anything costs nothing.
func (s *suite) second(t *testing.T) {
	for _, step := range mailSteps() {
		for reply, want := range map[string]connectors.Kind{
			"250 2.0.0 ok": -1, "450 4.2.0 later": connectors.Temporary, "421 4.3.2 going down": connectors.Temporary, "550 5.1.1 no": connectors.Permanent,
		} {
			if step == connectors.StepData && want == -1 {
				reply = "354 go on"
			}
			for mode, offers := range map[string][]string{"pipelined": nil, "single": single()} {
				t.Run(string(step)+"/"+reply[:3]+"/"+mode, func(t *testing.T) {
					t.Parallel()
					o := s.friendly()
					o.Second, o.Offers = Script{step: {Reply: reply}}, offers
					if strings.HasPrefix(reply, "421") {
						o.Second[step] = Action{Reply: reply, Cut: true}
					}
					srv := NewServer(t, o)
					c, pool := s.kept(t, srv, nil)
					s.secondOf(t, c, pool, srv, step, reply, want)
				})
			}
		}
	}
}

func (s *suite) secondOf(t *testing.T, c connectors.Connector, pool *smtpclient.Pool, srv *Server, step connectors.Step, reply string, want connectors.Kind) {
	closing := strings.HasPrefix(reply, "421")
	err := s.letters(t, c, 2)
	switch {
	case want == -1 || closing && step == connectors.StepMail:
		if err != nil {
			t.Errorf("the second letter: %v", err)
		}
	default:
		wantKind(t, err, want)
	}
	if closing {
		conns := srv.Connections()
		if settled(pool, srv); step == connectors.StepMail && conns != 2 || step != connectors.StepMail && conns != 1 {
			t.Errorf("%d connections for two letters", conns)
		}
		return
	}
	if err := s.letters(t, c, 1); err != nil {
		t.Errorf("the third letter: %v", err)
	}
	got := settled(pool, srv)
	if n := srv.Connections(); n != 1 || len(got) != 3 || !got[2].Complete {
		t.Errorf("%d connections and %d transactions for three letters, want 1 and 3", n, len(got))
	}
	if open := want != -1 && step != connectors.StepDot; slices.Contains(srv.Commands(), "RSET") != open {
		t.Errorf("RSET said: %v, want %v", !open, open)
	}
}

// secondBroken: a connection that was kept and breaks before the peer accepted
// anything is replaced by a fresh one; from MAIL's acceptance on the attempt has
// failed, and from the final dot on nobody knows. No letter is sent twice.
func (s *suite) secondBroken(t *testing.T) {
	for _, step := range mailSteps() {
		for name, act := range brokenActions() {
			if act.Hang && step != connectors.StepDot {
				continue // a matter of time, and of smtpclient's own tests
			}
			t.Run(string(step)+"/"+name, func(t *testing.T) {
				t.Parallel()
				o := s.friendly()
				o.Second = Script{step: act}
				srv := NewServer(t, o)
				c, pool := s.kept(t, srv, func(link *smtpclient.Options) {
					if act.Hang {
						link.Timeouts.Dot = 150 * time.Millisecond
					}
				})
				err := s.letters(t, c, 2)
				got := settled(pool, srv)
				s.wantSecond(t, step, err, got)
			})
		}
	}
}

func (s *suite) wantSecond(t *testing.T, step connectors.Step, err error, got []Transaction) {
	complete := 0
	for _, tr := range got {
		if tr.Complete {
			complete++
		}
	}
	switch {
	case step == connectors.StepDot:
		wantKind(t, err, connectors.Unclear)
		if len(got) != 2 || complete != 2 {
			t.Errorf("%d transactions, %d complete, want 2", len(got), complete)
		}
	case step == connectors.StepMail:
		if err != nil || complete != 2 {
			t.Errorf("the second letter: %v; %d arrived", err, complete)
		}
	default:
		wantKind(t, err, connectors.Temporary)
		if complete != 1 {
			t.Errorf("%d letters arrived", complete)
		}
	}
}

// leftOpen: a transaction that the peer refused in the middle is taken back
// before the next message; if the peer won't, a fresh connection is.
func (s *suite) leftOpen(t *testing.T) {
	for name, act := range map[string]Action{
		"421": {Reply: "421 4.3.2 bye", Cut: true}, "500": {Reply: "500 5.5.2 what"}, "450": {Reply: "450 4.0.0 no"}, "cut": {Cut: true}, "nonsense": {Reply: "what"},
	} {
		for mode, offers := range map[string][]string{"pipelined": nil, "single": single()} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				o := s.friendly()
				o.Offers, o.Second = offers, Script{connectors.StepRcpt: {Reply: "550 5.1.1 no"}, connectors.StepReset: act}
				srv := NewServer(t, o)
				c, pool := s.kept(t, srv, nil)
				wantKind(t, s.letters(t, c, 2), connectors.Permanent)
				if err := s.letters(t, c, 1); err != nil {
					t.Errorf("the third letter: %v", err)
				}
				arrived := slices.ContainsFunc(settled(pool, srv), func(tr Transaction) bool { return tr.Complete && tr.Conn == 2 })
				if srv.Connections() != 2 || !arrived {
					t.Errorf("%d connections, arrived over the second: %v", srv.Connections(), arrived)
				}
			})
		}
	}
}

// inChunks: a long message leaves by BDAT where the peer offers it, and by DATA
// where the offer turns out to be none; the same octets arrive.
func (s *suite) inChunks(t *testing.T) {
	const size = 200 << 10
	chunking := append(Offers(), "CHUNKING")
	for name, c := range map[string]struct {
		script Script
		kind   connectors.Kind // -1: arrives
		chunks bool
	}{
		"taken":           {nil, -1, true},
		"unknown":         {Script{StepChunk: {Reply: "500 5.5.1 what"}}, -1, false},
		"refused":         {Script{StepChunk: {Reply: "503 5.5.1 no"}}, -1, false},
		"full":            {Script{StepChunk: {Reply: "452 4.3.1 disk"}}, connectors.Temporary, false},
		"last refused":    {Script{connectors.StepDot: {Reply: "554 5.7.1 no"}}, connectors.Permanent, true},
		"last later":      {Script{connectors.StepDot: {Reply: "451 4.3.0 later"}}, connectors.Temporary, true},
		"last not known":  {Script{connectors.StepDot: {Reply: "503 5.5.1 what"}}, connectors.Temporary, true},
		"last cut":        {Script{connectors.StepDot: {Cut: true}}, connectors.Unclear, true},
		"last nonsense":   {Script{connectors.StepDot: {Reply: "what"}}, connectors.Unclear, true},
		"rcpt refused":    {Script{connectors.StepRcpt: {Reply: "550 5.1.1 no"}}, connectors.Permanent, false},
		"cut inside":      {Script{StepBody: {Cut: true}}, connectors.Temporary, true},
		"answered inside": {Script{StepBody: {Reply: "552 5.3.4 enough", Cut: true}}, connectors.Permanent, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := s.friendly()
			o.Offers, o.Script = chunking, c.script
			srv := NewServer(t, o)
			h := bigLetter(s.class, size)
			if _, inside := c.script[StepBody]; inside {
				h = bigLetter(s.class, 16<<20) // more than the buffers on the way take
			}
			res, err := s.submit(t, srv, h, patient)
			if c.kind != -1 {
				wantKind(t, err, c.kind)
			} else if err != nil {
				t.Fatal(err)
			}
			got := srv.Transactions()
			last := got[len(got)-1]
			if (last.Chunks > 1) != c.chunks {
				t.Errorf("%d chunks", last.Chunks)
			}
			if c.kind == -1 && string(BodyOf(t, last.Message())) != bodyOfBig(h) || res.SentAs == "" {
				t.Error("the message did not arrive as it was")
			}
		})
	}
}

// afterLast: a peer that has the last chunk and says nothing.
func (s *suite) afterLast(t *testing.T) {
	o := s.friendly()
	o.Offers, o.Script = append(Offers(), "CHUNKING"), Script{connectors.StepDot: {Hang: true}}
	srv := NewServer(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		<-srv.Hanging()
		cancel()
	}()
	c, pool := s.kept(t, srv, func(link *smtpclient.Options) { link.Timeouts.Grace = 50 * time.Millisecond })
	_, err := c.Submit(ctx, bigLetter(s.class, 200<<10))
	wantKind(t, err, connectors.Unclear)
	if got := settled(pool, srv); len(got) != 1 || !got[0].Complete {
		t.Error("not exactly one letter arrived")
	}
}
