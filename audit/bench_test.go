package audit_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gatewayd/audit"
	"gatewayd/message"
)

// benchLinks is how many lines the day of the benchmarks has.
const benchLinks = 20_000

func benchDay(b *testing.B) (dir string, s *source, l *audit.Log) {
	b.Helper()
	dir, s = b.TempDir(), newSource(b)
	for i := range benchLinks {
		s.add(noon().Add(time.Duration(i)*time.Millisecond), message.NewID(noon()))
	}
	l = open(b, dir, s.keys)
	if n, err := l.Drain(context.Background(), s); err != nil || n != benchLinks {
		b.Fatal(n, err)
	}
	return dir, s, l
}

// BenchmarkRotate seals a day; ns/line is what one line of it costs.
func BenchmarkRotate(b *testing.B) {
	dir, s, l := benchDay(b)
	late := 0
	for b.Loop() {
		b.StopTimer()
		if late++; late > 1 { // a late line opens the day again
			s.add(noon(), message.ID{1})
			if n, err := l.Drain(context.Background(), s); err != nil || n != 1 {
				b.Fatal(n, err)
			}
		}
		b.StartTimer()
		if n, err := l.Rotate(dayOf(1).Start().Add(time.Hour)); err != nil || n != 1 {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchLinks, "ns/line")
	b.ReportMetric(float64(sizeOf(b, dir, "2026-11-23.log.gz"))/benchLinks, "octets/line")
}

// BenchmarkVerify reads a day that goes on, and a sealed one.
func BenchmarkVerify(b *testing.B) {
	dir, _, l := benchDay(b)
	for _, name := range []string{"open", "sealed"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if r, err := audit.Verify(dir, audit.Options{}); err != nil || r.Links != benchLinks {
					b.Fatal(r, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchLinks, "ns/line")
		})
		if _, err := l.Rotate(dayOf(1).Start().Add(time.Hour)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTrace looks for one message in a day.
func BenchmarkTrace(b *testing.B) {
	_, s, l := benchDay(b)
	for b.Loop() {
		if events, err := l.Trace(context.Background(), s.head.Message, noon()); err != nil || len(events) != 1 {
			b.Fatal(events, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchLinks, "ns/line")
}

func sizeOf(b *testing.B, dir, name string) int64 {
	b.Helper()
	st, err := os.Stat(filepath.Join(dir, name))
	if err != nil {
		b.Fatal(err)
	}
	return st.Size()
}
