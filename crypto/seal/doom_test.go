package seal_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gatewayd/crypto/seal"
)

func TestDoom(t *testing.T) {
	dir, master, day := t.TempDir(), bytes.Repeat([]byte{1}, 32), "2027-01-23"
	open := func() *seal.Keyring {
		t.Helper()
		k, err := seal.Open(dir, master)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := open()
	aead, err := k.AEAD(seal.Content, day)
	if err != nil {
		t.Fatal(err)
	}
	sealed := seal.SealRecord(aead, []byte("x"), nil)
	at := time.Date(2027, 1, 21, 0, 0, 0, 5, time.UTC)
	for _, again := range []time.Time{at, at.Add(time.Hour)} {
		if err := k.Doom(seal.Content, day, again); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range []*seal.Keyring{k, open()} {
		_, err1 := k.AEAD(seal.Content, day)
		_, err2 := k.Lookup(seal.Content, day)
		since, doomed := k.Doomed(seal.Content, day)
		if !errors.Is(err1, seal.ErrDestroyed) || !errors.Is(err2, seal.ErrDestroyed) || !doomed || !since.Equal(at) || !k.Exists(seal.Content, day) || len(k.Days(seal.Content)) != 1 {
			t.Errorf("doomed: %v %v %v %v", err1, err2, since, doomed)
		}
		if err := k.Ensure(seal.Log, day); err != nil {
			t.Errorf("the other family: %v", err)
		}
	}
	if err := k.Spare(seal.Content, day); err != nil {
		t.Fatal(err)
	}
	for _, k := range []*seal.Keyring{k, open()} {
		aead, err := k.Lookup(seal.Content, day)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := seal.OpenRecord(aead, sealed, nil); err != nil || string(got) != "x" {
			t.Errorf("spared: %q %v", got, err)
		}
	}
	if err := errors.Join(k.Doom(seal.Content, day, at), k.Destroy(seal.Content, day)); err != nil {
		t.Fatal(err)
	}
	if _, doomed := k.Doomed(seal.Content, day); doomed || k.Exists(seal.Content, day) {
		t.Error("a destroyed key is still doomed or there")
	}
	// A crash between the two files of Destroy.
	if err := os.WriteFile(filepath.Join(dir, "content-"+day+".doomed"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	k = open()
	if _, err := k.AEAD(seal.Content, day); !errors.Is(err, seal.ErrDestroyed) || k.Spare(seal.Content, day) != nil {
		t.Errorf("%v", err)
	}
	if _, err := k.AEAD(seal.Content, day); !errors.Is(err, seal.ErrDestroyed) {
		t.Errorf("sparing brings a destroyed key back: %v", err)
	}
	if k.Doom(seal.Content, "x", at) == nil || k.Spare("x", day) == nil || k.Exists("x", day) {
		t.Error("bad names are taken")
	}
}

func TestSigningKey(t *testing.T) {
	dir, master := t.TempDir(), bytes.Repeat([]byte{1}, 32)
	var first ed25519.PrivateKey
	for range 2 {
		k, err := seal.Open(dir, master)
		if err != nil {
			t.Fatal(err)
		}
		key, err := k.SigningKey()
		if err != nil || first != nil && !key.Equal(first) {
			t.Fatalf("%v", err)
		}
		first = key
	}
	text, err := os.ReadFile(filepath.Join(dir, "signing.key"))
	if err != nil || bytes.Contains(text, first.Seed()) {
		t.Errorf("the key is not wrapped: %v", err)
	}
}
