package keybook

import (
	"cmp"
	"crypto/x509"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"gatewayd/crypto/keys"
	"gatewayd/crypto/smime"
	"gatewayd/message"
)

// maxRoots bounds the issuers that wait: strangers can make any number.
const maxRoots = 200

// Root is the certificate of an issuer that came with mail, or was approved.
type Root struct {
	Cert     []byte    `json:"cert"` // DER
	Found    time.Time `json:"found"`
	Approved time.Time `json:"approved,omitzero"` // zero: it waits
}

// state is what administrators have decided, and what was said to them.
type state struct {
	Roots   map[string]Root      `json:"roots,omitempty"` // by fingerprint
	Revoked map[string]time.Time `json:"revoked,omitempty"`
	Ends    map[string]keys.End  `json:"ends,omitempty"`
	Warned  map[string]int       `json:"warned,omitempty"` // fingerprint → days before the end
}

// ErrUnknown: no key or issuer has that fingerprint here.
var ErrUnknown = errors.New("no such key")

// change edits the state and writes it down; an error leaves it as it was.
func (b *Book) change(edit func(*state) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := state{Roots: maps.Clone(b.state.Roots), Revoked: maps.Clone(b.state.Revoked), Ends: maps.Clone(b.state.Ends), Warned: maps.Clone(b.state.Warned)}
	if next.Roots == nil {
		next.Roots = map[string]Root{}
	}
	if next.Revoked == nil {
		next.Revoked = map[string]time.Time{}
	}
	if next.Ends == nil {
		next.Ends = map[string]keys.End{}
	}
	if next.Warned == nil {
		next.Warned = map[string]int{}
	}
	if err := edit(&next); err != nil {
		return err
	}
	if err := b.write(decisionsFile, next); err != nil {
		return err
	}
	b.state = next
	b.changes++
	return nil
}

// Decisions returns what administrators have decided.
func (b *Book) Decisions() keys.Decisions {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := keys.Decisions{Revoked: maps.Clone(b.state.Revoked), Ends: maps.Clone(b.state.Ends)}
	for _, f := range slices.Sorted(maps.Keys(b.state.Roots)) {
		if r := b.state.Roots[f]; !r.Approved.IsZero() {
			if c, err := x509.ParseCertificate(r.Cert); err == nil {
				d.Roots = append(d.Roots, c)
			}
		}
	}
	return d
}

// Roots returns the issuers that wait or were approved, by fingerprint.
func (b *Book) Roots() map[string]Root {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.state.Roots)
}

// LearnRoot notes an issuer that is not among the anchors; it waits for
// approval. It reports whether it is new; beyond a bound nothing is noted.
func (b *Book) LearnRoot(c *x509.Certificate, now time.Time) (bool, error) {
	f := smime.Fingerprint(c)
	b.mu.Lock()
	_, seen := b.state.Roots[f]
	_, revoked := b.state.Revoked[f]
	full := len(b.state.Roots) >= maxRoots
	b.mu.Unlock()
	if seen || revoked || full {
		return false, nil
	}
	return true, b.change(func(s *state) error {
		s.Roots[f] = Root{Cert: c.Raw, Found: now}
		return nil
	})
}

// ApproveRoot makes an issuer that waits a trust anchor; ErrUnknown.
func (b *Book) ApproveRoot(fingerprint string, now time.Time) error {
	return b.change(func(s *state) error {
		r, ok := s.Roots[fingerprint]
		if !ok {
			return ErrUnknown
		}
		r.Approved = now
		s.Roots[fingerprint] = r
		return nil
	})
}

// Revoke takes a key, certificate or issuer out of use for good, wherever it
// comes from.
func (b *Book) Revoke(fingerprint string, now time.Time) error {
	return b.change(func(s *state) error {
		if _, done := s.Revoked[fingerprint]; !done {
			s.Revoked[fingerprint] = now
		}
		delete(s.Roots, fingerprint)
		return nil
	})
}

// SetEnd says when an own key goes out of use.
func (b *Book) SetEnd(fingerprint string, end keys.End) error {
	return b.change(func(s *state) error {
		s.Ends[fingerprint] = end
		return nil
	})
}

// Warn reports whether a key that ends in that many days must be told now: once
// for each of the given numbers of days, the largest first.
func (b *Book) Warn(fingerprint string, days int, at []int) (bool, error) {
	due := -1
	for _, d := range at {
		if days <= d && (due < 0 || d < due) {
			due = d
		}
	}
	b.mu.Lock()
	told, ever := b.state.Warned[fingerprint]
	b.mu.Unlock()
	if due < 0 || ever && told <= due {
		return false, nil
	}
	return true, b.change(func(s *state) error {
		s.Warned[fingerprint] = due
		return nil
	})
}

// Unopened is mail that could not be opened, or not be judged, for want of a
// key.
type Unopened struct {
	Message   message.ID `json:"message"`
	Item      int        `json:"item"`
	Authority string     `json:"authority"`
	From      string     `json:"from,omitempty"` // message.Address.Key of whose key is wanted; "": one of the authority
	Until     time.Time  `json:"until"`          // then the mail is gone
}

// Wait notes mail that waits for a key.
func (b *Book) Wait(u Unopened) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, ok := b.waiting[u.Message]; ok && old == u {
		return nil
	}
	if err := b.write(b.waitFile(u.Message), u); err != nil {
		return err
	}
	b.waiting[u.Message] = u
	return nil
}

// Waiting lists the mail that waits for a key, the oldest first.
func (b *Book) Waiting() []Unopened {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.SortedFunc(maps.Values(b.waiting), func(a, c Unopened) int { return cmp.Compare(a.Message.String(), c.Message.String()) })
}

// Opened forgets mail that waits no more.
func (b *Book) Opened(id message.ID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.waiting[id]; !ok {
		return nil
	}
	if err := b.remove(b.waitFile(id)); err != nil {
		return err
	}
	delete(b.waiting, id)
	return nil
}

func (b *Book) waitFile(id message.ID) string {
	return filepath.Join(waitingDir, b.name("waiting "+id.String()))
}
