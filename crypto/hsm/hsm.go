// Package hsm uses private keys that lie on a token or in an HSM, by PKCS #11
// (v2.40, and Ed25519 of v3.0). A key is named by a PKCS #11 URI (RFC 7512); it is a
// crypto.Signer, a crypto.Decrypter or an ecdh.KeyExchanger, and never leaves.
//
// PKCS #11 is an interface in C: the drivers are loaded into the process. It is
// built in with the tag pkcs11 and cgo only, and meant for the key agent, which is a
// process of its own; the gateway stays a static program. Without the tag Open says
// so.
package hsm

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/rsa"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Options say which driver is loaded.
type Options struct {
	Module string // path of its library
	PIN    string // of the user of each token
}

// ErrPIN: the token has refused the PIN. It is not said again, because tokens lock
// themselves after a few wrong ones.
var ErrPIN = errors.New("the token refuses the PIN")

// uri is what a PKCS #11 URI names; empty fields are not compared.
type uri struct {
	token, manufacturer, model, serial string
	object                             string // its label
	id                                 []byte
	kind                               string // "private", "secret-key"; empty: by use
}

// parseURI reads a PKCS #11 URI (RFC 7512 section 2.3): its path. Where module and
// PIN are the configuration says, so that a query is refused.
func parseURI(text string) (u uri, err error) {
	path, ok := strings.CutPrefix(text, "pkcs11:")
	if !ok || len(text) > 1024 {
		return u, errors.New(`not a PKCS #11 URI: write pkcs11:token=…;object=… or ;id=%01`)
	}
	if strings.Contains(path, "?") {
		return u, errors.New("a PKCS #11 URI here has no query: module and PIN stand in the configuration")
	}
	seen := map[string]bool{}
	for part := range strings.SplitSeq(path, ";") {
		name, raw, ok := strings.Cut(part, "=")
		value, err := url.PathUnescape(raw)
		if !ok || err != nil || value == "" || seen[name] {
			return u, fmt.Errorf("PKCS #11 URI: attribute %q", name)
		}
		seen[name] = true
		switch name {
		case "token":
			u.token = value
		case "manufacturer":
			u.manufacturer = value
		case "model":
			u.model = value
		case "serial":
			u.serial = value
		case "object":
			u.object = value
		case "id":
			u.id = []byte(value)
		case "type":
			u.kind = value
		default:
			return u, fmt.Errorf("PKCS #11 URI: attribute %q is not known here", name)
		}
	}
	if u.object == "" && u.id == nil {
		return u, errors.New("PKCS #11 URI: it names no object and no id")
	}
	return u, nil
}

// openOAEP takes the content out of an OAEP block (RFC 8017 section 7.1.2 step 3), for
// tokens that know the bare power only. Whatever is wrong takes the same time.
func openOAEP(block []byte, o *rsa.OAEPOptions) ([]byte, error) {
	mask := o.MGFHash
	if mask == 0 {
		mask = o.Hash
	}
	size := o.Hash.Size()
	if len(block) < 2*size+2 {
		return nil, rsa.ErrDecryption
	}
	label := o.Hash.New()
	label.Write(o.Label)
	seed, data := bytes.Clone(block[1:1+size]), bytes.Clone(block[1+size:])
	mgf1(seed, data, mask)
	mgf1(data, seed, mask)
	good := subtle.ConstantTimeByteEq(block[0], 0) & subtle.ConstantTimeCompare(label.Sum(nil), data[:size])
	looking, at := 1, 0
	for i, b := range data[size:] { // zeros, a one, the content
		one := subtle.ConstantTimeByteEq(b, 1)
		at = subtle.ConstantTimeSelect(looking&one, i+1, at)
		looking = subtle.ConstantTimeSelect(one, 0, looking)
		good &= subtle.ConstantTimeSelect(looking, subtle.ConstantTimeByteEq(b, 0), 1)
	}
	if good&(1-looking) != 1 {
		return nil, rsa.ErrDecryption
	}
	return data[size+at:], nil
}

// mgf1 lays the mask of RFC 8017 appendix B.2.1 over data.
func mgf1(data, seed []byte, h stdcrypto.Hash) {
	for n, at := uint32(0), 0; at < len(data); n++ {
		d := h.New()
		d.Write(seed)
		d.Write(binary.BigEndian.AppendUint32(nil, n))
		at += subtle.XORBytes(data[at:], data[at:], d.Sum(nil))
	}
}
