package retention_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"gatewayd/retention"
)

func signer() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) }

func public() ed25519.PublicKey { return signer().Public().(ed25519.PublicKey) }

func head() retention.Head {
	return retention.Head{Run: "content-2027-01-23@2027-01-20T00:00:00Z", Family: retention.Content, Day: "2027-01-23"}
}

func object(i int) (retention.Object, retention.Destroyed) {
	d := retention.Destroyed{Authority: "bau", Class: "normal", Bytes: int64(i), Start: fmt.Sprintf("2026-11-%02d", 1+i%28), SHA256: hex.EncodeToString(make([]byte, 32)), Disposition: "no_record", Method: "day key destroyed"}
	if i%3 == 0 {
		d.Authority, d.Failed = "steuer", "not exported"
	}
	return retention.Object{ID: fmt.Sprint("object ", i)}, d
}

// written makes a protocol of n messages. Remembered are its sums while it is
// written; else they are counted from the part file, as after a crash, with rest
// behind the list.
func written(t *testing.T, n int, remembered bool, rest string) (dir string, text []byte) {
	t.Helper()
	dir = t.TempDir()
	list, err := retention.NewList(dir, head())
	for i := range n {
		if err == nil {
			err = list.Add(object(i))
		}
	}
	if err == nil {
		err = list.Sync()
	}
	if err == nil && rest != "" {
		err = appendTo(filepath.Join(dir, "content-2027-01-23.part"), rest)
	}
	if err == nil {
		err = list.Seal(retention.Tail{Released: "automatic"}, signer(), remembered)
	}
	if err != nil {
		t.Fatal(err)
	}
	if text, err = os.ReadFile(filepath.Join(dir, "00000001-content-2027-01-23.jsonl")); err != nil {
		t.Fatal(err)
	}
	return dir, text
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// TestProtocolSums: sums, hash and root are those of the list, whether they were
// kept while it was written or counted anew; what a crash has left behind the list
// is no part of it.
func TestProtocolSums(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 7, 8, 100} {
		_, want := written(t, n, true, "")
		for _, rest := range []string{"", `{"finished":"2027-01-21T0`, "{\"finished\":\"2027-01-21T00:00:00Z\"}\n", `{`} {
			if _, got := written(t, n, false, rest); !bytes.Equal(got, want) {
				t.Errorf("%d messages, %q behind the list:\n%s\nwant\n%s", n, rest, got, want)
			}
		}
		seen := 0
		h, tail, err := retention.ReadProtocol(bytes.NewReader(want), public(), func(d retention.Destroyed) error {
			if _, o := object(seen); o.Bytes != d.Bytes || len(d.Object) != 64 {
				t.Errorf("message %d: %+v", seen, d)
			}
			seen++
			return nil
		})
		if err != nil || h.Day != "2027-01-23" || seen != n || tail.Objects != n || tail.Bytes != int64(n*(n-1)/2) || tail.Failed != (n+2)/3 || len(tail.Sums) != min(n, 2) {
			t.Errorf("%d messages: %+v, %v", n, tail, err)
		}
		lines := bytes.SplitAfter(want, []byte("\n"))
		body := bytes.Join(lines[:n+1], nil)
		if sum := sha256.Sum256(body); tail.Digest != hex.EncodeToString(sum[:]) {
			t.Errorf("%d messages: digest %s", n, tail.Digest)
		}
		if root := treeHash(lines[1 : n+1]); tail.Root != root {
			t.Errorf("%d messages: root %s, want %s", n, tail.Root, root)
		}
	}
}

// treeHash is RFC 9162 section 2.1.1 as it is written there.
func treeHash(lines [][]byte) string {
	if len(lines) == 0 {
		return ""
	}
	var hash func([][]byte) []byte
	hash = func(l [][]byte) []byte {
		if len(l) == 1 {
			sum := sha256.Sum256(append([]byte{0}, bytes.TrimSuffix(l[0], []byte("\n"))...))
			return sum[:]
		}
		k := 1 << (bits.Len(uint(len(l)-1)) - 1)
		sum := sha256.Sum256(slices.Concat([]byte{1}, hash(l[:k]), hash(l[k:])))
		return sum[:]
	}
	return hex.EncodeToString(hash(lines))
}

// TestProtocolAltered: any octet of a protocol that is changed, missing or more is
// noticed; so is one of another form, and another key.
func TestProtocolAltered(t *testing.T) {
	_, text := written(t, 5, true, "")
	read := func(text []byte) error {
		_, _, err := retention.ReadProtocol(bytes.NewReader(text), public(), nil)
		return err
	}
	if err := read(text); err != nil {
		t.Fatal(err)
	}
	for i := range text {
		bad := bytes.Clone(text)
		if bad[i] ^= 1; read(bad) == nil {
			t.Errorf("a change at %d is not noticed", i)
		}
		if read(text[:i]) == nil || read(slices.Concat(text[:i], []byte(" "), text[i:])) == nil {
			t.Errorf("an octet less or more at %d is not noticed", i)
		}
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	for what, bad := range map[string][]byte{
		"a line twice":    slices.Concat(lines[0], lines[1], bytes.Join(lines[1:], nil)),
		"a line less":     slices.Concat(lines[0], bytes.Join(lines[2:], nil)),
		"lines exchanged": slices.Concat(lines[0], lines[2], lines[1], bytes.Join(lines[3:], nil)),
		"an empty end":    append(bytes.Clone(text), '\n'),
		"nothing":         nil,
	} {
		if read(bad) == nil {
			t.Errorf("%s is not noticed", what)
		}
	}
	if err := read(bytes.Replace(text, []byte(`"form":2,`), nil, 1)); err == nil || !strings.Contains(err.Error(), "it has form 1, this program knows form 2") {
		t.Errorf("form 1: %v", err)
	}
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize)).Public().(ed25519.PublicKey)
	if _, _, err := retention.ReadProtocol(bytes.NewReader(text), other, nil); err == nil {
		t.Error("another key is not noticed")
	}
}

// TestProtocolInBoundedMemory: of a long protocol only lines are held.
func TestProtocolInBoundedMemory(t *testing.T) {
	const n = 30_000
	dir, text := written(t, n, false, "")
	seen, most := 0, uint64(0)
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before := m.HeapAlloc - uint64(len(text))
	text = nil
	f, err := os.Open(filepath.Join(dir, "00000001-content-2027-01-23.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, _, err = retention.ReadProtocol(f, public(), func(retention.Destroyed) error {
		if seen++; seen%10_000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
		return nil
	})
	if err != nil || seen != n || most > before+1<<20 {
		t.Errorf("%d lines, %v; %d octets on the heap, %d before", seen, err, most, before)
	}
	if err := retention.EachLine(strings.NewReader(strings.Repeat("x", retention.MaxLine+70_000)), nil); err == nil {
		t.Error("an endless line is read to its end")
	}
}

// FuzzReadProtocol: whatever stands in a stranger's folder, reading ends without a
// panic, and only what this key signed is believed.
func FuzzReadProtocol(f *testing.F) {
	list, err := retention.NewList(f.TempDir(), head())
	if err == nil {
		err = errors.Join(list.Add(object(1)), list.Add(object(3)), list.Sync(), list.Seal(retention.Tail{}, signer(), true))
	}
	if err != nil {
		f.Fatal(err)
	}
	text, err := os.ReadFile(list.Sealed())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("{\"form\":2}\n{\"finished\":\"2027-01-21T00:00:00Z\"}\n"))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, _, err := retention.ReadProtocol(bytes.NewReader(in), public(), nil)
		if err == nil && !bytes.Equal(in, text) {
			t.Errorf("believed: %q", in)
		}
	})
}
