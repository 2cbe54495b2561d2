package main

import (
	"bytes"
	"context"
	stdcrypto "crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"gatewayd/api"
	"gatewayd/config"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/smime"
	"gatewayd/message"
)

type keysImportCmd struct {
	configFlag
	Authority    string `help:"A key of this authority: PKCS #12, PEM with certificate and private key, the certificate to a request (keys csr), or an OpenPGP key with its private part." xor:"whose"`
	Partner      string `help:"A certificate or OpenPGP key of this address, or of a whole domain (@partner.example); empty: of the address in it." xor:"whose"`
	Anchor       string `help:"Certificates of issuers that are trusted, for this set: general, zertes or another name." xor:"whose"`
	PasswordFile string `type:"existingfile" help:"File with the password of a PKCS #12 file."`
	File         string `arg:"" type:"existingfile" help:"The file."`
}

// Help shows examples.
func (keysImportCmd) Help() string {
	return `Examples:
  gatewayd keys import seal.p12 --password-file pw --authority bauinspektorat
  gatewayd keys import seal.crt --authority bauinspektorat
  gatewayd keys import bob.asc
  gatewayd keys import gateway.crt --partner @partner.example
  gatewayd keys import issuer.crt --anchor zertes`
}

// Run imports: it writes into the key folder, which must be readable by the
// gateway, and lets the running gateway read it.
func (k keysImportCmd) Run(c console) error {
	cfg, err := loadConfig(k.Config, c)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(k.File)
	if err != nil {
		return err
	}
	files, err := k.files(cfg, data)
	if err != nil {
		return fmt.Errorf("%s: %w", k.File, err)
	}
	var names []string
	for _, f := range files {
		if err := f.write(cfg); err != nil {
			return err
		}
		names = append(names, f.name)
		fmt.Fprintln(c.out, "written:", filepath.Join(cfg.Keyring, f.name))
	}
	if agent := cfg.Ring.Agent(); agent != nil && k.Authority != "" {
		if err := agent.Reload(context.Background()); err != nil {
			return fmt.Errorf("the key is in the folder, but the agent does not read it: %w; then: kill -HUP the agent", err)
		}
	}
	return k.operate(c, func(ctx context.Context, op api.Operator) error { return op.ReloadKeys(ctx, strings.Join(names, " ")) })
}

// keyFile is a file that an import makes.
type keyFile struct {
	name   string // in the key folder
	data   []byte
	secret bool
}

func (f keyFile) write(cfg *config.Config) error {
	path := filepath.Join(cfg.Keyring, f.name)
	like := cfg.Keyring
	if cfg.Ring.Agent() != nil && strings.HasPrefix(f.name, "own/") {
		like = filepath.Join(cfg.Keyring, "own") // the agent's
	}
	if err := makeFolder(filepath.Dir(path), like); err != nil {
		return err
	}
	mode := os.FileMode(0o644)
	if f.secret {
		mode = 0o600
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = out.Write(f.data)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close(), ownedAs(path, like))
}

// makeFolder makes a folder, and those above it that are missing.
func makeFolder(path, like string) error {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := makeFolder(filepath.Dir(path), like); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o750); err != nil {
		return err
	}
	return ownedAs(path, like)
}

// ownedAs gives a file to whom a folder belongs: an administrator imports as root,
// the gateway, or the key agent, must read it.
func ownedAs(path, like string) error {
	if os.Getuid() != 0 {
		return nil
	}
	uid, gid, ok := ownerOf(like)
	if !ok {
		return nil
	}
	return os.Chown(path, uid, gid)
}

func (k keysImportCmd) files(cfg *config.Config, data []byte) ([]keyFile, error) {
	switch {
	case k.Anchor != "":
		return anchorFiles(k.Anchor, data)
	case k.Authority != "":
		if _, ok := cfg.Authority[k.Authority]; !ok {
			return nil, fmt.Errorf("no authority %q in the configuration", k.Authority)
		}
		return k.ownFiles(cfg.Keyring, data)
	}
	return k.partnerFiles(data)
}

func anchorFiles(set string, data []byte) ([]keyFile, error) {
	if set != filepath.Base(set) || strings.HasPrefix(set, ".") {
		return nil, fmt.Errorf("%q is no name of a set", set)
	}
	certs, err := smime.ParseCertificates(data)
	if err != nil {
		return nil, err
	}
	folder := filepath.Join("roots", set)
	if set == "general" {
		folder = "roots"
	}
	var files []keyFile
	for _, c := range certs {
		if !c.IsCA {
			return nil, errors.New("holds a certificate that is no issuer's")
		}
		files = append(files, keyFile{name: filepath.Join(folder, smime.Fingerprint(c)[:16]+".crt"), data: certPEM(c)})
	}
	return files, nil
}

func certPEM(certs ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a buffer takes everything
	}
	return b.Bytes()
}

func isOpenPGP(data []byte) bool {
	return bytes.Contains(data, []byte("-----BEGIN PGP ")) || len(data) > 0 && data[0]&0x80 != 0
}

func (k keysImportCmd) partnerFiles(data []byte) ([]keyFile, error) {
	if isOpenPGP(data) {
		list, err := openpgp.ParseKeys(data)
		if err != nil {
			return nil, err
		}
		if len(list) > 1 || list[0].Private {
			return nil, errors.New("must hold exactly one key, without its private part")
		}
		armored, err := list[0].Public()
		if err != nil {
			return nil, err
		}
		base, err := k.partnerName(list[0].Addresses, list[0].Fingerprint)
		return []keyFile{{name: base + ".asc", data: armored}}, err
	}
	certs, err := smime.ParseCertificates(data)
	if err != nil {
		return nil, err
	}
	base, err := k.partnerName(smime.Addresses(certs[0]), smime.Fingerprint(certs[0]))
	return []keyFile{{name: base + ".crt", data: certPEM(certs...)}}, err
}

// partnerName is the file's name: address and a part of the fingerprint, so that
// a new key stands beside the old one.
func (k keysImportCmd) partnerName(in []message.Address, fingerprint string) (string, error) {
	if domain, ok := strings.CutPrefix(k.Partner, "@"); ok {
		if _, err := message.ParseAddress("x@" + domain); err != nil || strings.ContainsAny(domain, "/+") {
			return "", fmt.Errorf("%q is no domain", domain)
		}
		return "partners/@" + domain + "+" + fingerprint[:8], nil
	}
	text := k.Partner
	if text == "" {
		if len(in) != 1 {
			return "", fmt.Errorf("it stands for %d addresses: say --partner ADDRESS", len(in))
		}
		text = in[0].String()
	}
	a, err := message.ParseAddress(text)
	if err != nil || a.IsNull() || strings.ContainsAny(a.String(), "/\x00") {
		return "", fmt.Errorf("%q cannot be the name of a file: put it there by hand", text)
	}
	return "partners/" + a.String() + "." + fingerprint[:8], nil
}

// ownFiles takes what an authority signs and opens with.
func (k keysImportCmd) ownFiles(folder string, data []byte) ([]keyFile, error) {
	own := filepath.Join("own", k.Authority)
	if block, _ := pem.Decode(data); block == nil && !isOpenPGP(data) {
		certs, key, err := k.pkcs12(data)
		if err == nil {
			return pairFiles(own, certs, key)
		}
		if c, parsed := x509.ParseCertificate(data); parsed == nil {
			return requested(folder, own, []*x509.Certificate{c})
		}
		return nil, err
	} else if block == nil || strings.HasPrefix(block.Type, "PGP") {
		list, err := openpgp.ParseKeys(data)
		if err != nil {
			return nil, err
		}
		if len(list) > 1 || !list[0].Private {
			return nil, errors.New("must hold exactly one key, with its private part")
		}
		return []keyFile{{name: filepath.Join(own, list[0].Fingerprint[:16]+".asc"), data: data, secret: true}}, nil
	}
	id, err := smime.ParseIdentity(data, data)
	if err == nil {
		private, err := x509.MarshalPKCS8PrivateKey(id.Private())
		if err != nil {
			return nil, err
		}
		return pairFiles(own, append([]*x509.Certificate{id.Cert}, id.Chain...), private)
	}
	certs, parsed := smime.ParseCertificates(data)
	if parsed != nil || bytes.Contains(data, []byte("PRIVATE KEY-----")) {
		return nil, err
	}
	return requested(folder, own, certs)
}

func (k keysImportCmd) pkcs12(data []byte) ([]*x509.Certificate, []byte, error) {
	password := ""
	if k.PasswordFile != "" {
		text, err := os.ReadFile(k.PasswordFile)
		if err != nil {
			return nil, nil, err
		}
		password = strings.TrimRight(string(text), "\r\n")
	}
	key, cert, chain, err := pkcs12.DecodeChain(data, password)
	if errors.Is(err, pkcs12.ErrIncorrectPassword) {
		return nil, nil, errors.New("the password does not fit: --password-file")
	}
	if err != nil {
		return nil, nil, errors.New("neither PEM, nor PKCS #12, nor OpenPGP")
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	return append([]*x509.Certificate{cert}, chain...), private, err
}

// pairFiles checks that key and certificate belong together.
func pairFiles(own string, certs []*x509.Certificate, private []byte) ([]keyFile, error) {
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	if _, err := smime.ParseIdentity(certPEM(certs...), key); err != nil {
		return nil, err
	}
	base := filepath.Join(own, smime.Fingerprint(certs[0])[:16])
	return []keyFile{{name: base + ".key", data: key, secret: true}, {name: base + ".crt", data: certPEM(certs...)}}, nil
}

// requested finds the private key that a request was made for.
func requested(folder, own string, certs []*x509.Certificate) ([]keyFile, error) {
	names, err := filepath.Glob(filepath.Join(folder, own, "*.key"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		key, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if _, err := smime.ParseIdentity(certPEM(certs...), key); err == nil {
			return []keyFile{{name: filepath.Join(own, strings.TrimSuffix(filepath.Base(name), ".key")+".crt"), data: certPEM(certs...)}}, nil
		}
	}
	return nil, errors.New("its private key is neither in the file nor in the key folder")
}

type keysCSRCmd struct {
	configFlag
	Authority string   `required:"" help:"Whose key it will be."`
	Address   []string `required:"" help:"Mail address for which the certificate stands; again for more."`
	Key       string   `enum:"rsa3072,rsa4096,p256,p384" default:"rsa3072" help:"Kind of key: rsa3072, rsa4096, p256, p384."`
	Name      string   `help:"Common name; empty: the authority's name."`
}

// Help shows examples.
func (keysCSRCmd) Help() string {
	return "The private key stays in the key folder. Import the certificate when it comes:\n\n  gatewayd keys csr --authority bauinspektorat --address bauinspektorat@bl.example > request.pem\n  gatewayd keys import certificate.pem --authority bauinspektorat\n\nThe old key goes on opening old mail; the new one signs as soon as it is good."
}

// Run makes key and request.
func (k keysCSRCmd) Run(c console) error {
	cfg, err := loadConfig(k.Config, c)
	if err != nil {
		return err
	}
	authority, ok := cfg.Authority[k.Authority]
	if !ok {
		return fmt.Errorf("no authority %q in the configuration", k.Authority)
	}
	tpl := &x509.CertificateRequest{Subject: pkix.Name{CommonName: k.Name}}
	if k.Name == "" {
		tpl.Subject.CommonName = authority.Name
	}
	for _, text := range k.Address {
		a, err := message.ParseAddress(text)
		if err != nil || a.IsNull() || !a.IsASCII() {
			return fmt.Errorf("%q: not an address that a certificate can carry", text)
		}
		tpl.EmailAddresses = append(tpl.EmailAddresses, a.String())
	}
	key, err := newKey(k.Key)
	if err != nil {
		return err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, tpl, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	id := message.NewID(time.Now())
	file := keyFile{name: filepath.Join("own", k.Authority, "request-"+id.String()+".key"), data: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), secret: true}
	if err := file.write(cfg); err != nil {
		return err
	}
	fmt.Fprintln(c.err, "private key:", filepath.Join(cfg.Keyring, file.name))
	return pem.Encode(c.out, &pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request})
}

func newKey(kind string) (stdcrypto.Signer, error) {
	switch kind {
	case "p256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "p384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "rsa4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	}
	return rsa.GenerateKey(rand.Reader, 3072)
}

// ownerOf tells whose a folder is.
func ownerOf(path string) (uid, gid int, ok bool) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0, false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(stat.Uid), int(stat.Gid), true
}
