package cms

import (
	"bytes"
	"strings"
	"testing"
)

func BenchmarkSign(b *testing.B) {
	w := testWorld()
	for _, name := range []string{"rsa", "p256"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				must(Sign(strings.NewReader(text), w.keys[name].signer(), SignOptions{Time: now}))
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	w := testWorld()
	der := must(Sign(strings.NewReader(text), w.rsa.signer(), SignOptions{Time: now}))
	for b.Loop() {
		must(Verify(bytes.NewReader(der), strings.NewReader(text), w.trusting()))
	}
}
