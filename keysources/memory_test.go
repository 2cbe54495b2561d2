package keysources

import "testing"

// TestMemory: what was put last is there, and never more than the bound.
func TestMemory(t *testing.T) {
	m := newMemory[int](3)
	for n := range 10 {
		m.put([32]byte{byte(n)}, n)
		if got, ok := m.get([32]byte{byte(n)}); !ok || got != n || len(m.of) > 3 {
			t.Errorf("%d: %d %v, %d are kept", n, got, ok, len(m.of))
		}
	}
	if _, ok := m.get([32]byte{99}); ok {
		t.Error("what never was")
	}
}
