package evidence

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"gatewayd/crypto/ber"
)

// token is a time stamp taken apart as far as its certificates: the only part
// that neither its own signature nor the manifest covers.
type token struct {
	Type asn1.ObjectIdentifier
	Data struct {
		Version      asn1.RawValue
		Digests      asn1.RawValue
		Content      asn1.RawValue
		Certificates asn1.RawValue `asn1:"optional,tag:0"`
		Lists        asn1.RawValue `asn1:"optional,tag:1"`
		Signers      asn1.RawValue
	} `asn1:"explicit,tag:0"`
}

// takeApart reads a stamp, which must be DER (RFC 3161 section 2.4.2), and
// returns the DER of its certificates.
func takeApart(der []byte) (t token, certificates [][]byte, err error) {
	if rest, err := asn1.Unmarshal(der, &t); err != nil || len(rest) > 0 {
		return t, nil, errors.New("the stamp is not DER")
	}
	for rest := t.Data.Certificates.Bytes; len(rest) > 0; {
		var one asn1.RawValue
		if rest, err = asn1.Unmarshal(rest, &one); err != nil {
			return t, nil, errors.New("the stamp's certificates cannot be read")
		}
		certificates = append(certificates, one.FullBytes)
	}
	return t, certificates, nil
}

// plainStamp takes out of an answer what does not belong to the stamp:
// anchors, which whoever verifies has himself, and revocation lists.
func plainStamp(der []byte) ([]byte, error) {
	t, certificates, err := takeApart(der)
	if err != nil {
		return nil, err
	}
	certificates = slices.DeleteFunc(certificates, func(der []byte) bool {
		c, err := x509.ParseCertificate(der)
		return err != nil || bytes.Equal(c.RawIssuer, c.RawSubject)
	})
	oid, err := asn1.Marshal(t.Type)
	if err != nil {
		return nil, fmt.Errorf("stamp: %w", err)
	}
	d := t.Data
	data := slices.Concat(d.Version.FullBytes, d.Digests.FullBytes, d.Content.FullBytes)
	if len(certificates) > 0 {
		data = append(data, ber.Wrap(ber.Context0, certificates...)...)
	}
	data = append(data, d.Signers.FullBytes...)
	return ber.Wrap(ber.Sequence, oid, ber.Wrap(ber.Context0, ber.Wrap(ber.Sequence, data))), nil
}

// onlyChain refuses a stamp with anything beside the chain of its signer.
func onlyChain(der []byte, chain []*x509.Certificate) error {
	t, certificates, err := takeApart(der)
	if err != nil {
		return err
	}
	for _, c := range certificates {
		if !slices.ContainsFunc(chain, func(known *x509.Certificate) bool { return bytes.Equal(known.Raw, c) }) {
			return errors.New("it carries a certificate that is not on its chain")
		}
	}
	if len(t.Data.Lists.FullBytes) > 0 {
		return errors.New("it carries a revocation list")
	}
	return nil
}

// wrapToken is the plainest TimeStampResp around a stamp (RFC 3161 section
// 2.4.2): granted, and nothing more. Bundles hold no other, so that no octet of
// the file is without meaning.
func wrapToken(token []byte) []byte {
	return ber.Wrap(ber.Sequence, ber.Wrap(ber.Sequence, []byte{ber.Integer, 1, 0}), token)
}
