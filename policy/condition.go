package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"gatewayd/spelling"
)

// Bounds of a condition. It has no loops, no variables and no ranges, so that
// its cost grows with its length only.
const (
	maxCondition = 1000 // bytes
	maxNodes     = 200
	maxMemory    = 10_000 // the machine's own unit, about one per array element
)

// Functions and operators that a condition may use; everything else is refused.
var (
	functions = []string{"len", "lower", "upper", "trim"}
	operators = []string{
		"==", "!=", "<", "<=", ">", ">=", "and", "&&", "or", "||", "in",
		"contains", "startsWith", "endsWith", "matches", "+", "-", "*",
	}
)

// compileCondition checks and compiles one condition. Its errors name the
// column.
func compileCondition(src string) (*vm.Program, []error) {
	if strings.TrimSpace(src) == "" {
		return nil, []error{errors.New(`when is empty: write "true" for a route that takes everything`)}
	}
	if len(src) > maxCondition {
		return nil, []error{fmt.Errorf("when has %d bytes: at most %d", len(src), maxCondition)}
	}
	tree, err := parser.Parse(src)
	if err != nil {
		return nil, []error{positioned(err)}
	}
	c := checker{src: []rune(src), facts: FactNames()}
	c.node(tree.Node)
	if len(c.errs) > 0 {
		return nil, c.errs
	}
	options := []expr.Option{expr.Env(env{}), expr.AsBool(), expr.MaxNodes(maxNodes), expr.DisableAllBuiltins()}
	for _, f := range functions {
		options = append(options, expr.EnableBuiltin(f))
	}
	program, err := expr.Compile(src, options...)
	if err != nil {
		return nil, []error{positioned(err)}
	}
	return program, nil
}

// positioned gives an error of the expression library our form.
func positioned(err error) error {
	var at *file.Error
	if !errors.As(err, &at) {
		return fmt.Errorf("when: %w", err)
	}
	return fmt.Errorf("when, %s: %s", place(at.Line, at.Column+1), at.Message)
}

func place(line, column int) string {
	if line > 1 {
		return fmt.Sprintf("line %d, column %d", line, column)
	}
	return fmt.Sprintf("column %d", column)
}

// checker walks the tree of a condition and collects every mistake in names,
// constructs and constants. Types are left to the compiler.
type checker struct {
	src   []rune
	facts []FactDoc
	errs  []error
}

func (c *checker) fail(n ast.Node, format string, args ...any) {
	from := min(n.Location().From, len(c.src))
	before := string(c.src[:from])
	line := strings.Count(before, "\n") + 1
	column := len([]rune(before[strings.LastIndexByte(before, '\n')+1:])) + 1
	c.errs = append(c.errs, fmt.Errorf("when, %s: %s", place(line, column), fmt.Sprintf(format, args...)))
}

func (c *checker) node(n ast.Node) {
	switch n := n.(type) {
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.StringNode:
	case *ast.IdentifierNode:
		c.name(n, n.Value)
	case *ast.MemberNode:
		if name := memberName(n); name != "" {
			c.name(n.Node, name)
		} else {
			c.fail(n, "only the documented facts can be used, like message.class")
		}
	case *ast.UnaryNode:
		c.node(n.Node)
	case *ast.BinaryNode:
		c.binary(n)
	case *ast.ConditionalNode:
		c.nodes(n.Cond, n.Exp1, n.Exp2)
	case *ast.ArrayNode:
		c.nodes(n.Nodes...)
	case *ast.BuiltinNode:
		c.call(n, n.Name, n.Arguments)
	case *ast.CallNode:
		name := ""
		if callee, ok := n.Callee.(*ast.IdentifierNode); ok {
			name = callee.Value
		}
		c.call(n, name, n.Arguments)
	default:
		c.fail(n, "this construct is not allowed in a condition: it has comparisons, and, or, not, in, and the functions %s", strings.Join(functions, ", "))
	}
}

func (c *checker) nodes(nodes ...ast.Node) {
	for _, n := range nodes {
		c.node(n)
	}
}

func (c *checker) call(n ast.Node, name string, args []ast.Node) {
	if !slices.Contains(functions, name) {
		c.fail(n, "unknown function %q%s", name, suggest(name, functions))
	}
	c.nodes(args...)
}

// memberName returns "message.class" for such a node, else nothing.
func memberName(n ast.Node) string {
	m, ok := n.(*ast.MemberNode)
	if !ok || m.Optional || m.Method {
		return ""
	}
	base, ok := m.Node.(*ast.IdentifierNode)
	if !ok {
		return ""
	}
	property, ok := m.Property.(*ast.StringNode)
	if !ok {
		return ""
	}
	return base.Value + "." + property.Value
}

func (c *checker) doc(name string) (FactDoc, bool) {
	i := slices.IndexFunc(c.facts, func(d FactDoc) bool { return d.Name == name })
	if i < 0 {
		return FactDoc{}, false
	}
	return c.facts[i], true
}

func (c *checker) name(n ast.Node, name string) {
	if _, ok := c.doc(name); !ok {
		c.fail(n, "unknown name %q; did you mean %q?", name, c.nearest(name))
	}
}

// nearest returns the documented fact with the fewest edits from name; a bare
// word is compared with the last part as well.
func (c *checker) nearest(name string) string {
	best, least := "", 1<<30
	for _, d := range c.facts {
		_, last, _ := strings.Cut(d.Name, ".")
		edits := spelling.Distance(name, d.Name)
		if !strings.Contains(name, ".") {
			edits = min(edits, spelling.Distance(name, last))
		}
		if edits < least {
			best, least = d.Name, edits
		}
	}
	return best
}

func (c *checker) binary(n *ast.BinaryNode) {
	if !slices.Contains(operators, n.Operator) {
		c.fail(n, "operator %s is not allowed in a condition", n.Operator)
	}
	c.nodes(n.Left, n.Right)
	switch n.Operator {
	case "matches":
		c.pattern(n.Right)
	case "==", "!=", "in":
		c.constants(n.Left, n.Right)
		c.constants(n.Right, n.Left)
	}
}

func (c *checker) pattern(n ast.Node) {
	s, ok := n.(*ast.StringNode)
	if !ok {
		c.fail(n, "the pattern of matches must be a constant text")
		return
	}
	if _, err := regexp.Compile(s.Value); err != nil {
		c.fail(n, "bad pattern: %v", err)
	}
}

// constants compares constant texts with the values that a fact can have: a
// misspelt class must not make a route that never holds.
func (c *checker) constants(left, right ast.Node) {
	doc, ok := c.doc(memberName(left))
	if !ok || len(doc.Values) == 0 {
		return
	}
	nodes := []ast.Node{right}
	if list, ok := right.(*ast.ArrayNode); ok {
		nodes = list.Nodes
	}
	for _, n := range nodes {
		if s, ok := n.(*ast.StringNode); ok && !slices.Contains(doc.Values, s.Value) {
			c.fail(n, "%s is never %q%s", doc.Name, s.Value, suggest(s.Value, doc.Values))
		}
	}
}
