package tsp

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"time"

	"gatewayd/crypto/ber"
	"gatewayd/crypto/cms"
)

// Options say whom to trust, and what was asked for.
type Options struct {
	Trust        cms.Trust           // nil: nobody
	Certificates []*x509.Certificate // further certificates: the TSA's, intermediates
	At           time.Time           // the TSA's chain must be good then; zero: at the time of the stamp
	Request      *Request            // the stamp must answer it; nil: nothing is known of it
}

// Stamp is a checked time stamp.
type Stamp struct {
	Info
	Cert     *x509.Certificate   // of the TSA
	Chain    []*x509.Certificate // from it to the anchor; nil if ChainErr is set
	ChainErr error               // why the TSA is not under an anchor; nil: it is
	Weak     bool                // SHA-1, or a short RSA key
}

// Trusted reports whether the time is proven: the TSA stands under an anchor
// and nothing in the stamp is weak.
func (s Stamp) Trusted() bool { return s.ChainErr == nil && !s.Weak && s.Cert != nil }

// Verify checks a time stamp (a CMS SignedData, in any BER) over content:
//
//   - one signature, which fits, by a certificate that the signed attributes
//     name (RFC 3161 section 2.4.2, RFC 5816) and that is made for time stamping
//     and nothing else, critically (section 2.3);
//   - an imprint that is the digest of content;
//   - nonce and policy as in the request.
//
// nil content leaves the imprint to the caller. A nil error does not mean that
// the TSA is trusted: that is told by Stamp.Trusted.
func Verify(token []byte, content io.Reader, o Options) (Stamp, error) {
	var tst bytes.Buffer
	limits := ber.Limits{Size: MaxSize}
	check := cms.VerifyOptions{ContentType: OIDInfo, Certificates: o.Certificates, Out: &tst, Limits: limits, At: o.At}
	if _, err := cms.Verify(bytes.NewReader(token), nil, check); err != nil {
		return Stamp{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	info, err := parseInfo(tst.Bytes())
	if err != nil {
		return Stamp{}, err
	}
	// Only now the time is known at which the chain must have been good.
	tst.Reset()
	if check.Trust = o.Trust; check.At.IsZero() {
		check.At = info.At
	}
	result, err := cms.Verify(bytes.NewReader(token), nil, check)
	if err != nil {
		return Stamp{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	signer := result.Signatures[0]
	s := Stamp{Info: info, Cert: signer.Cert, Chain: signer.Chain, Weak: signer.Weak || info.Hash == stdcrypto.SHA1}
	if signer.ChainErr != nil {
		s.ChainErr = fmt.Errorf("%w: %w", ErrUntrusted, signer.ChainErr)
	}
	switch {
	case len(result.Signatures) != 1:
		return s, fmt.Errorf("%w: %d signers", ErrToken, len(result.Signatures))
	case result.Version < 3 || result.Version > 5 || signer.Version != 1 && signer.Version != 3: // RFC 5652 sections 5.1 and 5.3
		return s, fmt.Errorf("%w: versions %d and %d", ErrToken, result.Version, signer.Version)
	case !signer.ESS:
		return s, fmt.Errorf("%w: it does not name the certificate of its signer", ErrToken)
	}
	if err := madeForStamps(signer.Cert); err != nil {
		return s, err
	}
	if content != nil {
		h := info.Hash.New()
		if _, err := io.Copy(h, content); err != nil {
			return s, fmt.Errorf("read stamped content: %w", err)
		}
		if !bytes.Equal(h.Sum(nil), info.Digest) {
			return s, ErrImprint
		}
	}
	return s, o.Request.answered(info)
}

// madeForStamps demands the extended key usage of section 2.3: timeStamping,
// alone and critical.
func madeForStamps(c *x509.Certificate) error {
	if len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != x509.ExtKeyUsageTimeStamping || len(c.UnknownExtKeyUsage) > 0 {
		return fmt.Errorf("%w: its certificate is not made for time stamps alone", ErrToken)
	}
	for _, e := range c.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 37}) && e.Critical {
			return nil
		}
	}
	return fmt.Errorf("%w: the key usage of its certificate is not critical", ErrToken)
}

// answered checks a stamp against what was asked (section 2.4.2).
func (r *Request) answered(i Info) error {
	switch {
	case r == nil:
		return nil
	case i.Hash != r.Hash || !bytes.Equal(i.Digest, r.Digest):
		return fmt.Errorf("%w: %w", ErrNotAsked, ErrImprint)
	case r.Nonce != nil && (i.Nonce == nil || i.Nonce.Cmp(r.Nonce) != 0):
		return fmt.Errorf("%w: another nonce", ErrNotAsked)
	case r.Policy != nil && !r.Policy.Equal(i.Policy):
		return fmt.Errorf("%w: another policy", ErrNotAsked)
	}
	return nil
}

// critical reports whether an extension must be understood. der is the element
// [1] of TSTInfo.
func critical(der []byte) bool {
	if len(der) == 0 {
		return false
	}
	list := []pkix.Extension{}
	as := append([]byte{ber.Sequence}, der[1:]...)
	if unmarshal(as, &list) != nil {
		return true
	}
	for _, e := range list {
		if e.Critical {
			return true
		}
	}
	return false
}

// Check verifies a whole answer (a TimeStampResp) over content, by an authority
// that must be trusted.
func Check(response []byte, content io.Reader, trust cms.Trust) error {
	token, err := Token(response)
	if err != nil {
		return err
	}
	s, err := Verify(token, content, Options{Trust: trust})
	if err == nil && !s.Trusted() {
		err = errors.Join(ErrUntrusted, s.ChainErr)
	}
	return err
}
