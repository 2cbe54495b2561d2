package smtp

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatewayd/message"
)

// inBubble runs a door and its client on a clock of their own.
func inBubble(t *testing.T, kind message.Direction, change func(*Options), fn func(*testing.T, *door)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := open(t, kind, change)
		fn(t, d)
	})
}

func TestIdle(t *testing.T) {
	inBubble(t, message.Inbound, nil, func(t *testing.T, d *door) {
		c := d.client(t)
		c.want("220 ")
		time.Sleep(4 * time.Minute)
		c.do("EHLO client.example", "250-")
		start := time.Now()
		c.want("421 4.4.2 ")
		if took := time.Since(start); took != 5*time.Minute {
			t.Errorf("hung up after %v, want 5m", took)
		}
		c.wantEOF()
	})
}

// TestDrip: a command that arrives octet by octet has the same time.
func TestDrip(t *testing.T) {
	inBubble(t, message.Inbound, nil, func(t *testing.T, d *door) {
		c := d.client(t)
		c.want("220 ")
		start := time.Now()
		writer := make(chan bool)
		go func() {
			defer close(writer)
			for {
				if _, err := io.WriteString(c.conn, "N"); err != nil {
					return
				}
				time.Sleep(time.Minute)
			}
		}()
		for {
			if _, err := c.reply(); err != nil {
				break
			}
		}
		if took := time.Since(start); took > 6*time.Minute {
			t.Errorf("hung up after %v", took)
		}
		<-writer
	})
}

// TestSlowBody: a body below the minimum rate is given up, long before its
// whole time is over, and so is one that takes longer than that.
func TestSlowBody(t *testing.T) {
	cases := []struct {
		name     string
		chunk    string
		pause    time.Duration
		min, max time.Duration
	}{
		{"too slow", "x", 5 * time.Second, 30 * time.Second, 36 * time.Second},
		{"too long", strings.Repeat("x", 2000), 5 * time.Second, 10 * time.Minute, 10*time.Minute + 6*time.Second},
		{"silent", "", 20 * time.Minute, 29 * time.Second, 31 * time.Second},
	}
	for _, tc := range cases {
		for _, bdat := range []bool{false, true} {
			inBubble(t, message.Inbound, nil, func(t *testing.T, d *door) {
				c := d.client(t)
				c.begin()
				if bdat {
					c.send("BDAT 10000000 LAST\r\n")
				} else {
					c.do("DATA", "354 ")
				}
				start := time.Now()
				writer := make(chan bool)
				go func() {
					defer close(writer)
					for {
						if _, err := io.WriteString(c.conn, tc.chunk); err != nil {
							return
						}
						io.WriteString(c.conn, "\r\n")
						time.Sleep(tc.pause)
					}
				}()
				c.want("421 4.4.2 ")
				if took := time.Since(start); took < tc.min || took > tc.max {
					t.Errorf("%s, bdat %v: given up after %v, want %v to %v", tc.name, bdat, took, tc.min, tc.max)
				}
				if n := len(d.intake.all()); n != 0 {
					t.Errorf("%s: %d mails", tc.name, n)
				}
				c.conn.Close()
				<-writer
			})
		}
	}
}

// TestOurTimeDoesNotCount: what the intake needs is not held against the
// client's rate.
func TestOurTimeDoesNotCount(t *testing.T) {
	inBubble(t, message.Inbound, nil, func(t *testing.T, d *door) {
		d.intake.accept = func(body io.Reader) error {
			io.ReadFull(body, make([]byte, 10))
			time.Sleep(4 * time.Minute)
			return nil
		}
		c := d.client(t)
		c.begin()
		c.do("DATA", "354 ")
		go func() {
			for range 100 {
				io.WriteString(c.conn, strings.Repeat("x", 1000)+"\r\n")
			}
			io.WriteString(c.conn, ".\r\n")
		}()
		c.want("250 2.0.0 accepted as ")
	})
}

// TestShutdown: who waits is told 421, who is sending a body may finish it.
func TestShutdown(t *testing.T) {
	for _, bdat := range []bool{false, true} {
		inBubble(t, message.Inbound, nil, func(t *testing.T, d *door) {
			idle, between, sending := d.client(t), d.client(t), d.client(t)
			idle.want("220 ")
			idle.do("EHLO client.example", "250-")
			between.begin()
			sending.begin()
			if bdat {
				sending.send("BDAT 4\r\n\r\nxx")
				sending.want("250 ")
			} else {
				sending.do("DATA", "354 ")
				sending.send("Subject: x\r\n")
			}
			synctest.Wait()
			done := make(chan error)
			go func() { done <- d.server.Shutdown(context.Background()) }()
			idle.want("421 ")
			idle.wantEOF()
			between.want("421 ")
			time.Sleep(5 * time.Second)
			if bdat {
				sending.send("BDAT 2 LAST\r\n\r\n")
			} else {
				sending.send("\r\nbody\r\n.\r\n")
			}
			sending.want("250 2.0.0 accepted as ")
			sending.want("421 ")
			sending.wantEOF()
			if err := <-done; err != nil {
				t.Errorf("Shutdown = %v", err)
			}
			if n := len(d.intake.all()); n != 1 {
				t.Errorf("%d mails, want 1", n)
			}
		})
	}
}

// TestShutdownCuts: after ten seconds a body is cut off, and not accepted.
func TestShutdownCuts(t *testing.T) {
	inBubble(t, message.Inbound, nil, func(t *testing.T, d *door) {
		c := d.client(t)
		c.begin()
		c.do("DATA", "354 ")
		c.send("Subject: x\r\n")
		synctest.Wait()
		start := time.Now()
		if err := d.server.Shutdown(context.Background()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown = %v, want a deadline", err)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("Shutdown took %v, want 10s", took)
		}
		synctest.Wait()
		if n := len(d.intake.all()); n != 0 {
			t.Errorf("%d mails", n)
		}
		if len(d.server.wires) != 0 || len(d.server.perIP) != 0 {
			t.Errorf("connections still counted: %d, %d", len(d.server.wires), len(d.server.perIP))
		}
	})
}

// TestSilentHandshake: who does not even begin TLS is cut off soon.
func TestSilentHandshake(t *testing.T) {
	inBubble(t, message.Inbound, nil, func(t *testing.T, d *door) {
		c := d.client(t)
		c.want("220 ")
		c.do("EHLO client.example", "250-")
		c.do("STARTTLS", "220 ")
		start := time.Now()
		c.wantEOF()
		if took := time.Since(start); took != handshakeTime {
			t.Errorf("cut off after %v, want %v", took, handshakeTime)
		}
	})
}
