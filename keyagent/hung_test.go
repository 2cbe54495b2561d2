package keyagent

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/keys"
)

// stopped stands before an agent: while it is stopped the agent takes connections,
// as the system does for a process that was sent SIGSTOP, and answers nothing.
type stopped struct {
	agent string
	gate  sync.RWMutex
}

func (s *stopped) serve(t *testing.T, path string) {
	l := must(net.Listen("unix", path))
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.pass(c)
		}
	}()
}

func (s *stopped) pass(c net.Conn) {
	defer c.Close()
	a, err := net.Dial("unix", s.agent)
	if err != nil {
		return
	}
	defer a.Close()
	go func() { _, _ = io.Copy(a, c); a.Close() }()
	buf := make([]byte, 4<<10)
	for {
		n, err := a.Read(buf)
		s.gate.RLock() // waits while it is stopped
		_, failed := c.Write(buf[:n])
		s.gate.RUnlock()
		if err != nil || failed != nil {
			return
		}
	}
}

// TestHung: an agent that takes questions and answers none is out of reach after a
// few seconds, for who waits for an answer and for who asks then; and back by itself.
func TestHung(t *testing.T) {
	r := newRig(t, keyFolder(t), nil)
	s := &stopped{agent: r.path}
	path := filepath.Join(t.TempDir(), "s")
	s.serve(t, path)
	c := NewClient(path)
	defer c.Close()
	c.pulse, c.patience = 20*time.Millisecond, 400*time.Millisecond
	told := make(chan error, 16)
	var mu sync.Mutex
	var own []keys.Own
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go c.Follow(ctx, func(list []keys.Own, err error) {
		mu.Lock()
		if err == nil {
			own = list
		}
		mu.Unlock()
		told <- err
	})
	hear := func() error {
		t.Helper()
		select {
		case err := <-told:
			return err
		case <-time.After(20 * time.Second):
			t.Fatal("nothing was told")
			return nil
		}
	}
	if err := hear(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	signer := signerOf(own)
	mu.Unlock()
	sign := func() (time.Duration, error) {
		begin := time.Now()
		_, err := signer.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
		return time.Since(begin), err
	}
	if _, err := sign(); err != nil {
		t.Fatal(err)
	}
	s.gate.Lock()
	if took, err := sign(); !errors.Is(err, cms.ErrKeyAway) || took > 10*time.Second {
		t.Errorf("who waits for an answer: %v after %s", err, took)
	}
	if err := hear(); !errors.Is(err, cms.ErrKeyAway) || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("told: %v", err)
	}
	if took, err := sign(); !errors.Is(err, cms.ErrKeyAway) || took > 300*time.Millisecond {
		t.Errorf("who asks then: %v after %s", err, took)
	}
	s.gate.Unlock()
	if err := hear(); err != nil {
		t.Errorf("back: %v", err)
	}
	if _, err := sign(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	select {
	case err := <-told:
		t.Errorf("told once more: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
}

func signerOf(own []keys.Own) crypto.Signer {
	for _, o := range own {
		if o.SMIME != nil && o.SMIME.Key != nil && o.SMIME.Cert.PublicKeyAlgorithm.String() == "RSA" {
			return o.SMIME.Key
		}
	}
	return nil
}
