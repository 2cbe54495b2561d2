// Package tsp makes requests for time stamps and checks the answers (RFC 3161,
// RFC 5816): that a time-stamping authority (TSA) had a digest at a time.
//
// It is for the evidence bundle, which is stamped, and for receipts, whose
// seals carry stamps. It is a client's side only. Without anchors from the
// caller no stamp is trusted.
package tsp

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/rand"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"

	"gatewayd/crypto/ber"

	// The hash functions behind stdcrypto.Hash.
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
)

// Errors that callers branch on.
var (
	ErrRefused   = errors.New("the time-stamping authority has refused")
	ErrImprint   = errors.New("the time stamp is about something else")
	ErrNotAsked  = errors.New("the time stamp does not answer this request")
	ErrToken     = errors.New("no valid time stamp")
	ErrUntrusted = errors.New("the time-stamping authority is not under an anchor")
)

// OIDInfo is id-ct-TSTInfo, the content type of a time stamp.
var OIDInfo = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}

// hashes pairs each digest with its identifier. SHA-1 is read, never asked for.
func hashes() map[stdcrypto.Hash]asn1.ObjectIdentifier {
	return map[stdcrypto.Hash]asn1.ObjectIdentifier{
		stdcrypto.SHA1:   {1, 3, 14, 3, 2, 26},
		stdcrypto.SHA256: {2, 16, 840, 1, 101, 3, 4, 2, 1},
		stdcrypto.SHA384: {2, 16, 840, 1, 101, 3, 4, 2, 2},
		stdcrypto.SHA512: {2, 16, 840, 1, 101, 3, 4, 2, 3},
	}
}

// MaxSize bounds a request, an answer and a token, in octets.
const MaxSize = 256 << 10

// algorithm is AlgorithmIdentifier.
type algorithm struct {
	Algorithm  asn1.ObjectIdentifier
	Parameters asn1.RawValue `asn1:"optional"`
}

// imprint is MessageImprint, section 2.4.1.
type imprint struct {
	Hash   algorithm
	Digest []byte
}

// request is TimeStampReq, section 2.4.1.
type request struct {
	Version    int
	Imprint    imprint
	Policy     asn1.ObjectIdentifier `asn1:"optional"`
	Nonce      *big.Int              `asn1:"optional"`
	CertReq    bool                  `asn1:"optional,default:false"`
	Extensions asn1.RawValue         `asn1:"optional,tag:0"`
}

// Request asks for a stamp over a digest.
type Request struct {
	Hash   stdcrypto.Hash
	Digest []byte
	Nonce  *big.Int              // binds the answer to this request; nil: none
	Policy asn1.ObjectIdentifier // nil: the TSA's own
	Certs  bool                  // the answer must bring the TSA's certificate
}

// NewRequest reads content to its end and asks for a stamp over its SHA-256,
// with a random nonce and the TSA's certificate.
func NewRequest(content io.Reader) (Request, error) {
	h := stdcrypto.SHA256.New()
	if _, err := io.Copy(h, content); err != nil {
		return Request{}, fmt.Errorf("read content to stamp: %w", err)
	}
	var nonce [16]byte
	rand.Read(nonce[:])
	nonce[0] &= 0x7f
	nonce[0] |= 0x40 // always as long
	return Request{Hash: stdcrypto.SHA256, Digest: h.Sum(nil), Nonce: new(big.Int).SetBytes(nonce[:]), Certs: true}, nil
}

// DER returns the request as it is sent.
func (r Request) DER() ([]byte, error) {
	i, err := r.imprint()
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(request{Version: 1, Imprint: i, Policy: r.Policy, Nonce: r.Nonce, CertReq: r.Certs})
}

// Imprint returns the DER of MessageImprint, as a stamp repeats it.
func (r Request) Imprint() ([]byte, error) {
	i, err := r.imprint()
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(i)
}

func (r Request) imprint() (imprint, error) {
	oid, ok := hashes()[r.Hash]
	if !ok || len(r.Digest) != r.Hash.Size() {
		return imprint{}, fmt.Errorf("request for a time stamp: digest %v of %d octets", r.Hash, len(r.Digest))
	}
	return imprint{algorithm{oid, asn1.NullRawValue}, r.Digest}, nil
}

// ParseRequest reads a request, as a TSA does.
func ParseRequest(der []byte) (Request, error) {
	var q request
	if err := unmarshal(der, &q); err != nil || q.Version != 1 {
		return Request{}, fmt.Errorf("request for a time stamp: %w", ber.ErrMalformed)
	}
	h, err := q.Imprint.hash()
	if err != nil {
		return Request{}, err
	}
	return Request{Hash: h, Digest: q.Imprint.Digest, Nonce: q.Nonce, Policy: q.Policy, Certs: q.CertReq}, nil
}

func (i imprint) hash() (stdcrypto.Hash, error) {
	for h, oid := range hashes() {
		if oid.Equal(i.Hash.Algorithm) && len(i.Digest) == h.Size() {
			return h, nil
		}
	}
	return 0, fmt.Errorf("imprint of a time stamp: unsupported digest %v of %d octets", i.Hash.Algorithm, len(i.Digest))
}

// unmarshal reads DER that must hold v and nothing else.
func unmarshal(der []byte, v any) error {
	rest, err := asn1.Unmarshal(der, v)
	if err == nil && len(rest) > 0 {
		err = ber.ErrMalformed
	}
	return err
}

// statusInfo is PKIStatusInfo, section 2.4.2, without its text.
type statusInfo struct {
	Status int
	Fail   asn1.BitString
}

// Token takes an answer apart (TimeStampResp, section 2.4.2) and returns the
// stamp in it. ErrRefused: there is none, and why.
func Token(response []byte) ([]byte, error) {
	if len(response) > MaxSize {
		return nil, fmt.Errorf("answer of a time-stamping authority: %w", ber.ErrLimit)
	}
	r := ber.NewReader(bytes.NewReader(response), ber.Limits{Size: MaxSize})
	if err := r.Enter(ber.Sequence); err != nil {
		return nil, fmt.Errorf("answer of a time-stamping authority: %w", err)
	}
	der, err := r.Element(MaxSize)
	if err != nil {
		return nil, fmt.Errorf("answer of a time-stamping authority: %w", err)
	}
	status, err := readStatus(der)
	if err != nil {
		return nil, err
	}
	var token []byte
	if r.More() {
		if token, err = r.Element(MaxSize); err != nil {
			return nil, fmt.Errorf("answer of a time-stamping authority: %w", err)
		}
	}
	if err := errors.Join(r.Leave(), r.End()); err != nil {
		return nil, fmt.Errorf("answer of a time-stamping authority: %w", err)
	}
	switch {
	case status.Status != 0 && status.Status != 1: // granted, granted with modifications
		return nil, fmt.Errorf("%w: status %d, %s", ErrRefused, status.Status, failure(status.Fail))
	case token == nil:
		return nil, fmt.Errorf("answer of a time-stamping authority: %w: granted, and no stamp", ErrToken)
	}
	return token, nil
}

func readStatus(der []byte) (s statusInfo, err error) {
	r := ber.NewReader(bytes.NewReader(der), ber.Limits{Size: MaxSize})
	if err := r.Enter(ber.Sequence); err != nil {
		return s, fmt.Errorf("status: %w", err)
	}
	for n := 0; r.More(); n++ {
		e, err := r.Element(MaxSize)
		if err != nil {
			return s, fmt.Errorf("status: %w", err)
		}
		switch {
		case n == 0:
			err = unmarshal(e, &s.Status)
		case e[0] == asn1.TagBitString:
			err = unmarshal(e, &s.Fail)
		}
		if err != nil {
			return s, fmt.Errorf("status: %w", ber.ErrMalformed)
		}
	}
	return s, r.Leave()
}

// failure names the first bit of PKIFailureInfo.
func failure(b asn1.BitString) string {
	for bit, text := range map[int]string{
		0: "unknown or unsupported algorithm", 2: "the request is not allowed", 5: "malformed request", 14: "its clock is out of order",
		15: "unknown policy", 16: "unknown extension", 17: "it cannot add what was asked for", 25: "trouble of its own",
	} {
		if b.At(bit) == 1 {
			return text
		}
	}
	return "no reason given"
}

// Info is TSTInfo, section 2.4.2.
type Info struct {
	Policy   asn1.ObjectIdentifier
	Hash     stdcrypto.Hash
	Digest   []byte
	Serial   *big.Int
	At       time.Time     // UTC
	Accuracy time.Duration // zero: not said
	Nonce    *big.Int      // nil: none
}

type tstInfo struct {
	Version    int
	Policy     asn1.ObjectIdentifier
	Imprint    imprint
	Serial     *big.Int
	At         time.Time     `asn1:"generalized"`
	Accuracy   accuracy      `asn1:"optional"`
	Ordering   bool          `asn1:"optional,default:false"`
	Nonce      *big.Int      `asn1:"optional"`
	TSA        asn1.RawValue `asn1:"optional,tag:0"`
	Extensions asn1.RawValue `asn1:"optional,tag:1"`
}

type accuracy struct {
	Seconds int `asn1:"optional"`
	Millis  int `asn1:"optional,tag:0"`
	Micros  int `asn1:"optional,tag:1"`
}

func parseInfo(der []byte) (Info, error) {
	var t tstInfo
	if err := unmarshal(der, &t); err != nil {
		return Info{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	h, err := t.Imprint.hash()
	switch {
	case err != nil:
		return Info{}, fmt.Errorf("%w: %w", ErrToken, err)
	case t.Version != 1:
		return Info{}, fmt.Errorf("%w: version %d", ErrToken, t.Version)
	case critical(t.Extensions.FullBytes):
		return Info{}, fmt.Errorf("%w: a critical extension that is not understood", ErrToken)
	}
	a := t.Accuracy
	return Info{
		Policy: t.Policy, Hash: h, Digest: t.Imprint.Digest, Serial: t.Serial, At: t.At.UTC(), Nonce: t.Nonce,
		Accuracy: time.Duration(a.Seconds)*time.Second + time.Duration(a.Millis)*time.Millisecond + time.Duration(a.Micros)*time.Microsecond,
	}, nil
}
