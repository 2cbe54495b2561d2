package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// sink is the next mail system: it offers STARTTLS, takes everything and counts
// it. While it is silent it accepts connections and says nothing, as a system
// that hangs; a message then stays in the queue of who wants to deliver it.
type sink struct {
	l    net.Listener
	tls  *tls.Config
	gate chan struct{} // closed: it speaks
	want []byte        // only messages with this in their header count; nil: all

	n     atomic.Int64
	odd   atomic.Int64 // messages that lacked want
	last  atomic.Int64 // instant of the last one, Unix nanoseconds
	conns atomic.Int64

	mu     sync.Mutex
	open   map[net.Conn]struct{} // nil: closed
	took   []time.Duration       // from the client's stamp to here
	sample []byte                // the first message
}

// listen opens the sink at addr; silent until speak.
func listen(addr string, conf *tls.Config, want string) (*sink, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &sink{l: l, tls: conf, gate: make(chan struct{}), want: []byte(want), open: map[net.Conn]struct{}{}}
	go s.accept()
	return s, nil
}

func (s *sink) speak() { close(s.gate) }

func (s *sink) accept() {
	for {
		c, err := s.l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		closed := s.open == nil
		if !closed {
			s.open[c] = struct{}{}
		}
		s.mu.Unlock()
		if closed {
			c.Close()
			return
		}
		s.conns.Add(1)
		go s.serve(c)
	}
}

// close ends everything.
func (s *sink) close() {
	s.l.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		c.Close()
	}
	s.open = nil
}

func (s *sink) forget(c net.Conn) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// longest is how long a connection may live.
const longest = 30 * time.Minute

func (s *sink) serve(c net.Conn) {
	defer s.forget(c)
	select {
	case <-s.gate:
	case <-time.After(longest):
		return
	}
	if c.SetDeadline(time.Now().Add(longest)) != nil {
		return
	}
	d := newDialogue(c)
	d.say("220 sink.example ESMTP")
	secure := false
	for {
		line, err := d.r.ReadSlice('\n')
		if err != nil {
			return
		}
		switch verb(line) {
		case "EHLO":
			d.say("250-sink.example", "250-PIPELINING", "250-8BITMIME", "250-SMTPUTF8")
			if !secure && s.tls != nil {
				d.say("250-STARTTLS")
			}
			d.say("250 SIZE 104857600")
		case "STARTTLS":
			d.say("220 go ahead")
			d.w.Flush()
			d, secure = newDialogue(tls.Server(c, s.tls)), true
		case "DATA":
			d.say("354 go")
			d.w.Flush()
			if err := s.take(d.r); err != nil {
				return
			}
			d.say("250 2.0.0 taken")
		case "QUIT":
			d.say("221 bye")
			d.w.Flush()
			return
		default:
			d.say("250 2.0.0 ok")
		}
	}
}

func verb(line []byte) string {
	word, _, _ := strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
	return strings.ToUpper(word)
}

// dialogue answers as soon as nothing more is there to be read, so that
// pipelined commands are answered together.
type dialogue struct {
	r *bufio.Reader
	w *bufio.Writer
}

func newDialogue(c net.Conn) dialogue {
	return dialogue{bufio.NewReaderSize(c, 64<<10), bufio.NewWriterSize(c, 4<<10)}
}

func (d dialogue) say(lines ...string) {
	for _, l := range lines {
		d.w.WriteString(l + "\r\n")
	}
	if d.r.Buffered() == 0 {
		d.w.Flush()
	}
}

// maxSample bounds what is kept of one message.
const maxSample = 1 << 20

// take reads one message up to the dot.
func (s *sink) take(r *bufio.Reader) error {
	var head, raw bytes.Buffer
	s.mu.Lock()
	keep := s.sample == nil
	s.mu.Unlock()
	inHead, whole := true, true
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if whole && len(line) == 3 && line[0] == '.' {
			break
		}
		if whole && line[0] == '.' {
			line = line[1:]
		}
		whole = err == nil
		if keep && raw.Len() < maxSample {
			raw.Write(line)
		}
		if inHead && head.Len() < maxSample {
			head.Write(line)
		}
		if len(line) == 2 {
			inHead = false
		}
	}
	s.count(head.Bytes(), raw.Bytes())
	return nil
}

func (s *sink) count(head, raw []byte) {
	if !bytes.Contains(head, s.want) {
		s.odd.Add(1)
		return
	}
	now := time.Now()
	sent := stampIn(head)
	s.mu.Lock()
	if s.sample == nil && len(raw) > 0 {
		s.sample = raw
	}
	if !sent.IsZero() {
		s.took = append(s.took, now.Sub(sent))
	}
	s.mu.Unlock()
	s.last.Store(now.UnixNano())
	s.n.Add(1)
}

// stampIn reads the client's stamp; zero where there is none.
func stampIn(head []byte) time.Time {
	_, rest, ok := bytes.Cut(head, []byte("\n"+stampField+": "))
	if !ok {
		return time.Time{}
	}
	digits, _, _ := bytes.Cut(rest, []byte("\r\n"))
	n, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// latencies returns a copy.
func (s *sink) latencies() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Duration(nil), s.took...)
}

// first returns the first message that counted.
func (s *sink) first() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sample
}
