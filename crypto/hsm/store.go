//go:build pkcs11 && cgo

package hsm

import (
	"cmp"
	"crypto/ecdh"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/miekg/pkcs11"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/smime"
)

// Built reports whether this program can use tokens.
const Built = true

// atOnce is how many works of one key may be under way.
const atOnce = 4

// Store is a driver with its tokens. It may be used by several goroutines.
type Store struct {
	driver *pkcs11.Ctx
	pin    string

	finding sync.Mutex
	keys    map[string]*key // by URI

	mu      sync.Mutex
	refused error // the token has refused the PIN

	using  sync.RWMutex // held for writing by Close
	closed bool
}

// Open loads a driver. Only one Store may be open in a process.
func Open(o Options) (*Store, error) {
	driver := pkcs11.New(o.Module)
	if driver == nil {
		return nil, fmt.Errorf("PKCS #11 driver %s: cannot be loaded", o.Module)
	}
	if err := driver.Initialize(); err != nil {
		driver.Destroy()
		return nil, fmt.Errorf("PKCS #11 driver %s: %w", o.Module, err)
	}
	return &Store{driver: driver, pin: o.PIN, keys: map[string]*key{}}, nil
}

// Close ends all sessions. Its keys are out of reach from then on.
func (s *Store) Close() error {
	s.using.Lock()
	defer s.using.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	err := s.driver.Finalize()
	s.driver.Destroy()
	return err
}

// Identity returns the private key that a URI names as that of a certificate. What it
// can do is tried out, so that a key of another certificate is not taken.
func (s *Store) Identity(text string, certs []*x509.Certificate) (smime.Identity, error) {
	k, err := s.key(text, pkcs11.CKO_PRIVATE_KEY)
	if err != nil {
		return smime.Identity{}, err
	}
	public, err := cms.PublicKey(certs[0])
	if err != nil {
		return smime.Identity{}, fmt.Errorf("certificate: %w", err)
	}
	if _, ok := public.(*ecdh.PublicKey); ok {
		return smime.Identity{}, errors.New("an X25519 key is not used on a token: keep it in a file (.key), or take one on P-256, P-384 or P-521")
	}
	id := smime.Identity{Cert: certs[0], Chain: certs[1:]}
	return id, k.fit(&id, public)
}

// key returns the one object of its class that a URI names.
func (s *Store) key(text string, class uint) (*key, error) {
	s.finding.Lock()
	defer s.finding.Unlock()
	if k := s.keys[text]; k != nil && k.class == class {
		return k, nil
	}
	u, err := parseURI(text)
	if err != nil {
		return nil, err
	}
	if want := map[uint]string{pkcs11.CKO_PRIVATE_KEY: "private", pkcs11.CKO_SECRET_KEY: "secret-key"}[class]; cmp.Or(u.kind, want) != want {
		return nil, fmt.Errorf("PKCS #11 URI: type %q, want %s", u.kind, want)
	}
	k := &key{store: s, uri: u, class: class, sessions: make(chan *session, atOnce)}
	for range atOnce {
		k.sessions <- &session{}
	}
	if err := k.use(func(pkcs11.SessionHandle, pkcs11.ObjectHandle) error { return nil }); err != nil {
		return nil, err
	}
	s.keys[text] = k
	return k, nil
}

// key is an object on a token.
type key struct {
	store    *Store
	uri      uri
	class    uint
	sessions chan *session
}

// session is one with the token; a token that was away needs a new one.
type session struct {
	open   bool
	handle pkcs11.SessionHandle
	object pkcs11.ObjectHandle
}

// use calls f with a session. An error by which the token says no to the input is
// returned as it is; every other one is cms.ErrKeyAway, after a second try with a
// new session.
func (k *key) use(f func(pkcs11.SessionHandle, pkcs11.ObjectHandle) error) error {
	k.store.using.RLock()
	defer k.store.using.RUnlock()
	if k.store.closed {
		return fmt.Errorf("token: %w: the driver has been closed", cms.ErrKeyAway)
	}
	s := <-k.sessions
	defer func() { k.sessions <- s }()
	var err error
	for range 2 {
		if err = k.begin(s); err != nil {
			continue
		}
		if err = f(s.handle, s.object); err == nil || says(err) {
			return err
		}
		_ = k.store.driver.CloseSession(s.handle) // it may be gone already
		s.open = false
	}
	return fmt.Errorf("token: %w: %w", cms.ErrKeyAway, err)
}

// says reports whether an error is a token's word about its input. Everything else,
// and what only the vendor knows, may be trouble of the token.
func says(err error) bool {
	var e pkcs11.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e {
	case pkcs11.CKR_GENERAL_ERROR, // SoftHSM: padding
		pkcs11.CKR_ENCRYPTED_DATA_INVALID, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE, pkcs11.CKR_DATA_INVALID, pkcs11.CKR_DATA_LEN_RANGE,
		pkcs11.CKR_MECHANISM_INVALID, pkcs11.CKR_MECHANISM_PARAM_INVALID, pkcs11.CKR_ARGUMENTS_BAD, pkcs11.CKR_KEY_TYPE_INCONSISTENT, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED:
		return true
	}
	return false
}

func (k *key) begin(s *session) error {
	if s.open {
		return nil
	}
	slot, err := k.slot()
	if err != nil {
		return err
	}
	d := k.store.driver
	if s.handle, err = d.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION); err != nil {
		return err
	}
	if err = k.store.login(s.handle); err == nil {
		s.object, err = k.find(s.handle)
	}
	if err != nil {
		_ = d.CloseSession(s.handle)
		return err
	}
	s.open = true
	return nil
}

// login says the PIN. A wrong one is said once only: tokens lock themselves.
func (s *Store) login(h pkcs11.SessionHandle) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused != nil {
		return s.refused
	}
	err := s.driver.Login(h, pkcs11.CKU_USER, s.pin)
	var e pkcs11.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e {
	case pkcs11.CKR_USER_ALREADY_LOGGED_IN:
		return nil
	case pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_INVALID, pkcs11.CKR_PIN_LEN_RANGE, pkcs11.CKR_PIN_LOCKED, pkcs11.CKR_PIN_EXPIRED:
		s.refused = fmt.Errorf("%w: %w", ErrPIN, err)
		return s.refused
	}
	return err
}

// slot finds the token.
func (k *key) slot() (uint, error) {
	slots, err := k.store.driver.GetSlotList(true)
	if err != nil {
		return 0, err
	}
	var found []uint
	for _, slot := range slots {
		info, err := k.store.driver.GetTokenInfo(slot)
		if err == nil && info.Flags&pkcs11.CKF_TOKEN_INITIALIZED != 0 && k.uri.names(info) {
			found = append(found, slot)
		}
	}
	if len(found) != 1 {
		return 0, fmt.Errorf("%d tokens of that name, there must be one", len(found))
	}
	return found[0], nil
}

func (u uri) names(t pkcs11.TokenInfo) bool {
	is := func(want, have string) bool { return want == "" || want == strings.TrimRight(have, " \x00") }
	return is(u.token, t.Label) && is(u.manufacturer, t.ManufacturerID) && is(u.model, t.Model) && is(u.serial, t.SerialNumber)
}

// find finds the object.
func (k *key) find(h pkcs11.SessionHandle) (pkcs11.ObjectHandle, error) {
	template := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, k.class)}
	if k.uri.object != "" {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_LABEL, k.uri.object))
	}
	if k.uri.id != nil {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_ID, k.uri.id))
	}
	d := k.store.driver
	if err := d.FindObjectsInit(h, template); err != nil {
		return 0, err
	}
	found, _, err := d.FindObjects(h, 2)
	if err = errors.Join(err, d.FindObjectsFinal(h)); err != nil {
		return 0, err
	}
	if len(found) != 1 {
		return 0, fmt.Errorf("%d objects of that name on the token, there must be one", len(found))
	}
	return found[0], nil
}

// Derive returns 32 octets that depend on a secret key on the token and on a label:
// its HMAC with SHA-256. Nobody learns the key from them.
func (s *Store) Derive(text, label string) ([]byte, error) {
	k, err := s.key(text, pkcs11.CKO_SECRET_KEY)
	if err != nil {
		return nil, err
	}
	sum, err := k.sign(pkcs11.NewMechanism(pkcs11.CKM_SHA256_HMAC, nil), []byte(label))
	if err == nil && len(sum) != 32 {
		err = fmt.Errorf("token: a digest of %d octets", len(sum))
	}
	return sum, err
}
