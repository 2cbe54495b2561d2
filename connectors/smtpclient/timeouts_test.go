package smtpclient_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatewayd/connectors"
	"gatewayd/connectors/smtpclient"
)

// TestTimeouts runs the defaults of RFC 5321 section 4.5.3.2 on a virtual
// clock: for each line that the peer says before it falls silent, the time
// after which we give up.
func TestTimeouts(t *testing.T) {
	lines := []string{"220 hi", "250 peer", "250 ok", "250 ok", "354 go", "250 queued"}
	for n, want := range []struct {
		after time.Duration
		kind  connectors.Kind
	}{
		{5 * time.Minute, connectors.Temporary},
		{5 * time.Minute, connectors.Temporary},
		{5 * time.Minute, connectors.Temporary},
		{5 * time.Minute, connectors.Temporary},
		{2 * time.Minute, connectors.Temporary},
		{10 * time.Minute, connectors.Unclear},
	} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				err := sendToScript(t, lines[:n], true)
				if got := time.Since(start); got < want.after || got > want.after+10*time.Second {
					t.Errorf("gave up after %v, want %v", got, want.after)
				}
				if err == nil || connectors.KindOf(err) != want.kind {
					t.Errorf("error %v, want %v", err, want.kind)
				}
			})
		})
	}
	t.Run("reads nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			err := sendToScript(t, lines[:5], false)
			if got := time.Since(start); got < 3*time.Minute || got > 4*time.Minute {
				t.Errorf("gave up after %v, want 3m", got)
			}
			if err == nil || connectors.KindOf(err) != connectors.Temporary {
				t.Errorf("error %v, want temporary", err)
			}
		})
	})
}

// sendToScript talks over a pipe to a peer that says its lines, one for each it
// hears, and then reads on in silence, or reads no more.
func sendToScript(t *testing.T, lines []string, reads bool) error {
	t.Helper()
	ours, theirs := net.Pipe()
	go func() {
		buf := make([]byte, 64<<10)
		for i, line := range lines {
			if i > 0 {
				if _, err := theirs.Read(buf); err != nil {
					return
				}
			}
			if _, err := theirs.Write([]byte(line + "\r\n")); err != nil {
				return
			}
		}
		for reads {
			if _, err := theirs.Read(buf); err != nil {
				return
			}
		}
	}()
	defer theirs.Close()
	c, err := smtpclient.New(smtpclient.Options{
		Addr: "127.0.0.1:25", Hello: "gateway.bl.example", Mode: smtpclient.PlainLoopback,
		Dial: func(context.Context, string, string) (net.Conn, error) { return ours, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Send(t.Context(), note(t, "a@bl.example", "b@example.ch", plainNote))
	return err
}

// TestNoGoroutineLeft: a hundred failed hand-overs leave nothing running.
func TestNoGoroutineLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	for i := range 100 {
		lines := []string{"220 hi", "250 peer", "250 ok", "250 ok", "354 go", "451 later"}[:1+i%6]
		synctest.Test(t, func(t *testing.T) { _ = sendToScript(t, lines, true) })
	}
	if after := runtime.NumGoroutine(); after > before+10 {
		t.Errorf("%d goroutines before, %d after", before, after)
	}
}

// TestStreams: a message of 16 MiB leaves without ever being in memory whole.
func TestStreams(t *testing.T) {
	const size = 16 << 20
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	m := note(t, "a@bl.example", "b@example.ch", plainNote)
	m.Body = &zeroes{size: size}
	got := make(chan int64, 1)
	ours, theirs := net.Pipe()
	go func() { got <- swallow(theirs) }()
	c, err := smtpclient.New(smtpclient.Options{
		Addr: "127.0.0.1:25", Hello: "gateway.bl.example", Mode: smtpclient.PlainLoopback,
		Dial: func(context.Context, string, string) (net.Conn, error) { return ours, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
		t.Errorf("%d octets allocated to send %d", used, size)
	}
	if n := <-got; n < size {
		t.Errorf("%d octets arrived of %d", n, size)
	}
}

// zeroes is a body of lines of the digit 0.
type zeroes struct{ at, size int64 }

func (z *zeroes) Read(p []byte) (int, error) {
	if z.at >= z.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), z.size-z.at)]
	line := strings.Repeat("0", 62) + "\r\n"
	for n := 0; n < len(p); {
		k := copy(p[n:], line[z.at%64:])
		n += k
		z.at += int64(k)
	}
	return len(p), nil
}

func (z *zeroes) Seek(offset int64, whence int) (int64, error) {
	if z.at = offset; whence == io.SeekEnd {
		z.at += z.size
	}
	return z.at, nil
}

// swallow is a peer that agrees to everything and keeps nothing.
func swallow(conn net.Conn) int64 {
	defer conn.Close()
	var total int64
	buf := make([]byte, 64<<10)
	for _, line := range []string{"220 hi", "250 peer", "250 ok", "250 ok", "354 go"} {
		if line != "220 hi" {
			if _, err := conn.Read(buf); err != nil {
				return total
			}
		}
		if _, err := io.WriteString(conn, line+"\r\n"); err != nil {
			return total
		}
	}
	var last []byte
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return total
		}
		total += int64(n)
		last = append(last, buf[max(0, n-5):n]...)
		last = last[max(0, len(last)-5):]
		if string(last) == "\r\n.\r\n" {
			_, _ = io.WriteString(conn, "250 ok\r\n")
		}
	}
}
