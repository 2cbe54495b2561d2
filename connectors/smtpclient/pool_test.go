package smtpclient_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatewayd/connectors"
	"gatewayd/connectors/connectortest"
	"gatewayd/connectors/smtpclient"
)

// rig is a server, a pool and a client that uses it.
type rig struct {
	*connectortest.Server
	pool   *smtpclient.Pool
	link   smtpclient.Options
	client *smtpclient.Client
}

func newRig(t *testing.T, server connectortest.ServerOptions, pool smtpclient.PoolOptions) *rig {
	t.Helper()
	ca := connectortest.NewCA(t)
	if server.TLS == nil {
		server.TLS = connectortest.Friendly(ca).TLS
	}
	r := &rig{Server: connectortest.NewServer(t, server), pool: smtpclient.NewPool(pool)}
	t.Cleanup(func() { r.pool.Close() })
	r.link = connectortest.Link(ca, r.Server)
	r.link.Timeouts, r.link.Pool = smtpclient.Timeouts{}, r.pool
	r.client = r.open(t, nil)
	return r
}

func (r *rig) open(t *testing.T, edit func(*smtpclient.Options)) *smtpclient.Client {
	t.Helper()
	link := r.link
	if edit != nil {
		edit(&link)
	}
	c, err := smtpclient.New(link)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sendBy(t *testing.T, c *smtpclient.Client) {
	t.Helper()
	if _, err := c.Send(t.Context(), note(t, "a@bl.example", "b@example.ch", plainNote)); err != nil {
		t.Fatal(err)
	}
}

// until waits for what must come.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 6000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("did not come: %s", what)
}

func (r *rig) said(command string) int {
	n := 0
	for _, c := range r.Commands() {
		if strings.HasPrefix(c, command) {
			n++
		}
	}
	return n
}

func TestPoolReuses(t *testing.T) {
	r := newRig(t, connectortest.ServerOptions{}, smtpclient.PoolOptions{Idle: time.Hour})
	for range 10 {
		sendBy(t, r.client)
	}
	r.pool.Close()
	r.Wait()
	if n := len(r.Transactions()); r.Connections() != 1 || n != 10 {
		t.Errorf("%d letters over %d connections, want 10 over 1", n, r.Connections())
	}
	if r.said("AUTH") != 1 || r.said("RSET") != 0 || r.said("QUIT") != 1 {
		t.Errorf("said %q", r.Commands())
	}
}

// TestPoolDeadIdle: the peer went away while the connection waited. Nothing is
// said over it.
func TestPoolDeadIdle(t *testing.T) {
	r := newRig(t, connectortest.ServerOptions{}, smtpclient.PoolOptions{Idle: time.Hour})
	sendBy(t, r.client)
	r.CutAll()
	sendBy(t, r.client)
	if n := len(r.Transactions()); r.Connections() != 2 || n != 2 {
		t.Errorf("%d transactions over %d connections, want 2 over 2", n, r.Connections())
	}
}

// TestPoolUnaskedReply: a peer that adds a reply to the one that it owed is not
// in step. Under TLS both can come in one piece, and the second then lies where
// the system does not show it.
func TestPoolUnaskedReply(t *testing.T) {
	ca := connectortest.NewCA(t)
	conf := connectortest.Friendly(ca).TLS
	for _, more := range []string{"421 4.4.2 idle too long, bye\r\n", "250 2.0.0 once more\r\n", "what\r\n"} {
		for _, apart := range []bool{true, false} {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var hellos atomic.Int64
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					go chatter(conn, conf, more, apart, &hellos)
				}
			}()
			pool := smtpclient.NewPool(smtpclient.PoolOptions{Idle: time.Hour})
			c, err := smtpclient.New(smtpclient.Options{
				Addr: l.Addr().String(), ServerName: "peer.test.example", TLS: connectortest.Trust(ca), Mode: smtpclient.ImplicitTLS,
				Hello: "gateway.bl.example", Pool: pool, Timeouts: smtpclient.Timeouts{Quit: 100 * time.Millisecond},
			})
			if err != nil {
				t.Fatal(err)
			}
			sendBy(t, c)
			sendBy(t, c)
			if n := hellos.Load(); n != 2 {
				t.Errorf("%q, records apart %v: %d connections, want 2", more, apart, n)
			}
			pool.Close()
			l.Close()
		}
	}
}

// gathered is a connection that can hold back what is written.
type gathered struct {
	net.Conn
	hold bool
	buf  []byte
}

func (g *gathered) Write(p []byte) (int, error) {
	if g.hold {
		g.buf = append(g.buf, p...)
		return len(p), nil
	}
	return g.Conn.Write(p)
}

// chatter is a peer that says more behind its reply to the final dot, in the
// same piece: in a TLS record of its own, or in one.
func chatter(conn net.Conn, conf *tls.Config, more string, apart bool, hellos *atomic.Int64) {
	defer conn.Close()
	out := &gathered{Conn: conn}
	secure := tls.Server(out, conf)
	if secure.Handshake() != nil {
		return
	}
	say := func(s string) { _, _ = io.WriteString(secure, s) }
	say("220 peer\r\n")
	br := bufio.NewReader(secure)
	for data := false; ; {
		line, err := br.ReadString('\n')
		switch {
		case err != nil:
			return
		case data && line != ".\r\n":
		case data && apart:
			data, out.hold = false, true
			say("250 ok\r\n")
			say(more)
			_, _ = conn.Write(out.buf)
			out.hold, out.buf = false, nil
		case data:
			data = false
			say("250 ok\r\n" + more)
		case line == "DATA\r\n":
			data = true
			say("354 go\r\n")
		default:
			if strings.HasPrefix(line, "EHLO") {
				hellos.Add(1)
			}
			say("250 ok\r\n")
		}
	}
}

func TestPoolLimits(t *testing.T) {
	for name, c := range map[string]struct {
		pool  smtpclient.PoolOptions
		offer string
		want  int // connections for six letters
	}{
		"messages":              {smtpclient.PoolOptions{Messages: 2}, "", 3},
		"the peer grants fewer": {smtpclient.PoolOptions{Messages: 100}, "LIMITS RCPTMAX=1 MAILMAX=3", 2},
		"the peer grants more":  {smtpclient.PoolOptions{Messages: 2}, "LIMITS MAILMAX=3", 3},
		"odd limits":            {smtpclient.PoolOptions{}, "LIMITS MAILMAX=0 MAILMAX=x", 1},
		"age":                   {smtpclient.PoolOptions{Age: time.Nanosecond}, "", 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.pool.Idle = time.Hour
			r := newRig(t, connectortest.ServerOptions{Offers: append(connectortest.Offers(), c.offer)}, c.pool)
			for range 6 {
				sendBy(t, r.client)
			}
			r.pool.Close()
			r.Wait()
			if r.Connections() != c.want || len(r.Transactions()) != 6 || r.said("QUIT") != c.want {
				t.Errorf("%d letters, %d connections, %d goodbyes, want %d", len(r.Transactions()), r.Connections(), r.said("QUIT"), c.want)
			}
		})
	}
}

// TestPoolRefusals: a connection on which the peer refused several messages is
// not kept.
func TestPoolRefusals(t *testing.T) {
	script := connectortest.Script{connectors.StepRcpt: {Reply: "550 5.1.1 no"}}
	r := newRig(t, connectortest.ServerOptions{Script: script}, smtpclient.PoolOptions{Idle: time.Hour})
	for range 6 {
		_, err := r.client.Send(t.Context(), note(t, "a@bl.example", "b@example.ch", plainNote))
		if err == nil || connectors.KindOf(err) != connectors.Permanent {
			t.Errorf("error %v, want a permanent one", err)
		}
	}
	r.pool.Close()
	r.Wait()
	if r.Connections() != 2 {
		t.Errorf("%d connections for six refusals, want 2", r.Connections())
	}
}

// together sends n letters that are all under way at the same time.
func (r *rig) together(t *testing.T, clients ...*smtpclient.Client) {
	t.Helper()
	var wg sync.WaitGroup
	errs := make(chan error, len(clients))
	arrived := make(chan struct{}, len(clients))
	all := make(chan struct{})
	go func() {
		for range clients {
			<-arrived
		}
		close(all)
	}()
	for _, c := range clients {
		wg.Go(func() {
			m := note(t, "a@bl.example", "b@example.ch", plainNote)
			m.Body = &waits{Reader: strings.NewReader(strings.Repeat("Inhalt\r\n", 20_000)), arrived: arrived, all: all}
			_, err := c.Send(t.Context(), m)
			errs <- err
		})
	}
	wg.Wait()
	for range clients {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// waits is a long body that, at its second reading, waits for the others.
type waits struct {
	*strings.Reader
	arrived chan<- struct{}
	all     <-chan struct{}
	seeks   int
}

func (w *waits) Seek(offset int64, whence int) (int64, error) {
	if w.seeks++; w.seeks == 3 { // the length, the look, the sending
		w.arrived <- struct{}{}
		<-w.all
	}
	return w.Reader.Seek(offset, whence)
}

func TestPoolKeepsNoMoreThan(t *testing.T) {
	for name, c := range map[string]struct {
		pool smtpclient.PoolOptions
		bye  int
	}{
		"per destination": {smtpclient.PoolOptions{PerDestination: 2}, 4}, // of six
		"in total":        {smtpclient.PoolOptions{PerDestination: 6, Total: 3}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.pool.Idle = time.Hour
			r := newRig(t, connectortest.ServerOptions{}, c.pool)
			r.together(t, slices.Repeat([]*smtpclient.Client{r.client}, 6)...)
			if r.Connections() != 6 {
				t.Fatalf("%d connections at once, want 6", r.Connections())
			}
			until(t, "the goodbyes", func() bool { return r.said("QUIT") >= c.bye })
			r.pool.Close()
			r.Wait()
			if r.said("QUIT") != 6 {
				t.Errorf("%d goodbyes, want 6", r.said("QUIT"))
			}
		})
	}
}

func TestPoolIdle(t *testing.T) {
	r := newRig(t, connectortest.ServerOptions{}, smtpclient.PoolOptions{Idle: 20 * time.Millisecond})
	sendBy(t, r.client)
	until(t, "the goodbye of an idle connection", func() bool { return r.said("QUIT") == 1 })
	sendBy(t, r.client)
	if r.Connections() != 2 {
		t.Errorf("%d connections, want 2", r.Connections())
	}
}

// TestPoolIdentity: whatever differs in destination, name, credentials or rules
// has a connection of its own.
func TestPoolIdentity(t *testing.T) {
	ca := connectortest.NewCA(t)
	o := connectortest.Friendly(ca)
	o.TLS.ClientAuth = tls.VerifyClientCertIfGiven
	o.TLS.ClientCAs = ca.Pool()
	srv := connectortest.NewServer(t, o)
	pool := smtpclient.NewPool(smtpclient.PoolOptions{Idle: time.Hour})
	base := connectortest.Link(ca, srv)
	base.Pool, base.Timeouts = pool, smtpclient.Timeouts{}
	certificate := func(name string) func(*smtpclient.Options) {
		return func(o *smtpclient.Options) {
			o.TLS = o.TLS.Clone()
			o.TLS.Certificates = []tls.Certificate{ca.Issue(name)}
		}
	}
	_, port, _ := net.SplitHostPort(srv.Addr)
	variants := map[string]func(*smtpclient.Options){
		"base": func(*smtpclient.Options) {},
		"another account": func(o *smtpclient.Options) {
			o.Login = &smtpclient.Login{Name: "other", Password: connectortest.PlantedPassword}
		},
		"another password": func(o *smtpclient.Options) {
			o.Login = &smtpclient.Login{Name: connectortest.PlantedAccount, Password: "x"}
		},
		"fields shifted": func(o *smtpclient.Options) {
			o.Login = &smtpclient.Login{Name: connectortest.PlantedAccount + "Z", Password: connectortest.PlantedPassword[1:]}
		},
		"no login":          func(o *smtpclient.Options) { o.Login = nil },
		"certificate":       certificate("one.bl.example"),
		"other certificate": certificate("two.bl.example"),
		"equal TLS":         func(o *smtpclient.Options) { o.TLS = o.TLS.Clone() },
		"hello":             func(o *smtpclient.Options) { o.Hello = "other.bl.example" },
		"pin":               func(o *smtpclient.Options) { o.Pins = []smtpclient.Pin{smtpclient.PinOf(ca.Certificate())} },
		"mode":              func(o *smtpclient.Options) { o.Mode, o.Login = smtpclient.Opportunistic, nil },
		"address":           func(o *smtpclient.Options) { o.Addr = "localhost:" + port },
	}
	clients := map[string]*smtpclient.Client{}
	for name, edit := range variants {
		link := base
		edit(&link)
		c, err := smtpclient.New(link)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		clients[name] = c
	}
	for range 2 {
		for _, c := range clients {
			sendBy(t, c)
		}
	}
	pool.Close()
	srv.Wait()
	if srv.Connections() != len(variants) || len(srv.Transactions()) != 2*len(variants) {
		t.Errorf("%d letters over %d connections, want %d over %d", len(srv.Transactions()), srv.Connections(), 2*len(variants), len(variants))
	}
}

// TestPoolSharesEqual: two clients made from the very same options share, as the
// one that is made anew for a mail exchanger must; a certificate that was changed
// behind the same pointer does not.
func TestPoolSharesEqual(t *testing.T) {
	ca := connectortest.NewCA(t)
	r := newRig(t, connectortest.Friendly(ca), smtpclient.PoolOptions{Idle: time.Hour})
	r.link.TLS = connectortest.Trust(ca)
	sendBy(t, r.open(t, nil))
	sendBy(t, r.open(t, nil))
	if r.Connections() != 1 {
		t.Errorf("%d connections, want 1", r.Connections())
	}
	r.link.TLS.Certificates = []tls.Certificate{ca.Issue("gateway.bl.example")}
	sendBy(t, r.open(t, nil))
	if r.Connections() != 2 {
		t.Errorf("%d connections, want 2", r.Connections())
	}
}

// TestPoolClose: what waits says goodbye, nothing is kept afterwards, nothing
// runs on, and messages still leave.
func TestPoolClose(t *testing.T) {
	before := runtime.NumGoroutine()
	r := newRig(t, connectortest.ServerOptions{}, smtpclient.PoolOptions{Idle: time.Hour})
	r.together(t, slices.Repeat([]*smtpclient.Client{r.client}, 5)...)
	r.pool.Close()
	until(t, "five goodbyes", func() bool { return r.said("QUIT") == 5 })
	sendBy(t, r.client)
	if r.said("QUIT") != 6 {
		t.Error("a connection was kept after Close")
	}
	r.pool.Close()
	r.Wait()
	until(t, "the end of every goroutine", func() bool { return runtime.NumGoroutine() <= before+1 })
}

// TestPoolMany: many messages from many goroutines, each arrives once, over no
// more connections than there are goroutines.
func TestPoolMany(t *testing.T) {
	const workers, each = 8, 25
	r := newRig(t, connectortest.ServerOptions{}, smtpclient.PoolOptions{PerDestination: workers, Messages: 20, Idle: time.Hour})
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				to := fmt.Sprintf("n%d-%d@example.ch", w, i)
				if _, err := r.client.Send(t.Context(), note(t, "a@bl.example", to, plainNote)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	r.pool.Close()
	r.Wait()
	seen := map[string]int{}
	for _, tr := range r.Transactions() {
		seen[tr.Rcpt]++
	}
	if len(seen) != workers*each || len(r.Transactions()) != workers*each {
		t.Errorf("%d letters, %d different, want %d", len(r.Transactions()), len(seen), workers*each)
	}
	if n := r.Connections(); n > workers*each/20+workers {
		t.Errorf("%d connections", n)
	}
}

// TestPoolSilentDeath: a kept connection on which the peer no longer answers,
// as behind a filter that has forgotten it, costs the time for a command and
// then gives way to a fresh one.
func TestPoolSilentDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peers := make(chan net.Conn, 2)
		pool := smtpclient.NewPool(smtpclient.PoolOptions{Idle: time.Hour, Age: time.Hour})
		c, err := smtpclient.New(smtpclient.Options{
			Addr: "127.0.0.1:25", Hello: "gateway.bl.example", Mode: smtpclient.PlainLoopback, Pool: pool,
			Dial: func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				peers <- theirs
				return ours, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		talk := func(messages int) {
			conn := <-peers
			defer conn.Close()
			answer(conn, messages)
			_, _ = io.Copy(io.Discard, conn) // from then on it only listens
		}
		go talk(1)
		sendBy(t, c)
		go talk(1)
		start := time.Now()
		sendBy(t, c)
		if took := time.Since(start); took < 5*time.Minute || took > 5*time.Minute+time.Second {
			t.Errorf("took %v, want the five minutes of a command", took)
		}
		pool.Close()
	})
}

// answer is a peer that agrees to everything until it has so many messages.
func answer(conn net.Conn, messages int) {
	br := bufio.NewReader(conn)
	_, _ = io.WriteString(conn, "220 peer\r\n")
	for data := false; messages > 0; {
		line, err := br.ReadString('\n')
		if err != nil {
			return
		}
		reply := "250 ok\r\n"
		switch {
		case data && line != ".\r\n":
			continue
		case data:
			data = false
			messages--
		case line == "DATA\r\n":
			data, reply = true, "354 go\r\n"
		}
		if _, err := io.WriteString(conn, reply); err != nil {
			return
		}
	}
}

// TestPoolIsNoAttempt: a message whose context ends is not tried again over a
// fresh connection.
func TestPoolIsNoAttempt(t *testing.T) {
	o := connectortest.ServerOptions{Second: connectortest.Script{connectors.StepMail: {Hang: true}}}
	r := newRig(t, o, smtpclient.PoolOptions{Idle: time.Hour})
	sendBy(t, r.client)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-r.Hanging()
		cancel()
	}()
	_, err := r.client.Send(ctx, note(t, "a@bl.example", "b@example.ch", plainNote))
	if err == nil || connectors.KindOf(err) != connectors.Temporary || r.Connections() != 1 {
		t.Errorf("error %v, %d connections", err, r.Connections())
	}
}
