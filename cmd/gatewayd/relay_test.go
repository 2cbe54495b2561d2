package main

import (
	"fmt"
	"io"
	"net"
	"regexp"
	"sync/atomic"
	"testing"

	gosmtp "github.com/emersion/go-smtp"
)

// counter passes connections on to addr and counts them.
func counter(t *testing.T, addr string) (through string, n *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	n = &atomic.Int64{}
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			n.Add(1)
			go func() {
				defer from.Close()
				to, err := net.Dial("tcp", addr)
				if err != nil {
					return
				}
				defer to.Close()
				go func() {
					_, _ = io.Copy(to, from)
					to.Close()
				}()
				_, _ = io.Copy(from, to)
			}()
		}
	}()
	return l.Addr().String(), n
}

// TestFewConnections: the running gateway brings many messages to the next
// server over few connections, and ends with idle ones open.
func TestFewConnections(t *testing.T) {
	const messages = 30
	var connections *atomic.Int64
	r := newRig(t, func(text string) string {
		relay := regexp.MustCompile(`(\[smtp\]\nsmarthost +=) "([^"]+)"`)
		var through string
		through, connections = counter(t, relay.FindStringSubmatch(text)[2])
		return relay.ReplaceAllString(text, `$1 "`+through+`"`)
	})
	r.start()
	conf, err := r.clientTLS()
	if err != nil {
		t.Fatal(err)
	}
	c, err := gosmtp.DialStartTLS(r.ports.Submission, conf)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range messages {
		if err := submit(c, fmt.Sprintf("kunde%d@example.org", i), []byte("Subject: x\r\n\r\nInhalt\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "every message", func() bool { return len(r.sink.all()) == messages })
	if n := connections.Load(); n > messages/2 {
		t.Errorf("%d connections for %d messages", n, messages)
	} else {
		t.Logf("%d connections for %d messages", n, messages)
	}
	r.stop()
}
