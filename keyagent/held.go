package keyagent

import (
	"context"
	stdcrypto "crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/keys"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/smime"
)

// own makes a key of ours whose private half the agent has.
func (c *Client) own(l listed) (keys.Own, error) {
	o := keys.Own{Authority: l.Authority, File: l.File}
	if len(l.Chain) == 0 {
		k := keeper{c: c}
		held, err := openpgp.Held(l.OpenPGP, l.Parts, &k)
		if err != nil {
			return o, err
		}
		k.key, o.OpenPGP = held.Fingerprint, &held
		return o, nil
	}
	id := smime.Identity{}
	for i, der := range l.Chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return o, fmt.Errorf("certificate of a key: %w", err)
		}
		if i == 0 {
			id.Cert = cert
		} else {
			id.Chain = append(id.Chain, cert)
		}
	}
	public, err := cms.PublicKey(id.Cert)
	if err != nil {
		return o, err
	}
	h := held{c, smime.Fingerprint(id.Cert), public}
	if _, ok := public.(*rsa.PublicKey); ok && l.Decrypts {
		id.Key = decrypter{h}
	} else if l.Signs {
		id.Key = h
	}
	if point := pointOf(public); point != nil && l.Agrees {
		id.Agree = exchanger{h, point}
	}
	o.SMIME = &id
	return o, nil
}

// Signer is the private key of a certificate that the agent has: it is asked when it
// signs. nil: a key of that kind signs nothing.
func (c *Client) Signer(cert *x509.Certificate) stdcrypto.Signer {
	switch cert.PublicKey.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
		return held{c, smime.Fingerprint(cert), cert.PublicKey}
	}
	return nil
}

// pointOf returns the public key with which others agree; nil for a key that does
// not.
func pointOf(public any) *ecdh.PublicKey {
	switch k := public.(type) {
	case *ecdh.PublicKey:
		return k
	case *ecdsa.PublicKey:
		if p, err := k.ECDH(); err == nil {
			return p
		}
	}
	return nil
}

// held is a private key that the agent has: a crypto.Signer.
type held struct {
	c      *Client
	key    string
	public stdcrypto.PublicKey
}

// Public implements crypto.Signer.
func (h held) Public() stdcrypto.PublicKey { return h.public }

// Sign implements crypto.Signer. Of RSASSA-PSS there is only a salt as long as the
// digest.
func (h held) Sign(_ io.Reader, digest []byte, opts stdcrypto.SignerOpts) ([]byte, error) {
	q := request{Op: opSign, Key: h.key, Data: digest}
	if f := opts.HashFunc(); f != 0 {
		q.Hash = f.String()
	}
	if p, ok := opts.(*rsa.PSSOptions); ok {
		if q.PSS = true; p.SaltLength != rsa.PSSSaltLengthEqualsHash {
			return nil, errors.New("key agent: no such salt")
		}
	}
	a, err := h.c.ask(context.Background(), q)
	switch {
	case err != nil:
		return nil, err
	case a.Fault != "":
		return nil, fmt.Errorf("key agent: %s", a.Text)
	}
	return a.Data, nil
}

// opens asks for what a key may open or not. What is no question that the agent
// answers is nothing that the key opens: a stranger has written it.
func (h held) opens(q request) ([]byte, error) {
	q.Key = h.key
	if len(q.Data)+len(q.Label) > maxRequest/2 {
		return nil, rsa.ErrDecryption
	}
	a, err := h.c.ask(context.Background(), q)
	switch {
	case err != nil:
		return nil, err
	case a.Fault != "":
		return nil, rsa.ErrDecryption
	}
	return a.Data, nil
}

// decrypter is an RSA key: a crypto.Decrypter as well.
type decrypter struct{ held }

// Decrypt implements crypto.Decrypter. With PKCS #1 v1.5 the length must be given.
func (d decrypter) Decrypt(_ io.Reader, sealed []byte, opts stdcrypto.DecrypterOpts) ([]byte, error) {
	q := request{Op: opDecrypt, Data: sealed}
	switch o := opts.(type) {
	//lint:ignore SA1019 needed for peers without OAEP; there is no padding oracle with a given length
	case *rsa.PKCS1v15DecryptOptions:
		q.Size = o.SessionKeyLen
	case *rsa.OAEPOptions:
		q.Hash, q.Mask, q.Label = o.Hash.String(), o.MGFHash.String(), o.Label
		if o.MGFHash == 0 {
			q.Mask = q.Hash
		}
	}
	return d.opens(q)
}

// exchanger is a key that agrees on secrets: an ecdh.KeyExchanger.
type exchanger struct {
	held
	point *ecdh.PublicKey
}

// PublicKey implements ecdh.KeyExchanger.
func (e exchanger) PublicKey() *ecdh.PublicKey { return e.point }

// Curve implements ecdh.KeyExchanger.
func (e exchanger) Curve() ecdh.Curve { return e.point.Curve() }

// ECDH implements ecdh.KeyExchanger.
func (e exchanger) ECDH(theirs *ecdh.PublicKey) ([]byte, error) {
	return e.opens(request{Op: opAgree, Data: theirs.Bytes()})
}

// keeper is the agent as an openpgp.Keeper of one key.
type keeper struct {
	c   *Client
	key string
}

// OpenSessionKey implements openpgp.Keeper.
func (k *keeper) OpenSessionKey(part string, packet []byte) (openpgp.SessionKey, error) {
	if len(packet) > maxRequest/2+16 {
		return openpgp.SessionKey{}, openpgp.ErrSessionKey
	}
	a, err := k.c.ask(context.Background(), request{Op: opOpen, Key: k.key, Part: part, Data: packet})
	switch {
	case err != nil:
		return openpgp.SessionKey{}, err
	case a.Fault != "":
		return openpgp.SessionKey{}, openpgp.ErrSessionKey
	}
	return openpgp.SessionKey{Cipher: a.Cipher, Key: a.Data}, nil
}

// Sign implements openpgp.Keeper.
func (k *keeper) Sign(part string, u openpgp.Unsigned) ([]byte, error) {
	q := request{Op: opSignature, Key: k.key, Part: part, Hash: u.Hash.String(), Data: u.State, Salt: u.Salt, Time: u.Time}
	for _, r := range u.Recipients {
		q.Recipients = append(q.Recipients, recipient{r.Version, r.Fingerprint})
	}
	a, err := k.c.ask(context.Background(), q)
	switch {
	case err != nil:
		return nil, err
	case a.Fault != "":
		return nil, fmt.Errorf("key agent: %s", a.Text)
	}
	return a.Data, nil
}
