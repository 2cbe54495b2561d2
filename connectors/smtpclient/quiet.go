package smtpclient

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// strayWait is how long octets that lie unread may take to turn out to be no
// reply but a matter of TLS (a ticket, new keys).
const strayWait = 100 * time.Millisecond

// quiet reports whether the peer has said nothing that we did not ask for and
// has not closed. A reply that comes too early or twice would be taken for the
// answer to what we say next; and a kept connection on which something lies is
// one that the peer has ended (421, the end of TLS or of TCP). It does not wait.
func (s *session) quiet() bool {
	if s.br.Buffered() > 0 || s.said(time.Unix(1, 0)) {
		return false
	}
	_ = s.conn.SetReadDeadline(time.Time{})
	return !unread(s.raw) || !s.said(time.Now().Add(strayWait))
}

// said reports whether an octet, or the end, can be read until then. A moment
// in the past reads what TLS has taken from the connection and no more.
func (s *session) said(until time.Time) bool {
	_ = s.conn.SetReadDeadline(until)
	_, err := s.br.Peek(1)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// unread reports whether the connection holds octets, its end or an error for
// the next read. Of connections that are no sockets nothing is known.
func unread(conn net.Conn) bool {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	empty := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		empty = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err != nil || !empty
}
