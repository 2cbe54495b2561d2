package architecture

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gatewayd/message"
	"gatewayd/retention"
)

// TestEventFields reads the source: every field that some code writes into the
// data of an event is declared (message/record.go), for the kind where the
// source names it, and so is described by `gatewayd logging describe`.
func TestEventFields(t *testing.T) {
	f := &fieldFinder{t: t, constants: map[string]string{}, kinds: map[string][]string{}}
	for _, r := range message.EventRecords() {
		f.kinds[string(r.Kind)] = r.Fields
	}
	f.each(f.learn)
	f.each(func(_ string, file *ast.File) { ast.Inspect(file, f.visit) })
	if f.found < 60 {
		t.Errorf("only %d fields found: does the test still see them?", f.found)
	}
}

type fieldFinder struct {
	t         *testing.T
	set       *token.FileSet
	constants map[string]string // name of a string constant, with and without its package → value
	kinds     map[string][]string
	found     int
}

func (f *fieldFinder) each(fn func(pkg string, file *ast.File)) {
	f.t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "bench/") {
			return err
		}
		f.set = token.NewFileSet()
		file, err := parser.ParseFile(f.set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		fn(file.Name.Name, file)
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fieldFinder) learn(pkg string, file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Names) != len(v.Values) {
			return true
		}
		for i, name := range v.Names {
			if lit, ok := v.Values[i].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				value := constant.StringVal(constant.MakeFromLiteral(lit.Value, token.STRING, 0))
				f.constants[name.Name], f.constants[pkg+"."+name.Name] = value, value
			}
		}
		return true
	})
}

func (f *fieldFinder) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.CompositeLit:
		var kind string
		var data *ast.CompositeLit
		for _, e := range n.Elts {
			kv, ok := e.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			switch name, _ := kv.Key.(*ast.Ident); {
			case name == nil:
			case name.Name == "Kind":
				kind, _ = f.text(kv.Value)
			case name.Name == "Data":
				data, _ = kv.Value.(*ast.CompositeLit)
			}
		}
		f.fields(kind, data)
	case *ast.CallExpr: // Note(ctx, now, kind, data)
		if fn, ok := n.Fun.(*ast.SelectorExpr); ok && fn.Sel.Name == "Note" && len(n.Args) == 4 {
			kind, _ := f.text(n.Args[2])
			data, _ := n.Args[3].(*ast.CompositeLit)
			f.fields(kind, data)
		}
	case *ast.AssignStmt:
		for _, left := range n.Lhs {
			at, ok := left.(*ast.IndexExpr)
			if !ok {
				continue
			}
			if of, ok := at.X.(*ast.SelectorExpr); ok && of.Sel.Name == "Data" {
				f.field("", at.Index)
			}
		}
	}
	return true
}

func (f *fieldFinder) fields(kind string, data *ast.CompositeLit) {
	if data == nil {
		return
	}
	if m, ok := data.Type.(*ast.MapType); !ok || m.Key.(*ast.Ident).Name != "string" {
		return
	}
	for _, e := range data.Elts {
		f.field(kind, e.(*ast.KeyValueExpr).Key)
	}
}

func (f *fieldFinder) field(kind string, at ast.Expr) {
	name, ok := f.text(at)
	if !ok {
		return // computed: the gateway's own tests find what is not declared
	}
	f.found++
	if _, ok := message.EventField(name); !ok {
		f.t.Errorf("%s: field %q is not declared in message/record.go", f.set.Position(at.Pos()), name)
	} else if fields, ok := f.kinds[kind]; ok && !slices.Contains(fields, name) {
		f.t.Errorf("%s: field %q is not declared for kind %s in message/record.go", f.set.Position(at.Pos()), name, kind)
	}
}

// text returns the value of a string: a literal, a constant, or one of these
// in a conversion.
func (f *fieldFinder) text(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		return s, err == nil
	case *ast.Ident:
		s, ok := f.constants[e.Name]
		return s, ok
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok {
			s, ok := f.constants[x.Name+"."+e.Sel.Name]
			return s, ok
		}
	case *ast.CallExpr:
		if len(e.Args) == 1 {
			return f.text(e.Args[0])
		}
	}
	return "", false
}

// TestLogFields reads the source: every attribute of the operational log is
// declared (retention/logfields.go), and every declared one is written.
func TestLogFields(t *testing.T) {
	declared, written := map[string]bool{"time": true, "level": true, "msg": true}, map[string]bool{"time": true, "level": true, "msg": true}
	for _, f := range retention.LogFields() {
		declared[f.Name] = true
	}
	f := &fieldFinder{t: t, constants: map[string]string{}}
	f.each(f.learn)
	f.each(func(pkg string, file *ast.File) {
		if pkg == "simulator" { // not part of the gateway
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			fn, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains([]string{"Debug", "Info", "Warn", "Error", "With"}, fn.Sel.Name) || !isLogger(fn.X) {
				return true
			}
			args := call.Args
			if fn.Sel.Name != "With" {
				args = args[1:]
			}
			for len(args) > 0 {
				at := args[0]
				if attr, ok := at.(*ast.CallExpr); ok && len(attr.Args) > 0 { // slog.Any("error", err)
					at, args = attr.Args[0], args[1:]
				} else {
					args = args[min(2, len(args)):]
				}
				name, ok := f.text(at)
				if !ok {
					continue
				}
				written[name] = true
				if !declared[name] {
					t.Errorf("%s: attribute %q of the operational log is not declared in retention/logfields.go", f.set.Position(at.Pos()), name)
				}
			}
			return true
		})
	})
	for name := range declared {
		if !written[name] {
			t.Errorf("attribute %q of the operational log is declared, and nobody writes it", name)
		}
	}
}

// isLogger reports whether an expression is called like a logger: log, o.Log, o.Logger.
func isLogger(e ast.Expr) bool {
	name := ""
	switch e := e.(type) {
	case *ast.Ident:
		name = e.Name
	case *ast.SelectorExpr:
		name = e.Sel.Name
	}
	return strings.EqualFold(strings.TrimSuffix(name, "ger"), "log")
}

// TestProtocolFields: every field of a protocol of destruction is declared.
func TestProtocolFields(t *testing.T) {
	declared := map[string]bool{}
	for _, f := range retention.ProtocolFields() {
		declared[f.Name] = false
	}
	for _, part := range []any{retention.Head{}, retention.Destroyed{}, retention.Sum{}, retention.Tail{}, retention.Evidence{}, retention.Folder{}, retention.Rows{}, retention.Late{}, retention.Gap{}} {
		for i := range reflect.TypeOf(part).NumField() {
			field := reflect.TypeOf(part).Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if !field.IsExported() || field.Anonymous {
				continue // embedded ones stand in the list by themselves
			}
			if _, ok := declared[name]; !ok {
				t.Errorf("%T: field %q is not declared in retention/logfields.go", part, name)
			}
			declared[name] = true
		}
	}
	for name, found := range declared {
		if !found {
			t.Errorf("field %q of the protocols is declared, and there is none", name)
		}
	}
}
