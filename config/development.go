package config

import (
	"bytes"
	"crypto/rand"
	_ "embed" // the templates of the development configuration
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"gatewayd/directory"
	"gatewayd/simulator"
)

//go:embed development.toml
var developmentTemplate string

//go:embed directory.toml
var developmentDirectory []byte

// Ports are the addresses of a development configuration.
type Ports struct {
	Submission, SubmissionTLS, Inbound, IncaMail, PrivaSphere, Relay, TSA string
}

// LoopbackPorts returns addresses on 127.0.0.1 that begin at base.
func LoopbackPorts(base int) Ports {
	at := func(n int) string { return fmt.Sprintf("127.0.0.1:%d", base+n) }
	return Ports{Submission: at(87), SubmissionTLS: at(65), Inbound: at(25), IncaMail: at(26), PrivaSphere: at(27), Relay: at(28), TSA: at(29)}
}

// Names of the files that WriteDevelopment makes beside gatewayd.toml and that
// the simulators need.
const (
	SimulatorCA           = "ca.crt"
	SimulatorAnchors      = "anchors.crt"
	DevelopmentPassword   = "password.txt"
	IncaMailServer        = "sim/incamail-server"
	PrivaSphereServer     = "sim/privasphere-server"
	IncaMailSeal          = "sim/incamail-seal"
	PrivaSphereSeal       = "sim/privasphere-seal"
	RelayServer           = "sim/relay-server"
	TimeStamps            = "sim/tsa"        // certificate and key of the simulated time-stamping authority
	PartnerSMIME          = "sim/treuhand"   // certificate and private key of treuhand@example.net
	PartnerOpenPGP        = "sim/verein.asc" // private key of verein@example.net
	developmentClient     = "client"
	incaMailServerName    = "mgi.incamail.example"
	privaSphereServerName = "smtp.privasphere.example"
)

// WriteDevelopment writes a working configuration with its own test CA,
// certificates, keys and accounts into dir, which must be new or empty.
func WriteDevelopment(dir string, ports Ports) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty: choose a new folder", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, sub := range []string{"sim", "keyring/partners", "keyring/own/bauinspektorat", "keyring/roots"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return err
		}
	}
	var text bytes.Buffer
	t, err := template.New("development").Parse(developmentTemplate)
	if err != nil {
		return err
	}
	if err := t.Execute(&text, ports); err != nil {
		return err
	}
	w := writer{dir: dir}
	w.write("gatewayd.toml", text.Bytes(), 0o644)
	w.write("directory.toml", developmentDirectory, 0o644)
	w.write("master.key", []byte(hex.EncodeToString(random(32))+"\n"), 0o600)
	w.accounts()
	w.certificates()
	w.openpgp("Verein Muster", "verein@example.net", "keyring/partners/verein@example.net.asc", PartnerOpenPGP)
	w.openpgp("Bauinspektorat BL", "bauinspektorat@bl.example", "", "keyring/own/bauinspektorat/sign.asc")
	return w.err
}

// openpgp makes a key and writes its public part and the whole of it, where
// they are named.
func (w *writer) openpgp(name, address, public, private string) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	key, err := openpgp.NewEntity(name, "", address, &packet.Config{Time: func() time.Time { return now }})
	if err != nil {
		w.err = errors.Join(w.err, err)
		return
	}
	write := func(name, kind string, serialize func(io.Writer) error) {
		var text bytes.Buffer
		armored, err := armor.Encode(&text, kind, nil)
		if err == nil {
			err = serialize(armored)
		}
		if err == nil {
			err = armored.Close()
		}
		w.err = errors.Join(w.err, err)
		w.write(name, append(text.Bytes(), '\n'), 0o600)
	}
	if public != "" {
		write(public, openpgp.PublicKeyType, key.Serialize)
	}
	write(private, openpgp.PrivateKeyType, func(out io.Writer) error { return key.SerializePrivateWithoutSigning(out, nil) })
}

// writer writes files until the first error.
type writer struct {
	dir string
	err error
}

func (w *writer) write(name string, text []byte, mode os.FileMode) {
	if w.err == nil {
		w.err = os.WriteFile(filepath.Join(w.dir, name), text, mode)
	}
}

func (w *writer) copy(from, to string) {
	text, err := os.ReadFile(filepath.Join(w.dir, from))
	w.err = errors.Join(w.err, err)
	w.write(to, text, 0o644)
}

func (w *writer) accounts() {
	password := hex.EncodeToString(random(9))
	var lines bytes.Buffer
	for _, name := range []string{"sachbearbeitung", "veranlagung"} {
		hash, err := directory.HashPassword(password)
		if err != nil {
			w.err = errors.Join(w.err, err)
			return
		}
		fmt.Fprintf(&lines, "%s:%s\n", name, hash)
	}
	w.write("accounts", lines.Bytes(), 0o600)
	w.write(DevelopmentPassword, []byte(password+"\n"), 0o600)
}

func (w *writer) certificates() {
	ca, err := simulator.NewCA("gatewayd development CA")
	if err != nil {
		w.err = errors.Join(w.err, err)
		return
	}
	seals, err := simulator.NewCA("gatewayd simulated seals CA")
	if err != nil {
		w.err = errors.Join(w.err, err)
		return
	}
	w.write(SimulatorCA, ca.PEM(), 0o644)
	w.write(SimulatorAnchors, seals.PEM(), 0o644)
	w.pair("gateway")(ca.Server("gateway.bl.example", "localhost", "127.0.0.1"))
	w.pair("mta")(ca.Client("bl.example", "gateway.bl.example"))
	w.pair(developmentClient)(ca.Client("fachapplikation-bau.bl.example"))
	w.pair("fallback")(ca.Seal("Fallback", "archiv@bl.example"))
	w.pair(IncaMailServer)(ca.Server(incaMailServerName, "localhost", "127.0.0.1"))
	w.pair(PrivaSphereServer)(ca.Server(privaSphereServerName, "localhost", "127.0.0.1"))
	w.pair(RelayServer)(ca.Server("relay.example", "localhost", "127.0.0.1"))
	w.pair("seal")(ca.Seal("Gateway BL (Entwicklung)", "gateway@bl.example"))
	w.pair(TimeStamps)(ca.TSA("simulated time-stamping authority"))
	partner := w.pair(PartnerSMIME)
	partner(ca.Seal("Treuhand Muster", "treuhand@example.net"))
	w.copy(PartnerSMIME+".crt", "keyring/partners/treuhand@example.net.crt")
	w.pair("keyring/own/bauinspektorat/sign")(ca.Seal("Bauinspektorat BL", "bauinspektorat@bl.example"))
	w.write("keyring/roots/ca.crt", ca.PEM(), 0o644)
	w.pair(IncaMailSeal)(seals.Seal("IncaMail simulated seal", "swisspost@im.post.ch"))
	w.pair(PrivaSphereSeal)(seals.Seal("PrivaSphere simulated seal", "securemessaging@privasphere.com"))
}

// pair writes NAME.crt and NAME.key.
func (w *writer) pair(name string) func(simulator.Certificate, error) {
	return func(c simulator.Certificate, err error) {
		if err != nil {
			w.err = errors.Join(w.err, err)
			return
		}
		key, err := c.KeyPEM()
		if err != nil {
			w.err = errors.Join(w.err, err)
			return
		}
		w.write(name+".crt", c.CertPEM(), 0o644)
		w.write(name+".key", key, 0o600)
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
