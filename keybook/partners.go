package keybook

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"gatewayd/crypto/keys"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/smime"
	"gatewayd/message"
)

// Bounds of what is kept of one address: keys, and octets of one key with what
// came along (docs: a key with 150,000 signatures is nobody's).
const (
	maxKeys = 16
	maxKey  = 1 << 20
)

// Entry is one key of a partner as it is kept.
type Entry struct {
	Source    keys.Source `json:"source"`
	Trust     keys.Trust  `json:"trust"`
	Cert      []byte      `json:"cert,omitempty"` // DER; or OpenPGP
	Chain     [][]byte    `json:"chain,omitempty"`
	OpenPGP   []byte      `json:"openpgp,omitempty"` // packets
	Announced []byte      `json:"announced,omitempty"`
	Found     time.Time   `json:"found"`
	FirstUsed time.Time   `json:"first_used,omitzero"` // encrypted for, or a signature verified by it
	LastUsed  time.Time   `json:"last_used,omitzero"`  // to the day
	Why       string      `json:"why,omitempty"`       // it waits
}

// Partner reads the entry as a key.
func (e Entry) Partner() (keys.Partner, error) {
	p := keys.Partner{Source: e.Source, Trust: e.Trust}
	if e.Cert == nil {
		list, err := openpgp.ParseKeys(e.OpenPGP)
		if err != nil {
			return p, err
		}
		p.OpenPGP = &list[0]
		return p, nil
	}
	var err error
	if p.Cert, err = x509.ParseCertificate(e.Cert); err != nil {
		return p, fmt.Errorf("certificate: %w", err)
	}
	for _, der := range e.Chain {
		if c, err := x509.ParseCertificate(der); err == nil {
			p.Chain = append(p.Chain, c)
		}
	}
	if e.Announced != nil {
		p.Method = smime.MethodFor(e.Announced)
	}
	return p, nil
}

// page is the file of one address.
type page struct {
	Address string           `json:"address"` // message.Address.Key
	Entries map[string]Entry `json:"entries"` // by fingerprint
}

// Outcome says what became of a key that was learned.
type Outcome string

// The outcomes.
const (
	Known    Outcome = "known"    // nothing new
	New      Outcome = "new"      // it may be used
	Waits    Outcome = "waits"    // an administrator must approve it
	Conflict Outcome = "conflict" // it waits beside another one that is in use
)

// ErrTooLarge: more than is kept of one key.
var ErrTooLarge = errors.New("a key with more octets than is kept")

func (b *Book) file(a message.Address) string {
	return filepath.Join(partnersDir, b.name("partner "+a.Key()))
}

func (b *Book) page(a message.Address) (page, error) {
	p := page{Address: a.Key(), Entries: map[string]Entry{}}
	file := b.file(a)
	if !b.known[filepath.Base(file)] {
		return p, nil
	}
	err := b.read(file, &p)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return p, err
}

func (b *Book) save(a message.Address, p page) error {
	file := b.file(a)
	if len(p.Entries) == 0 {
		delete(b.known, filepath.Base(file))
		return b.remove(file)
	}
	if err := b.write(file, p); err != nil {
		return err
	}
	b.known[filepath.Base(file)] = true
	return nil
}

// Learn keeps a key of an address. One that is known keeps its trust, unless its
// source now answers for it; an OpenPGP key whose source does not answer for it
// never becomes usable beside one that is (quality.md S26).
func (b *Book) Learn(a message.Address, e Entry, now time.Time) (Outcome, error) {
	k, err := e.Partner()
	if err != nil {
		return "", err
	}
	size := len(e.Cert) + len(e.OpenPGP)
	for _, c := range e.Chain {
		size += len(c)
	}
	if size > maxKey {
		return "", ErrTooLarge
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p, err := b.page(a)
	if err != nil {
		return "", err
	}
	old, seen := p.Entries[k.Fingerprint()]
	outcome := Known
	switch {
	case !seen:
		e.Found = now
		outcome = p.enter(&e)
	case old.Trust == keys.Waiting && e.Trust != keys.Waiting: // its source answers for it
		e.Found, e.FirstUsed, e.LastUsed = old.Found, old.FirstUsed, old.LastUsed
		if outcome = p.enter(&e); outcome != New {
			outcome = Known
		}
	case string(old.Announced) == string(e.Announced) && string(old.OpenPGP) == string(e.OpenPGP):
		return Known, nil
	default:
		old.Announced, old.OpenPGP = e.Announced, e.OpenPGP // another program, an expiry that was prolonged, a revocation
		e = old
	}
	p.Entries[k.Fingerprint()] = e
	p.shorten()
	return outcome, b.save(a, p)
}

// enter says how a new key begins.
func (p page) enter(e *Entry) Outcome {
	if e.Cert != nil {
		if e.Trust == keys.Waiting {
			return Waits
		}
		return New
	}
	for _, other := range p.Entries {
		if other.OpenPGP == nil || other.Trust == keys.Waiting || other.Source == e.Source && e.Trust == keys.Direct {
			continue
		}
		e.Trust, e.Why = keys.Waiting, "another OpenPGP key of this address is in use"
		return Conflict
	}
	if e.Trust == keys.Waiting {
		return Waits
	}
	return New
}

// shorten lets go of what was found first, beyond the bound; what somebody
// approved stays longest.
func (p page) shorten() {
	for len(p.Entries) > maxKeys {
		worst := ""
		for _, f := range slices.Sorted(maps.Keys(p.Entries)) {
			a, b := p.Entries[f], p.Entries[worst]
			if worst == "" || b.Trust == keys.Approved && a.Trust != keys.Approved || a.Trust != keys.Approved && a.Found.Before(b.Found) {
				worst = f
			}
		}
		delete(p.Entries, worst)
	}
}

// Partners returns the keys of an address. What cannot be read any more is left
// out.
func (b *Book) Partners(a message.Address) ([]keys.Partner, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, err := b.page(a)
	if err != nil {
		return nil, err
	}
	var list []keys.Partner
	for _, f := range slices.Sorted(maps.Keys(p.Entries)) {
		if k, err := p.Entries[f].Partner(); err == nil {
			list = append(list, k)
		}
	}
	return list, nil
}

// Used notes that a key of an address was used, to the day.
func (b *Book) Used(a message.Address, fingerprint string, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, err := b.page(a)
	if err != nil {
		return err
	}
	e, ok := p.Entries[fingerprint]
	day := now.UTC().Truncate(24 * time.Hour)
	if !ok || e.LastUsed.Equal(day) {
		return nil
	}
	if e.FirstUsed.IsZero() {
		e.FirstUsed = day
	}
	e.LastUsed = day
	p.Entries[fingerprint] = e
	return b.save(a, p)
}

// Each calls f with every key of every address, in no order, until it returns
// false.
func (b *Book) Each(f func(address, fingerprint string, e Entry) bool) error {
	b.mu.Lock()
	names := slices.Collect(maps.Keys(b.known))
	b.mu.Unlock()
	for _, name := range names {
		var p page
		b.mu.Lock()
		err := b.read(filepath.Join(partnersDir, name), &p)
		b.mu.Unlock()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, fp := range slices.Sorted(maps.Keys(p.Entries)) {
			if !f(p.Address, fp, p.Entries[fp]) {
				return nil
			}
		}
	}
	return nil
}

// Approve lets a key that waits be used; of an address, or of all of them if a
// is null. It reports how many there were.
func (b *Book) Approve(fingerprint string) (int, error) {
	var where []string
	err := b.Each(func(address, fp string, _ Entry) bool {
		if fp == fingerprint {
			where = append(where, address)
		}
		return true
	})
	if err != nil {
		return 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, text := range where {
		a, err := message.ParseAddress(text)
		if err != nil {
			return 0, ErrDamaged
		}
		p, err := b.page(a)
		if err != nil {
			return 0, err
		}
		e := p.Entries[fingerprint]
		e.Trust, e.Why = keys.Approved, ""
		p.Entries[fingerprint] = e
		if err := b.save(a, p); err != nil {
			return 0, err
		}
	}
	return len(where), nil
}

// Forget removes keys that nobody has used, found or approved within keep, and
// those that have expired for that long. It reports how many.
func (b *Book) Forget(now time.Time, keep time.Duration) (int, error) {
	before := now.Add(-keep)
	gone := map[string][]string{}
	err := b.Each(func(address, fp string, e Entry) bool {
		k, err := e.Partner()
		last := e.Found
		if e.LastUsed.After(last) {
			last = e.LastUsed
		}
		if err != nil || last.Before(before) || !k.Until().IsZero() && k.Until().Before(before) {
			gone[address] = append(gone[address], fp)
		}
		return true
	})
	if err != nil {
		return 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for text, list := range gone {
		a, err := message.ParseAddress(text)
		if err != nil {
			return n, ErrDamaged
		}
		p, err := b.page(a)
		if err != nil {
			return n, err
		}
		for _, fp := range list {
			delete(p.Entries, fp)
			n++
		}
		if err := b.save(a, p); err != nil {
			return n, err
		}
	}
	return n, nil
}
