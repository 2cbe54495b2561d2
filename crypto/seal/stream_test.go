package seal_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"

	"gatewayd/crypto/seal"
)

const chunk = 64 << 10

var testKey = [32]byte{1, 2, 3} //nolint:gochecknoglobals // a test's constant

func plainOf(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	r.Read(b)
	return b
}

func sealBody(t testing.TB, plain []byte, step int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := seal.NewWriter(&out, testKey)
	if err != nil {
		t.Fatal(err)
	}
	for p := plain; len(p) > 0; {
		n := min(step, len(p))
		if got, err := w.Write(p[:n]); got != n || err != nil {
			t.Fatalf("Write = %d, %v", got, err)
		}
		p = p[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func openBody(b []byte) ([]byte, error) {
	r, err := seal.NewReader(bytes.NewReader(b), int64(len(b)), testKey)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func sizes() []int {
	return []int{0, 1, 100, chunk - 1, chunk, chunk + 1, 2*chunk - 1, 2 * chunk, 2*chunk + 1, 5*chunk + 777}
}

func TestStreamRoundTrip(t *testing.T) {
	for _, n := range sizes() {
		plain := plainOf(n)
		for _, step := range []int{1000, chunk, 3 * chunk} {
			b := sealBody(t, plain, step)
			if want := seal.SealedSize(int64(n)); int64(len(b)) != want {
				t.Errorf("%d octets become %d, SealedSize says %d", n, len(b), want)
			}
			got, err := openBody(b)
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%d octets in steps of %d: round trip fails: %v", n, step, err)
			}
		}
	}
}

// TestStreamForm opens a body with nothing but the standard library, as
// documented: a change of the form would make old bodies unreadable.
func TestStreamForm(t *testing.T) {
	plain := plainOf(chunk + 10)
	b := sealBody(t, plain, chunk)
	block, err := aes.NewCipher(testKey[:])
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	first, err := gcm.Open(nil, make([]byte, 12), b[:chunk+16], nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := gcm.Open(nil, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}, b[chunk+16:], nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(append(first, second...), plain) {
		t.Error("the chunks hold something else")
	}
}

func TestReaderIsAReader(t *testing.T) {
	for _, n := range sizes() {
		plain := plainOf(n)
		b := sealBody(t, plain, chunk)
		r, err := seal.NewReader(bytes.NewReader(b), int64(len(b)), testKey)
		if err != nil {
			t.Fatal(err)
		}
		if r.Size() != int64(n) {
			t.Errorf("Size = %d, want %d", r.Size(), n)
		}
		if n > 2*chunk+1 {
			continue // TestReader reads in tiny steps
		}
		if err := iotest.TestReader(r, plain); err != nil {
			t.Errorf("%d octets: %v", n, err)
		}
	}
}

func TestReadAtParallel(t *testing.T) {
	plain := plainOf(5*chunk + 777)
	b := sealBody(t, plain, chunk)
	r, err := seal.NewReader(bytes.NewReader(b), int64(len(b)), testKey)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			for range 50 {
				off := rnd.IntN(len(plain))
				p := make([]byte, rnd.IntN(2*chunk))
				n, err := r.ReadAt(p, int64(off))
				want := min(len(p), len(plain)-off)
				if n != want || (n < len(p)) != (err == io.EOF) || !bytes.Equal(p[:n], plain[off:off+n]) {
					t.Errorf("ReadAt(%d octets at %d) = %d, %v", len(p), off, n, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestManipulation: whatever is done to a sealed body, the reader returns a
// prefix in whole chunks at most, and an error.
func TestManipulation(t *testing.T) {
	plain := plainOf(3*chunk + 100)
	good := sealBody(t, plain, chunk)
	const full = chunk + 16
	flip := func(i int) []byte { b := bytes.Clone(good); b[i] ^= 1; return b }
	cases := map[string][]byte{
		"empty": nil, "no tag": good[:15], "first chunk only": good[:full], "two chunks": good[:2*full],
		"last chunk missing": good[:3*full], "last octet missing": good[:len(good)-1], "one octet more": append(bytes.Clone(good), 0),
		"first chunk missing": good[full:], "chunks swapped": append(append(bytes.Clone(good[full:2*full]), good[:full]...), good[2*full:]...),
		"chunk doubled": append(append(bytes.Clone(good[:full]), good[:full]...), good[full:]...),
		"tag only":      good[:16], "last chunk doubled": append(bytes.Clone(good), good[3*full:]...),
		"flip first": flip(0), "flip in second": flip(full + 9), "flip tag": flip(2*full - 1), "flip last": flip(len(good) - 1),
	}
	for name, b := range cases {
		got, err := openBody(b)
		if !errors.Is(err, seal.ErrCorrupt) {
			t.Errorf("%s: error %v, want ErrCorrupt", name, err)
		}
		if len(got)%chunk != 0 || !bytes.HasPrefix(plain, got) {
			t.Errorf("%s: %d octets came out that were not proven", name, len(got))
		}
	}
	r, err := seal.NewReader(bytes.NewReader(good[:full]), int64(len(good)), testKey)
	if !errors.Is(err, seal.ErrCorrupt) || r != nil {
		t.Errorf("file shorter than its size: %v", err)
	}
	if _, err := seal.NewReader(bytes.NewReader(good), int64(len(good)), [32]byte{9}); !errors.Is(err, seal.ErrCorrupt) {
		t.Errorf("other key: %v", err)
	}
}

// TestReaderAfterDamage: a chunk that fails does not poison the others.
func TestReaderAfterDamage(t *testing.T) {
	plain := plainOf(3 * chunk)
	b := sealBody(t, plain, chunk)
	b[chunk+16+5] ^= 1
	r, err := seal.NewReader(bytes.NewReader(b), int64(len(b)), testKey)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 10)
	for _, off := range []int64{5, chunk + 5, 5, 2*chunk + 5, chunk + 5} {
		n, err := r.ReadAt(p, off)
		if bad := off/chunk == 1; bad != errors.Is(err, seal.ErrCorrupt) || !bad && !bytes.Equal(p[:n], plain[off:off+10]) {
			t.Errorf("ReadAt(%d) = %d, %v", off, n, err)
		}
	}
}

type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func TestWriterErrors(t *testing.T) {
	w, err := seal.NewWriter(&failing{chunk + 16}, testKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plainOf(3 * chunk)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Write = %v", err)
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("second Write = %v", err)
	}
	if err := w.Close(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Close = %v", err)
	}
	w, err = seal.NewWriter(io.Discard, testKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("Write after Close worked")
	}
	if err := w.Close(); err == nil {
		t.Error("second Close worked")
	}
}

// FuzzReader: foreign octets never panic and, not having our key, never open.
func FuzzReader(f *testing.F) {
	for _, n := range []int{0, 100, chunk + 5} {
		b := sealBody(f, plainOf(n), chunk)
		f.Add(b, int64(len(b)))
	}
	f.Add([]byte(nil), int64(-5))
	f.Add(make([]byte, 16), int64(1)<<62)
	want := map[int][]byte{}
	for _, n := range []int{0, 100, chunk + 5} {
		want[n] = plainOf(n)
	}
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		r, err := seal.NewReader(bytes.NewReader(b), size, testKey)
		if err != nil {
			return
		}
		got, err := io.ReadAll(r)
		if err == nil && !bytes.Equal(got, want[len(got)]) {
			t.Errorf("%d octets opened that nobody sealed", len(got))
		}
	})
}

func BenchmarkWriter(b *testing.B) {
	plain := plainOf(1 << 20)
	b.SetBytes(int64(len(plain)))
	b.ReportAllocs()
	for b.Loop() {
		w, err := seal.NewWriter(io.Discard, testKey)
		if err != nil {
			b.Fatal(err)
		}
		w.Write(plain)
		w.Close()
	}
}
