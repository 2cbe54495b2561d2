package cms

import (
	"encoding/asn1"
	"fmt"
	"slices"

	"gatewayd/crypto/ber"
)

// Value returns the signature itself out of what Sign has written: what a time
// stamp that comes later is over.
func Value(signed []byte) ([]byte, error) {
	_, info, err := onlySigner(signed)
	if err != nil {
		return nil, err
	}
	return info.Signature, nil
}

// StampsIn returns the time stamps beside the signature in what Sign or WithStamp
// has written, unchecked.
func StampsIn(signed []byte) ([][]byte, error) {
	_, info, err := onlySigner(signed)
	if err != nil || len(info.Unsigned.FullBytes) == 0 {
		return nil, err
	}
	return stampsAmong(ber.Wrap(ber.Set, info.Unsigned.Bytes)), nil
}

// WithStamp lays a time stamp (RFC 3161 token) over the signature beside it, in
// what Sign has written without one (ETSI EN 319 122-1 section 5.3: B-B becomes
// B-T). Every other octet stays. The caller has checked the stamp.
func WithStamp(signed, token []byte) ([]byte, error) {
	d, info, err := onlySigner(signed)
	if err != nil {
		return nil, err
	}
	if len(info.Unsigned.FullBytes) > 0 {
		return nil, fmt.Errorf("add a time stamp: %w: the signer has unsigned attributes already", ErrUnsupported)
	}
	one := ber.Wrap(ber.Sequence, info.head(), ber.Wrap(ber.Context1, attribute(oidStamp, token)))
	return wrapSigned(d.head(), one), nil
}

// plainData is a SignedData of one signer as Sign writes it.
type plainData struct {
	Type asn1.ObjectIdentifier
	Data struct {
		Version, Digests, Content asn1.RawValue
		Certificates              asn1.RawValue `asn1:"tag:0"`
		Signers                   asn1.RawValue `asn1:"set"`
	} `asn1:"explicit,tag:0"`
}

func (d plainData) head() []byte {
	return slices.Concat(d.Data.Version.FullBytes, d.Data.Digests.FullBytes, d.Data.Content.FullBytes, d.Data.Certificates.FullBytes)
}

type plainSigner struct {
	Version, Who, Digest asn1.RawValue
	Attributes           asn1.RawValue `asn1:"tag:0"`
	Method               asn1.RawValue
	Signature            []byte
	Unsigned             asn1.RawValue `asn1:"optional,tag:1"`
}

func (s plainSigner) head() []byte {
	return slices.Concat(s.Version.FullBytes, s.Who.FullBytes, s.Digest.FullBytes, s.Attributes.FullBytes, s.Method.FullBytes, ber.Wrap(ber.OctetString, s.Signature))
}

// onlySigner takes DER apart. More than one signer is an error.
func onlySigner(signed []byte) (d plainData, s plainSigner, err error) {
	rest, err := asn1.Unmarshal(signed, &d)
	if err == nil && len(rest) == 0 && d.Type.Equal(oidSignedData) && d.Data.Signers.Tag == asn1.TagSet {
		rest, err = asn1.Unmarshal(d.Data.Signers.Bytes, &s)
	} else if err == nil {
		err = ber.ErrMalformed
	}
	if err == nil && len(rest) > 0 {
		err = ber.ErrMalformed
	}
	if err != nil {
		return d, s, fmt.Errorf("signed data: %w: it is not of one signer in DER", ErrUnsupported)
	}
	return d, s, nil
}

func wrapSigned(head, info []byte) []byte {
	return ber.Wrap(ber.Sequence, oid(oidSignedData), ber.Wrap(ber.Context0, ber.Wrap(ber.Sequence, head, ber.Wrap(ber.Set, info))))
}

// Canonical returns what Sign writes around the same signature, certificates and
// stamp, detached and over id-data. What was verified and differs from it carries
// octets that neither the signature nor the stamp covers.
func (r *Result) Canonical() ([]byte, error) {
	if len(r.Signatures) != 1 || r.Signatures[0].Cert == nil || r.Attached {
		return nil, fmt.Errorf("signed data: %w: not detached, or not of one signer", ErrUnsupported)
	}
	s := r.Signatures[0]
	signer := Signer{Cert: s.Cert, Chain: r.Certificates}
	public, err := PublicKey(s.Cert)
	if err != nil {
		return nil, err
	}
	how, err := schemeBy(s.Cert, public, SignOptions{Hash: s.Hash})
	if err != nil {
		return nil, err
	}
	head := slices.Concat(version(1), ber.Wrap(ber.Set, digestAlgorithm(how.hash)), ber.Wrap(ber.Sequence, oid(oidData)), ber.Wrap(ber.Context0, certificates(signer)))
	var beside []byte
	if len(s.Stamps) > 0 {
		beside = ber.Wrap(ber.Context1, attribute(oidStamp, s.Stamps[0]))
	}
	return wrapSigned(head, ber.Wrap(ber.Sequence, signerHead(s.Cert, how, s.attributes, s.Value), beside)), nil
}
