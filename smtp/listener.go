package smtp

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// handover is a listener for connections that have gone over to TLS.
type handover struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newHandover() *handover {
	return &handover{conns: make(chan net.Conn), done: make(chan struct{})}
}

// hand gives a connection to whoever serves the listener; false if nobody does
// any more.
func (h *handover) hand(c net.Conn) bool {
	select {
	case h.conns <- c:
		return true
	case <-h.done:
		return false
	}
}

// Accept implements net.Listener.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handover) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

// Addr implements net.Listener.
func (h *handover) Addr() net.Addr { return &net.UnixAddr{Name: "STARTTLS", Net: "unix"} }

// listener hands go-smtp only connections within the limits.
type listener struct {
	net.Listener
	server *Server
}

// Accept implements net.Listener. After an error go-smtp asks again, after a
// second at the most, unless the listener is closed.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				l.server.o.Log.Error("smtp door cannot take a connection; will be tried again", "error", err)
			}
			return nil, err
		}
		w, ok := l.server.admit(c)
		if !ok {
			go l.turnAway(c)
			continue
		}
		if l.server.o.ImplicitTLS {
			return newConn(l.server, w, tls.Server(w, l.server.tls)), nil
		}
		return newConn(l.server, w, nil), nil
	}
}

func (l *listener) turnAway(c net.Conn) {
	defer c.Close()
	l.server.o.Log.Warn("smtp connection turned away: too many", "remote", remoteIP(c))
	if !l.server.o.ImplicitTLS {
		c.SetWriteDeadline(time.Now().Add(time.Second))
		c.Write([]byte("421 4.7.0 " + l.server.o.Hostname + " too many connections, please try again later\r\n"))
	}
}

// admit counts a connection in, if there is room for it.
func (s *Server) admit(c net.Conn) (*wire, bool) {
	network := networkOf(remoteIP(c))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining || len(s.wires) >= s.o.Limits.Connections || s.perIP[network] >= s.o.Limits.ConnectionsPerIP {
		return nil, false
	}
	var w *wire
	w = newWire(c, s.o.Limits, func() { s.forget(w, network) })
	s.wires[w] = struct{}{}
	s.perIP[network]++
	return w, true
}

func (s *Server) forget(w *wire, network netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.wires, w)
	if s.perIP[network]--; s.perIP[network] <= 0 {
		delete(s.perIP, network)
	}
}

// remoteIP returns the peer's address without port; "" where there is none.
func remoteIP(c net.Conn) string {
	ap, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return ""
	}
	return ap.Addr().Unmap().WithZone("").String()
}

// networkOf returns what counts as one client: an IPv4 address or an IPv6 /64.
func networkOf(ip string) netip.Prefix {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return netip.Prefix{}
	}
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
