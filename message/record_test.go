package message_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/message"
)

// TestEventRecords: every kind is declared once, with fields that are declared,
// in order.
func TestEventRecords(t *testing.T) {
	src, err := parser.ParseFile(token.NewFileSet(), "event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	ast.Inspect(src, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Names) == 1 && len(v.Values) == 1 && strings.HasPrefix(v.Names[0].Name, "Event") {
			kinds[strings.Trim(v.Values[0].(*ast.BasicLit).Value, `"`)] = true
		}
		return true
	})
	used := map[string]bool{message.Undescribed: true}
	for _, r := range message.EventRecords() {
		if !kinds[string(r.Kind)] {
			t.Errorf("kind %q is declared twice, or no constant", r.Kind)
		}
		delete(kinds, string(r.Kind))
		if r.Purpose == "" || !slices.IsSorted(r.Fields) || len(slices.Compact(slices.Clone(r.Fields))) != len(r.Fields) {
			t.Errorf("kind %q: purpose %q, fields %v", r.Kind, r.Purpose, r.Fields)
		}
		for _, name := range r.Fields {
			used[name] = true
			if f, ok := message.EventField(name); !ok || f.Purpose == "" {
				t.Errorf("kind %q: field %q is not declared", r.Kind, name)
			}
		}
	}
	if len(kinds) > 0 {
		t.Errorf("kinds without a declaration: %v", kinds)
	}
	text, err := os.ReadFile("record.go")
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	for line := range strings.Lines(string(text)) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), `{"`)
		if !ok {
			continue
		}
		name, _, _ = strings.Cut(name, `"`)
		if !used[name] || name <= last {
			t.Errorf("field %q is used by no kind, or stands out of order", name)
		}
		last = name
	}
}

// TestUndescribed: what is not declared is not written, and that is told; what
// is declared for another kind is written and told.
func TestUndescribed(t *testing.T) {
	e := message.Event{At: time.Unix(0, 0).UTC(), Kind: message.EventHandedOver, Data: map[string]string{"by": "token x", "planted": "secret", "to": "a@b.ch", message.Undescribed: "old"}}
	back, err := message.UnpackEvent(e.AppendPacked(nil, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"by": "token x", "to": "a@b.ch", message.Undescribed: "planted to"}
	if len(back.Data) != len(want) {
		t.Errorf("written is %v, want %v", back.Data, want)
	}
	for k, v := range want {
		if back.Data[k] != v {
			t.Errorf("%s = %q, want %q", k, back.Data[k], v)
		}
	}
	again, err := message.UnpackEvent(back.AppendPacked(nil, nil), nil)
	if err != nil || again.Data[message.Undescribed] == "" {
		t.Errorf("packed again: %v, %v; what was undeclared is forgotten", again.Data, err)
	}
}
