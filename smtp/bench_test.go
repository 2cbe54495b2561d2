package smtp

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatewayd/message"
)

// nullIntake reads bodies as the gateway does, through a buffer of 32 KiB, and
// keeps nothing.
type nullIntake struct{ stubIntake }

func (*nullIntake) Accept(_ context.Context, _ message.Submission, body io.Reader) (message.ID, error) {
	_, err := io.Copy(writeOnly{io.Discard}, bufio.NewReaderSize(body, 32<<10))
	return message.ID{}, err
}

type writeOnly struct{ io.Writer } // hides ReadFrom

// BenchmarkAccept takes messages in over loopback TCP with nothing behind the
// door: by go-smtp's own DATA reader ("plain"), by DATA and BDAT through the
// door, and the same under TLS.
func BenchmarkAccept(b *testing.B) {
	sizes := []struct {
		name string
		n    int
	}{{"4KiB", 4 << 10}, {"50KiB", 50 << 10}, {"1MiB", 1 << 20}, {"10MiB", 10 << 20}}
	for _, size := range sizes {
		body := bytes.Repeat([]byte(strings.Repeat("x", 76)+"\r\n"), size.n/78+1)[:size.n-2]
		body = append(body, "\r\n"...)
		for _, way := range []string{"plain", "DATA", "BDAT", "DATA-TLS", "BDAT-TLS"} {
			b.Run(way+"/"+size.name, func(b *testing.B) { benchAccept(b, way, body) })
		}
	}
}

func benchAccept(b *testing.B, way string, body []byte) {
	d := open(b, message.Inbound, nil)
	d.server.in = &nullIntake{}
	var addr string
	if way == "plain" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		s := plainServer(&nullIntake{})
		go s.Serve(l)
		defer s.Close()
		addr = l.Addr().String()
	} else {
		addr = d.listen(b)
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	c := &client{t: b, conn: conn, r: newReader(conn)}
	c.want("220 ")
	c.do("EHLO client.example", "250-")
	if strings.HasSuffix(way, "TLS") {
		c.do("STARTTLS", "220 ")
		c.startTLS(d.trust())
		c.do("EHLO client.example", "250-")
	}
	after := append(bytes.Clone(body), ".\r\n"...)
	chunk := append(fmt.Appendf(nil, "BDAT %d LAST\r\n", len(body)), body...)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	start := processTime(b)
	for b.Loop() {
		c.transaction()
		text := after
		if strings.HasPrefix(way, "BDAT") {
			text = chunk
		} else {
			c.do("DATA", "354 ")
		}
		if _, err := c.conn.Write(text); err != nil {
			b.Fatal(err)
		}
		c.want("250 ")
	}
	b.ReportMetric(float64(processTime(b)-start)/float64(b.N), "cpu-ns/op")
}

// processTime returns what the process, the client included, has used of the
// processors: on a busy machine it says more than the clock.
func processTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
