// Package keys holds the certificates and keys for S/MIME and OpenPGP that an
// administrator has put into a folder, and says which of them may be used for
// an address at a given time, and why the others may not.
//
//	partners/<address>.crt   certificates of a recipient, PEM or DER
//	partners/<address>.asc   OpenPGP keys of a recipient, armored or binary
//	partners/<address>.method  how to encrypt for him, in words (smime.ParseMethod); @<domain>.method for all of a domain
//	own/<authority>/*.crt    an authority's certificate with its chain, PEM …
//	own/<authority>/*.key    … and its private key (PKCS #8, PEM) under the same name,
//	own/<authority>/*.p11    … or a PKCS #11 URI (RFC 7512) of where it lies
//	own/<authority>/*.asc    an authority's OpenPGP keys, with their private parts
//	partners/@<domain>.crt   likewise for every address of a domain
//	roots/*.crt              trust anchors for signatures that come in
//	roots/<set>/*.crt        the same, kept apart: roots/zertes for recognised issuers
//
// Several files for one address are told apart by a further word:
// <address>.2027.crt, @<domain>+2027.crt. Who puts a key here trusts it: no chain is built and no
// web of trust is asked. Keys from elsewhere (mail, directories, DNS) are given
// to Select and Openers by who keeps them; so are the decisions of
// administrators about them.
package keys

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/path"
	"gatewayd/crypto/smime"
	"gatewayd/message"
)

// maxFile bounds a key file, in octets.
const maxFile = 1 << 20

// Ring is the content of a key folder at the time of loading. It never
// changes and may be shared; a new key takes a new Load.
type Ring struct {
	partners map[string][]Partner    // by message.Address.Key, or "@" and the domain
	methods  map[string]smime.Method // likewise; what an administrator has written
	own      map[string][]Own        // by authority
	away     error                   // own keys are not known now
	roots    []anchor
	decided  Decisions // Roots are among roots

	anchors      *path.Anchors       // roots, and the partners' own certificates
	certificates []*x509.Certificate // of all partners
	pgp          []openpgp.Key       // likewise
}

// Problem is something wrong with one file. File is its path in the folder,
// which may hold an address: it is for the administrator's eyes, not for a log.
type Problem struct {
	File string
	Err  error
}

// Load reads a key folder. Files with problems are left out and told, all at
// once; a folder that does not exist is an empty one.
func Load(dir string) (*Ring, []Problem) {
	r, problems := LoadPublic(dir)
	list, more := LoadOwn(dir, nil)
	return r.WithOwn(list, nil), append(problems, more...)
}

// LoadPublic is Load without the authorities' own keys, which somebody else holds:
// nothing below own is opened.
func LoadPublic(dir string) (*Ring, []Problem) {
	l := loader{dir: dir, ring: &Ring{partners: map[string][]Partner{}, methods: map[string]smime.Method{}, own: map[string][]Own{}}}
	l.each("partners", l.partner)
	l.each("roots", func(file string) error { return l.root(generalSet, file) })
	for _, set := range l.folders("roots") {
		l.each(filepath.Join("roots", set), func(file string) error { return l.root(set, file) })
	}
	l.ring.verifiers()
	return l.ring, l.problems
}

// folders lists the folders in a folder.
func (l *loader) folders(folder string) []string {
	entries, err := os.ReadDir(filepath.Join(l.dir, folder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.problem(folder, err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

type loader struct {
	dir      string
	ring     *Ring
	problems []Problem
}

// problem keeps the cause without the path, which stands beside it.
func (l *loader) problem(file string, err error) {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	l.problems = append(l.problems, Problem{file, err})
}

// each calls load for every file of one folder.
func (l *loader) each(folder string, load func(file string) error) {
	entries, err := os.ReadDir(filepath.Join(l.dir, folder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && folder != "roots" { // folders tells it
		l.problem(folder, err)
	}
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		file := filepath.Join(folder, e.Name())
		if err := load(file); err != nil {
			l.problem(file, err)
		}
	}
}

func (l *loader) read(file string) ([]byte, error) {
	path := filepath.Join(l.dir, file)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, errors.New("not a file of at most 1 MiB")
	}
	return os.ReadFile(path)
}

func (l *loader) root(set, file string) error {
	data, err := l.read(file)
	if err != nil {
		return err
	}
	certs, err := smime.ParseCertificates(data)
	for _, c := range certs {
		l.ring.roots = append(l.ring.roots, anchor{set, file, c})
	}
	return err
}

// partner loads partners/<address>[.<word>].crt, .asc or .method.
func (l *loader) partner(file string) error {
	name, ext := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), filepath.Ext(file)
	data, err := l.read(file)
	if err != nil {
		return err
	}
	var found []Partner
	switch ext {
	case ".crt":
		certs, err := smime.ParseCertificates(data)
		if err != nil {
			return err
		}
		found = append(found, Partner{Source: Manual, File: file, Trust: Direct, Cert: certs[0], Chain: certs[1:]})
	case ".asc":
		keys, err := openpgp.ParseKeys(data)
		if err != nil {
			return err
		}
		for _, k := range keys {
			if k.Private {
				return errors.New("holds a private key: a partner's file must not")
			}
			found = append(found, Partner{Source: Manual, File: file, Trust: Direct, OpenPGP: &k})
		}
	case ".method":
		return l.method(name, string(data))
	default:
		return errors.New("unknown kind of file: .crt, .asc and .method are read")
	}
	keys := named(name)
	if len(keys) == 0 {
		return errors.New("the file's name is not an address")
	}
	for _, key := range keys {
		for _, p := range found {
			p.Domain = strings.HasPrefix(key, "@")
			l.ring.partners[key] = append(l.ring.partners[key], p)
		}
	}
	return nil
}

// domainKey is where the keys of a whole domain stand.
func domainKey(domain string) string { return "@" + strings.ToLower(domain) }

func (l *loader) method(name, text string) error {
	m, err := smime.ParseMethod(text)
	if err != nil {
		return err
	}
	if strings.HasPrefix(name, "@") {
		keys := named(name)
		for _, key := range keys {
			l.ring.methods[key] = m
		}
		if len(keys) > 0 {
			return nil
		}
	}
	a, err := message.ParseAddress(name)
	if err != nil || a.IsNull() {
		return errors.New("the file's name is not an address")
	}
	l.ring.methods[a.Key()] = m
	return nil
}

// named returns the address, or "@" and the domain, in a file's name. A further
// word cannot be told from a part of the domain, so that all readings count: the
// address in the key decides anyway. With a domain, where nothing else decides, it
// stands behind a plus sign.
func named(name string) []string {
	if domain, ok := strings.CutPrefix(name, "@"); ok {
		domain, _, _ = strings.Cut(domain, "+")
		if a, err := message.ParseAddress("x@" + domain); err == nil {
			return []string{domainKey(a.Domain)}
		}
		return nil
	}
	var list []string
	for name != "" {
		if a, err := message.ParseAddress(name); err == nil && !a.IsNull() {
			list = append(list, a.Key())
		}
		i := strings.LastIndexByte(name, '.')
		if i < strings.IndexByte(name, '@') {
			break
		}
		name = name[:max(i, 0)]
	}
	return list
}
