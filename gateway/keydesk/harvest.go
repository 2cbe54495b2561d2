package keydesk

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"io"
	"slices"
	"strings"

	"gatewayd/crypto/entity"
	"gatewayd/crypto/keys"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/smime"
	"gatewayd/keybook"
	"gatewayd/mail"
	"gatewayd/mail/parts"
	"gatewayd/message"
)

// Harvest learns from mail that came in: certificates of a signature that fits,
// for the author only; issuers that we do not know, which wait for approval;
// OpenPGP keys that came with signed mail, which wait as well. A harvested key
// never takes the place of another (quality.md S26).
func (d *Desk) Harvest(ctx context.Context, env message.Envelope, op *entity.Opened, from message.Address) {
	if d.o.Sources.Book == nil || !d.o.Sources.Harvest || from.IsNull() || d.o.Local(from) {
		return
	}
	for _, l := range op.Layers {
		for _, s := range l.Signatures {
			switch {
			case len(s.Certificates) > 0 && (s.Verdict == entity.Good || s.Verdict == entity.Untrusted) && stands(s, from):
				d.harvestCertificates(ctx, env, s, from)
			case l.Technique == entity.OpenPGP && s.Verdict == entity.Good:
				if err := d.o.Sources.Book.Used(from, s.KeyID, d.now()); err != nil {
					d.o.Log.Error("key book cannot note the use of a key", "error", err)
				}
			}
		}
	}
	if op.Content != nil && (op.Signature == entity.UnknownKey || op.Signature == entity.Good) {
		d.harvestOpenPGP(ctx, env, op, from)
	}
}

func stands(s entity.Signature, from message.Address) bool {
	for _, a := range s.Addresses {
		if a.Key() == from.Key() {
			return true
		}
	}
	return false
}

// maxHarvest bounds what is taken out of one mail: certificates, keys, octets of
// a key.
const (
	maxHarvest    = 16
	maxHarvestKey = 1 << 20
)

// harvestCertificates keeps those that mail to the author can be encrypted by;
// whether an anchor stands above them is asked whenever one is used.
func (d *Desk) harvestCertificates(ctx context.Context, env message.Envelope, s entity.Signature, from message.Address) {
	var ends, issuers []*x509.Certificate
	for _, der := range s.Certificates[:min(len(s.Certificates), maxHarvest)] {
		c, err := x509.ParseCertificate(der)
		switch {
		case err != nil:
		case c.BasicConstraintsValid && c.IsCA:
			issuers = append(issuers, c)
		case smime.CheckRecipient(c, from, d.now()) == nil:
			ends = append(ends, c)
		}
	}
	var chain [][]byte
	for _, c := range issuers {
		chain = append(chain, c.Raw)
		if s.Verdict == entity.Untrusted && bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignatureFrom(c) == nil {
			d.harvestRoot(ctx, env, c)
		}
	}
	if i := slices.IndexFunc(ends, func(c *x509.Certificate) bool { return bytes.Equal(c.Raw, s.Preferred) }); i >= 0 {
		ends = ends[i : i+1] // he has said by which one to answer him
	}
	for _, c := range ends {
		e := keybook.Entry{Source: keys.Mail, Trust: keys.Anchored, Cert: c.Raw, Chain: chain, Announced: s.Announced}
		if bytes.Equal(c.RawIssuer, c.RawSubject) {
			e.Trust, e.Why = keys.Waiting, "nobody but itself vouches for it"
		}
		d.learn(ctx, env, from, e)
		if err := d.o.Sources.Book.Used(from, smime.Fingerprint(c), d.now()); err != nil {
			d.o.Log.Error("key book cannot note the use of a key", "error", err)
		}
	}
}

func (d *Desk) harvestRoot(ctx context.Context, env message.Envelope, c *x509.Certificate) {
	fresh, err := d.o.Sources.Book.LearnRoot(c, d.now())
	if err != nil {
		d.o.Log.Error("key book cannot note an issuer", "error", err)
	}
	if fresh {
		d.Note(ctx, env, map[string]string{"what": "issuer waits", "key": smime.Fingerprint(c), "source": string(keys.Mail)})
	}
}

func (d *Desk) learn(ctx context.Context, env message.Envelope, from message.Address, e keybook.Entry) {
	outcome, err := d.o.Sources.Book.Learn(from, e, d.now())
	if err != nil {
		d.o.Log.Error("key book cannot keep a key", "error", err)
		return
	}
	if outcome == keybook.Known {
		return
	}
	fp := ""
	if p, err := e.Partner(); err == nil {
		fp = p.Fingerprint()
	}
	d.Note(ctx, env, map[string]string{"what": string(outcome), "key": fp, "source": string(e.Source), "of": from.String()})
	if outcome == keybook.Conflict {
		d.o.Log.Warn("a second key of an address waits: look at it (gatewayd keys list --waiting)", "key", fp)
	}
	d.o.Arrived(from)
}

// harvestOpenPGP takes keys that came along with signed mail: attached ones, and
// the Autocrypt field. Only those that the author's own address stands in count.
func (d *Desk) harvestOpenPGP(ctx context.Context, env message.Envelope, op *entity.Opened, from message.Address) {
	for _, raw := range d.attachedKeys(op) {
		list, err := openpgp.ParsePublic(raw)
		if err != nil {
			continue
		}
		for _, k := range list[:min(len(list), maxHarvest)] {
			if k.Private || k.CheckRecipient(from, d.now()) != nil {
				continue
			}
			packets, err := k.Packets()
			if err != nil {
				continue
			}
			d.learn(ctx, env, from, keybook.Entry{Source: keys.Mail, Trust: keys.Waiting, OpenPGP: packets, Why: "came with a mail"})
		}
	}
}

func (d *Desk) attachedKeys(op *entity.Opened) [][]byte {
	var all [][]byte
	if fields := op.Outer().All("Autocrypt"); len(fields) == 1 {
		_, params := mail.ParseParams("x; " + fields[0])
		if raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(params["keydata"]), "")); err == nil && len(raw) > 0 {
			all = append(all, raw)
		}
	}
	tree, err := parts.Read(op.Content.Reader(), op.Content.Size, parts.Limits{})
	if err != nil {
		return all
	}
	for _, p := range tree.Parts {
		if p.Type != "application/pgp-keys" || len(all) == maxHarvest {
			continue
		}
		raw, err := io.ReadAll(io.LimitReader(p.Decode(op.Content.Reader()), maxHarvestKey+1))
		if err == nil && len(raw) <= maxHarvestKey {
			all = append(all, raw)
		}
	}
	return all
}
