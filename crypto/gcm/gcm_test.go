package gcm

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"testing"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// pieces calls f with stretches of b of random length.
func pieces(b []byte, f func([]byte)) {
	for len(b) > 0 {
		n := min(len(b), 1+mathrand.IntN(100))
		f(b[:n])
		b = b[n:]
	}
}

// TestAgainstCipher compares with crypto/cipher, over every kind of length.
func TestAgainstCipher(t *testing.T) {
	for _, size := range []int{16, 24, 32} {
		for _, nonceSize := range []int{12, 1, 8, 16, 17, 60} {
			for _, n := range []int{0, 1, 15, 16, 17, 31, 32, 33, 47, 48, 64, 1000, 4096, 70_001} {
				for _, m := range []int{0, 1, 16, 20, 100} {
					key, nonce, plain, additional := random(size), random(nonceSize), random(n), random(m)
					want := must(cipher.NewGCMWithNonceSize(must(aes.NewCipher(key)), nonceSize)).Seal(nil, nonce, plain, additional)
					s := must(New(key, nonce))
					got := bytes.Clone(plain)
					pieces(got, s.Seal)
					tag := s.Tag(additional)
					what := fmt.Sprintf("key %d, nonce %d, content %d, additional %d", size, nonceSize, n, m)
					if !bytes.Equal(append(got, tag[:]...), want) {
						t.Fatalf("seal: %s", what)
					}
					s = must(New(key, nonce))
					pieces(got[:n], s.Open)
					if back := s.Tag(additional); !bytes.Equal(got[:n], plain) || !Equal(back, tag[:]) || !Equal(back, tag[:12]) {
						t.Fatalf("open: %s", what)
					}
				}
			}
		}
	}
}

// TestCounterWraps: the counter of 32 bits starts again without touching the
// rest. A nonce of 16 octets is found whose counter is about to.
func TestCounterWraps(t *testing.T) {
	key := make([]byte, 16)
	s := must(New(key, []byte{1}))
	binary.BigEndian.PutUint32(s.first[12:], 0xfffffffd)
	s.restart(0xfffffffd)
	want := make([]byte, 100)
	for i := range 7 {
		b := s.first
		binary.BigEndian.PutUint32(b[12:], uint32(0xfffffffe+i))
		s.block.Encrypt(b[:], b[:])
		copy(want[i*16:], b[:])
	}
	for _, step := range []int{1, 7, 16, 33, 100} {
		s.restart(0xfffffffd)
		s.used = 0
		got := make([]byte, 100)
		for p := got; len(p) > 0; p = p[min(step, len(p)):] {
			s.xor(p[:min(step, len(p))])
		}
		if !bytes.Equal(got, want) {
			t.Errorf("in steps of %d:\n%x\nwant\n%x", step, got, want)
		}
	}
}

func TestField(t *testing.T) {
	one := element{hi: 1 << 63}
	a, b, c := toElement(random(16)), toElement(random(16)), toElement(random(16))
	if a.times(one) != a || a.times(b) != b.times(a) || a.times(b.plus(c)) != a.times(b).plus(a.times(c)) {
		t.Error("not a field")
	}
	if a.power(0) != one || a.power(1) != a || a.power(5) != a.times(a).times(a).times(a).times(a) {
		t.Error("powers")
	}
}

func TestRefuses(t *testing.T) {
	if _, err := New(make([]byte, 16), nil); !errors.Is(err, ErrNonce) {
		t.Errorf("no nonce: %v", err)
	}
	if _, err := New(make([]byte, 5), make([]byte, 12)); err == nil {
		t.Error("key of 5 octets")
	}
	tag := must(New(make([]byte, 16), make([]byte, 12))).Tag(nil)
	if got := hex.EncodeToString(tag[:]); got != "58e2fccefa7e3061367f1d57a4e7455a" { // GCM specification, test case 1
		t.Errorf("tag %s", got)
	}
	for _, bad := range [][]byte{nil, tag[:11], append(tag[:], 0), make([]byte, 16)} {
		if Equal(tag, bad) {
			t.Errorf("%x is taken for the tag", bad)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	key, nonce, buf := make([]byte, 32), make([]byte, 12), make([]byte, 64<<10)
	b.Run("ours", func(b *testing.B) {
		s := must(New(key, nonce))
		b.SetBytes(int64(len(buf)))
		for b.Loop() {
			s.Seal(buf)
		}
	})
	b.Run("crypto/cipher", func(b *testing.B) {
		a := must(cipher.NewGCM(must(aes.NewCipher(key))))
		out := make([]byte, 0, len(buf)+16)
		b.SetBytes(int64(len(buf)))
		for b.Loop() {
			a.Seal(out, nonce, buf, nil)
		}
	})
}
