// Package architecture proves the layout: import arrows point down only, and
// packages of one row do not know each other (docs/architecture.md).
package architecture

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "gatewayd/"

// rows gives each top-level package its row; a package may import packages of
// lower rows only.
var rows = map[string]int{
	"message": 0, "calendar": 0, "spelling": 0,
	"policy": 1, "retention": 1, "legal": 1, "mail": 1, "crypto": 1,
	"vault": 2, "queue": 2, "directory": 2, "receipts": 2, "mailbox": 2, "audit": 2, "keybook": 2, "evidence": 2, "archive": 2,
	"smtp": 3, "api": 3, "scan": 3, "imap": 3, "web": 3, "connectors": 3, "simulator": 3, "keysources": 3, "keyagent": 3,
	"gateway": 4,
	"config":  5,
	"cmd":     6,
	"bench":   7, // a tool beside the program: it imports nothing of it
}

// cryptoOrder is the order inside crypto: a package may import those before it.
var cryptoOrder = map[string]int{"ber": 0, "gcm": 0, "keywrap": 0, "cms": 1, "tsp": 2, "entity": 2, "path": 2, "smime": 3, "pdfsig": 3, "openpgp": 3, "keys": 4, "hsm": 4, "seal": 0, "pdfdoc": 0}

// mailOrder is the order inside mail beneath its parts: what changes a message stands
// on what reads it. The others there know only the whole.
var mailOrder = map[string]int{"parts": 1, "recode": 2, "footer": 3}

// connectorOrder is the order inside connectors: the platforms stand on the SMTP
// client, the client on the contract; platforms do not know each other.
var connectorOrder = map[string]int{"": 0, "smtpclient": 1}

// standardOnly are the packages that import nothing but the standard library.
var standardOnly = map[string]bool{"message": true, "calendar": true, "spelling": true}

func TestImportsPointDown(t *testing.T) {
	seen := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		seen++
		checkFile(t, filepath.ToSlash(path))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 50 {
		t.Errorf("only %d files read: does the walk still find the packages?", seen)
	}
}

func checkFile(t *testing.T, path string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	from := filepath.ToSlash(filepath.Dir(path))
	top, _, _ := strings.Cut(from, "/")
	row, ok := rows[top]
	if !ok {
		t.Errorf("%s: package %q has no row in the layout", path, from)
		return
	}
	for _, spec := range f.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if standardOnly[top] && strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") {
			t.Errorf("%s imports %s: %s uses the standard library only", path, imp, top)
		}
		if to, ok := strings.CutPrefix(imp, module); ok {
			checkImport(t, path, from, to, row)
		}
	}
}

func checkImport(t *testing.T, path, from, to string, row int) {
	t.Helper()
	fromTop, fromRest, _ := strings.Cut(from, "/")
	toTop, toRest, _ := strings.Cut(to, "/")
	switch {
	case fromTop == toTop && fromTop == "crypto":
		if cryptoOrder[last(fromRest)] <= cryptoOrder[last(toRest)] {
			t.Errorf("%s imports %s: inside crypto the order is ber, gcm, keywrap < cms < tsp, entity, path < smime, openpgp, pdfsig < keys, hsm", path, to)
		}
	case fromTop == toTop && fromTop == "mail" && mailOrder[toRest] > 0:
		if mailOrder[fromRest] <= mailOrder[toRest] {
			t.Errorf("%s imports %s: inside mail the order is parts < recode < footer", path, to)
		}
	case fromTop == toTop && fromTop == "connectors":
		if rank, ok := connectorOrder[toRest]; !ok || rank >= connectorRank(fromRest) {
			t.Errorf("%s imports %s: inside connectors the order is contract < smtpclient < each platform, connectortest", path, to)
		}
	case fromTop == toTop && fromTop == "gateway":
		// The flow stands on its parts; they know neither it nor each other.
		if fromRest != "" {
			t.Errorf("%s imports %s: parts of the gateway know neither it nor each other", path, to)
		}
	case fromTop == toTop:
		// An implementation imports its interface;
		// never the other way round, and no sibling.
		if fromRest == "" || toRest != "" {
			t.Errorf("%s imports %s: only from the part to the whole", path, to)
		}
	case fromTop == "crypto" && toTop == "mail":
		// A protected message is a message first: crypto stands on mail. mail
		// imports only row 0, so that no circle can come of it.
	case rows[toTop] >= row:
		t.Errorf("%s (row %d) imports %s (row %d): arrows point down only", path, row, to, rows[toTop])
	}
}

// connectorRank is the place of a package inside connectors: those without one
// of their own stand on top.
func connectorRank(rest string) int {
	if rank, ok := connectorOrder[rest]; ok {
		return rank
	}
	return len(connectorOrder)
}

func last(p string) string { return p[strings.LastIndexByte(p, '/')+1:] }

// TestNoUntidyPackages refuses the names behind which everything hides.
func TestNoUntidyPackages(t *testing.T) {
	for _, name := range []string{"internal", "util", "utils", "common", "types", "helpers"} {
		if _, err := os.Stat(name); err == nil {
			t.Errorf("folder %q: give the package the noun it is about", name)
		}
	}
}

// TestNoInit finds func init: wiring is written down in cmd/gatewayd.
func TestNoInit(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.Contains(string(src), "\nfunc init"+"()") {
			t.Errorf("%s has func init", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
