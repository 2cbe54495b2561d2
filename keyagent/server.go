package keyagent

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gatewayd/crypto/keys"
)

// How a Server treats its peers.
const (
	maxConnections = 128
	idleTime       = 5 * time.Minute  // a silent connection is closed
	writeTime      = 30 * time.Second // an answer that nobody takes
	watchTime      = 20 * time.Second // a watch is answered at the latest
)

// Options are what a Server needs.
type Options struct {
	Load   func() ([]keys.Own, []keys.Problem) // the keys as they are now
	Users  []int                               // who may ask: user IDs,
	Groups []int                               // or primary groups
	Quota  int                                 // uses of one key in one minute
	Record func(Use) error                     // writes down a use; an error forbids it
	Master func() ([]byte, error)              // the gateway's master key; nil: it has it from elsewhere
	Now    func() time.Time
	Log    *slog.Logger
}

// Server has the keys.
type Server struct {
	o Options

	mu      sync.Mutex
	keys    map[string]keys.Own // by fingerprint
	list    []listed
	seen    uint64
	changed chan struct{} // closed when the keys change
	spent   map[string]int
	minute  int64 // in which that was spent
	conns   map[*net.UnixConn]bool
	closing bool
	done    chan struct{} // closed when closing

	serving sync.WaitGroup
}

// ErrKeys: some keys cannot be read. A server with only a part of them would let
// mail leave unsigned.
var ErrKeys = errors.New("keys cannot be read")

// New returns a server that has read its keys. Problems stand in the log.
func New(o Options) (*Server, error) {
	s := &Server{o: o, changed: make(chan struct{}), done: make(chan struct{}), spent: map[string]int{}, conns: map[*net.UnixConn]bool{}}
	var start [8]byte
	_, _ = rand.Read(start[:])                 // never fails
	s.seen = binary.BigEndian.Uint64(start[:]) // another server's list is another list
	_, err := s.Reload()
	return s, err
}

// Reload reads the keys again and returns how many there are; with a faulty file
// the old ones stay, and the error is ErrKeys.
func (s *Server) Reload() (int, error) {
	own, problems := s.o.Load()
	for _, p := range problems {
		s.o.Log.Error("a key cannot be read", "file", p.File, "error", p.Err)
	}
	if len(problems) > 0 {
		return 0, fmt.Errorf("%w: %d files; the log names them; the first: %w", ErrKeys, len(problems), problems[0].Err)
	}
	if len(own) > maxKeys {
		return 0, fmt.Errorf("%w: more than %d", ErrKeys, maxKeys)
	}
	byName, list := map[string]keys.Own{}, []listed{}
	for _, o := range own {
		l, err := publicOf(o)
		if err != nil {
			return 0, fmt.Errorf("%w: %s: %w", ErrKeys, o.File, err)
		}
		byName[o.Fingerprint()], list = o, append(list, l)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys, s.list = byName, list
	s.seen++
	close(s.changed) // whoever watches looks again
	s.changed = make(chan struct{})
	return len(list), nil
}

// Serve answers until Shutdown. It closes l.
func (s *Server) Serve(l *net.UnixListener) error {
	defer l.Close()
	s.serving.Go(func() {
		<-s.done
		l.Close()
	})
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			if s.isClosing() {
				return nil
			}
			return fmt.Errorf("key agent: %w", err)
		}
		peer, err := peerOf(c)
		switch {
		case err != nil:
			s.o.Log.Error("a peer does not say who it is", "error", err)
		case !s.admits(peer):
			s.o.Log.Warn("a peer was refused: it is not among the users of the agent", "uid", peer.Uid, "gid", peer.Gid, "pid", peer.Pid)
		case !s.begin(c):
			s.o.Log.Warn("a peer was refused: too many connections", "connections", maxConnections)
		default:
			s.serving.Go(func() {
				defer s.end(c)
				s.converse(c, peer)
			})
			continue
		}
		c.Close()
	}
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// peerOf asks the kernel who is at the other end.
func peerOf(c *net.UnixConn) (peer unix.Ucred, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return peer, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		var p *unix.Ucred
		if p, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); failed == nil {
			peer = *p
		}
	})
	return peer, errors.Join(err, failed)
}

func (s *Server) admits(p unix.Ucred) bool {
	return slices.Contains(s.o.Users, int(p.Uid)) || slices.Contains(s.o.Groups, int(p.Gid))
}

func (s *Server) begin(c *net.UnixConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || len(s.conns) >= maxConnections {
		return false
	}
	s.conns[c] = true
	return true
}

func (s *Server) end(c *net.UnixConn) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// Shutdown takes no more questions, and waits for the answers that are under way
// until ctx ends.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	if !s.closing {
		s.closing = true
		close(s.done)
	}
	for c := range s.conns {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // whoever waits for a question waits no more
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.serving.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			c.Close()
		}
	}
}

// converse answers one peer's questions.
func (s *Server) converse(c *net.UnixConn, peer unix.Ucred) {
	for {
		s.mu.Lock()
		if !s.closing {
			_ = c.SetReadDeadline(time.Now().Add(idleTime))
		}
		s.mu.Unlock()
		var q request
		if err := readFrame(c, &q, maxRequest); err != nil {
			if errors.Is(err, errFrame) {
				s.o.Log.Warn("a peer does not speak the protocol", "uid", peer.Uid, "pid", peer.Pid)
			}
			return
		}
		_ = c.SetWriteDeadline(time.Now().Add(max(writeTime, watchTime)))
		if err := s.reply(c, peer, q); err != nil {
			if q.Op == opWatch {
				return // it went while nothing happened
			}
			s.o.Log.Warn("an answer was not taken", "uid", peer.Uid, "pid", peer.Pid, "error", err)
			return
		}
	}
}

// reply answers one question.
func (s *Server) reply(c *net.UnixConn, peer unix.Ucred, q request) error {
	switch q.Op {
	case opList:
		s.mu.Lock()
		list, seen := s.list, s.seen
		s.mu.Unlock()
		for _, l := range list {
			if err := writeFrame(c, answer{Key: &l}, maxAnswer); err != nil {
				return err
			}
		}
		return writeFrame(c, answer{Seen: seen}, maxAnswer)
	case opWatch:
		seen := s.watch(q.Seen)
		_ = c.SetWriteDeadline(time.Now().Add(writeTime))
		return writeFrame(c, answer{Seen: seen}, maxAnswer)
	case opPing:
		return writeFrame(c, answer{}, maxAnswer)
	case opReload:
		n, err := s.Reload()
		if err != nil {
			return writeFrame(c, answer{Fault: faultTrouble, Text: err.Error()}, maxAnswer)
		}
		s.o.Log.Info("reloaded", "keys", n)
		return writeFrame(c, answer{}, maxAnswer)
	}
	return writeFrame(c, s.use(peer, q), maxAnswer)
}

// watch waits until the keys are others than those.
func (s *Server) watch(seen uint64) uint64 {
	s.mu.Lock()
	now, changed := s.seen, s.changed
	s.mu.Unlock()
	if now != seen {
		return now
	}
	t := time.NewTimer(watchTime)
	defer t.Stop()
	select {
	case <-changed:
	case <-s.done:
	case <-t.C:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// use lets a key work: it must be there, within its quota, and the use written
// down. Of the questions beyond the quota the first of a minute is.
func (s *Server) use(peer unix.Ucred, q request) answer {
	if !slices.Contains([]op{opSign, opDecrypt, opAgree, opOpen, opSignature, opMaster}, q.Op) {
		return answer{Fault: faultBad, Text: "no such question"}
	}
	now := s.o.Now()
	own, n := s.take(&q, now)
	if n == 0 {
		return answer{Fault: faultUnknown, Text: "no such key"}
	}
	u := Use{At: now, Op: string(q.Op), Key: q.Key, Authority: own.Authority, UID: int(peer.Uid), PID: int(peer.Pid), Refused: n > s.o.Quota}
	if own.OpenPGP != nil && slices.Contains(own.OpenPGP.Parts(), q.Part) {
		u.Part = q.Part
	}
	if n == s.o.Quota+1 {
		s.o.Log.Warn("the quota of a key is used up for this minute", "key", u.Key, "authority", u.Authority, "quota", s.o.Quota)
	}
	if n <= s.o.Quota+1 {
		if err := s.o.Record(u); err != nil {
			s.o.Log.Error("a use cannot be written down, and is refused", "error", err)
			return answer{Fault: faultTrouble, Text: "the use cannot be written down"}
		}
	}
	if u.Refused {
		return answer{Fault: faultBusy, Text: "the quota of the key is used up for this minute"}
	}
	if q.Op == opMaster {
		return s.master()
	}
	return work(own, q)
}

// master hands out the master key of the gateway: it seals by it all the time.
func (s *Server) master() answer {
	key, err := s.o.Master()
	if err != nil {
		s.o.Log.Error("the master key cannot be had", "error", err)
		return answer{Fault: faultTrouble, Text: "the master key cannot be had; the agent's log says why"}
	}
	return answer{Data: key}
}

// take finds a key and counts its use: the how manieth of this minute it is; 0: there
// is no such key.
func (s *Server) take(q *request, now time.Time) (own keys.Own, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own, ok := s.keys[q.Key]
	if q.Op == opMaster {
		q.Key, own, ok = masterName, keys.Own{}, s.o.Master != nil
	}
	if !ok {
		return own, 0
	}
	if m := now.Unix() / 60; m != s.minute {
		s.minute = m
		clear(s.spent)
	}
	s.spent[q.Key]++
	return own, s.spent[q.Key]
}
