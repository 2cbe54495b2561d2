package policy

import (
	"gatewayd/message"
)

// Explanation is the account of one decision, for a person. It shows facts such
// as addresses and the subject: print it to whoever asked, never log it.
type Explanation struct {
	Decision message.Decision `json:"decision"`
	Facts    []FactValue      `json:"facts"`
	// Steps is Decision.Because, and the routes that were not asked because an
	// earlier one or a duty had decided.
	Steps []message.Reason `json:"steps"`
}

// FactValue is one fact as the conditions saw it.
type FactValue struct {
	Name  string `json:"name"`
	Value any    `json:"value"` // string, int, bool or []string
}

// Explain decides by the same code as Decide and tells everything about it.
func (p *Policy) Explain(f Facts) Explanation {
	r := p.run(f)
	x := Explanation{Decision: r.decision, Steps: r.decision.Because}
	for _, fact := range facts() {
		x.Facts = append(x.Facts, FactValue{fact.Name, fact.value(r.env)})
	}
	x.Steps = append([]message.Reason(nil), x.Steps...)
	for _, route := range p.routes[r.asked:] {
		x.Steps = append(x.Steps, message.Reason{Rule: route.Name, Says: saysNotRun, Text: "decided before"})
	}
	return x
}
