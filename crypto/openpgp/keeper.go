package openpgp

import (
	"bytes"
	stdcrypto "crypto"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Keeper holds private keys and works with them, so that who reads mail need not
// have them. A key that was parsed with its private parts is its own keeper.
//
// A part is a primary key or subkey, named by its fingerprint in hexadecimal.
type Keeper interface {
	// OpenSessionKey opens a Public Key Encrypted Session Key packet (RFC 9580
	// section 5.1), header included. ErrSessionKey: it cannot be opened by that
	// part, whatever is wrong with it. Every other error means that nobody knows
	// yet.
	OpenSessionKey(part string, packet []byte) (SessionKey, error)
	// Sign returns the signature packet (section 5.2).
	Sign(part string, u Unsigned) ([]byte, error)
}

// ErrSessionKey is returned for a session key that a private key cannot open.
var ErrSessionKey = errors.New("the session key does not open by this private key")

// SessionKey is the key of one encrypted message.
type SessionKey struct {
	Cipher uint8 // RFC 9580 section 9.3; 0 where the encrypted data say it themselves
	Key    []byte
}

// Unsigned is a signature over a document that lacks nothing but the work of the
// private key. Whoever makes the packet of it can be sure that it signs a
// document, and no key or user ID (section 5.2.1).
type Unsigned struct {
	Hash       stdcrypto.Hash // SHA-256, SHA-384 or SHA-512
	State      []byte         // of the hash after salt and document, as its MarshalBinary gives it
	Salt       []byte         // of version 6; else nil
	Time       time.Time
	Recipients []Recipient // for whom it is encrypted as well (section 5.2.3.36)
}

// Recipient names a key for which a message is encrypted.
type Recipient struct {
	Version     int
	Fingerprint []byte
}

// local is the keeper of private keys that lie in our own memory.
type local struct {
	parts map[string]*packet.PrivateKey // only read
}

func (l local) part(name string) (*packet.PrivateKey, error) {
	p := l.parts[name]
	if p == nil {
		return nil, errors.New("OpenPGP key: no private key of that name")
	}
	return p, nil
}

// OpenSessionKey implements Keeper.
func (l local) OpenSessionKey(name string, raw []byte) (SessionKey, error) {
	part, err := l.part(name)
	if err != nil {
		return SessionKey{}, err
	}
	p, err := packet.Read(bytes.NewReader(raw))
	if err != nil {
		return SessionKey{}, ErrSessionKey
	}
	sealed, ok := p.(*packet.EncryptedKey)
	if !ok || sealed.Decrypt(part, nil) != nil {
		return SessionKey{}, ErrSessionKey
	}
	return SessionKey{uint8(sealed.CipherFunc), sealed.Key}, nil
}

// Sign implements Keeper.
func (l local) Sign(name string, u Unsigned) ([]byte, error) {
	part, err := l.part(name)
	if err != nil {
		return nil, err
	}
	h, err := u.resume()
	if err != nil {
		return nil, err
	}
	sig := &packet.Signature{
		Version: part.Version, SigType: packet.SigTypeBinary, PubKeyAlgo: part.PubKeyAlgo, Hash: u.Hash, CreationTime: u.Time, IssuerKeyId: &part.KeyId,
	}
	for _, r := range u.Recipients {
		sig.IntendedRecipients = append(sig.IntendedRecipients, &packet.Recipient{KeyVersion: r.Version, Fingerprint: r.Fingerprint})
	}
	if err := sig.SetSalt(u.Salt); err != nil {
		return nil, fmt.Errorf("OpenPGP signature: %w", err)
	}
	if err := sig.Sign(h, part, config(u.Time)); err != nil {
		return nil, fmt.Errorf("OpenPGP signature: %w", err)
	}
	var b bytes.Buffer
	if err := sig.Serialize(&b); err != nil {
		return nil, fmt.Errorf("OpenPGP signature: %w", err)
	}
	return b.Bytes(), nil
}

// digests are those we sign with, and their numbers (section 9.5).
func digests() map[stdcrypto.Hash]uint8 {
	return map[stdcrypto.Hash]uint8{stdcrypto.SHA256: 8, stdcrypto.SHA384: 9, stdcrypto.SHA512: 10}
}

// resume returns the hash as it was after the document.
func (u Unsigned) resume() (hash.Hash, error) {
	if digests()[u.Hash] == 0 {
		return nil, errors.New("OpenPGP signature: a digest outside our profile")
	}
	h := u.Hash.New()
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(u.State); err != nil {
		return nil, errors.New("OpenPGP signature: not the state of its digest")
	}
	return h, nil
}

// Held returns a key whose private parts somebody else keeps: its public packets,
// and the names of the parts that the keeper has.
func Held(packets []byte, parts []string, keeper Keeper) (Key, error) {
	keys, err := ParseKeys(packets)
	if err != nil {
		return Key{}, err
	}
	if len(keys) != 1 || keys[0].Private {
		return Key{}, errors.New("OpenPGP key: not one public key")
	}
	k := keys[0]
	k.keeper, k.parts, k.Private = keeper, slices.Clone(parts), len(parts) > 0
	return k, nil
}

// Parts names the private parts that the key's keeper has; none for a key that is
// not ours.
func (k Key) Parts() []string { return slices.Clone(k.parts) }

// OpenSessionKey implements Keeper for the key's own parts.
func (k Key) OpenSessionKey(part string, packet []byte) (SessionKey, error) {
	if !slices.Contains(k.parts, part) {
		return SessionKey{}, errors.New("OpenPGP key: no private key of that name")
	}
	return k.keeper.OpenSessionKey(part, packet)
}

// Sign implements Keeper for the key's own parts.
func (k Key) Sign(part string, u Unsigned) ([]byte, error) {
	if !slices.Contains(k.parts, part) {
		return nil, errors.New("OpenPGP key: no private key of that name")
	}
	return k.keeper.Sign(part, u)
}

func (k Key) holds(p *packet.PublicKey) bool { return slices.Contains(k.parts, nameOf(p)) }

func nameOf(p *packet.PublicKey) string { return hex.EncodeToString(p.Fingerprint) }
