package keys

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gatewayd/crypto/entity"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/smime"
)

// Own is one of an authority's keys. Where its private part lies only the key
// itself knows.
type Own struct {
	Authority string
	File      string          // in the key folder of whoever holds it
	SMIME     *smime.Identity // or:
	OpenPGP   *openpgp.Key
}

// Fingerprint names the key: SHA-256 of the certificate, or the OpenPGP
// fingerprint, in hexadecimal.
func (o Own) Fingerprint() string {
	if o.SMIME != nil {
		return smime.Fingerprint(o.SMIME.Cert)
	}
	return o.OpenPGP.Fingerprint
}

// Until returns when the key expires; zero: never.
func (o Own) Until() time.Time {
	if o.SMIME != nil {
		return o.SMIME.Cert.NotAfter
	}
	return o.OpenPGP.Expires
}

// Token finds the private key of a certificate by a PKCS #11 URI.
type Token func(uri string, certs []*x509.Certificate) (smime.Identity, error)

// LoadOwn reads the authorities' own keys of a key folder. token answers for keys
// on tokens; nil: there are none.
func LoadOwn(dir string, token Token) ([]Own, []Problem) {
	l := ownLoader{loader: loader{dir: dir}, token: token}
	for _, authority := range l.folders("own") {
		l.each(filepath.Join("own", authority), func(file string) error { return l.load(authority, file) })
	}
	return l.list, l.problems
}

// WithOwn returns the ring with these keys in place of its own ones. away says why
// they are not known now; nil: these are all.
func (r *Ring) WithOwn(list []Own, away error) *Ring {
	with := *r
	with.own, with.away = map[string][]Own{}, away
	for _, o := range list {
		with.own[o.Authority] = append(with.own[o.Authority], o)
	}
	return &with
}

// Away says why the own keys are not known now; nil: they are.
func (r *Ring) Away() error { return r.away }

// Readable lists the files below own that hold private keys and that this process
// can read: none, where somebody else is to hold them.
func Readable(dir string) []string {
	var found []string
	_ = fs.WalkDir(os.DirFS(dir), "own", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !slices.Contains([]string{".key", ".asc"}, filepath.Ext(path)) {
			return nil // what cannot be listed cannot be read either
		}
		if f, err := os.Open(filepath.Join(dir, path)); err == nil {
			f.Close()
			found = append(found, path)
		}
		return nil
	})
	return found
}

type ownLoader struct {
	loader
	token Token
	list  []Own
}

// readSecret wants a file that nobody else can read.
func (l *ownLoader) readSecret(file string) ([]byte, error) {
	info, err := os.Stat(filepath.Join(l.dir, file))
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("mode %#o: private keys must be readable by their owner only (chmod 600)", info.Mode().Perm())
	}
	return l.read(file)
}

// load loads own/<authority>/<name>.crt with .key or .p11, or .asc.
func (l *ownLoader) load(authority, file string) error {
	switch base, ext := strings.CutSuffix(file, ".crt"); {
	case ext:
		id, err := l.identity(file, base)
		if err != nil {
			return err
		}
		l.list = append(l.list, Own{Authority: authority, File: file, SMIME: &id})
		return nil
	case strings.HasSuffix(file, ".key"):
		return nil // comes with its certificate, or waits for it
	case strings.HasSuffix(file, ".p11"):
		if _, err := os.Stat(filepath.Join(l.dir, strings.TrimSuffix(file, ".p11")+".crt")); errors.Is(err, fs.ErrNotExist) {
			return errors.New("no certificate (.crt) lies beside it: a token has keys for S/MIME only, an OpenPGP key stays in a file (.asc)")
		}
		return nil
	case !strings.HasSuffix(file, ".asc"):
		return errors.New("unknown kind of file: .crt, .key, .p11 and .asc are read")
	}
	data, err := l.readSecret(file)
	if err != nil {
		return err
	}
	keys, err := openpgp.ParseKeys(data)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if !k.Private {
			return errors.New("holds no private key")
		}
		l.list = append(l.list, Own{Authority: authority, File: file, OpenPGP: &k})
	}
	return nil
}

// identity reads a certificate with its private key, or with where that lies.
func (l *ownLoader) identity(file, base string) (smime.Identity, error) {
	text, err := l.read(file)
	if err != nil {
		return smime.Identity{}, err
	}
	uri, err := l.read(base + ".p11")
	if errors.Is(err, fs.ErrNotExist) {
		key, err := l.readSecret(base + ".key")
		if err != nil {
			return smime.Identity{}, fmt.Errorf("its .key file: %w", err)
		}
		return smime.ParseIdentity(text, key)
	}
	if err != nil {
		return smime.Identity{}, fmt.Errorf("its .p11 file: %w", err)
	}
	if l.token == nil {
		return smime.Identity{}, errors.New("its .p11 file: keys on tokens are used by a key agent only (gatewayd keyagent)")
	}
	certs, err := smime.ParseCertificates(text)
	if err != nil {
		return smime.Identity{}, err
	}
	id, err := l.token(strings.TrimSpace(string(uri)), certs)
	if err != nil {
		return smime.Identity{}, fmt.Errorf("its .p11 file: %w", err)
	}
	return id, nil
}

// away is what opens mail while own keys are not known: only then it can be
// said that none of them fits.
type away struct {
	entity.Opener
	err error
}

// Open implements entity.Opener.
func (a away) Open(e *entity.Entity, w entity.Work) *entity.Layer {
	layer := a.Opener.Open(e, w)
	if layer != nil && layer.Encryption == entity.NotForUs {
		w.Fail(a.err)
	}
	return layer
}
