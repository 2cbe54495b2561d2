package cms

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"gatewayd/crypto/ber"
)

// VerifyOptions say whom to trust. The zero value trusts nobody: signatures
// are then checked, chains are not good.
type VerifyOptions struct {
	Trust        Trust                 // nil: no chain is good
	Certificates []*x509.Certificate   // further certificates: signers', intermediates
	At           time.Time             // chains must be good then; zero: at the claimed signing time
	Claimed      time.Time             // signing time told elsewhere, used where the attributes tell none
	ContentType  asn1.ObjectIdentifier // nil: id-data
	Out          io.Writer             // gets attached content, which is worth nothing before Verify returns nil
	Limits       ber.Limits            // of the object, attached content included

	Parse func(der []byte) (*x509.Certificate, error) // of the object's certificates; nil: x509.ParseCertificate
}

// Trust looks for a chain from a certificate to an anchor, both included, all
// good at that time. others came along with the signature, and may be of help
// or not. weak: there is one, but it rests on something that can be forged.
type Trust func(c *x509.Certificate, others []*x509.Certificate, at time.Time) (chain []*x509.Certificate, weak bool, err error)

// TrustPool trusts what crypto/x509 finds under these anchors, whatever it is
// for. nil are no anchors, never the system's.
func TrustPool(anchors *x509.CertPool) Trust {
	if anchors == nil {
		return nil
	}
	return func(c *x509.Certificate, others []*x509.Certificate, at time.Time) ([]*x509.Certificate, bool, error) {
		between := x509.NewCertPool()
		for _, other := range others {
			between.AddCert(other)
		}
		chains, err := c.Verify(x509.VerifyOptions{
			Roots: anchors, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		if err != nil {
			return nil, false, err
		}
		return chains[0], false, nil
	}
}

// Result is what Verify found.
type Result struct {
	Attached     bool
	Version      int                 // as the object says; nothing rests on it
	Signatures   []Signature         // at least one if Verify returned no error
	Certificates []*x509.Certificate // all X.509 certificates in the object, of whatever worth
}

// Signature is one SignerInfo.
type Signature struct {
	Version     int                 // as its SignerInfo says; nothing rests on it
	Err         error               // nil: the signature fits content and certificate
	Cert        *x509.Certificate   // of the signer; nil if it was not found
	Chain       []*x509.Certificate // from Cert to the anchor; nil if ChainErr is set
	ChainErr    error               // why Cert is not under an anchor; nil: it is
	SigningTime time.Time           // claimed by the signer, by attribute or else Claimed; zero: not said
	Algorithm   string              // for people: "RSASSA-PSS, SHA-256"; "" if unknown
	Hash        stdcrypto.Hash      // digest of content and attributes
	Weak        bool                // SHA-1, or RSA with fewer than 2048 bits

	Capabilities []byte // what the signer's program reads, for ParseCapabilities; nil: not said
	preference   []byte // DER: by which certificate he wants to be answered
	ESS          bool   // the signed attributes name the certificate (RFC 5035)

	Value      []byte   // the signature itself: what a signature time stamp is over
	attributes []byte   // signed attributes: the content of their SET
	Stamps     [][]byte // time stamps beside it (RFC 3161 tokens), unchecked: for tsp.Verify over Value
}

// Verify reads a ContentInfo with a SignedData (RFC 5652 section 5) and checks
// every signature in it. content holds the detached content; it is nil exactly
// if the content must be attached.
//
// A nil error means that every signer's signature fits: whether the signers
// are to be trusted is told by ChainErr and Weak of each. ErrSignature,
// ErrUnsupported and ErrNoSignerKey come with the Result; other errors mean
// that the object could not be read.
func Verify(signed, content io.Reader, o VerifyOptions) (*Result, error) {
	r := ber.NewReader(signed, o.Limits)
	v := verifier{o: o, r: r, hashes: map[stdcrypto.Hash]hash.Hash{}}
	if o.ContentType == nil {
		v.o.ContentType = oidData
	}
	infos, err := v.read(content)
	if err != nil {
		return nil, fmt.Errorf("signed data: %w", err)
	}
	if len(infos) == 0 {
		return &v.result, fmt.Errorf("signed data: %w: no signer", ErrNotSigned)
	}
	if v.missing {
		return nil, fmt.Errorf("signed data: %w: content is missing", ErrSignature)
	}
	var errs []error
	for _, info := range infos {
		s := v.check(info)
		v.result.Signatures = append(v.result.Signatures, s)
		errs = append(errs, s.Err)
	}
	return &v.result, errors.Join(errs...)
}

type verifier struct {
	o      VerifyOptions
	r      *ber.Reader
	hashes map[stdcrypto.Hash]hash.Hash // of the content, as announced
	head   head
	result Result

	missing bool // there is no content, inside or beside
}

// read takes the object apart, hashing the content when it comes by.
func (v *verifier) read(content io.Reader) ([]signerInfo, error) {
	r := v.r
	kind, err := open(r)
	if err != nil {
		return nil, err
	}
	if !kind.Equal(oidSignedData) {
		return nil, fmt.Errorf("%w: content type %v", ErrNotSigned, kind)
	}
	if err := r.Enter(ber.Sequence); err != nil {
		return nil, err
	}
	if v.result.Version, err = next[int](r, "version", maxSmall); err != nil {
		return nil, err
	}
	if err := v.readDigests(); err != nil {
		return nil, err
	}
	if err := v.readContent(content); err != nil {
		return nil, err
	}
	if r.Next(ber.Context0) {
		if err := v.readCertificates(); err != nil {
			return nil, err
		}
	}
	if r.Next(ber.Context1) { // revocation lists
		if err := r.Skip(); err != nil {
			return nil, err
		}
	}
	infos, err := readSigners(r)
	if err != nil {
		return nil, err
	}
	if err := r.Leave(); err != nil {
		return nil, err
	}
	return infos, shut(r)
}

func (v *verifier) readDigests() error {
	if err := v.r.Enter(ber.Set); err != nil {
		return fmt.Errorf("digests: %w", err)
	}
	for n := 0; v.r.More(); n++ {
		if n == maxItems {
			return fmt.Errorf("digests: %w", ber.ErrLimit)
		}
		a, err := next[algorithm](v.r, "digest", maxSmall)
		if err != nil {
			return err
		}
		if h, err := hashOf(a.Algorithm); err == nil {
			v.hashes[h] = h.New()
		}
	}
	return v.r.Leave()
}

// readContent reads EncapsulatedContentInfo and hashes the content, be it in
// there or beside.
func (v *verifier) readContent(detached io.Reader) error {
	r := v.r
	if err := r.Enter(ber.Sequence); err != nil {
		return fmt.Errorf("content: %w", err)
	}
	kind, err := next[asn1.ObjectIdentifier](r, "content type", maxSmall)
	if err != nil {
		return err
	}
	if !kind.Equal(v.o.ContentType) {
		return fmt.Errorf("%w: signed content type %v", ErrUnsupported, kind)
	}
	if !r.More() {
		if err := r.Leave(); err != nil {
			return fmt.Errorf("content: %w", err)
		}
		if detached == nil {
			v.missing = true
			return nil
		}
		return v.hash(detached, nil)
	}
	if detached != nil {
		return fmt.Errorf("%w: content both inside and beside", ErrSignature)
	}
	v.result.Attached = true
	if err := r.Enter(ber.Context0); err != nil {
		return fmt.Errorf("content: %w", err)
	}
	octets, err := r.Octets(ber.OctetString)
	if err != nil {
		return fmt.Errorf("content: %w", err)
	}
	if err := v.hash(octets, v.o.Out); err != nil {
		return err
	}
	return errors.Join(r.Leave(), r.Leave())
}

func (v *verifier) hash(content io.Reader, out io.Writer) error {
	into := []io.Writer{&v.head}
	for _, h := range v.hashes {
		into = append(into, h)
	}
	if out != nil {
		into = append(into, out)
	}
	if _, err := copyAll(io.MultiWriter(into...), content); err != nil {
		return fmt.Errorf("content: %w", err)
	}
	return nil
}

// readCertificates keeps what crypto/x509 can read; what it cannot is of no
// use to us, and of no harm.
func (v *verifier) readCertificates() error {
	if err := v.r.Enter(ber.Context0); err != nil {
		return err
	}
	parse := v.o.Parse
	if parse == nil {
		parse = x509.ParseCertificate
	}
	for n := 0; v.r.More(); n++ {
		if n == maxItems {
			return fmt.Errorf("certificates: %w", ber.ErrLimit)
		}
		if !v.r.Next(ber.Sequence) { // obsolete and attribute certificates
			if err := v.r.Skip(); err != nil {
				return fmt.Errorf("certificates: %w", err)
			}
			continue
		}
		der, err := v.r.Element(maxSmall)
		if err != nil {
			return fmt.Errorf("certificates: %w", err)
		}
		if c, err := parse(der); err == nil && affordable(c.PublicKey) {
			v.result.Certificates = append(v.result.Certificates, c)
		}
	}
	return v.r.Leave()
}

// head keeps the first octets of the content.
type head struct{ buf []byte }

// maxHead is enough for one small attribute and a message-digest.
const maxHead = 1024

// Write implements io.Writer.
func (h *head) Write(p []byte) (int, error) {
	h.buf = append(h.buf, p[:min(len(p), maxHead-len(h.buf))]...)
	return len(p), nil
}

// looksLikeAttributes reports whether the content begins like the DER of
// signed attributes. A signature over attributes can be passed off as one
// without attributes over them as content (RFC 5652 section 11 allows both
// over the same octets); such content is refused.
func (h *head) looksLikeAttributes() bool {
	return bytes.HasPrefix(h.buf, []byte{ber.Set}) && bytes.Contains(h.buf, oid(oidMessageDigest))
}
