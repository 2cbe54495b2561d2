package keydesk

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatewayd/crypto/keys"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/path"
	"gatewayd/crypto/smime"
	"gatewayd/keybook"
	"gatewayd/message"
	"gatewayd/queue"
)

// ErrNoKeys: there is neither a key folder nor a key book.
var ErrNoKeys = errors.New("no keys are configured")

// Keys lists every key: of the folder, learned ones, anchors and issuers that
// wait for approval.
func (d *Desk) Keys(_ context.Context) ([]message.KeyInfo, error) {
	now := d.now()
	var all []message.KeyInfo
	if err := d.Ring().Away(); err != nil {
		all = append(all, message.KeyInfo{Kind: "own", State: "unknown: the key agent is out of reach", Why: message.Bounded(err.Error())})
	}
	for _, l := range d.Ring().List() {
		k := message.KeyInfo{Kind: "partner", Authority: l.Authority, Address: l.Address, Set: l.Anchor, SignEnd: l.End.Sign, DecryptEnd: l.End.Decrypt}
		if l.Authority != "" {
			k.Kind = "own"
		} else if l.Anchor != "" {
			k.Kind = "anchor"
		}
		fill(&k, l.Cert, l.OpenPGP)
		k.Source, k.File, k.Trust, k.State = string(l.Source), l.File, string(l.Trust), stateOf(l.Err, k, now)
		if k.State == "usable" && !l.End.Sign.IsZero() && !now.Before(l.End.Sign) {
			k.State = "opens old mail only"
		}
		all = append(all, k)
	}
	var err error
	if d.o.Sources.Book != nil {
		var learned []message.KeyInfo
		learned, err = d.learnedKeys(now)
		all = append(all, learned...)
	}
	slices.SortStableFunc(all, func(a, b message.KeyInfo) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Authority+a.Address+a.Set, b.Authority+b.Address+b.Set), strings.Compare(a.Fingerprint, b.Fingerprint))
	})
	return all, err
}

// learnedKeys lists what the key book has.
func (d *Desk) learnedKeys(now time.Time) ([]message.KeyInfo, error) {
	var all []message.KeyInfo
	revoked := d.o.Sources.Book.Decisions().Revoked
	err := d.o.Sources.Book.Each(func(address, fp string, e keybook.Entry) bool {
		p, err := e.Partner()
		if err != nil {
			return true
		}
		k := message.KeyInfo{Kind: "partner", Address: address, Source: string(e.Source), Trust: string(e.Trust), Why: e.Why, Found: e.Found, FirstUsed: e.FirstUsed, LastUsed: e.LastUsed}
		fill(&k, p.Cert, p.OpenPGP)
		var why error
		if e.Trust == keys.Waiting {
			why = keys.ErrWaiting
		}
		if _, out := revoked[fp]; out {
			why = keys.ErrEnded
		}
		k.State = stateOf(why, k, now)
		all = append(all, k)
		return true
	})
	for fp, r := range d.o.Sources.Book.Roots() {
		c, err := x509.ParseCertificate(r.Cert)
		if err != nil || !r.Approved.IsZero() { // approved ones stand among the anchors
			continue
		}
		k := message.KeyInfo{Kind: "anchor", Set: "waiting", Source: string(keys.Mail), Trust: string(keys.Waiting), State: keys.ErrWaiting.Error(), Found: r.Found}
		fill(&k, c, nil)
		k.Fingerprint = fp
		all = append(all, k)
	}
	return all, err
}

func stateOf(err error, k message.KeyInfo, now time.Time) string {
	switch {
	case err != nil:
		return err.Error()
	case !k.Until.IsZero() && now.After(k.Until):
		return "expired"
	case now.Before(k.From):
		return "not yet valid"
	}
	return "usable"
}

// fill writes what a certificate or key says about itself.
func fill(k *message.KeyInfo, c *x509.Certificate, p *openpgp.Key) {
	k.Names = keys.AddressesOf(c, p)
	if c != nil {
		k.Technique, k.Fingerprint, k.Subject, k.Issuer = "smime", smime.Fingerprint(c), path.Show(c.Subject), path.Show(c.Issuer)
		k.From, k.Until, k.Algorithm = c.NotBefore, c.NotAfter, keyAlgorithm(c)
		return
	}
	k.Technique, k.Fingerprint, k.Subject = "openpgp", p.Fingerprint, strings.Join(p.UserIDs, ", ")
	k.From, k.Until, k.Algorithm = p.Created, p.Expires, fmt.Sprintf("OpenPGP v%d", p.Version)
}

func keyAlgorithm(c *x509.Certificate) string {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "EC " + k.Curve.Params().Name
	}
	return c.PublicKeyAlgorithm.String()
}

// FindKey says which key would be used for an address and why; with lookUp the
// sources are asked first.
func (d *Desk) FindKey(ctx context.Context, a message.Address, lookUp bool) (message.KeyAnswer, error) {
	answer := message.KeyAnswer{Address: a.String(), Ways: []string{}, Keys: []message.KeyInfo{}}
	if lookUp && d.o.Sources.Lookup != nil {
		got := d.o.Sources.Lookup.Find(ctx, a)
		for _, attempt := range got {
			one := message.KeyAttempt{Source: string(attempt.Source), Found: attempt.Found, Error: attempt.Err}
			for _, o := range attempt.Learned {
				one.Learned = append(one.Learned, string(o))
			}
			answer.Asked = append(answer.Asked, one)
		}
		d.KeysFound(a, got)
	}
	s := d.Selection(ctx, a, d.now(), true)
	if s.Certificate != nil {
		answer.Ways, answer.Method = append(answer.Ways, "smime"), s.Method.String()
	}
	if s.OpenPGP != nil {
		answer.Ways = append(answer.Ways, "openpgp")
	}
	for _, r := range s.Reasons {
		k := message.KeyInfo{
			Kind: "partner", Address: a.String(), Technique: string(r.Technique), Fingerprint: r.Fingerprint, Source: string(r.Source), Trust: string(r.Trust),
			File: r.File, Until: r.Until, State: "usable", Chosen: r.Chosen,
		}
		if r.Err != nil {
			k.State = r.Err.Error()
		}
		answer.Keys = append(answer.Keys, k)
	}
	return answer, nil
}

// ExportKey returns the public part of a key: PEM, or armored OpenPGP.
func (d *Desk) ExportKey(_ context.Context, fingerprint string) ([]byte, error) {
	for _, l := range d.Ring().List() {
		if l.Fingerprint == fingerprint {
			return public(l.Cert, l.OpenPGP)
		}
	}
	if d.o.Sources.Book == nil {
		return nil, fmt.Errorf("key: %w", queue.ErrNotFound)
	}
	if r, ok := d.o.Sources.Book.Roots()[fingerprint]; ok {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Cert}), nil
	}
	var found []byte
	var failure error
	err := d.o.Sources.Book.Each(func(_, fp string, e keybook.Entry) bool {
		if fp != fingerprint {
			return true
		}
		p, err := e.Partner()
		if failure = err; err == nil {
			found, failure = public(p.Cert, p.OpenPGP)
		}
		return false
	})
	if err := errors.Join(err, failure); err != nil {
		return nil, err
	}
	if found == nil {
		return nil, fmt.Errorf("key: %w", queue.ErrNotFound)
	}
	return found, nil
}

func public(c *x509.Certificate, p *openpgp.Key) ([]byte, error) {
	if c != nil {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), nil
	}
	return p.Public()
}

// ApproveKey lets a key, or the certificate of an issuer, be used that waits for
// approval. The reason stands in the audit log.
func (d *Desk) ApproveKey(ctx context.Context, fingerprint, reason string) error {
	return d.aboutKey(ctx, "approved", fingerprint, reason, func(b *keybook.Book) error {
		err := b.ApproveRoot(fingerprint, d.now())
		if !errors.Is(err, keybook.ErrUnknown) {
			return err
		}
		n, err := b.Approve(fingerprint)
		if err == nil && n == 0 {
			err = fmt.Errorf("key: %w", queue.ErrNotFound)
		}
		return err
	})
}

// RevokeKey takes a key out of use for good. One of an authority signs no more
// and opens what comes in until the day given; zero: without end. Every other is
// not used at all, and its signatures are called revoked.
func (d *Desk) RevokeKey(ctx context.Context, fingerprint string, opensUntil time.Time, reason string) error {
	return d.aboutKey(ctx, "revoked", fingerprint, reason, func(b *keybook.Book) error {
		all, err := d.Keys(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(k message.KeyInfo) bool { return k.Fingerprint == fingerprint })
		switch {
		case i < 0:
			return fmt.Errorf("key: %w", queue.ErrNotFound)
		case all[i].Kind == "own":
			return b.SetEnd(fingerprint, keys.End{Sign: d.now(), Decrypt: opensUntil})
		}
		return b.Revoke(fingerprint, d.now())
	})
}

// ReloadKeys reads the key folder again: somebody has changed it, as what says.
func (d *Desk) ReloadKeys(ctx context.Context, what string) error {
	if d.o.Sources.Reload == nil {
		return ErrNoKeys
	}
	if err := d.o.Sources.Reload(); err != nil {
		return fmt.Errorf("key folder: %w; the old keys stay", err)
	}
	return d.aboutKey(ctx, "imported", what, "key folder read again", func(*keybook.Book) error { return nil })
}

// aboutKey does what a person decided, and writes it down.
func (d *Desk) aboutKey(ctx context.Context, what, fingerprint, reason string, do func(*keybook.Book) error) error {
	reason, err := message.CheckReason(reason)
	if err != nil {
		return err
	}
	if d.o.Sources.Book == nil {
		return ErrNoKeys
	}
	if err := do(d.o.Sources.Book); err != nil {
		return err
	}
	err = d.o.Ledger.Apply(ctx, queue.Change{Events: []message.Event{{At: d.now(), Kind: message.EventKey, Data: map[string]string{
		"what": what, "key": fingerprint, "reason": reason, "by": "administrator",
	}}}})
	d.o.Arrived(message.Address{})
	return err
}
