package smtpclient_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatewayd/connectors"
	"gatewayd/connectors/connectortest"
	"gatewayd/connectors/smtpclient"
)

// failing is a connection that takes so many octets and then breaks; what it
// took it has delivered.
type failing struct {
	net.Conn
	left int
}

func (f *failing) Write(p []byte) (int, error) {
	if len(p) <= f.left {
		f.left -= len(p)
		return f.Conn.Write(p)
	}
	n, _ := f.Conn.Write(p[:f.left])
	f.left = 0
	f.Conn.Close()
	return n, errors.New("broken")
}

// recorder answers like a good peer and keeps what it heard.
type recorder struct {
	mu    sync.Mutex
	heard bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heard.Write(p)
}

// plainClient speaks to a peer of the test over a pipe, one for each dial.
func plainClient(t *testing.T, edit func(*smtpclient.Options), wrap func(net.Conn) net.Conn, peer func(net.Conn)) *smtpclient.Client {
	t.Helper()
	o := smtpclient.Options{
		Addr: "127.0.0.1:25", Hello: "gateway.bl.example", Mode: smtpclient.PlainLoopback,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				peer(theirs)
			}()
			if wrap != nil {
				return wrap(ours), nil
			}
			return ours, nil
		},
	}
	if edit != nil {
		edit(&o)
	}
	c, err := smtpclient.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestUnclearExactly breaks the connection behind every octet of a dialogue: the
// outcome is unclear if and only if an octet that ends the message has left.
func TestUnclearExactly(t *testing.T) {
	const end = "Inhalt\r\n.\r\n"
	whole := len("EHLO gateway.bl.example\r\n" + "MAIL FROM:<a@bl.example>\r\n" + "RCPT TO:<b@example.ch>\r\n" + "DATA\r\n" + plainNote + ".\r\n")
	unclear := 0
	for cut := range whole {
		rec := &recorder{}
		c := plainClient(t, nil, func(conn net.Conn) net.Conn { return &failing{conn, cut} }, func(conn net.Conn) {
			answer(teeConn{conn, rec}, 1)
			_, _ = io.Copy(rec, conn)
		})
		_, err := c.Send(t.Context(), note(t, "a@bl.example", "b@example.ch", plainNote))
		if err == nil {
			t.Fatalf("cut at %d: no error", cut)
		}
		left := cut > whole-len(".\r\n")
		if got := connectors.KindOf(err) == connectors.Unclear; got != left {
			t.Errorf("cut %d octets before the end: error %v, want unclear %v", whole-cut, err, left)
		}
		if left {
			unclear++
		}
		rec.mu.Lock()
		if heard := rec.heard.String(); strings.HasSuffix(heard, end) {
			t.Errorf("cut at %d: the peer has the whole message", cut)
		}
		rec.mu.Unlock()
	}
	if unclear != 2 {
		t.Errorf("%d of the cuts were unclear, want 2: behind the dot and behind the CR", unclear)
	}
}

type teeConn struct {
	net.Conn
	to io.Writer
}

func (c teeConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	_, _ = c.to.Write(p[:n])
	return n, err
}

// TestUnclearExactlyInChunks: the same for BDAT, around the empty last chunk.
func TestUnclearExactlyInChunks(t *testing.T) {
	body := strings.Repeat("Inhalt\r\n", 20_000)
	const last = len("BDAT 0 LAST\r\n")
	for _, before := range []int{100_000, 70_000, 65_536, 1000, last + 1, last, last - 1, 2, 1, 0} {
		size := len("Subject: x\r\n\r\n") + len(body)
		whole := len("EHLO gateway.bl.example\r\nMAIL FROM:<a@bl.example>\r\nRCPT TO:<b@example.ch>\r\nBDAT 1\r\nBDAT 160013\r\n") + size + last
		c := plainClient(t, nil, func(conn net.Conn) net.Conn { return &failing{conn, whole - before} }, chunkPeer)
		_, err := c.Send(t.Context(), note(t, "a@bl.example", "b@example.ch", "Subject: x\r\n\r\n"+body))
		switch {
		case size != 160_014:
			t.Fatal(size)
		case before == 0 && err != nil:
			t.Errorf("nothing broke: %v", err)
		case before > 0 && (err == nil || (connectors.KindOf(err) == connectors.Unclear) != (before < last)):
			t.Errorf("broken %d octets before the end: error %v, want unclear %v", before, err, before < last)
		}
	}
}

// chunkPeer agrees to everything, CHUNKING among it.
func chunkPeer(conn net.Conn) {
	buf := make([]byte, 200_000)
	_, _ = io.WriteString(conn, "220 peer\r\n")
	for heard := ""; ; {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		heard += string(buf[:n])
		switch {
		case strings.HasPrefix(heard, "EHLO"):
			heard = ""
			_, _ = io.WriteString(conn, "250-peer\r\n250-PIPELINING\r\n250 CHUNKING\r\n")
		case strings.HasPrefix(heard, "MAIL"):
			heard = ""
			_, _ = io.WriteString(conn, "250 ok\r\n250 ok\r\n250 ok\r\n")
		case strings.HasPrefix(heard, "BDAT 160013\r\n") && !strings.HasSuffix(heard, "BDAT 0 LAST\r\n"):
		case strings.HasPrefix(heard, "BDAT 160013\r\n"):
			heard = ""
			_, _ = io.WriteString(conn, "250 ok\r\n250 ok\r\n")
		default:
			heard = ""
			if _, err := io.WriteString(conn, "250 ok\r\n"); err != nil {
				return
			}
		}
	}
}

// TestEnvelopeInOneWrite: what PIPELINING is for.
func TestEnvelopeInOneWrite(t *testing.T) {
	pieces := make(chan string, 20)
	c := plainClient(t, nil, nil, func(conn net.Conn) {
		buf := make([]byte, 10_000)
		_, _ = io.WriteString(conn, "220 peer\r\n")
		for _, reply := range []string{"250-peer\r\n250 PIPELINING\r\n", "250 ok\r\n250 ok\r\n354 go\r\n", "250 ok\r\n", "221 bye\r\n"} {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			pieces <- string(buf[:n])
			_, _ = io.WriteString(conn, reply)
		}
		close(pieces)
	})
	sendBy(t, c)
	got := slices.Collect(func(yield func(string) bool) {
		for p := range pieces {
			if !yield(p) {
				return
			}
		}
	})
	want := []string{"EHLO gateway.bl.example\r\n", "MAIL FROM:<a@bl.example>\r\nRCPT TO:<b@example.ch>\r\nDATA\r\n", plainNote + ".\r\n", "QUIT\r\n"}
	if !slices.Equal(got, want) {
		t.Errorf("said in pieces %q, want %q", got, want)
	}
}

// TestRefusedWithData: replies to commands that were said together (RFC 2920
// section 3.1).
func TestRefusedWithData(t *testing.T) {
	for name, c := range map[string]struct {
		replies string
		kind    connectors.Kind
		step    connectors.Step
		lone    bool // the lone dot is said
		kept    bool // the connection serves the next message
	}{
		"recipient, DATA too":     {"250 ok\r\n550 5.1.1 no\r\n503 5.5.1 no\r\n", connectors.Permanent, connectors.StepRcpt, false, true},
		"recipient, DATA goes on": {"250 ok\r\n450 4.2.1 later\r\n354 go\r\n", connectors.Temporary, connectors.StepRcpt, true, true},
		"sender, DATA goes on":    {"550 5.7.1 no\r\n503 5.5.1 no\r\n354 go\r\n", connectors.Permanent, connectors.StepMail, true, true},
		"out of step":             {"550 5.7.1 no\r\n250 ok\r\n354 go\r\n", connectors.Permanent, connectors.StepMail, false, false},
		"DATA alone":              {"250 ok\r\n250 ok\r\n451 4.3.0 no\r\n", connectors.Temporary, connectors.StepData, false, true},
		"closing at once":         {"421 4.3.2 bye\r\n", connectors.Temporary, connectors.StepMail, false, false},
		"sender, then closed":     {"550 5.7.1 no\r\n", connectors.Permanent, connectors.StepMail, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			rec := &recorder{}
			pool := smtpclient.NewPool(smtpclient.PoolOptions{Idle: time.Hour})
			defer pool.Close()
			cl := plainClient(t, func(o *smtpclient.Options) {
				o.Pool, o.Timeouts = pool, smtpclient.Timeouts{Quit: 10 * time.Millisecond}
			}, nil, func(conn net.Conn) { says(conn, rec, c.replies, c.lone, c.kept) })
			_, err := cl.Send(t.Context(), note(t, "a@bl.example", "b@example.ch", plainNote))
			if e, ok := errors.AsType[*connectors.Error](err); !ok || e.Kind != c.kind || e.Step != c.step {
				t.Errorf("error %v, want %v at %s", err, c.kind, c.step)
			}
			pool.Close()
			rec.mu.Lock()
			defer rec.mu.Unlock()
			heard := rec.heard.String()
			if got := strings.HasSuffix(strings.TrimSuffix(heard, "QUIT\r\n"), "DATA\r\n.\r\n"); got != c.lone {
				t.Errorf("heard %q, the lone dot %v, want %v", heard, got, c.lone)
			}
			if strings.Contains(heard, "Subject") {
				t.Errorf("the message left: %q", heard)
			}
			if got := strings.HasSuffix(heard, "QUIT\r\n"); got != c.kept {
				t.Errorf("heard %q: kept %v, want %v", heard, got, c.kept)
			}
		})
	}
}

// says is a peer with these replies to the envelope, one to a lone dot, and then
// either gone or there for another command.
func says(conn net.Conn, rec *recorder, replies string, lone, stays bool) {
	buf := make([]byte, 10_000)
	_, _ = io.WriteString(conn, "220 peer\r\n")
	for _, reply := range []string{"250-peer\r\n250 PIPELINING\r\n", replies, "554 5.5.1 nobody\r\n"} {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		_, _ = rec.Write(buf[:n])
		if _, err := io.WriteString(conn, reply); err != nil {
			return
		}
		if !lone && reply == replies {
			break
		}
	}
	if stays {
		n, _ := conn.Read(buf)
		_, _ = rec.Write(buf[:n])
	}
}

// TestPipeliningRemembered: a peer that offers PIPELINING and loses the commands
// behind the first hears them one by one the next time.
func TestPipeliningRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := smtpclient.NewPool(smtpclient.PoolOptions{})
		c := plainClient(t, func(o *smtpclient.Options) { o.Pool = pool }, nil, func(conn net.Conn) {
			buf := make([]byte, 10_000)
			replies := map[string]string{"EHLO": "250-peer\r\n250 PIPELINING\r\n", "DATA": "354 go\r\n"}
			_, _ = io.WriteString(conn, "220 peer\r\n")
			for {
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				reply, ok := replies[string(buf[:min(n, 4)])]
				if !ok {
					reply = "250 ok\r\n"
				}
				if _, err := io.WriteString(conn, reply); err != nil {
					return
				}
			}
		})
		_, err := c.Send(t.Context(), note(t, "a@bl.example", "b@example.ch", plainNote))
		if err == nil || connectors.KindOf(err) != connectors.Temporary {
			t.Errorf("error %v, want a temporary one", err)
		}
		sendBy(t, c)
		pool.Close()
	})
}

// TestEarlyReply: a reply that comes before the end of the message is not the
// one to it, whatever it says.
func TestEarlyReply(t *testing.T) {
	for reply, kind := range map[string]connectors.Kind{
		"250 2.0.0 queued": connectors.Temporary, "552 5.3.4 enough": connectors.Permanent, "451 4.3.0 no": connectors.Temporary, "what": connectors.Temporary,
	} {
		o := connectortest.ServerOptions{Script: connectortest.Script{connectors.StepData: {Reply: "354 go on\r\n" + reply}}}
		r := newRig(t, o, smtpclient.PoolOptions{})
		m := note(t, "a@bl.example", "b@example.ch", plainNote)
		m.Body = &waitsFor{Reader: strings.NewReader(strings.Repeat("Inhalt\r\n", 20_000)), pause: 50 * time.Millisecond}
		_, err := r.client.Send(t.Context(), m)
		if err == nil || connectors.KindOf(err) != kind {
			t.Errorf("%q: error %v, want %v", reply, err, kind)
		}
		r.pool.Close()
		r.Wait()
		if got := r.Transactions(); len(got) != 1 || got[0].Complete {
			t.Errorf("%q: the end of the message was said", reply)
		}
	}
}

// waitsFor pauses at the sending, so that the peer's early reply is there.
type waitsFor struct {
	*strings.Reader
	pause time.Duration
	seeks int
}

func (w *waitsFor) Seek(offset int64, whence int) (int64, error) {
	if w.seeks++; w.seeks == 3 {
		time.Sleep(w.pause)
	}
	return w.Reader.Seek(offset, whence)
}

// TestGrace: when the context ends while the reply to the final dot is due, the
// reply still counts for a moment: giving up at once would make unclear what a
// second later is known.
func TestGrace(t *testing.T) {
	for after, ok := range map[time.Duration]bool{time.Second: true, 3 * time.Second: false} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c := plainClient(t, nil, nil, func(conn net.Conn) {
				buf := make([]byte, 10_000)
				for _, reply := range []string{"220 peer\r\n", "250 peer\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"} {
					_, _ = io.WriteString(conn, reply)
					if _, err := conn.Read(buf); err != nil {
						return
					}
				}
				cancel()
				time.Sleep(after)
				_, _ = io.WriteString(conn, "250 ok\r\n")
				_, _ = conn.Read(buf)
			})
			start := time.Now()
			_, err := c.Send(ctx, note(t, "a@bl.example", "b@example.ch", plainNote))
			switch {
			case ok && err != nil:
				t.Errorf("reply after %v: %v", after, err)
			case !ok && connectors.KindOf(err) != connectors.Unclear:
				t.Errorf("reply after %v: error %v, want an unclear one", after, err)
			case !ok && !errors.Is(err, context.Canceled):
				t.Errorf("the cause is lost: %v", err)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			time.Sleep(after) // the peer ends too
		})
	}
}

// TestCancelInside: the end of the context ends a write that the peer does not
// take, also the one with the end of the message in it.
func TestCancelInside(t *testing.T) {
	for _, body := range []string{"Inhalt\r\n", strings.Repeat("Inhalt\r\n", 20_000)} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			gone := make(chan struct{})
			c := plainClient(t, nil, nil, func(conn net.Conn) {
				buf := make([]byte, 10_000)
				for _, reply := range []string{"220 peer\r\n", "250 peer\r\n", "250 ok\r\n", "250 ok\r\n"} {
					_, _ = io.WriteString(conn, reply)
					_, _ = conn.Read(buf)
				}
				_, _ = io.WriteString(conn, "354 go\r\n")
				<-gone
			})
			time.AfterFunc(time.Second, cancel)
			start := time.Now()
			_, err := c.Send(ctx, note(t, "a@bl.example", "b@example.ch", "Subject: x\r\n\r\n"+body))
			if connectors.KindOf(err) != connectors.Temporary || !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want a temporary one", err)
			}
			if took := time.Since(start); took != time.Second {
				t.Errorf("took %v, want the second until the end of the context", took)
			}
			close(gone)
		})
	}
}

// TestChunksRemembered: a peer that answers BDAT in a way that ends the dialogue
// hears DATA the next time, over a fresh connection too; one that took a
// chunk is not tried out again.
func TestChunksRemembered(t *testing.T) {
	long := "Subject: x\r\n\r\n" + strings.Repeat("Inhalt\r\n", 20_000)
	chunking := append(connectortest.Offers(), "CHUNKING")
	for name, c := range map[string]struct {
		script connectortest.Script
		first  connectors.Kind
	}{
		"nonsense":    {connectortest.Script{connectortest.StepChunk: {Reply: "what"}}, connectors.Temporary},
		"cut":         {connectortest.Script{connectortest.StepChunk: {Cut: true}}, connectors.Temporary},
		"syntax":      {connectortest.Script{connectors.StepDot: {Reply: "500 5.5.1 too long line", Cut: true}}, connectors.Temporary},
		"cut at last": {connectortest.Script{connectors.StepDot: {Cut: true}}, connectors.Unclear},
	} {
		r := newRig(t, connectortest.ServerOptions{Offers: chunking, Script: c.script, Second: c.script}, smtpclient.PoolOptions{Idle: time.Hour})
		_, err := r.client.Send(t.Context(), note(t, "a@bl.example", "b@example.ch", long))
		if err == nil || connectors.KindOf(err) != c.first {
			t.Errorf("%s: error %v, want %v", name, err, c.first)
		}
		before := r.said("DATA")
		_, _ = r.open(t, nil).Send(t.Context(), note(t, "a@bl.example", "b@example.ch", long))
		if before != 0 || r.said("DATA") != 1 || r.said("BDAT") > 3 {
			t.Errorf("%s: said %q", name, r.Commands())
		}
	}
	r := newRig(t, connectortest.ServerOptions{Offers: chunking}, smtpclient.PoolOptions{Idle: time.Hour})
	for range 3 {
		if _, err := r.client.Send(t.Context(), note(t, "a@bl.example", "b@example.ch", long)); err != nil {
			t.Fatal(err)
		}
	}
	r.pool.Close()
	r.Wait()
	for _, tr := range r.Transactions() {
		if string(tr.Message()) != long {
			t.Errorf("%d octets in %d chunks, want %d", len(tr.Wire), tr.Chunks, len(long))
		}
	}
	if r.said("BDAT") != 7 {
		t.Errorf("said %q", r.Commands())
	}
}

// TestChunkReplies: the octets and the empty chunk behind them are answered one
// after the other, and only together do they say what became of the message.
func TestChunkReplies(t *testing.T) {
	long := "Subject: x\r\n\r\n" + strings.Repeat("Inhalt\r\n", 20_000)
	for replies, want := range map[string]struct {
		kind connectors.Kind
		code int
	}{
		"250 ok\r\n250 queued\r\n":        {-1, 0},
		"250 ok\r\n554 5.7.1 no\r\n":      {connectors.Permanent, 554},
		"552 5.3.4 big\r\n503 no\r\n":     {connectors.Permanent, 552},
		"452 4.3.1 full\r\n503 no\r\n":    {connectors.Temporary, 452},
		"552 5.3.4 big\r\n":               {connectors.Permanent, 552},
		"500 5.5.1 what\r\n500 what\r\n":  {connectors.Temporary, 500},
		"552 5.3.4 big\r\n250 queued\r\n": {connectors.Unclear, 0},
		"354 go\r\n250 queued\r\n":        {connectors.Unclear, 0},
		"250 ok\r\n":                      {connectors.Unclear, 0},
		"250 ok\r\n354 go\r\n":            {connectors.Unclear, 0},
	} {
		c := plainClient(t, func(o *smtpclient.Options) { o.Timeouts.Quit = 50 * time.Millisecond }, nil, func(conn net.Conn) {
			buf := make([]byte, 100_000)
			for _, reply := range []string{"220 peer\r\n", "250-peer\r\n250-PIPELINING\r\n250 CHUNKING\r\n", "250 ok\r\n250 ok\r\n250 ok\r\n"} {
				_, _ = io.WriteString(conn, reply)
				if reply[:3] == "220" || strings.HasPrefix(reply, "250-") {
					_, _ = conn.Read(buf)
				}
			}
			for heard := ""; !strings.HasSuffix(heard, "BDAT 0 LAST\r\n"); {
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				heard = heard[max(0, len(heard)-20):] + string(buf[:n])
			}
			_, _ = io.WriteString(conn, replies)
		})
		_, err := c.Send(t.Context(), note(t, "a@bl.example", "b@example.ch", long))
		e, _ := errors.AsType[*connectors.Error](err)
		switch {
		case want.kind == -1 && err != nil:
			t.Errorf("%q: %v", replies, err)
		case want.kind != -1 && (e == nil || e.Kind != want.kind || e.Code != want.code):
			t.Errorf("%q: error %v, want %v %d", replies, err, want.kind, want.code)
		}
	}
}

// TestShortStaysData: below its size BDAT wins nothing.
func TestShortStaysData(t *testing.T) {
	r := newRig(t, connectortest.ServerOptions{Offers: append(connectortest.Offers(), "CHUNKING")}, smtpclient.PoolOptions{})
	sendBy(t, r.client)
	if r.said("BDAT") != 0 || r.said("DATA") != 1 {
		t.Errorf("said %q", r.Commands())
	}
}
