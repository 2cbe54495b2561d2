package cms

import (
	stdcrypto "crypto"
	"encoding/asn1"
	"errors"
	"fmt"

	"gatewayd/crypto/ber"
)

// ErrCapabilities: octets that are no S/MIME capabilities.
var ErrCapabilities = errors.New("not S/MIME capabilities")

// Capabilities are what a signer says that his program can decrypt (RFC 8551
// section 2.5.2), as far as it is of use to us.
type Capabilities struct {
	GCM  bool // AES-256-GCM
	OAEP bool // RSAES-OAEP with SHA-256
}

// maxCapabilities bounds a list, in entries.
const maxCapabilities = 100

// ParseCapabilities reads the DER of the attribute's value.
func ParseCapabilities(der []byte) (Capabilities, error) {
	var list []algorithm
	if err := unmarshal(der, &list, "capabilities"); err != nil || len(list) > maxCapabilities {
		return Capabilities{}, fmt.Errorf("%w: %w", ErrCapabilities, err)
	}
	var c Capabilities
	for _, a := range list {
		switch {
		case a.Algorithm.Equal(oidAES256GCM):
			c.GCM = true
		case a.Algorithm.Equal(oidOAEP):
			o, err := oaepOptions(a.Parameters.FullBytes)
			c.OAEP = c.OAEP || err == nil && o.Hash == stdcrypto.SHA256 && o.MGFHash == stdcrypto.SHA256
		}
	}
	return c, nil
}

// ownCapabilities lists what we read, the best first (RFC 8551 section 2.5.2,
// RFC 4055 section 5, RFC 5753 section 8, RFC 8418 section 8).
func ownCapabilities() []byte {
	var list [][]byte
	for _, c := range []asn1.ObjectIdentifier{oidAES256GCM, oidAES128GCM, oidAES256CBC, oidAES192CBC, oidAES128CBC} {
		list = append(list, ber.Wrap(ber.Sequence, oid(c)))
	}
	wrap := ber.Wrap(ber.Sequence, oid(oidAES256Wrap))
	list = append(list,
		ber.Wrap(ber.Sequence, oid(oidECDHSHA256), wrap),
		ber.Wrap(ber.Sequence, oid(oidHKDFSHA256), wrap),
		oaepIdentifier(),
		ber.Wrap(ber.Sequence, oid(oidRSA)))
	return ber.Wrap(ber.Sequence, list...)
}
