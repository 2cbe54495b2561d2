package openpgp

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"gatewayd/crypto/entity"
	"gatewayd/message"
)

var now = time.Date(2026, 11, 23, 13, 5, 6, 0, time.UTC)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// world is what the tests play with.
type world struct {
	amt, amtRSA, bob, rsa, v6, old, revoked, mallory Key // private
}

var testWorld = sync.OnceValue(func() world {
	made := now.AddDate(-1, 0, 0)
	at := func(c packet.Config) *packet.Config {
		c.Time = func() time.Time { return made }
		return &c
	}
	week := uint32(7 * 24 * 3600)
	return world{
		amt:     newEntity("amt@bl.example", at(packet.Config{Algorithm: packet.PubKeyAlgoEdDSA}), nil),
		amtRSA:  newEntity("amt@bl.example", at(packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048}), nil),
		bob:     newEntity("bob@partner.example", at(packet.Config{Algorithm: packet.PubKeyAlgoEdDSA}), nil),
		rsa:     newEntity("rsa@partner.example", at(packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048}), nil),
		v6:      newEntity("v6@partner.example", at(packet.Config{V6Keys: true, Algorithm: packet.PubKeyAlgoEd25519, AEADConfig: &packet.AEADConfig{}}), nil),
		old:     newEntity("amt@bl.example", at(packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, KeyLifetimeSecs: week}), nil),
		mallory: newEntity("amt@bl.example", at(packet.Config{Algorithm: packet.PubKeyAlgoEdDSA}), nil),
		revoked: newEntity("amt@bl.example", at(packet.Config{Algorithm: packet.PubKeyAlgoEdDSA}), func(e *pgp.Entity) {
			if err := e.Revoke(packet.KeyCompromised, "lost", at(packet.Config{})); err != nil {
				panic(err)
			}
		}),
	}
})

func newEntity(mail string, c *packet.Config, change func(*pgp.Entity)) Key {
	e := must(pgp.NewEntity("Test", "", mail, c))
	if change != nil {
		change(e)
	}
	return must(newKey(e))
}

// public takes the private parts away.
func (k Key) public() Key { return must(ParseKeys(must(k.Public())))[0] }

// whole returns the key with its private parts, as go-crypto has it.
func (k Key) whole() *pgp.Entity {
	e := must(k.entity())
	if l, ok := k.keeper.(local); ok {
		e.PrivateKey = l.parts[nameOf(e.PrimaryKey)]
		for i := range e.Subkeys {
			e.Subkeys[i].PrivateKey = l.parts[nameOf(e.Subkeys[i].PublicKey)]
		}
	}
	return e
}

// secret returns the packets with the private parts, if it has any.
func (k Key) secret() []byte {
	e := k.whole()
	if e.PrivateKey == nil {
		return k.raw
	}
	var b bytes.Buffer
	if err := e.SerializePrivateWithoutSigning(&b, nil); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func publics(keys ...Key) []Key {
	var out []Key
	for _, k := range keys {
		out = append(out, k.public())
	}
	return out
}

func put(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// need skips, or fails in CI, where a tool is missing.
func need(t *testing.T, tool, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		text := fmt.Sprintf("needs %s: apt-get install %s", tool, pkg)
		if os.Getenv("CI") != "" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
}

func corpus(t testing.TB, parts ...string) string {
	t.Helper()
	dir := filepath.Join(append([]string{"..", "..", "..", "shared", "corpora"}, parts...)...)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("corpus %s is not here: %v", parts[0], err)
	}
	return dir
}

// open opens a message that is in memory.
func open(t testing.TB, raw []byte, o entity.Options) *entity.Opened {
	t.Helper()
	op, err := entity.Open(bytes.NewReader(raw), int64(len(raw)), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := op.Close(); err != nil {
			t.Error(err)
		}
	})
	return op
}

// with are the options of somebody with those keys.
func with(keys ...Key) entity.Options {
	return entity.Options{Openers: []entity.Opener{Opener{Keys: keys}}, At: now}
}

func content(t testing.TB, op *entity.Opened) string {
	t.Helper()
	if op.Content == nil {
		return ""
	}
	b := make([]byte, op.Content.Size)
	if _, err := op.Content.ReadAt(b, op.Content.Start); err != nil && len(b) > 0 {
		t.Fatal(err)
	}
	return string(b)
}

func protect(t testing.TB, raw string, o Options) []byte {
	t.Helper()
	p, err := Protect(strings.NewReader(raw), int64(len(raw)), o)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := p.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func addr(s string) message.Address { return must(message.ParseAddress(s)) }
