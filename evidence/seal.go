package evidence

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"gatewayd/crypto/ber"
	"gatewayd/crypto/cms"
	"gatewayd/crypto/tsp"
)

// Sealer signs and stamps.
type Sealer struct {
	Signer cms.Signer
	// Stamp returns a TimeStampResp (RFC 3161) over what it reads.
	Stamp func(ctx context.Context, content io.Reader) ([]byte, error)
}

// ErrNoSeal: nothing is configured to seal with.
var ErrNoSeal = errors.New("no seal: a bundle needs a key that signs it and a time-stamping authority")

// ErrManyWait: so many bundles of one case have no time stamp yet that no more are
// made.
var ErrManyWait = errors.New("bundles of this case wait for their time stamp: have those stamped, or try again when the time-stamping authority answers")

// sign seals a manifest: a detached CAdES signature, level B-B (ETSI EN 319
// 122-1). Anchors are left out: whoever verifies has them himself.
func (s Sealer) sign(manifest []byte, at time.Time) ([]byte, error) {
	signer := s.Signer
	signer.Chain = slices.DeleteFunc(slices.Clone(signer.Chain), selfIssued)
	signature, err := cms.Sign(bytes.NewReader(manifest), signer, cms.SignOptions{Time: at})
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return signature, nil
}

func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawIssuer, c.RawSubject) }

// Stamped lays a time stamp into a seal that has none: level B-B becomes B-T. It
// asks the authority once, for a stamp over the signature value.
func (s Sealer) Stamped(ctx context.Context, seal []byte) ([]byte, error) {
	value, err := cms.Value(seal)
	if err != nil {
		return nil, fmt.Errorf("time stamp: %w", err)
	}
	response, err := s.Stamp(ctx, bytes.NewReader(value))
	if err != nil {
		return nil, fmt.Errorf("time stamp: %w", err)
	}
	token, err := tsp.Token(response)
	if err == nil {
		token, err = plainStamp(token)
	}
	if err == nil {
		_, err = tsp.Verify(token, bytes.NewReader(value), tsp.Options{})
	}
	if err != nil {
		return nil, fmt.Errorf("time stamp: %w", err)
	}
	return cms.WithStamp(seal, token)
}

// copyOf returns the file beside a stamped seal: the stamp as a program for time
// stamps reads it.
func copyOf(seal []byte) ([]byte, error) {
	token, err := stampIn(seal)
	if err == nil && token == nil {
		err = errors.New("the seal has no time stamp")
	}
	if err != nil {
		return nil, err
	}
	return wrapToken(token), nil
}

// stampIn returns the time stamp in a seal; nil: there is none.
func stampIn(seal []byte) ([]byte, error) {
	tokens, err := cms.StampsIn(seal)
	if err != nil || len(tokens) == 0 {
		return nil, err
	}
	return tokens[0], nil
}

// seal checks the signature over the manifest and the stamp in it. The stamp
// comes first: it says at what time the seal's certificate must have been good.
func (v *verifier) seal(manifest, signature []byte) {
	check := cms.VerifyOptions{Limits: ber.Limits{Size: maxOwn}}
	res, ok := v.signature(manifest, signature, check)
	if !ok {
		return
	}
	s := res.Signatures[0]
	at, covered := v.time(signature, s)
	check.Trust, check.At = cms.TrustPool(v.o.Roots), at
	if res, ok = v.signature(manifest, signature, check); !ok {
		return
	}
	s = res.Signatures[0]
	c := describe(s.Cert)
	v.result.Signer = &c
	switch {
	case !s.ESS || s.SigningTime.IsZero():
		v.refuse(FileSeal, "is no CAdES signature: it does not name its certificate and time")
	case s.Weak:
		v.refuse(FileSeal, "weak: SHA-1 or a short key")
	case v.o.Signer != nil && !v.o.Signer.MatchString(c.Subject):
		v.refuse(FileSeal, "sealed by somebody else: %s", c.Subject)
	case v.o.Roots != nil && s.ChainErr != nil:
		v.refuse(FileSeal, "its signer is not under the anchors: %v (%s)", s.ChainErr, c.Subject)
	case !covered:
		v.nothingElse(signature, res)
	}
}

// signature verifies the seal; false after a problem.
func (v *verifier) signature(manifest, signature []byte, o cms.VerifyOptions) (*cms.Result, bool) {
	res, err := cms.Verify(bytes.NewReader(signature), bytes.NewReader(manifest), o)
	switch {
	case errors.Is(err, cms.ErrContent):
		v.refuse(FileManifest, "is not what was sealed (%s)", FileSeal)
		v.refuse(FileSeal, "does not fit %s: one of the two was changed", FileManifest)
	case err != nil:
		v.refuse(FileSeal, "%v", err)
	case len(res.Signatures) != 1:
		v.refuse(FileSeal, "has %d signers, not one", len(res.Signatures))
	default:
		return res, true
	}
	return nil, false
}

// nothingElse refuses octets in the seal that neither signature nor stamp covers.
// A stamp beside the seal (old bundles) covers all of it.
func (v *verifier) nothingElse(signature []byte, res *cms.Result) {
	canonical, err := res.Canonical()
	if err != nil || !bytes.Equal(canonical, signature) {
		v.refuse(FileSeal, "something beside signature, certificates and stamp stands in it")
		return
	}
	if v.o.Roots == nil {
		return
	}
	for _, c := range res.Certificates {
		if !slices.ContainsFunc(res.Signatures[0].Chain, c.Equal) {
			v.refuse(FileSeal, "it carries a certificate that is not on its chain: take the root above it as anchor")
		}
	}
}

// time looks for the time of the seal: by the stamp in it, or in old bundles by
// the stamp beside it, which covers every octet of the seal (covered). Zero: no
// time is proven, which is noted already.
func (v *verifier) time(signature []byte, s cms.Signature) (at time.Time, covered bool) {
	beside, here := v.maybe(FileStamp)
	switch {
	case len(s.Stamps) > 1:
		v.refuse(FileSeal, "has %d time stamps, not one", len(s.Stamps))
	case len(s.Stamps) == 1:
		at, err := v.stamp(s.Stamps[0], s.Value)
		if err != nil {
			v.refuse(FileSeal, "no time proof: %v", err)
		}
		switch {
		case !here:
			v.refuse(FileStamp, "missing: the copy of the stamp in %s", FileSeal)
		case !bytes.Equal(beside, wrapToken(s.Stamps[0])):
			v.refuse(FileStamp, "is not the stamp in %s", FileSeal)
		}
		return at, false
	case here:
		at, err := v.stampBeside(beside, signature)
		if err != nil {
			v.refuse(FileStamp, "no time proof: %v", err)
		}
		return at, true
	default:
		v.result.Unstamped = true
	}
	return time.Time{}, false
}

// stampBeside checks the stamp of an old bundle, which is over all of the seal.
func (v *verifier) stampBeside(response, signature []byte) (time.Time, error) {
	token, err := tsp.Token(response)
	if err != nil {
		return time.Time{}, err
	}
	if !bytes.Equal(response, wrapToken(token)) {
		return time.Time{}, errors.New("something beside the stamp stands in the file")
	}
	at, err := v.stamp(token, signature)
	if errors.Is(err, tsp.ErrImprint) {
		v.refuse(FileSeal, "was changed: it is not what %s was made for", FileStamp)
		err = fmt.Errorf("it is about something else than %s", FileSeal)
	}
	return at, err
}

// stamp checks a time stamp over octets.
func (v *verifier) stamp(token, content []byte) (time.Time, error) {
	s, err := tsp.Verify(token, bytes.NewReader(content), tsp.Options{Trust: cms.TrustPool(v.o.Roots)})
	if err != nil {
		return time.Time{}, err
	}
	c := describe(s.Cert)
	v.result.TSA, v.result.Stamped = &c, s.At
	switch {
	case s.Weak:
		return s.At, errors.New("weak: SHA-1 or a short key")
	case v.o.Roots == nil:
		return s.At, nil
	case s.ChainErr != nil:
		return s.At, s.ChainErr
	}
	return s.At, onlyChain(token, s.Chain)
}
