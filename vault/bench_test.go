package vault_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"gatewayd/vault"
)

// BenchmarkAccept measures durable acceptance of bodies of 4 KiB, everything
// included: key, hash, sealing, wrapping, journal, sync.
func BenchmarkAccept(b *testing.B) {
	for _, writers := range []int{1, 10, 50} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			box := newBox(b)
			box.o.LargeBody = 0
			var syncs atomic.Int64
			box.o.Hooks.BeforeSync = func(string) error { syncs.Add(1); return nil }
			v := box.open()
			body, meta := bodyOf(1, 4096), bodyOf(2, 600)
			var next atomic.Int64
			var wg sync.WaitGroup
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			b.ResetTimer()
			for range writers {
				wg.Go(func() {
					for next.Add(1) <= int64(b.N) {
						if err := accept(v, meta, body); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			b.ReportMetric(float64(b.N)/float64(syncs.Load()), "msg/sync")
		})
	}
}

func accept(v *vault.Vault, meta, body []byte) error {
	s, err := v.NewBody(day)
	if err != nil {
		return err
	}
	defer s.Abort()
	if _, err := s.Write(body); err != nil {
		return err
	}
	if _, err := s.Finish(); err != nil {
		return err
	}
	_, err = v.Accept(context.Background(), vault.Record{Meta: meta, LogDay: logDay, Body: s})
	return err
}
