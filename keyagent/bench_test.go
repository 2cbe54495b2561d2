package keyagent

import (
	stdcrypto "crypto"
	"crypto/rand"
	"crypto/sha256"
	"testing"
)

// BenchmarkSign measures what the way to the agent costs, beside the same key in
// memory.
func BenchmarkSign(b *testing.B) {
	r := newRig(b, keyFolder(b), func(o *Options) { o.Quota, o.Record = 1<<40, func(Use) error { return nil } })
	own := r.own()
	sum := sha256.Sum256(nil)
	for _, name := range []string{"rsa", "p256"} {
		for where, key := range map[string]stdcrypto.Signer{"memory": kinds()[name].(stdcrypto.Signer), "agent": own[name].SMIME.Key} {
			b.Run(name+"/"+where, func(b *testing.B) {
				for b.Loop() {
					if _, err := key.Sign(rand.Reader, sum[:], stdcrypto.SHA256); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
