package cms

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/rsa"
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"io"
	"slices"
	"time"

	"gatewayd/crypto/ber"
)

// identifier says whose certificate is meant: by issuer and serial number, or
// by subject key identifier (RFC 5652 sections 5.3 and 6.2.1).
type identifier struct {
	issuer, serial []byte // DER
	keyID          []byte
}

func readIdentifier(r *ber.Reader) (identifier, error) {
	if r.Next(ber.Sequence) {
		id, err := next[issuerAndSerial](r, "identifier", maxSmall)
		return identifier{issuer: id.Issuer.FullBytes, serial: id.Serial.FullBytes}, err
	}
	octets, err := r.Octets(ber.Implicit0)
	if err != nil {
		return identifier{}, fmt.Errorf("identifier: %w", err)
	}
	keyID, err := io.ReadAll(io.LimitReader(octets, maxSmall))
	if err != nil {
		return identifier{}, fmt.Errorf("identifier: %w", err)
	}
	if len(keyID) == 0 || len(keyID) == maxSmall {
		return identifier{}, fmt.Errorf("identifier: %w: length", ber.ErrMalformed)
	}
	return identifier{keyID: keyID}, nil
}

func (id identifier) names(c *x509.Certificate) bool {
	if id.keyID != nil {
		return bytes.Equal(id.keyID, c.SubjectKeyId)
	}
	return bytes.Equal(id.issuer, c.RawIssuer) && bytes.Equal(id.serial, serial(c))
}

// signerInfo is SignerInfo of RFC 5652 section 5.3.
type signerInfo struct {
	version    int
	who        identifier
	digest     algorithm
	attributes []byte // signedAttrs as SET OF; nil: none
	method     algorithm
	signature  []byte
	unsigned   []byte // unsignedAttrs as SET OF; nil: none
}

func readSigners(r *ber.Reader) ([]signerInfo, error) {
	if err := r.Enter(ber.Set); err != nil {
		return nil, fmt.Errorf("signers: %w", err)
	}
	var infos []signerInfo
	for r.More() {
		if len(infos) == maxSigners {
			return nil, fmt.Errorf("signers: %w", ber.ErrLimit)
		}
		info, err := readSigner(r)
		if err != nil {
			return nil, fmt.Errorf("signer: %w", err)
		}
		infos = append(infos, info)
	}
	return infos, r.Leave()
}

// maxSigners and maxTries (certificates tried for each) bound the public key
// operations that one object can ask for.
const (
	maxSigners = 16
	maxTries   = 4
)

func readSigner(r *ber.Reader) (s signerInfo, err error) {
	if err = r.Enter(ber.Sequence); err != nil {
		return s, err
	}
	if s.version, err = next[int](r, "version", maxSmall); err != nil {
		return s, err
	}
	if s.who, err = readIdentifier(r); err != nil {
		return s, err
	}
	if s.digest, err = next[algorithm](r, "digest", maxSmall); err != nil {
		return s, err
	}
	if r.Next(ber.Context0) {
		if s.attributes, err = r.Element(maxPart); err != nil {
			return s, fmt.Errorf("attributes: %w", err)
		}
		s.attributes[0] = ber.Set // signed under this tag: section 5.4
	}
	if s.method, err = next[algorithm](r, "signature algorithm", maxSmall); err != nil {
		return s, err
	}
	if s.signature, err = next[[]byte](r, "signature", maxSmall); err != nil {
		return s, err
	}
	if r.Next(ber.Context1) {
		if s.unsigned, err = r.Element(maxUnsigned); err != nil {
			return s, fmt.Errorf("unsigned attributes: %w", err)
		}
		s.unsigned[0] = ber.Set
	}
	return s, r.Leave()
}

// signedValues are the signed attributes that we understand.
type signedValues struct {
	contentType  asn1.ObjectIdentifier
	digest       []byte
	signingTime  time.Time
	capabilities []byte // DER
	preference   []byte // DER: by which certificate to answer
	certificate  []byte // hash of the signer's certificate (RFC 5035); nil: not named
	certHash     stdcrypto.Hash
	seen         []string
	presentAttrs bool
}

type attributeValue struct {
	Type   asn1.ObjectIdentifier
	Values []asn1.RawValue `asn1:"set"`
}

// readAttributes reads signedAttrs. An attribute that we understand may stand
// once, with one value (RFC 5652 section 11).
func readAttributes(set []byte) (v signedValues, err error) {
	if set == nil {
		return v, nil
	}
	v.presentAttrs = true
	var list []attributeValue
	rest, err := asn1.UnmarshalWithParams(set, &list, "set")
	if err != nil || len(rest) > 0 {
		return v, fmt.Errorf("attributes: %w", ber.ErrMalformed)
	}
	for _, a := range list {
		if err := v.take(a); err != nil {
			return v, err
		}
	}
	if v.contentType == nil || v.digest == nil {
		return v, fmt.Errorf("%w: attribute content-type or message-digest is missing", ErrSignature)
	}
	return v, nil
}

func (v *signedValues) take(a attributeValue) error {
	var into any
	switch {
	case a.Type.Equal(oidContentType):
		into = &v.contentType
	case a.Type.Equal(oidMessageDigest):
		into = &v.digest
	case a.Type.Equal(oidSigningTime):
		into = &v.signingTime
	case a.Type.Equal(oidCapabilities):
		if len(a.Values) > 0 && v.capabilities == nil {
			v.capabilities = a.Values[0].FullBytes
		}
		return nil
	case a.Type.Equal(oidKeyPreference):
		if len(a.Values) > 0 && v.preference == nil {
			v.preference = a.Values[0].FullBytes
		}
		return nil
	case a.Type.Equal(oidSigningCert), a.Type.Equal(oidSigningCertV2):
	default:
		return nil
	}
	if name := a.Type.String(); len(a.Values) != 1 || slices.Contains(v.seen, name) {
		return fmt.Errorf("%w: attribute %s is not single", ErrSignature, name)
	} else {
		v.seen = append(v.seen, name)
	}
	if into == nil {
		return v.takeCertificate(a)
	}
	return unmarshal(a.Values[0].FullBytes, into, "attribute")
}

// takeCertificate reads the first certificate identifier of the ESS
// attributes: it is the signer's (RFC 5035 sections 3 and 5). Version 2 wins.
func (v *signedValues) takeCertificate(a attributeValue) error {
	var ids struct {
		Certs    []asn1.RawValue
		Policies asn1.RawValue `asn1:"optional"`
	}
	if err := unmarshal(a.Values[0].FullBytes, &ids, "signing certificate"); err != nil {
		return err
	}
	if len(ids.Certs) == 0 {
		return fmt.Errorf("signing certificate: %w: empty", ber.ErrMalformed)
	}
	first := ids.Certs[0].FullBytes
	if a.Type.Equal(oidSigningCert) {
		var id struct {
			Hash   []byte
			Issuer asn1.RawValue `asn1:"optional"`
		}
		if err := unmarshal(first, &id, "signing certificate"); err != nil {
			return err
		}
		if v.certificate == nil {
			v.certificate, v.certHash = id.Hash, stdcrypto.SHA1
		}
		return nil
	}
	var id struct {
		Algorithm algorithm `asn1:"optional"`
		Hash      []byte
		Issuer    asn1.RawValue `asn1:"optional"`
	}
	if err := unmarshal(first, &id, "signing certificate"); err != nil {
		return err
	}
	v.certificate, v.certHash = id.Hash, stdcrypto.SHA256
	if len(id.Algorithm.Algorithm) > 0 {
		h, err := hashOf(id.Algorithm.Algorithm)
		if err != nil {
			return err
		}
		v.certHash = h
	}
	return nil
}

// stamps returns the signature time stamps among the unsigned attributes (ETSI
// EN 319 122-1 section 5.3). Nobody vouches for these attributes: what cannot be
// read is left out.
func (s signerInfo) stamps() [][]byte { return stampsAmong(s.unsigned) }

func stampsAmong(unsigned []byte) [][]byte {
	var list []attributeValue
	if rest, err := asn1.UnmarshalWithParams(unsigned, &list, "set"); err != nil || len(rest) > 0 {
		return nil
	}
	var out [][]byte
	for _, a := range list {
		for _, v := range a.Values {
			if a.Type.Equal(oidStamp) && len(out) < maxStamps {
				out = append(out, v.FullBytes)
			}
		}
	}
	return out
}

// maxStamps bounds the time stamps of one signature, maxUnsigned its unsigned
// attributes in octets: they may hold revocation lists.
const (
	maxStamps   = 4
	maxUnsigned = 4 << 20
)

// check verifies one signature and its certificate chain.
func (v *verifier) check(info signerInfo) Signature {
	s := Signature{Version: info.version}
	var values signedValues
	if s.Hash, s.Err = hashOf(info.digest.Algorithm); s.Err != nil {
		return s
	}
	if values, s.Err = readAttributes(info.attributes); s.Err != nil {
		return s
	}
	s.SigningTime, s.ESS, s.Capabilities = values.signingTime, values.certificate != nil, values.capabilities
	s.preference = values.preference
	s.Value, s.Stamps = info.signature, info.stamps()
	var set asn1.RawValue
	if _, err := asn1.Unmarshal(info.attributes, &set); err == nil {
		s.attributes = set.Bytes
	}
	if s.SigningTime.IsZero() {
		s.SigningTime = v.o.Claimed
	}
	digest, err := v.digest(s.Hash, values)
	if err != nil {
		s.Err = err
		return s
	}
	s.Err = ErrNoSignerKey
	for _, c := range v.candidates(info.who) {
		s.Cert = c
		if key, err := PublicKey(c); err == nil {
			s.Algorithm = methodName(key, info, s.Hash)
		}
		if s.Err = checkWith(c, info, values, s.Hash, digest); s.Err == nil {
			break
		}
	}
	if s.Err != nil {
		return s
	}
	s.Weak = s.Hash == stdcrypto.SHA1 || weakKey(s.Cert)
	var weak bool
	s.Chain, weak, s.ChainErr = v.chain(s.Cert, s.SigningTime)
	s.Weak = s.Weak || weak
	return s
}

// candidates returns the certificates that may be the signer's.
func (v *verifier) candidates(who identifier) []*x509.Certificate {
	var out []*x509.Certificate
	for _, c := range slices.Concat(v.result.Certificates, v.o.Certificates) {
		if who.names(c) && !slices.ContainsFunc(out, c.Equal) && len(out) < maxTries {
			out = append(out, c)
		}
	}
	return out
}

// digest returns the digest of the content, after checking that the signed
// attributes say the same.
func (v *verifier) digest(h stdcrypto.Hash, values signedValues) ([]byte, error) {
	sum, ok := v.hashes[h]
	if !ok {
		return nil, fmt.Errorf("%w: digest was not announced", ErrSignature)
	}
	digest := sum.Sum(nil)
	switch {
	case !values.presentAttrs && !v.o.ContentType.Equal(oidData):
		return nil, fmt.Errorf("%w: attributes are missing", ErrSignature) // section 5.3
	case !values.presentAttrs && v.head.looksLikeAttributes():
		return nil, fmt.Errorf("%w: content is made of attributes", ErrSignature)
	case values.presentAttrs && !values.contentType.Equal(v.o.ContentType):
		return nil, fmt.Errorf("%w: signed content type differs", ErrSignature)
	case values.presentAttrs && subtle.ConstantTimeCompare(values.digest, digest) != 1:
		return nil, fmt.Errorf("%w: %w", ErrSignature, ErrContent)
	}
	return digest, nil
}

func checkWith(c *x509.Certificate, info signerInfo, values signedValues, h stdcrypto.Hash, digest []byte) error {
	if values.certificate != nil {
		sum := values.certHash.New()
		sum.Write(c.Raw)
		if !bytes.Equal(sum.Sum(nil), values.certificate) {
			return fmt.Errorf("%w: certificate is not the one that was signed with", ErrSignature)
		}
	}
	key, err := PublicKey(c)
	if err != nil {
		return err
	}
	if !affordable(key) {
		return fmt.Errorf("%w: key too long", ErrUnsupported)
	}
	return checkSignature(key, info, h, digest)
}

func weakKey(c *x509.Certificate) bool {
	key, err := PublicKey(c)
	if err != nil {
		return true
	}
	k, ok := key.(*rsa.PublicKey)
	return ok && k.N.BitLen() < 2048
}

// chain looks for a way from the signer to an anchor.
func (v *verifier) chain(c *x509.Certificate, claimed time.Time) ([]*x509.Certificate, bool, error) {
	if v.o.Trust == nil {
		return nil, false, ErrNoAnchor
	}
	if c.KeyUsage != 0 && c.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) == 0 {
		return nil, false, fmt.Errorf("certificate is not made for signatures")
	}
	at := v.o.At
	if at.IsZero() {
		at = claimed
	}
	if at.IsZero() {
		return nil, false, fmt.Errorf("no time at which the certificate should be good")
	}
	chain, weak, err := v.o.Trust(c, slices.Concat(v.result.Certificates, v.o.Certificates), at)
	if err != nil {
		return nil, false, fmt.Errorf("certificate of the signer: %w", err)
	}
	return chain, weak, nil
}
