package simulator

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"time"

	"gatewayd/crypto/ber"
	"gatewayd/crypto/cms"
	"gatewayd/crypto/tsp"
)

// TSA is a time-stamping authority on loopback (RFC 3161 over HTTP, section
// 3.4), for tests, the demo and development. Its time proves nothing.
type TSA struct {
	Cert   Certificate
	Now    func() time.Time
	Policy asn1.ObjectIdentifier // nil: one of the arc for documentation
}

// docPolicy lies in the arc that RFC 5612 keeps for documentation.
var docPolicy = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}

// maxQuery bounds a request, in octets.
const maxQuery = 64 << 10

// ServeHTTP answers one request.
func (t *TSA) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	der, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxQuery))
	if err != nil || r.Method != http.MethodPost {
		http.Error(w, "no request for a time stamp", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/timestamp-reply")
	q, err := tsp.ParseRequest(der)
	if err != nil {
		_, _ = w.Write(refusal(5)) // badDataFormat
		return
	}
	answer, err := t.Stamp(q)
	if err != nil {
		answer = refusal(25) // systemFailure
	}
	_, _ = w.Write(answer) // the reader has gone: nobody to tell
}

// Stamp makes the answer to a request: a TimeStampResp.
func (t *TSA) Stamp(q tsp.Request) ([]byte, error) {
	info, err := t.info(q)
	if err != nil {
		return nil, err
	}
	signer := cms.Signer{Cert: t.Cert.Leaf, Key: t.Cert.Key}
	if q.Certs {
		signer.Chain = []*x509.Certificate{t.Cert.Issuer}
	}
	before, after, err := cms.SignAround(bytes.NewReader(info), signer, cms.SignOptions{ContentType: tsp.OIDInfo, Time: t.Now()})
	if err != nil {
		return nil, fmt.Errorf("sign time stamp: %w", err)
	}
	granted := ber.Wrap(ber.Sequence, []byte{ber.Integer, 1, 0})
	return ber.Wrap(ber.Sequence, granted, slices.Concat(before, info, after)), nil
}

// info is TSTInfo, RFC 3161 section 2.4.2.
func (t *TSA) info(q tsp.Request) ([]byte, error) {
	policy := t.Policy
	if policy == nil {
		policy = docPolicy
	}
	var serial [16]byte
	rand.Read(serial[:])
	imprint, err := q.Imprint()
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(struct {
		Version int
		Policy  asn1.ObjectIdentifier
		Imprint asn1.RawValue
		Serial  *big.Int
		At      time.Time `asn1:"generalized"`
		Nonce   *big.Int  `asn1:"optional"`
	}{1, policy, asn1.RawValue{FullBytes: imprint}, new(big.Int).SetBytes(serial[:]), t.Now().UTC().Truncate(time.Second), q.Nonce})
}

// refusal is a TimeStampResp without a stamp: status 2 and one failure bit.
func refusal(bit int) []byte {
	bits := make([]byte, bit/8+1)
	bits[bit/8] = 0x80 >> (bit % 8)
	fail := ber.Wrap(asn1.TagBitString, []byte{byte(7 - bit%8)}, bits)
	return ber.Wrap(ber.Sequence, ber.Wrap(ber.Sequence, []byte{ber.Integer, 1, 2}, fail))
}
