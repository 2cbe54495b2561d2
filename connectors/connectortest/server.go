package connectortest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"gatewayd/connectors"
)

// StepTLSHello is the EHLO under TLS; connectors.StepHello is the first one.
const StepTLSHello connectors.Step = "EHLO under TLS"

// StepBody is in the middle of the message, after the 354.
const StepBody connectors.Step = "body"

// StepChunk is a BDAT that is not the last; the last one is connectors.StepDot.
const StepChunk connectors.Step = "BDAT"

// Action replaces what the server would do at a step.
type Action struct {
	Reply string // lines to write instead of the usual reply; CRLF is added at the end, "" writes nothing
	Cut   bool   // then close the connection
	Hang  bool   // then neither answer nor read until the server is closed
}

// Script says what to do at which step; other steps go the usual way.
type Script map[connectors.Step]Action

// ServerOptions configures a Server.
type ServerOptions struct {
	TLS      *tls.Config // nil: STARTTLS is not offered
	Implicit bool        // TLS from the first octet
	Offers   []string    // EHLO keywords besides STARTTLS; nil: Offers()
	Script   Script
	Second   Script // stands for Script in the second transaction of each connection
}

// Offers are the EHLO keywords of a friendly peer.
func Offers() []string {
	return []string{"PIPELINING", "SIZE 50000000", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "AUTH LOGIN PLAIN"}
}

// Transaction is one message that got as far as MAIL.
type Transaction struct {
	Mail, Rcpt string
	Wire       []byte // octets after 354, with dot-stuffing, up to and without the final dot; or those of all BDAT
	Chunks     int    // BDAT commands
	Complete   bool   // the final dot or BDAT LAST came, and there was a recipient
	Conn       int    // which connection it was, from 1
}

// Message returns the message with the dot-stuffing undone.
func (tr Transaction) Message() []byte {
	if tr.Chunks > 0 {
		return tr.Wire
	}
	lines := append([]byte("\r\n"), tr.Wire...)
	return bytes.ReplaceAll(lines, []byte("\r\n."), []byte("\r\n"))[2:]
}

// Server is a scripted SMTP server on 127.0.0.1. It is closed with the test.
type Server struct {
	Addr string

	o    ServerOptions
	l    net.Listener
	done chan struct{} // closed: what hangs ends
	once sync.Once
	hung chan struct{} // closed at the first Hang
	tell sync.Once
	wg   sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]bool
	clear    bytes.Buffer
	commands []string
	mails    []Transaction
	peers    []tls.ConnectionState
	accepted int
}

// NewServer starts a server.
func NewServer(t testing.TB, o ServerOptions) *Server {
	t.Helper()
	if o.Offers == nil {
		o.Offers = Offers()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: l.Addr().String(), o: o, l: l, done: make(chan struct{}), hung: make(chan struct{}), conns: map[net.Conn]bool{}}
	s.wg.Go(s.serve)
	t.Cleanup(s.close)
	return s
}

func (s *Server) close() {
	s.once.Do(func() { close(s.done) })
	s.l.Close()
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *Server) serve() {
	for {
		conn, err := s.l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[conn] = true
		s.accepted++
		d := &dialogue{s: s, conn: conn, number: s.accepted, script: s.o.Script}
		s.mu.Unlock()
		s.wg.Go(func() {
			defer conn.Close()
			d.run()
		})
	}
}

// Clear returns every octet that came without TLS, over all connections.
func (s *Server) Clear() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clear.String()
}

// Commands returns every command line, over all connections.
func (s *Server) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.commands...)
}

// Transactions returns what was sent, over all connections.
func (s *Server) Transactions() []Transaction {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Transaction(nil), s.mails...)
}

// Peers returns the TLS states of all connections.
func (s *Server) Peers() []tls.ConnectionState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]tls.ConnectionState(nil), s.peers...)
}

// Connections returns how many connections there were.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// CutAll closes every connection, as a server does that is started anew.
func (s *Server) CutAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// Hanging is closed when the script's first Hang was reached.
func (s *Server) Hanging() <-chan struct{} { return s.hung }

// Wait takes no more connections, ends what hangs, and waits until every
// connection is over: what the server kept is then complete.
func (s *Server) Wait() {
	s.once.Do(func() { close(s.done) })
	s.l.Close()
	s.wg.Wait()
}

// errOver ends a dialogue.
var errOver = errors.New("over")

type dialogue struct {
	s      *Server
	conn   net.Conn
	br     *bufio.Reader
	secure bool
	number int
	script Script
	mail   bool // MAIL was accepted
	rcpt   bool // RCPT was accepted
	ended  int  // transactions
	at     int  // of the server's, this one's
}

// over ends a transaction.
func (d *dialogue) over() {
	d.mail, d.rcpt = false, false
	d.ended++
	d.script = d.s.o.Script
	if d.ended == 1 && d.s.o.Second != nil {
		d.script = d.s.o.Second
	}
}

func (d *dialogue) run() {
	d.br = bufio.NewReader(tee{d})
	if d.s.o.Implicit {
		if d.handshake() != nil {
			return
		}
	}
	if d.say(connectors.StepBanner, "220 peer.test.example ESMTP") != nil {
		return
	}
	for {
		line, err := d.br.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		d.s.mu.Lock()
		d.s.commands = append(d.s.commands, line)
		d.s.mu.Unlock()
		if d.command(line) != nil {
			return
		}
	}
}

// tee keeps what comes in clear.
type tee struct{ d *dialogue }

func (t tee) Read(p []byte) (int, error) {
	n, err := t.d.conn.Read(p)
	if !t.d.secure {
		t.d.s.mu.Lock()
		t.d.s.clear.Write(p[:n])
		t.d.s.mu.Unlock()
	}
	return n, err
}

func (d *dialogue) command(line string) error {
	verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
	switch verb {
	case "EHLO":
		if d.secure && !d.s.o.Implicit {
			return d.say(StepTLSHello, d.ehlo())
		}
		return d.say(connectors.StepHello, d.ehlo())
	case "STARTTLS":
		if err := d.say(connectors.StepStartTLS, "220 2.0.0 go on"); err != nil {
			return err
		}
		return d.handshake()
	case "AUTH":
		return d.auth(line)
	case "MAIL":
		if d.mail {
			return d.write("503 5.5.1 nested MAIL")
		}
		d.edit(func(tr *[]Transaction) {
			d.at = len(*tr)
			*tr = append(*tr, Transaction{Mail: line, Conn: d.number})
		})
		d.mail = d.takes(connectors.StepMail)
		return d.say(connectors.StepMail, "250 2.1.0 sender ok")
	case "RCPT":
		if !d.mail {
			return d.write("503 5.5.1 MAIL first")
		}
		d.last(func(tr *Transaction) { tr.Rcpt = line })
		d.rcpt = d.takes(connectors.StepRcpt)
		return d.say(connectors.StepRcpt, "250 2.1.5 recipient ok")
	case "DATA":
		return d.data()
	case "BDAT":
		return d.bdat(line)
	case "NOOP":
		return d.write("250 2.0.0 ok")
	case "RSET":
		err := d.say(connectors.StepReset, "250 2.0.0 forgotten")
		d.over()
		return err
	case "QUIT":
		_ = d.write("221 2.0.0 bye")
		return errOver
	}
	return d.write("500 5.5.2 what?")
}

func (d *dialogue) ehlo() string {
	words := append([]string{"peer.test.example"}, d.s.o.Offers...)
	if d.s.o.TLS != nil && !d.secure {
		words = append(words, "STARTTLS")
	}
	return "250-" + strings.Join(words[:len(words)-1], "\r\n250-") + "\r\n250 " + words[len(words)-1]
}

func (d *dialogue) auth(line string) error {
	if strings.EqualFold(line, "AUTH LOGIN") {
		for _, q := range []string{"334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"} {
			if err := d.write(q); err != nil {
				return err
			}
			answer, err := d.br.ReadString('\n')
			if err != nil {
				return err
			}
			d.s.mu.Lock()
			d.s.commands = append(d.s.commands, strings.TrimSpace(answer))
			d.s.mu.Unlock()
		}
	}
	return d.say(connectors.StepAuth, "235 2.7.0 welcome")
}

func (d *dialogue) data() error {
	act, scripted := d.script[connectors.StepData]
	if !d.rcpt && !scripted {
		return d.write("503 5.5.1 RCPT first")
	}
	if err := d.say(connectors.StepData, "354 go on"); err != nil {
		return err
	}
	if scripted && !strings.HasPrefix(act.Reply, "354") {
		return nil
	}
	if err := d.body(); err != nil {
		return err
	}
	return d.verdict()
}

// verdict answers the end of a message.
func (d *dialogue) verdict() error {
	defer d.over()
	if !d.rcpt {
		return d.write("554 5.5.1 no valid recipients")
	}
	d.last(func(tr *Transaction) { tr.Complete = true })
	return d.say(connectors.StepDot, "250 2.0.0 queued as 4XyZ12")
}

// bdat takes a chunk (RFC 3030 section 2).
func (d *dialogue) bdat(line string) error {
	var n int64
	last := strings.HasSuffix(line, " LAST")
	if _, err := fmt.Sscanf(line, "BDAT %d", &n); err != nil {
		return d.write("501 5.5.4 a number expected")
	}
	if act, ok := d.script[StepChunk]; ok && strings.HasPrefix(act.Reply, "500") {
		return d.act(act) // a peer that doesn't know the command: the octets are the next one
	}
	if err := d.chunk(n); err != nil {
		return err
	}
	switch {
	case last:
		return d.verdict()
	case !d.rcpt:
		return d.write("503 5.5.1 RCPT first")
	}
	return d.say(StepChunk, "250 2.0.0 received")
}

func (d *dialogue) chunk(n int64) error {
	if n > 0 {
		d.last(func(tr *Transaction) { tr.Chunks++ })
	}
	_, inside := d.script[StepBody]
	for buf := make([]byte, 1000); n > 0; {
		k, err := io.ReadFull(d.br, buf[:min(n, 1000)])
		d.last(func(tr *Transaction) { tr.Wire = append(tr.Wire, buf[:k]...) })
		if err != nil {
			return err
		}
		if n -= int64(k); inside && n > 0 {
			if err := d.say(StepBody, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// body reads up to CRLF.CRLF and nothing else.
func (d *dialogue) body() error {
	var line []byte
	for first := true; ; first = false {
		if !first {
			if _, ok := d.script[StepBody]; ok {
				if err := d.say(StepBody, ""); err != nil {
					return err
				}
			}
		}
		line = line[:0]
		for !bytes.HasSuffix(line, []byte("\r\n")) {
			piece, err := d.br.ReadSlice('\n')
			line = append(line, piece...)
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				d.last(func(tr *Transaction) { tr.Wire = append(tr.Wire, line...) })
				return err
			}
		}
		if string(line) == ".\r\n" {
			return nil
		}
		d.last(func(tr *Transaction) { tr.Wire = append(tr.Wire, line...) })
	}
}

func (d *dialogue) edit(f func(*[]Transaction)) {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	f(&d.s.mails)
}

func (d *dialogue) last(f func(*Transaction)) {
	d.edit(func(tr *[]Transaction) {
		if d.at < len(*tr) {
			f(&(*tr)[d.at])
		}
	})
}

func (d *dialogue) handshake() error {
	if act, ok := d.script[connectors.StepTLS]; ok {
		if err := d.act(act); err != nil {
			return err
		}
	}
	if d.s.o.TLS == nil {
		return errOver
	}
	conn := tls.Server(d.conn, d.s.o.TLS)
	if err := conn.Handshake(); err != nil {
		return err
	}
	d.s.mu.Lock()
	d.s.peers = append(d.s.peers, conn.ConnectionState())
	d.s.mu.Unlock()
	d.conn, d.secure = conn, true
	d.br = bufio.NewReader(tee{d})
	return nil
}

// takes reports whether the script lets the command pass.
func (d *dialogue) takes(step connectors.Step) bool {
	act, ok := d.script[step]
	return !ok || strings.HasPrefix(act.Reply, "2") || act.Reply == "" && !act.Cut && !act.Hang
}

// say does what the script wants at the step, or the usual.
func (d *dialogue) say(step connectors.Step, usual string) error {
	if act, ok := d.script[step]; ok {
		return d.act(act)
	}
	return d.write(usual)
}

func (d *dialogue) act(a Action) error {
	if a.Reply != "" {
		if err := d.write(a.Reply); err != nil {
			return err
		}
	}
	if a.Hang {
		d.s.tell.Do(func() { close(d.s.hung) })
		<-d.s.done
		return errOver
	}
	if a.Cut {
		return errOver
	}
	return nil
}

func (d *dialogue) write(lines string) error {
	_, err := io.WriteString(d.conn, lines+"\r\n")
	return err
}
