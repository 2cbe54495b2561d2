package gateway_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatewayd/crypto/keys"
	"gatewayd/crypto/smime"
	"gatewayd/gateway"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/scan"
)

// scanner finds a word, and does as a test says besides.
type scanner struct {
	mu    sync.Mutex
	err   error
	asked int
}

const virus = "EVIL-WORD"

func (s *scanner) Scan(_ context.Context, r io.Reader) (string, error) {
	text, err := io.ReadAll(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	switch {
	case s.err != nil:
		return "", s.err
	case bytes.Contains(text, []byte(virus)):
		return "Test.Evil", nil
	}
	return "", err
}

func (s *scanner) says(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *scanner) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// TestScan: what the scanner finds, wherever it is wrapped, is held with a notice
// to the authority (in) or to the sender (out); while it is away nothing passes,
// and everything goes on by itself when it is back.
func TestScan(t *testing.T) {
	t.Parallel()
	eye, own := &scanner{}, &link{name: "forward:bau"}
	k := newKeyRig(t, func(o *gateway.Options) {
		o.Scanner = eye
		o.Connectors[own.name] = port{own, new(atomic.Bool)}
	})
	now := k.w.time()
	us := k.ca.issue("bau@bl.example", now.AddDate(1, 0, 0))
	k.put(t, "own/bau/seal.crt", certPEM(us.Cert))
	k.put(t, "own/bau/seal.key", keyPEM(us))
	k.reload(t)
	sealed := func(text string) string {
		var b bytes.Buffer
		must(must(smime.Protect(strings.NewReader(text), int64(len(text)), smime.Options{Recipients: []*x509.Certificate{us.Cert}, Time: now})).WriteTo(&b))
		return b.String()
	}
	plain := "From: wer@example.org\r\nSubject: x\r\nContent-Type: text/plain\r\n\r\n"
	packed := "From: wer@example.org\r\nSubject: x\r\nContent-Type: application/ms-tnef\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		base64.StdEncoding.EncodeToString(winmail("x.exe", []byte(virus))) + "\r\n"
	in := func(text string) message.ID {
		id, err := k.inbound("wer@example.org", text, "bau@bl.example")
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	passed := func(id message.ID) bool {
		return slices.ContainsFunc(own.seen(), func(h handed) bool { return h.key.Message == id })
	}
	for name, text := range map[string]string{"plain": plain + virus, "packed": packed, "encrypted": sealed(plain + virus), "encrypted and packed": sealed(packed)} {
		id := in(text)
		item := k.becomes(id, message.Held)
		k.itemBecomes(key(id, 2), message.Held) // the copy to its own server
		if !strings.Contains(item.Reply, "Test.Evil") || passed(id) {
			t.Errorf("%s: %q, forwarded", name, item.Reply)
		}
		if n := k.told(key(id, 1), 2)[0]; !strings.Contains(n.text, "Test.Evil") || !strings.Contains(n.text, "To: <bau@bl.example>\r\n") || !strings.Contains(n.text, "Schadsoftware") || strings.Contains(n.text, virus) {
			t.Errorf("%s: notice\n%s", name, n.text)
		}
		for _, open := range []bool{false, true} {
			var out bytes.Buffer
			if err := k.g.Fetch(t.Context(), reading(), "bau", id, open, &out); !errors.Is(err, queue.ErrConflict) || out.Len() > 0 {
				t.Errorf("%s: read all the same: %v, %d octets", name, err, out.Len())
			}
		}
	}
	// A file behind more parts than are cut out is not passed unseen.
	crowded := "From: wer@example.org\r\nSubject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\n.\r\n", 1000) +
		"--b\r\n" + packed[strings.Index(packed, "Content-Type"):] + "--b--\r\n"
	if id := in(crowded); !strings.Contains(k.becomes(id, message.Held).Reply, "too large") || passed(id) {
		t.Errorf("crowded: %+v", k.item(key(id, 1)))
	}
	// What leaves.
	bad := k.submit(submission("x@example.org"), letter("x", "1")+virus)
	if item := k.becomes(bad, message.Held); !strings.Contains(item.Reply, "Test.Evil") || len(k.w.links["smtp"].seen()) > 0 {
		t.Errorf("%+v", item)
	}
	k.told(key(bad, 1), 2)
	// Away, too large, back.
	eye.says(scan.ErrAway)
	waitsIn, waitsOut := in(plain), k.submit(submission("x@example.org"), letter("x", "2"))
	k.until("a retry", func() bool {
		return k.events(waitsIn, message.EventRetry) > 0 && k.events(waitsOut, message.EventRetry) > 0
	})
	if err := k.g.Fetch(t.Context(), reading(), "bau", waitsIn, false, io.Discard); !errors.Is(err, queue.ErrConflict) {
		t.Errorf("read unscanned: %v", err)
	}
	if len(k.w.links["smtp"].seen()) > 0 || passed(waitsIn) {
		t.Error("passed unscanned")
	}
	eye.says(nil)
	k.pass(2 * time.Hour)
	k.becomes(waitsIn, message.Done)
	k.becomes(waitsOut, message.Done)
	var out bytes.Buffer
	if err := k.g.Fetch(t.Context(), reading(), "bau", waitsIn, false, &out); err != nil || out.String() != plain {
		t.Errorf("%v %q", err, out.String())
	}
	eye.says(scan.ErrTooLarge)
	large := k.submit(submission("x@example.org"), letter("x", "3"))
	if item := k.becomes(large, message.Held); !strings.Contains(item.Reply, "too large") {
		t.Errorf("%+v", item)
	}
}

// TestScannedLater: what only a key that comes later opens is scanned when it is
// read.
func TestScannedLater(t *testing.T) {
	t.Parallel()
	eye := &scanner{}
	k := newKeyRig(t, func(o *gateway.Options) { o.Scanner = eye })
	now := k.w.time()
	us := k.ca.issue("bau@bl.example", now.AddDate(1, 0, 0))
	text := "From: wer@example.org\r\nSubject: x\r\nContent-Type: text/plain\r\n\r\n" + virus
	var b bytes.Buffer
	must(must(smime.Protect(strings.NewReader(text), int64(len(text)), smime.Options{Recipients: []*x509.Certificate{us.Cert}, Time: now})).WriteTo(&b))
	id, err := k.inbound("wer@example.org", b.String(), "bau@bl.example")
	if err != nil {
		t.Fatal(err)
	}
	k.becomes(id, message.Done)
	k.put(t, "own/bau/seal.crt", certPEM(us.Cert))
	k.put(t, "own/bau/seal.key", keyPEM(us))
	ring, _ := keys.Load(k.folder)
	k.ring.Store(ring)
	var out bytes.Buffer
	if err := k.g.Fetch(t.Context(), reading(), "bau", id, true, &out); !errors.Is(err, queue.ErrConflict) || out.Len() > 0 {
		t.Errorf("%v %q", err, out.String())
	}
}

// TestScannedOnce: one message to many recipients is scanned once.
func TestScannedOnce(t *testing.T) {
	t.Parallel()
	eye := &scanner{}
	k := newKeyRig(t, func(o *gateway.Options) { o.Scanner, o.Delivery.Concurrency = eye, 1 })
	id := k.submit(submission("a@example.org", "b@example.org", "c@example.org"), letter("x", "1"))
	for n := range 3 {
		k.itemBecomes(key(id, n+1), message.Done)
	}
	if n := eye.count(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}
