package smtpclient_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gatewayd/connectors"
	"gatewayd/connectors/connectortest"
	"gatewayd/connectors/smtpclient"
	"gatewayd/message"
)

// fastSink takes everything over TLS and keeps nothing: what a benchmark
// measures against it is the client.
func fastSink(b *testing.B, ca *connectortest.CA, offers ...string) (addr string) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	conf := &tls.Config{Certificates: []tls.Certificate{ca.Issue("peer.test.example")}}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go sinkDialogue(conn, conf, strings.Join(append([]string{"250-peer", "250-SIZE 50000000"}, offers...), "\r\n250-"))
		}
	}()
	return l.Addr().String()
}

func sinkDialogue(conn net.Conn, conf *tls.Config, ehlo string) {
	defer conn.Close()
	br, out := bufio.NewReaderSize(conn, 64<<10), io.Writer(conn)
	say := func(s string) { _, _ = io.WriteString(out, s+"\r\n") }
	say("220 peer")
	for pending := ""; ; {
		line, err := br.ReadString('\n')
		if err != nil {
			return
		}
		reply := "250 ok"
		switch verb, rest, _ := strings.Cut(strings.TrimSuffix(line, "\r\n"), " "); verb {
		case "EHLO":
			reply = ehlo + "\r\n250 STARTTLS"
		case "STARTTLS":
			say("220 go")
			t := tls.Server(conn, conf)
			br, out = bufio.NewReaderSize(t, 64<<10), t
			continue
		case "DATA":
			say(pending + "354 go")
			pending = ""
			for {
				p, err := br.ReadSlice('\n')
				if err != nil {
					return
				}
				if bytes.Equal(p, []byte(".\r\n")) {
					break
				}
			}
		case "BDAT":
			n, _ := strconv.ParseInt(strings.TrimSuffix(rest, " LAST"), 10, 64)
			if _, err := io.CopyN(io.Discard, br, n); err != nil {
				return
			}
		}
		if br.Buffered() > 0 {
			pending += reply + "\r\n"
			continue
		}
		say(pending + reply)
		pending = ""
	}
}

func letterOf(size int) string {
	line := strings.Repeat("x", 76) + "\r\n"
	return strings.Repeat(line, size/len(line)+1)[:size/len(line)*len(line)]
}

// BenchmarkSend hands messages to a fast sink on loopback by verified STARTTLS,
// twenty at a time: without a pool, as every message had its own connection
// before there was one, and with one.
func BenchmarkSend(b *testing.B) {
	ca := connectortest.NewCA(b)
	for _, size := range []int{4 << 10, 50 << 10, 1 << 20} {
		for name, c := range map[string]struct {
			pool   bool
			offers []string
		}{
			"alone":     {false, nil},
			"kept":      {true, nil},
			"pipelined": {true, []string{"PIPELINING"}},
			"chunks":    {true, []string{"PIPELINING", "CHUNKING"}},
		} {
			b.Run(fmt.Sprintf("%dKiB/%s", size>>10, name), func(b *testing.B) {
				link := smtpclient.Options{
					Addr: fastSink(b, ca, c.offers...), ServerName: "peer.test.example", TLS: connectortest.Trust(ca), Hello: "gateway.bl.example",
				}
				if c.pool {
					link.Pool = smtpclient.NewPool(smtpclient.PoolOptions{PerDestination: 20})
					defer link.Pool.Close()
				}
				client, err := smtpclient.New(link)
				if err != nil {
					b.Fatal(err)
				}
				benchmarkSend(b, client, letterOf(size))
			})
		}
	}
}

func benchmarkSend(b *testing.B, client connectors.Sender, body string) {
	from, to := message.Address{Local: "a", Domain: "bl.example"}, message.Address{Local: "b", Domain: "example.ch"}
	head := []byte("From: a@bl.example\r\nSubject: x\r\n\r\n")
	var failed atomic.Int64
	b.SetBytes(int64(len(body)))
	b.SetParallelism(10) // times two cores
	b.ReportAllocs()
	before := cpuTime(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := client.Send(b.Context(), connectors.Mail{From: from, To: to, Header: head, Body: strings.NewReader(body)}); err != nil {
				failed.Add(1)
				b.Log(err)
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/msg")
	if failed.Load() > 0 {
		b.Fatalf("%d failed", failed.Load())
	}
}

// cpuTime is what this process, the sink in it included, has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
