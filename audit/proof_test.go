package audit_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatewayd/audit"
	"gatewayd/calendar"
	"gatewayd/crypto/seal"
	"gatewayd/message"
)

func publicOf(t *testing.T, keys *seal.Keyring) ed25519.PublicKey {
	t.Helper()
	key, err := keys.SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	return key.Public().(ed25519.PublicKey)
}

// TestProve: every line of a sealed day is proven by itself; the proof holds
// without the log, after the erasure of every line and key, and against no other
// gateway's key.
func TestProve(t *testing.T) {
	dir, s := filled(t)
	l := open(t, dir, s.keys)
	ctx, public := context.Background(), publicOf(t, s.keys)
	if _, err := l.Prove(ctx, 3); !errors.Is(err, audit.ErrNotSealed) {
		t.Errorf("of a day that goes on: %v", err)
	}
	rotate(t, l, dayOf(3).Start().Add(time.Hour), 3)
	var kept [][]byte
	for seq := uint64(1); seq <= 30; seq++ {
		p, err := l.Prove(ctx, seq)
		if err != nil || p.Event == nil || p.Event.Seq != seq || p.Event.Data["to"] == "" {
			t.Fatalf("link %d: %v, %+v", seq, err, p.Event)
		}
		text, err := json.MarshalIndent(p, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, text)
	}
	for _, seq := range []uint64{0, 31} {
		if _, err := l.Prove(ctx, seq); !errors.Is(err, audit.ErrNoLink) {
			t.Errorf("link %d: %v", seq, err)
		}
	}
	if _, err := l.Erase(noon().AddDate(0, 7, 0), func(calendar.Day) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if err := s.keys.Destroy(seal.Log, logDay); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Prove(ctx, 3); !errors.Is(err, audit.ErrErased) {
		t.Errorf("of an erased day: %v", err)
	}
	foreign := publicOf(t, newSource(t).keys)
	for i, text := range kept {
		p, err := audit.ParseProof(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Verify(public); err != nil {
			t.Errorf("link %d, everything erased: %v", i+1, err)
		}
		if err := p.Verify(nil); err != nil {
			t.Errorf("link %d, in itself: %v", i+1, err)
		}
		if err := p.Verify(foreign); err == nil {
			t.Errorf("link %d passes as another gateway's", i+1)
		}
	}
}

// TestProveSealed: of a line whose key was destroyed the place is proven, not what
// it said.
func TestProveSealed(t *testing.T) {
	dir, s := filled(t)
	l := open(t, dir, s.keys)
	rotate(t, l, dayOf(3).Start().Add(time.Hour), 3)
	if err := s.keys.Destroy(seal.Log, logDay); err != nil {
		t.Fatal(err)
	}
	p, err := l.Prove(context.Background(), 5)
	if err != nil || p.Event != nil || p.Verify(publicOf(t, s.keys)) != nil {
		t.Errorf("%v %+v", err, p.Event)
	}
}

// TestForgedProof changes each thing in a proof: it holds no longer.
func TestForgedProof(t *testing.T) {
	dir, s := filled(t)
	l := open(t, dir, s.keys)
	rotate(t, l, dayOf(3).Start().Add(time.Hour), 3)
	ctx, public := context.Background(), publicOf(t, s.keys)
	good, err := l.Prove(ctx, 5)
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.Prove(ctx, 6)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*audit.Proof){
		"another line":         func(p *audit.Proof) { p.Line = other.Line },
		"an altered line":      func(p *audit.Proof) { p.Line = strings.Replace(p.Line, `"seq":5`, `"seq":7`, 1) },
		"another place":        func(p *audit.Proof) { p.Index++ },
		"no path":              func(p *audit.Proof) { p.Path = nil },
		"a step of the path":   func(p *audit.Proof) { p.Path[0] = message.Digest{} },
		"another root":         func(p *audit.Proof) { p.Seal.Root = message.Digest{} },
		"another count":        func(p *audit.Proof) { p.Seal.Count++ },
		"another day":          func(p *audit.Proof) { p.Seal.Day = p.Seal.Day.AddDays(1) },
		"another run":          func(p *audit.Proof) { p.Seal.Runs[0].First = 6 },
		"no signature":         func(p *audit.Proof) { p.Seal.Signature = nil },
		"another event":        func(p *audit.Proof) { p.Event = other.Event },
		"an altered event":     func(p *audit.Proof) { p.Event.Data = map[string]string{"to": "other@example.ch"} },
		"another event's word": func(p *audit.Proof) { p.Event, p.Attested = other.Event, other.Attested },
		"no word for it":       func(p *audit.Proof) { p.Attested = nil },
	} {
		text, err := json.Marshal(good)
		if err != nil {
			t.Fatal(err)
		}
		p, err := audit.ParseProof(text)
		if err != nil || !reflect.DeepEqual(p, good) {
			t.Fatalf("a proof does not read as it was written: %v\n%+v\n%+v", err, p, good)
		}
		change(&p)
		if err := p.Verify(public); err == nil {
			t.Errorf("%s: it still holds", name)
		}
	}
	for _, text := range []string{"", "{}", `{"version":"gatewayd audit proof 1","line":"","more":1}`, "[]"} {
		if p, err := audit.ParseProof([]byte(text)); err == nil {
			t.Errorf("%q is taken for a proof: %+v", text, p)
		}
	}
	if err := os.Remove(filepath.Join(dir, "2026-11-23.seal")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Prove(ctx, 5); err == nil {
		t.Error("proven without a seal")
	}
}
