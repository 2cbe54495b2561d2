package gateway_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"gatewayd/gateway"
	"gatewayd/message"
)

// BenchmarkAccept is the flow without doors: mail of 4 KiB for an authority's
// mailbox, accepted durably by so many clients at once, with policy, audit and
// sealing on, and laid into the mailbox meanwhile. The time ends when everything
// lies there.
func BenchmarkAccept(b *testing.B) {
	text := letterOf(4 << 10)
	for _, clients := range []int{1, 10, 50} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			r := benchRig(b)
			b.SetParallelism(max(1, clients/2))
			b.SetBytes(int64(len(text)))
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					s := message.Submission{Door: message.Inbound, From: addr("a@example.net"), To: []message.Recipient{{Address: addr("bau@bl.example")}}}
					if _, err := r.g.Accept(context.Background(), s, strings.NewReader(text)); err != nil {
						b.Error(err)
						return
					}
				}
			})
			accepted := b.Elapsed()
			b.ReportMetric(float64(b.N)/accepted.Seconds(), "accepted/s")
			r.emptied(b)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "done/s")
			cpu(b)
		})
	}
}

// BenchmarkRelay is the same for mail that an authority sends to the world; the
// next system takes everything at once.
func BenchmarkRelay(b *testing.B) {
	text := letterOf(4 << 10)
	r := benchRig(b)
	var n atomic.Int64
	b.SetParallelism(25)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s := submission(fmt.Sprintf("a@example%d.net", n.Add(1)%8))
			if _, err := r.g.Accept(context.Background(), s, strings.NewReader(text)); err != nil {
				b.Error(err)
				return
			}
		}
	})
	r.emptied(b)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "done/s")
	cpu(b)
}

// cpu reports the processor time of the whole process per message since the
// process began: only the first benchmark of a run says something.
func cpu(b *testing.B) {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(u.Utime.Nano()+u.Stime.Nano())/1e3/float64(b.N), "cpu-µs/msg")
}

func letterOf(size int) string {
	head := letter("Auskunft", "bench")
	return head + strings.Repeat(strings.Repeat("x", 70)+"\r\n", (size-len(head))/72)
}

func benchRig(b *testing.B) *rig {
	b.Helper()
	r := newRig(b, rigOptions{edit: func(o *gateway.Options) { o.Delivery.Concurrency, o.Delivery.PerTarget = 50, 50 }})
	return r
}

// emptied waits until nothing is left to do.
func (r *rig) emptied(b *testing.B) {
	b.Helper()
	r.until("everything is done", func() bool {
		n, err := r.g.Counts(context.Background())
		return err == nil && n[message.Done] == b.N
	})
}
