package openpgp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"gatewayd/crypto/entity"
	"gatewayd/mail"
	"gatewayd/message"
)

// Key is an OpenPGP certificate (public key with user IDs), with its private
// keys if it is ours. It is a value that never changes: go-crypto remembers
// what it verified inside of its own type, which may therefore not be shared.
type Key struct {
	Fingerprint string            // hexadecimal, lower case
	UserIDs     []string          // those that the key itself has signed and not revoked, sorted; claims of the owner
	Addresses   []message.Address // in the user IDs
	Created     time.Time
	Expires     time.Time // zero: never
	Version     int       // 4 or 6
	Private     bool      // it can sign and decrypt: somebody keeps private parts of it

	ids    []uint64 // key IDs of the primary key and the subkeys
	raw    []byte   // packets, the public ones
	parts  []string // those of which the keeper has the private part
	keeper Keeper   // nil: nobody
}

// ParseKeys reads one or more keys, armored or binary. Private keys must not be
// locked by a passphrase.
func ParseKeys(data []byte) ([]Key, error) {
	list, err := readKeys(data)
	if err != nil {
		return nil, fmt.Errorf("OpenPGP key: %w", err)
	}
	return newKeys(list)
}

// ParsePublic reads one or more keys that a stranger gives, and refuses private ones
// before they cost anything.
func ParsePublic(data []byte) ([]Key, error) {
	blocks, err := keyBlocks(data)
	if err != nil {
		return nil, fmt.Errorf("OpenPGP key: %w", err)
	}
	var all pgp.EntityList
	for _, block := range blocks {
		if private, _ := only(bytes.NewReader(block), tagPrivate, tagPrivate2); len(private) > 0 {
			return nil, fmt.Errorf("OpenPGP key: %w", errPrivate)
		}
		public, err := only(bytes.NewReader(block), tagSignature, tagPublic, tagPublic2, tagUserID, tagPicture)
		if err != nil {
			return nil, fmt.Errorf("OpenPGP key: %w", err)
		}
		list, err := pgp.ReadKeyRing(bytes.NewReader(public))
		if err != nil {
			return nil, fmt.Errorf("OpenPGP key: %w", err)
		}
		all = append(all, list...)
	}
	return newKeys(all)
}

func newKeys(list pgp.EntityList) ([]Key, error) {
	var keys []Key
	for _, e := range list {
		k, err := newKey(e)
		if err != nil {
			return nil, fmt.Errorf("OpenPGP key %d: %w", len(keys)+1, err)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("OpenPGP key: none in the file")
	}
	return keys, nil
}

func readKeys(data []byte) (pgp.EntityList, error) {
	blocks, err := keyBlocks(data)
	if err != nil {
		return nil, err
	}
	var all pgp.EntityList
	for _, block := range blocks {
		list, err := pgp.ReadKeyRing(bytes.NewReader(block))
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

// keyBlocks returns the packets of every armored block of a file, or of a binary one.
func keyBlocks(data []byte) ([][]byte, error) {
	if !bytes.Contains(data, []byte("-----BEGIN PGP ")) {
		return [][]byte{data}, nil
	}
	var list [][]byte
	for rest := data; ; {
		at := bytes.Index(rest, []byte("-----BEGIN PGP "))
		if at < 0 {
			return list, nil
		}
		text := rest[at:]
		end := bytes.Index(text, []byte("-----END PGP "))
		if end < 0 {
			end = len(text) - len("-----END PGP ")
		}
		rest = text[end+len("-----END PGP "):]
		block, err := armor.Decode(bytes.NewReader(text[:len(text)-len(rest)]))
		if err != nil {
			return nil, errors.New("no armored key")
		}
		if block.Type != pgp.PublicKeyType && block.Type != pgp.PrivateKeyType {
			return nil, fmt.Errorf("not a key, but a %s", block.Type)
		}
		packets, err := io.ReadAll(block.Body)
		if err != nil {
			return nil, errors.New("broken armor")
		}
		list = append(list, packets)
	}
}

func newKey(e *pgp.Entity) (Key, error) {
	k := Key{Fingerprint: hex.EncodeToString(e.PrimaryKey.Fingerprint), Created: e.PrimaryKey.CreationTime, Expires: expiry(e), Version: e.PrimaryKey.Version, ids: []uint64{e.PrimaryKey.KeyId}}
	var private []*packet.PrivateKey
	if e.PrivateKey != nil {
		private = append(private, e.PrivateKey)
	}
	for _, s := range e.Subkeys {
		k.ids = append(k.ids, s.PublicKey.KeyId)
		if s.PrivateKey != nil {
			private = append(private, s.PrivateKey)
		}
	}
	for _, p := range private {
		if p.Encrypted && !p.Dummy() {
			return Key{}, errors.New("locked by a passphrase; export it without one and protect the file instead")
		}
	}
	k.keep(private)
	if len(e.Identities) > maxUserIDs || vouched(e) > maxVouched {
		return Key{}, fmt.Errorf("more than %d user IDs, or %d signatures of the key about itself", maxUserIDs, maxVouched)
	}
	for name, id := range e.Identities {
		// Anybody can put a user ID into a foreign key; only the key can sign it.
		if _, err := id.Verify(time.Time{}, config(time.Time{})); err == nil {
			k.UserIDs = append(k.UserIDs, name)
		}
	}
	slices.Sort(k.UserIDs)
	for _, name := range k.UserIDs {
		k.Addresses = append(k.Addresses, addressesIn(name)...)
	}
	var raw bytes.Buffer
	if err := e.Serialize(&raw); err != nil {
		return Key{}, err
	}
	k.raw = raw.Bytes()
	return k, nil
}

// keep makes the key its own keeper.
func (k *Key) keep(private []*packet.PrivateKey) {
	l := local{map[string]*packet.PrivateKey{}}
	for _, p := range private {
		if name := nameOf(&p.PublicKey); !p.Dummy() && l.parts[name] == nil {
			l.parts[name] = p
			k.parts = append(k.parts, name)
		}
	}
	if k.Private = len(k.parts) > 0; k.Private {
		k.keeper = l
	}
}

// These bound what is verified of a foreign key.
const (
	maxUserIDs = 100
	maxVouched = 500
)

// vouched counts the signatures that a key has made, or claims to have made, about
// itself: each may have to be verified.
func vouched(e *pgp.Entity) int {
	n := len(e.Revocations) + len(e.DirectSignatures)
	for _, id := range e.Identities {
		n += len(id.SelfCertifications) + len(id.Revocations)
	}
	for _, s := range e.Subkeys {
		n += len(s.Bindings) + len(s.Revocations)
	}
	return n
}

// expiry returns when the key says that it ends; zero: never, or it says
// nothing that holds.
func expiry(e *pgp.Entity) time.Time {
	sig, err := e.PrimarySelfSignature(time.Time{}, config(time.Time{}))
	if err != nil || sig.KeyLifetimeSecs == nil || *sig.KeyLifetimeSecs == 0 {
		return time.Time{}
	}
	return e.PrimaryKey.CreationTime.Add(time.Duration(*sig.KeyLifetimeSecs) * time.Second)
}

// addressesIn reads a user ID: "Name <address>" by convention, or an address
// alone. Of other text nothing is taken.
func addressesIn(userID string) []message.Address {
	if a, err := message.ParseAddress(strings.TrimSpace(userID)); err == nil && !a.IsNull() {
		return []message.Address{a}
	}
	list := mail.Addresses(userID)
	if len(list) != 1 || strings.Count(userID, "@") != 1 {
		return nil // two addresses in one user ID are a way to deceive
	}
	return list
}

// entity parses the key anew: what go-crypto learns while it works stays with
// the caller.
func (k Key) entity() (*pgp.Entity, error) {
	e, err := pgp.ReadEntity(packet.NewReader(bytes.NewReader(k.raw)))
	if err != nil {
		return nil, fmt.Errorf("OpenPGP key: %w", err)
	}
	return e, nil
}

// Public returns the key without its private parts, armored.
func (k Key) Public() ([]byte, error) {
	var b bytes.Buffer
	w, err := armor.Encode(&b, pgp.PublicKeyType, nil)
	if err != nil {
		return nil, fmt.Errorf("OpenPGP key: %w", err)
	}
	if _, err := w.Write(k.raw); err != nil {
		return nil, fmt.Errorf("OpenPGP key: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("OpenPGP key: %w", err)
	}
	return b.Bytes(), nil
}

// CheckRecipient reports whether mail to that address may be encrypted by the
// key at that time; the error is one of entity's reasons.
func (k Key) CheckRecipient(to message.Address, at time.Time) error {
	e, err := k.entity()
	if err != nil {
		return err
	}
	if _, err := e.EncryptionKeyWithError(at, config(at)); err != nil {
		return reason(err, e.PrimaryKey.CreationTime, at)
	}
	return k.standsFor(to)
}

// CheckSigner reports whether the key can sign for that address at that time.
// A null address is not compared.
func (k Key) CheckSigner(from message.Address, at time.Time) error {
	e, err := k.entity()
	if err != nil {
		return err
	}
	return k.canSign(e, from, at)
}

func (k Key) canSign(e *pgp.Entity, from message.Address, at time.Time) error {
	if _, err := e.VerifyPrimaryKey(at, config(at)); err != nil {
		return reason(err, e.PrimaryKey.CreationTime, at)
	}
	if key, ok := e.SigningKey(at, config(at)); !ok || !k.holds(key.PublicKey) {
		return entity.ErrWrongUse
	}
	if from.IsNull() {
		return nil
	}
	return k.standsFor(from)
}

// Packets returns the key without its private parts, in binary.
func (k Key) Packets() ([]byte, error) { return bytes.Clone(k.raw), nil }

func (k Key) standsFor(a message.Address) error {
	for _, own := range k.Addresses {
		if own.Key() == a.Key() {
			return nil
		}
	}
	return entity.ErrWrongAddress
}

// reason puts go-crypto's error into our words.
func reason(err error, created, at time.Time) error {
	var selection pgperrors.ErrEncryptionKeySelection
	var p *pgperrors.ErrEncryptionKeySelection
	if errors.As(err, &p) {
		selection = *p
	} else if !errors.As(err, &selection) {
		selection.PrimaryKeyErr = err
	}
	err = selection.PrimaryKeyErr
	if err == nil {
		err = selection.EncSelectionErr
	}
	switch {
	case created.After(at):
		return entity.ErrNotYetValid
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return entity.ErrRevoked
	case errors.Is(err, pgperrors.ErrKeyExpired), errors.Is(err, pgperrors.ErrSignatureExpired):
		return entity.ErrExpired
	case isWeak(err):
		return entity.ErrWeakKey
	}
	return entity.ErrWrongUse
}

func isWeak(err error) bool {
	var weak pgperrors.WeakAlgorithmError
	var invalid pgperrors.KeyInvalidError
	return errors.As(err, &weak) || errors.As(err, &invalid)
}

// config is how we work: AES-256 where the peer takes it, nothing compressed,
// integrity protection always.
func config(at time.Time) *packet.Config {
	return &packet.Config{
		Time:                   func() time.Time { return at },
		DefaultCipher:          packet.CipherAES256,
		DefaultCompressionAlgo: packet.CompressionNone,
	}
}

// ring is a key ring that parses only the keys that are asked for.
type ring struct {
	keys     []Key
	parsed   map[string]*pgp.Entity
	sessions sessions
	asked    int
	unknown  []uint64 // key IDs that were asked for, and that nobody has; the first few
}

// These bound the work that one message makes: every signer has the whole content
// hashed once more.
const (
	maxSigners = 16
	maxAsked   = 4000 // recipients and signers that a message names
	maxNamed   = 8    // key IDs that a verdict names
)

// flood is what a ring panics with: go-crypto asks it about each recipient and each
// signer, and there is no other way out of that loop, which takes time by the
// square of their number. See unflooded.
type flood struct{}

// unflooded does the work; false: the message names too many.
func unflooded(work func()) (ok bool) {
	defer func() {
		switch err := recover().(type) {
		case nil:
		case flood:
			ok = false
		default:
			panic(err)
		}
	}()
	work()
	return true
}

// EntitiesById implements openpgp.KeyRing. The ID 0 is that of a hidden
// recipient: every private key may be meant.
func (r *ring) EntitiesById(id uint64) []*pgp.Entity {
	if r.asked++; r.asked > maxAsked {
		panic(flood{})
	}
	var list []*pgp.Entity
	for _, k := range r.keys {
		if !slices.Contains(k.ids, id) && (id != 0 || !k.Private) {
			continue
		}
		e := r.parsed[k.Fingerprint]
		if e == nil {
			var err error
			if e, err = k.entity(); err != nil {
				continue // it was parsed before, when it was loaded
			}
			r.sessions.standIn(k, e)
			r.parsed[k.Fingerprint] = e
		}
		list = append(list, e)
	}
	if len(list) == 0 && len(r.unknown) < maxNamed && !slices.Contains(r.unknown, id) {
		r.unknown = append(r.unknown, id)
	}
	// Anybody can hang another's subkey on his key: the one to whom it belongs first.
	slices.SortStableFunc(list, func(a, b *pgp.Entity) int { return owns(b, id) - owns(a, id) })
	return list
}

// owns is 1 if the primary key or a subkey that is bound to it has that ID, else 0.
func owns(e *pgp.Entity, id uint64) int {
	p := partOf(e, id)
	if p.public == nil {
		return 0
	}
	if p.sub != nil {
		if _, err := p.sub.LatestValidBindingSignature(time.Time{}, config(time.Time{})); err != nil {
			return 0
		}
	}
	return 1
}

// KeysById implements openpgp.KeyRing.
func (r *ring) KeysById(id uint64) []pgp.Key {
	return pgp.EntityList(r.EntitiesById(id)).KeysById(id)
}

func newRing(keys []Key) *ring {
	// Private keys first: of two copies of a key the one that can do more counts.
	sorted := slices.Clone(keys)
	slices.SortStableFunc(sorted, func(a, b Key) int {
		switch {
		case a.Private == b.Private:
			return 0
		case a.Private:
			return -1
		}
		return 1
	})
	return &ring{keys: sorted, parsed: map[string]*pgp.Entity{}, sessions: sessions{keys: sorted}}
}
