package path

import (
	"crypto/x509"
	"slices"
)

// anyPolicy of RFC 5280 section 4.2.1.4.
const anyPolicy = "2.5.29.32.0"

// node is a policy that holds from the anchor down to some certificate: the
// graph of RFC 9618 section 3, which grows no faster than the certificates do
// (the tree of RFC 5280 can be made to explode).
type node struct {
	policy   string
	expected []string // what the next certificate must say
	parents  []*node
}

// level holds the policies of one certificate. nil: none is left.
type level map[string]*node

// policies is the state of RFC 5280 section 6.1.2, as updated by RFC 9618.
type policies struct {
	level                    level
	explicit, mapping, anyOf int // certificates after which a rule begins to hold
}

// checkPolicies follows RFC 5280 sections 6.1.3 (d) to (f), 6.1.4 (a), (b), (h)
// to (j) and 6.1.5, as updated by RFC 9618.
func (c chain) checkPolicies(o Options) error {
	n := len(c) - 1
	if n == 0 {
		return nil
	}
	root := &node{policy: anyPolicy, expected: []string{anyPolicy}}
	p := policies{level{anyPolicy: root}, n + 1, n + 1, n + 1}
	for rule, on := range map[*int]bool{&p.explicit: o.Explicit, &p.mapping: o.InhibitMapping, &p.anyOf: o.InhibitAny} {
		if on {
			*rule = 0
		}
	}
	for i := n - 1; i >= 0; i-- {
		s := c[i]
		p.descend(s.cert, p.anyOf > 0 || i > 0 && s.selfIssued())
		if p.explicit == 0 && p.level == nil {
			return ErrPolicy
		}
		if i == 0 {
			break
		}
		if !p.translate(s.cert) {
			return ErrPolicy
		}
		p.count(s)
	}
	leaf := c[0].cert
	if p.explicit > 0 {
		p.explicit--
	}
	if leaf.RequireExplicitPolicyZero {
		p.explicit = 0
	}
	if p.explicit == 0 && !p.acceptable(o.Policies) {
		return ErrPolicy
	}
	return nil
}

// descend goes on to the policies of a certificate (section 6.1.3 (d), (e)).
func (p *policies) descend(c *x509.Certificate, withAny bool) {
	if p.level == nil || len(c.Policies) == 0 {
		p.level = nil
		return
	}
	next := level{}
	for _, oid := range c.Policies {
		policy := oid.String()
		if policy == anyPolicy {
			continue
		}
		parents := p.level.expecting(policy)
		if any := p.level[anyPolicy]; len(parents) == 0 && any != nil {
			parents = []*node{any}
		}
		if len(parents) > 0 {
			next[policy] = &node{policy, []string{policy}, parents}
		}
	}
	if withAny && slices.ContainsFunc(c.Policies, func(oid x509.OID) bool { return oid.String() == anyPolicy }) {
		for _, above := range p.level {
			for _, policy := range above.expected {
				if next[policy] == nil {
					next[policy] = &node{policy, []string{policy}, p.level.expecting(policy)}
				}
			}
		}
	}
	p.set(next)
}

func (p *policies) set(l level) {
	if p.level = l; len(l) == 0 {
		p.level = nil
	}
}

func (l level) expecting(policy string) []*node {
	var list []*node
	for _, n := range l {
		if slices.Contains(n.expected, policy) {
			list = append(list, n)
		}
	}
	return list
}

// translate applies policy mappings (section 6.1.4 (a), (b)). It is false for a
// mapping that must not be.
func (p *policies) translate(c *x509.Certificate) bool {
	to := map[string][]string{}
	for _, m := range c.PolicyMappings {
		from, into := m.IssuerDomainPolicy.String(), m.SubjectDomainPolicy.String()
		if from == anyPolicy || into == anyPolicy {
			return false
		}
		to[from] = append(to[from], into)
	}
	for from, into := range to {
		any := p.level[anyPolicy]
		switch {
		case p.mapping == 0:
			delete(p.level, from)
		case p.level[from] != nil:
			p.level[from].expected = into
		case any != nil:
			p.level[from] = &node{from, into, any.parents}
		}
	}
	p.set(p.level)
	return true
}

// count is section 6.1.4 (h) to (j).
func (p *policies) count(s step) {
	if !s.selfIssued() {
		p.explicit, p.mapping, p.anyOf = max(p.explicit-1, 0), max(p.mapping-1, 0), max(p.anyOf-1, 0)
	}
	c := s.cert
	if c.RequireExplicitPolicy > 0 || c.RequireExplicitPolicyZero {
		p.explicit = min(p.explicit, c.RequireExplicitPolicy)
	}
	if c.InhibitPolicyMapping > 0 || c.InhibitPolicyMappingZero {
		p.mapping = min(p.mapping, c.InhibitPolicyMapping)
	}
	if c.InhibitAnyPolicy > 0 || c.InhibitAnyPolicyZero {
		p.anyOf = min(p.anyOf, c.InhibitAnyPolicy)
	}
}

// acceptable reports whether a policy that the user accepts holds for the whole
// path (section 6.1.5 (g)). Policies count by the name under which the first
// certificate spoke of them: the children of anyPolicy.
func (p *policies) acceptable(wanted []x509.OID) bool {
	if p.level == nil {
		return false
	}
	if len(wanted) == 0 || p.level[anyPolicy] != nil {
		return true
	}
	seen := map[*node]bool{}
	var lookUp func(n *node) bool
	lookUp = func(n *node) bool {
		if seen[n] {
			return false
		}
		seen[n] = true
		for _, above := range n.parents {
			named := above.policy == anyPolicy && slices.ContainsFunc(wanted, func(oid x509.OID) bool { return oid.String() == n.policy })
			if named || lookUp(above) {
				return true
			}
		}
		return false
	}
	for _, n := range p.level {
		if lookUp(n) {
			return true
		}
	}
	return false
}
