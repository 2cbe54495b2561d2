package cms

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatewayd/crypto/ber"
	"gatewayd/crypto/gcm"
	"gatewayd/crypto/keywrap"
)

// octets is hexadecimal in the files, or PEM in one of them.
type octets []byte

// UnmarshalJSON implements json.Unmarshaler.
func (o *octets) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	if block, _ := pem.Decode([]byte(text)); block != nil {
		*o = block.Bytes
		return nil
	}
	b, err := hex.DecodeString(text)
	*o = append(octets{}, b...)
	return err
}

// wycheproof is a file of C2SP/wycheproof, as far as we use it.
type wycheproof struct {
	Groups []wycheproofGroup `json:"testGroups"`
}

type wycheproofGroup struct {
	Type            string
	Curve, Encoding string
	SHA, MgfSHA     string
	SLen            int
	KeySize         int
	PublicKeyDer    octets
	PrivateKeyPkcs8 octets
	Tests           []wycheproofCase

	private *rsa.PrivateKey // of PrivateKeyPkcs8
}

type wycheproofCase struct {
	ID                                                      int `json:"tcId"`
	Comment                                                 string
	Result                                                  string
	Msg, Ct, Sig, Key, IV, AAD, Tag, Label, Public, Private octets
	Shared                                                  octets
}

// outcome of a case: what came out, and the error.
type outcome func(g wycheproofGroup, c wycheproofCase) ([]byte, error)

// TestWycheproof runs the vectors through the functions that mail passes. What
// is ErrUnsupported does not apply, and is counted.
func TestWycheproof(t *testing.T) {
	dir := corpus(t, "wycheproof", "testvectors_v1")
	total, foreign := 0, map[string]int{}
	for _, file := range must(filepath.Glob(filepath.Join(dir, "*.json"))) {
		name := filepath.Base(file)
		run := wycheproofFor(name)
		if run == nil {
			continue
		}
		var w wycheproof
		if err := json.Unmarshal(must(os.ReadFile(file)), &w); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, g := range w.Groups {
			if g.PrivateKeyPkcs8 != nil {
				g.private = must(x509.ParsePKCS8PrivateKey(g.PrivateKeyPkcs8)).(*rsa.PrivateKey)
			}
			for _, c := range g.Tests {
				got, err := run(g, c)
				if errors.Is(err, ErrUnsupported) {
					foreign[name]++
					continue
				}
				total++
				want := c.Msg
				if c.Shared != nil {
					want = c.Shared
				}
				right := err == nil && bytes.Equal(got, want)
				if c.Result == "valid" && !right || c.Result == "invalid" && right || c.Result == "acceptable" && err == nil && !right {
					t.Errorf("%s %d (%s), %s: %x, %v", name, c.ID, c.Comment, c.Result, got, err)
				}
			}
		}
	}
	t.Logf("%d cases; outside our profile: %v", total, foreign)
	if total < 7500 {
		t.Errorf("only %d cases", total)
	}
}

// TestWycheproofScope: every file is run or stands here with its reason.
func TestWycheproofScope(t *testing.T) {
	dir := corpus(t, "wycheproof", "testvectors_v1")
	reasons := map[string]string{
		"aes_ccm": "CCM is not in the profile of RFC 8551", "aes_kwp": "key wrap with padding is not used for content keys",
		"chacha20_poly1305": "RFC 8103 is not in our profile", "ed448": "Ed448 is not in our profile",
		"json_web": "JOSE is no CMS", "pbkdf2": "passwords are no recipients",
	}
	for _, file := range must(filepath.Glob(filepath.Join(dir, "*.json"))) {
		name := filepath.Base(file)
		out := wycheproofFor(name) == nil
		for prefix := range reasons {
			if strings.HasPrefix(name, prefix) {
				out = !out
			}
		}
		if out {
			t.Errorf("%s: neither run nor left out for a reason", name)
		}
	}
}

func wycheproofFor(name string) outcome {
	for prefix, run := range map[string]outcome{
		"rsa_signature": wycheproofSignature, "rsa_pss": wycheproofSignature, "ecdsa": wycheproofSignature, "ed25519": wycheproofSignature,
		"rsa_oaep": wycheproofUnwrap, "rsa_pkcs1": wycheproofUnwrap, "ecdh": wycheproofAgree, "x25519": wycheproofAgree,
		"aes_cbc_pkcs5": wycheproofCBC, "aes_gcm": wycheproofGCM, "aes_wrap": wycheproofWrap,
	} {
		if strings.HasPrefix(name, prefix) {
			return run
		}
	}
	return nil
}

func wycheproofHash(name string) (stdcrypto.Hash, error) {
	for _, d := range digests() {
		h := d.hash
		if h.String() == name {
			return h, nil
		}
	}
	return 0, ErrUnsupported
}

func hashIdentifier(h stdcrypto.Hash) []byte {
	return ber.Wrap(ber.Sequence, oid(digestID(h)), null())
}

// wycheproofSignature returns the message if the signature over it fits.
func wycheproofSignature(g wycheproofGroup, c wycheproofCase) ([]byte, error) {
	key, err := PublicKey(&x509.Certificate{RawSubjectPublicKeyInfo: g.PublicKeyDer})
	if err != nil {
		key, err = x509.ParsePKIXPublicKey(g.PublicKeyDer)
	}
	if err != nil {
		return nil, err
	}
	info := signerInfo{signature: c.Sig}
	var h stdcrypto.Hash
	switch key.(type) {
	case ed25519.PublicKey:
		h, info.attributes = stdcrypto.SHA512, append([]byte{}, c.Msg...)
		info.method.Algorithm = oidEd25519
	case *ecdsa.PublicKey:
		info.method.Algorithm = oidECPublicKey
	default:
		info.method.Algorithm = oidRSA
	}
	if h == 0 {
		if h, err = wycheproofHash(g.SHA); err != nil {
			return nil, err
		}
	}
	if strings.Contains(g.Type, "Pss") {
		mask, err := wycheproofHash(g.MgfSHA)
		if err != nil {
			return nil, err
		}
		info.method.Algorithm = oidPSS
		info.method.Parameters.FullBytes = ber.Wrap(ber.Sequence,
			ber.Wrap(ber.Context0, hashIdentifier(h)), ber.Wrap(ber.Context1, ber.Wrap(ber.Sequence, oid(oidMGF1), hashIdentifier(mask))),
			ber.Wrap(ber.Context0+2, must(asn1.Marshal(g.SLen))))
	}
	sum := h.New()
	sum.Write(c.Msg)
	return c.Msg, checkSignature(key, info, h, sum.Sum(nil))
}

// wycheproofUnwrap takes the message for a content key.
func wycheproofUnwrap(g wycheproofGroup, c wycheproofCase) ([]byte, error) {
	method := algorithm{Algorithm: oidRSA}
	if g.Type == "RsaesOaepDecrypt" {
		h, err := wycheproofHash(g.SHA)
		if err != nil {
			return nil, err
		}
		mask, err := wycheproofHash(g.MgfSHA)
		if err != nil {
			return nil, err
		}
		method.Algorithm = oidOAEP
		method.Parameters.FullBytes = ber.Wrap(ber.Sequence,
			ber.Wrap(ber.Context0, hashIdentifier(h)), ber.Wrap(ber.Context1, ber.Wrap(ber.Sequence, oid(oidMGF1), hashIdentifier(mask))),
			ber.Wrap(ber.Context0+2, ber.Wrap(ber.Sequence, oid(oidPSpecified), ber.Wrap(ber.OctetString, c.Label))))
	}
	size := max(len(c.Msg), 1)
	if c.Result == "valid" {
		size = len(c.Msg)
	}
	plain, _, err := unwrapRSA(g.private, method, c.Ct, size)
	return plain, err
}

// wycheproofAgree returns the shared secret.
func wycheproofAgree(g wycheproofGroup, c wycheproofCase) ([]byte, error) {
	curve, ok := map[string]ecdh.Curve{"secp256r1": ecdh.P256(), "secp384r1": ecdh.P384(), "secp521r1": ecdh.P521(), "curve25519": ecdh.X25519()}[g.Curve]
	if !ok {
		return nil, ErrUnsupported
	}
	point, private := []byte(c.Public), []byte(c.Private)
	if g.Type == "XdhAsnComp" || g.Type == "XdhPemComp" || g.Type == "EcdhTest" {
		key, err := PublicKey(&x509.Certificate{RawSubjectPublicKeyInfo: c.Public})
		if err != nil {
			key, err = x509.ParsePKIXPublicKey(c.Public)
		}
		if err != nil {
			return nil, err
		}
		switch k := key.(type) {
		case *ecdh.PublicKey:
			point = k.Bytes()
		case *ecdsa.PublicKey:
			point = pointOf(k)
		}
	}
	switch g.Type {
	case "EcdhTest":
		size := (curveBits(curve) + 7) / 8
		private = new(big.Int).SetBytes(private).FillBytes(make([]byte, size))
	case "XdhAsnComp", "XdhPemComp":
		key, err := x509.ParsePKCS8PrivateKey(private)
		if err != nil {
			return nil, err
		}
		private = key.(*ecdh.PrivateKey).Bytes()
	}
	key, err := curve.NewPrivateKey(private)
	if err != nil {
		return nil, err
	}
	return agree(key, point)
}

func curveBits(c ecdh.Curve) int {
	return map[ecdh.Curve]int{ecdh.P256(): 256, ecdh.P384(): 384, ecdh.P521(): 521}[c]
}

func pointOf(k *ecdsa.PublicKey) []byte {
	static, err := k.ECDH()
	if err != nil {
		return nil
	}
	return static.Bytes()
}

func wycheproofCBC(g wycheproofGroup, c wycheproofCase) ([]byte, error) {
	id := map[int]asn1.ObjectIdentifier{128: oidAES128CBC, 192: oidAES192CBC, 256: oidAES256CBC}[g.KeySize]
	kind, _ := contentCipherOf(id)
	start, err := kind.parameters(ber.Wrap(ber.OctetString, c.IV))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	good, err := openCBC(&out, bytes.NewReader(c.Ct), kind, c.Key, start)
	if err == nil && !good {
		err = ErrDecrypt
	}
	return out.Bytes(), err
}

func wycheproofGCM(_ wycheproofGroup, c wycheproofCase) ([]byte, error) {
	s, err := gcm.New(c.Key, c.IV)
	if err != nil {
		return nil, err
	}
	plain := bytes.Clone(c.Ct)
	s.Open(plain)
	if !gcm.Equal(s.Tag(c.AAD), c.Tag) {
		return nil, ErrDecrypt
	}
	return plain, nil
}

func wycheproofWrap(_ wycheproofGroup, c wycheproofCase) ([]byte, error) {
	if len(c.Msg) > 64 {
		return nil, ErrUnsupported // longer than any content key
	}
	plain, err := keywrap.UnwrapAES(c.Key, c.Ct)
	if err == nil {
		if again := must(keywrap.AES(c.Key, plain)); !bytes.Equal(again, c.Ct) {
			return again, errors.New("wraps otherwise")
		}
	}
	return plain, err
}
