package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/expr-lang/expr/vm"

	"gatewayd/message"
	"gatewayd/spelling"
)

// Defaults of Options and Route.
const (
	DefaultBulkLimit = 500                // internal recipients (docs/law.md B-16)
	DefaultHold      = 24 * time.Hour     // then back to the sender (docs/law.md B-10)
	DefaultGiveUp    = 5 * 24 * time.Hour // RFC 5321 section 4.5.4.1
	// DefaultGiveUpLimit fits a content window of one month: 28 days less an
	// hour, less the 13 days that collecting and hand-over need.
	DefaultGiveUpLimit = 15*24*time.Hour - time.Hour
)

// Route is one rule: mail for which When holds goes by the first usable way of
// Via. The first route whose condition holds decides; those behind it are not
// asked.
type Route struct {
	Name   string
	When   string        // condition over FactNames; at most 1,000 bytes
	Via    []string      // in order of preference
	Keep   message.Keep  // empty: until_handed_over for registered and mailbox, else until_done
	GiveUp time.Duration // 0: five days
	Footer string        // name of a footer that is put under the text of what goes by smime, openpgp or smtp; empty: none
}

// Options is what Compile needs. Zero fields mean the defaults.
type Options struct {
	Routes     []Route
	Vocabulary Vocabulary // zero: DefaultVocabulary
	BulkLimit  int        // more internal recipients than this are mass mail
	// IgnoreAHV switches off the classifier that makes mail with an AHV number
	// in its subject confidential.
	IgnoreAHV   bool
	HoldFor     time.Duration // how long held mail waits before it goes back
	GiveUpLimit time.Duration // no route may try longer, see retention.Windows.GiveUpLimit
}

// Policy is a compiled set of rules. It is immutable and safe for concurrent
// use.
type Policy struct {
	routes    []route
	reader    reader
	bulkLimit int
	ahv       bool
	holdFor   time.Duration
}

type route struct {
	Route
	condition *vm.Program
}

// Compile checks the rules and makes them ready. It reports every mistake at
// once; each error names the route and, for a condition, the column (of runes,
// from 1).
func Compile(o Options) (*Policy, []error) {
	if o.Vocabulary.Tags == nil && o.Vocabulary.Suffixes == nil && o.Vocabulary.Header == "" {
		o.Vocabulary = DefaultVocabulary()
	}
	p := &Policy{
		reader: o.Vocabulary.reader(), bulkLimit: cmp.Or(o.BulkLimit, DefaultBulkLimit),
		ahv: !o.IgnoreAHV, holdFor: cmp.Or(o.HoldFor, DefaultHold),
	}
	errs := o.Vocabulary.validate()
	if o.BulkLimit < 0 || o.HoldFor < 0 || o.GiveUpLimit < 0 {
		errs = append(errs, errors.New("limits must not be negative"))
	}
	limit := cmp.Or(o.GiveUpLimit, DefaultGiveUpLimit)
	seen := map[string]bool{}
	for i, r := range o.Routes {
		name := fmt.Sprintf("route %q", r.Name)
		if r.Name == "" {
			name = fmt.Sprintf("route %d", i+1)
			errs = append(errs, fmt.Errorf("%s: has no name", name))
		} else if seen[r.Name] {
			errs = append(errs, fmt.Errorf("%s: the name stands twice", name))
		}
		seen[r.Name] = true
		condition, problems := compileCondition(r.When)
		problems = append(problems, r.validate(limit)...)
		for _, err := range problems {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		if r.GiveUp == 0 {
			r.GiveUp = min(DefaultGiveUp, limit)
		}
		r.Via = slices.Clone(r.Via)
		p.routes = append(p.routes, route{r, condition})
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return p, nil
}

// validate reports every mistake of a route apart from its condition.
func (r Route) validate(limit time.Duration) []error {
	var errs []error
	if len(r.Via) == 0 {
		errs = append(errs, fmt.Errorf("via is empty: use one or more of %v", Vias()))
	}
	for i, via := range r.Via {
		if !slices.Contains(Vias(), via) {
			errs = append(errs, fmt.Errorf("via: unknown %q%s", via, suggest(via, Vias())))
		}
		if slices.Contains(r.Via[:i], via) {
			errs = append(errs, fmt.Errorf("via: %q stands twice", via))
		}
	}
	switch r.Keep {
	case "", message.KeepUntilDone, message.KeepUntilHandedOver, message.KeepWindow:
	default:
		keeps := []string{string(message.KeepUntilDone), string(message.KeepUntilHandedOver), string(message.KeepWindow)}
		errs = append(errs, fmt.Errorf("keep: unknown %q%s", r.Keep, suggest(string(r.Keep), keeps)))
	}
	if r.GiveUp < 0 || r.GiveUp > limit {
		errs = append(errs, fmt.Errorf("give_up %s: must lie between 0 and %s, so that proof and erasure do not collide", r.GiveUp, limit))
	}
	return errs
}

// suggest returns a half sentence that names the nearest of the allowed words,
// or all of them.
func suggest(word string, allowed []string) string {
	if best := spelling.Nearest(word, allowed); best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	return fmt.Sprintf("; use one of %q", allowed)
}
