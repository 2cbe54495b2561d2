package keyagent

import (
	"bytes"
	"context"
	stdcrypto "crypto"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
	"gatewayd/crypto/keys"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/smime"
)

// TestKinds: keys of every algorithm sign and open although they are elsewhere, and
// what they make is what the keys of the folder open and have signed.
func TestKinds(t *testing.T) {
	dir := keyFolder(t)
	r := newRig(t, dir, nil)
	there := r.own()
	ring, problems := keys.LoadPublic(dir)
	local, more := keys.LoadOwn(dir, nil)
	if len(problems)+len(more) > 0 || len(there) != len(local) {
		t.Fatalf("%v %v, %d keys of %d", problems, more, len(there), len(local))
	}
	var list []keys.Own
	for _, o := range there {
		list = append(list, o)
	}
	here, away := ring.WithOwn(local, nil), ring.WithOwn(list, nil)
	for name, own := range there {
		signs := name != "x25519"
		opens := name != "ed25519"
		for _, m := range []smime.Method{{}, {OAEP: true, PSS: true, GCM: true}} {
			sealed, err := protect(own, signs, opens, m, from(name))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			for where, with := range map[string]*keys.Ring{"here": here, "away": away} {
				op, err := entity.Open(bytes.NewReader(sealed), int64(len(sealed)), entity.Options{Openers: with.Openers(keys.Reader{Authority: name, At: now}), At: now})
				if err != nil {
					t.Errorf("%s, opened %s: %v", name, where, err)
					continue
				}
				if opens && op.Encryption != entity.Decrypted && op.Encryption != entity.Malleable {
					t.Errorf("%s, opened %s: %s", name, where, op.Encryption)
				}
				if bad := op.Signature == entity.Broken || op.Signature == entity.NotSigned; signs && bad {
					t.Errorf("%s, opened %s: signature %s", name, where, op.Signature)
				}
				_ = op.Close()
			}
		}
	}
	for _, u := range r.uses {
		if u.Authority == "" || u.Key == "" || u.UID != os.Getuid() || u.PID != os.Getpid() || !u.At.Equal(now) {
			t.Errorf("%+v", u)
		}
	}
	for _, want := range []op{opSign, opDecrypt, opAgree, opOpen, opSignature} {
		if !slices.ContainsFunc(r.uses, func(u Use) bool { return u.Op == string(want) }) {
			t.Errorf("%s is not written down", want)
		}
	}
}

// protect signs and encrypts by one key, for itself.
func protect(own keys.Own, signs, encrypts bool, m smime.Method, text string) ([]byte, error) {
	var p *entity.Protected
	var err error
	in, size := strings.NewReader(text), int64(len(text))
	if k := own.OpenPGP; k != nil {
		public, _ := openpgp.Held(must(k.Packets()), nil, nil)
		p, err = openpgp.Protect(in, size, openpgp.Options{Signer: k, Recipients: []openpgp.Key{public}, Time: now})
	} else {
		o := smime.Options{Method: m, Time: now}
		if signs {
			o.Signer = own.SMIME.Signer()
		}
		if encrypts {
			o.Recipients = []*x509.Certificate{own.SMIME.Cert}
		}
		p, err = smime.Protect(in, size, o)
	}
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	_, err = p.WriteTo(&b)
	return b.Bytes(), err
}

// TestSigners: the signatures of every kind of key are good.
func TestSigners(t *testing.T) {
	r := newRig(t, keyFolder(t), nil)
	for name, own := range r.own() {
		if own.SMIME == nil || name == "x25519" {
			continue
		}
		public := must(cms.PublicKey(own.SMIME.Cert))
		if !own.SMIME.Key.Public().(interface {
			Equal(stdcrypto.PublicKey) bool
		}).Equal(public) {
			t.Errorf("%s: another public key", name)
		}
		sum := sha256.Sum256([]byte("text"))
		if pub, ok := public.(ed25519.PublicKey); ok {
			if sig := must(own.SMIME.Key.Sign(nil, []byte("text"), stdcrypto.Hash(0))); !ed25519.Verify(pub, []byte("text"), sig) {
				t.Error("Ed25519")
			}
			if _, err := own.SMIME.Key.Sign(nil, sum[:], stdcrypto.SHA256); err == nil {
				t.Error("Ed25519 signs a digest")
			}
			continue
		}
		for _, bad := range []struct {
			digest []byte
			opts   stdcrypto.SignerOpts
		}{
			{sum[:31], stdcrypto.SHA256},
			{sum[:20], stdcrypto.SHA1},
			{sum[:], stdcrypto.Hash(0)},
			{sum[:], stdcrypto.MD5},
			{nil, stdcrypto.SHA256},
			{sum[:], &rsa.PSSOptions{SaltLength: 3, Hash: stdcrypto.SHA256}},
		} {
			if _, err := own.SMIME.Key.Sign(nil, bad.digest, bad.opts); err == nil {
				t.Errorf("%s signs %d octets as %v", name, len(bad.digest), bad.opts)
			}
		}
	}
}

// TestAlike: what does not open looks the same from here as from a key in memory, and
// never like a key that is away.
func TestAlike(t *testing.T) {
	r := newRig(t, keyFolder(t), nil)
	there := r.rsaKey().Key.(stdcrypto.Decrypter)
	here := kinds()["rsa"].(*rsa.PrivateKey)
	key := bytes.Repeat([]byte{7}, 32)
	//lint:ignore SA1019 the point of the test
	good := must(rsa.EncryptPKCS1v15(rand.Reader, &here.PublicKey, key))
	raw := func(block []byte) []byte { return rawRSA(&here.PublicKey, block) }
	block := func(begin ...byte) []byte {
		b := bytes.Repeat([]byte{1}, here.Size())
		copy(b, begin)
		return b
	}
	short := block(0, 2)
	short[len(short)-17] = 0 // 16 octets instead of 32
	broken := map[string][]byte{"another block": raw(block(0, 1)), "no zero": raw(block(0, 2)), "a short key": raw(short), "zeros": make([]byte, here.Size()), "too short": good[1:], "too long": append([]byte{1}, good...), "nothing": nil}
	for name, sealed := range broken {
		opts := v15(32)
		a, errA := here.Decrypt(rand.Reader, sealed, opts)
		b, errB := there.Decrypt(rand.Reader, sealed, opts)
		if (errA == nil) != (errB == nil) || len(a) != len(b) || errB != nil && errB != rsa.ErrDecryption {
			t.Errorf("%s: %d octets, %v; here %d octets, %v", name, len(b), errB, len(a), errA)
		}
		if bytes.Equal(b, key) {
			t.Errorf("%s: opened", name)
		}
	}
	opts := v15(32)
	if got, err := there.Decrypt(nil, good, opts); err != nil || !bytes.Equal(got, key) {
		t.Errorf("%x, %v", got, err)
	}
	oaep := must(rsa.EncryptOAEP(sha256.New(), rand.Reader, &here.PublicKey, key, []byte("label")))
	if got, err := there.Decrypt(nil, oaep, &rsa.OAEPOptions{Hash: stdcrypto.SHA256, Label: []byte("label")}); err != nil || !bytes.Equal(got, key) {
		t.Errorf("OAEP: %x, %v", got, err)
	}
	long := must(rsa.EncryptOAEP(sha256.New(), rand.Reader, &here.PublicKey, make([]byte, maxSession+1), nil))
	for name, o := range map[string]stdcrypto.DecrypterOpts{
		"another label": &rsa.OAEPOptions{Hash: stdcrypto.SHA256}, "another digest": &rsa.OAEPOptions{Hash: stdcrypto.SHA512, Label: []byte("label")},
		"no digest": &rsa.OAEPOptions{}, "longer than a session key": v15(65), "of any length": v15(0),
		"none": nil, "a long label": &rsa.OAEPOptions{Hash: stdcrypto.SHA256, Label: make([]byte, maxRequest)},
	} {
		if _, err := there.Decrypt(nil, oaep, o); err != rsa.ErrDecryption {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := there.Decrypt(nil, long, &rsa.OAEPOptions{Hash: stdcrypto.SHA256}); err != rsa.ErrDecryption {
		t.Errorf("more than a session key: %x, %v", got, err)
	}
	agree := r.own()["x25519"].SMIME.Agree
	if _, err := agree.ECDH(must(ecdh.X25519().NewPublicKey(make([]byte, 32)))); err != rsa.ErrDecryption {
		t.Errorf("a point of low order: %v", err)
	}
	if _, err := r.own()["pgp4"].OpenPGP.OpenSessionKey(r.own()["pgp4"].OpenPGP.Parts()[0], []byte("junk")); !errors.Is(err, openpgp.ErrSessionKey) {
		t.Errorf("OpenPGP: %v", err)
	}
}

// v15 asks for a session key of that length by PKCS #1 v1.5.
func v15(size int) stdcrypto.DecrypterOpts {
	//lint:ignore SA1019 what peers send must be read
	return &rsa.PKCS1v15DecryptOptions{SessionKeyLen: size}
}

// TestQuota: beyond its quota a key is out of reach until the next minute, and
// nobody floods the log with it.
func TestQuota(t *testing.T) {
	r := newRig(t, keyFolder(t), func(o *Options) { o.Quota = 3 })
	own := r.own()
	sum := sha256.Sum256(nil)
	sign := func(name string) error {
		_, err := own[name].SMIME.Key.Sign(nil, sum[:], stdcrypto.SHA256)
		return err
	}
	for n := range 9 {
		if err := sign("p256"); errors.Is(err, cms.ErrKeyAway) != (n >= 3) {
			t.Errorf("use %d: %v", n+1, err)
		}
	}
	if err := sign("rsa"); err != nil {
		t.Errorf("another key: %v", err)
	}
	if len(r.uses) != 5 || !r.uses[3].Refused || r.uses[2].Refused {
		t.Errorf("%+v", r.uses)
	}
	if n := strings.Count(r.logged(), "quota"); n != 2 { // the word, and the value
		t.Errorf("told %d times:\n%s", n, r.logged())
	}
	r.mu.Lock()
	r.now = now.Add(time.Minute)
	r.mu.Unlock()
	if err := sign("p256"); err != nil {
		t.Errorf("in the next minute: %v", err)
	}
}

// TestMaster: an agent that has the gateway's master key hands it out, and writes
// that down; another one says no.
func TestMaster(t *testing.T) {
	dir := keyFolder(t)
	key := bytes.Repeat([]byte{9}, 32)
	var trouble error
	r := newRig(t, dir, func(o *Options) { o.Master = func() ([]byte, error) { return key, trouble } })
	if got, err := r.client.Master(t.Context()); err != nil || !bytes.Equal(got, key) {
		t.Errorf("%x, %v", got, err)
	}
	if len(r.uses) != 1 || r.uses[0].Key != masterName || r.uses[0].Op != "master" {
		t.Errorf("%+v", r.uses)
	}
	trouble = errors.New("the token is lost")
	if got, err := r.client.Master(t.Context()); !errors.Is(err, cms.ErrKeyAway) || got != nil {
		t.Errorf("%x, %v", got, err)
	}
	if got, err := newRig(t, dir, nil).client.Master(t.Context()); !errors.Is(err, cms.ErrKeyAway) || got != nil {
		t.Errorf("%x, %v", got, err)
	}
}

// TestUnwritten: what cannot be written down does not happen.
func TestUnwritten(t *testing.T) {
	r := newRig(t, keyFolder(t), nil)
	key := r.rsaKey()
	r.deny = errors.New("disk full")
	sum := sha256.Sum256(nil)
	if sig, err := key.Key.Sign(nil, sum[:], stdcrypto.SHA256); !errors.Is(err, cms.ErrKeyAway) || sig != nil {
		t.Errorf("%v", err)
	}
	if _, err := key.Key.(stdcrypto.Decrypter).Decrypt(nil, sum[:], v15(32)); !errors.Is(err, cms.ErrKeyAway) {
		t.Errorf("%v", err)
	}
}

// TestStrangers: who is not among the users is not listened to; who is among the
// groups is.
func TestStrangers(t *testing.T) {
	dir := keyFolder(t)
	r := newRig(t, dir, func(o *Options) { o.Users = []int{os.Getuid() + 1} })
	if list, _, err := r.client.Keys(context.Background()); !errors.Is(err, cms.ErrKeyAway) || list != nil {
		t.Errorf("%d keys, %v", len(list), err)
	}
	if !closed(r.raw()) {
		t.Error("the connection stays open")
	}
	if !strings.Contains(r.logged(), "not among the users") {
		t.Error(r.logged())
	}
	r = newRig(t, dir, func(o *Options) { o.Users, o.Groups = nil, []int{os.Getgid()} })
	r.own()
}

// TestHostile: what is no question ends the conversation, and no other one; nothing
// that is asked gives out more than it should.
func TestHostile(t *testing.T) {
	r := newRig(t, keyFolder(t), nil)
	frame := func(text string) string {
		return string(binary.BigEndian.AppendUint32(nil, uint32(len(text)))) + text
	}
	for name, raw := range map[string]string{
		"too long": "\xff\xff\xff\xff", "a little too long": string(binary.BigEndian.AppendUint32(nil, maxRequest+1)), "HTTP": "GET / HTTP/1.1\r\n\r\n",
		"empty": frame(""), "no JSON": frame("sign"), "unknown field": frame(`{"op":"list","more":1}`), "two": frame(`{"op":"list"}{"op":"list"}`),
		"another type": frame(`{"op":1}`), "deep": frame(strings.Repeat("[", maxRequest)),
	} {
		c := r.raw()
		if _, err := io.WriteString(c, raw); err != nil {
			t.Fatal(err)
		}
		if !closed(c) {
			t.Errorf("%s: the conversation goes on", name)
		}
	}
	c := r.raw()
	for _, own := range r.own() {
		for _, o := range []op{"", "key", "export", opSign, opDecrypt, opAgree, opOpen, opSignature} {
			for _, q := range []request{{}, {Size: -1}, {Size: 1 << 30}, {Hash: "SHA-256", Mask: "SHA-256"}, {Hash: "MD5"}, {Part: "00"}, {Data: make([]byte, 300), PSS: true}} {
				q.Op, q.Key = o, own.Fingerprint()
				var a answer
				if err := errors.Join(writeFrame(c, q, maxRequest), readFrame(c, &a, maxAnswer)); err != nil {
					t.Fatal(err)
				}
				if ed := o == opSign && own.Authority == "ed25519"; a.Fault == "" && !ed {
					t.Errorf("%s, %s: %+v answered with %d octets", own.Authority, o, q, len(a.Data))
				}
			}
		}
	}
	if _, err := r.client.ask(context.Background(), request{Op: opSign, Key: "00"}); !errors.Is(err, cms.ErrKeyAway) {
		t.Errorf("unknown key: %v", err)
	}
	r.own() // it still answers
}

// TestNoPrivate: no answer of any question holds a private key.
func TestNoPrivate(t *testing.T) {
	r := newRig(t, keyFolder(t), nil)
	c := r.raw()
	if err := writeFrame(c, request{Op: opList}, maxRequest); err != nil {
		t.Fatal(err)
	}
	var all []byte
	for more := true; more; {
		var a answer
		if err := readFrame(c, &a, maxAnswer); err != nil {
			t.Fatal(err)
		}
		more = a.Key != nil
		if more {
			all = slices.Concat(all, a.Key.OpenPGP, slices.Concat(a.Key.Chain...))
		}
	}
	d := kinds()["rsa"].(*rsa.PrivateKey)
	for _, secret := range [][]byte{d.Primes[0].Bytes(), d.Primes[1].Bytes(), d.D.Bytes(), kinds()["ed25519"].(ed25519.PrivateKey).Seed(), kinds()["x25519"].(*ecdh.PrivateKey).Bytes()} {
		if bytes.Contains(all, secret) {
			t.Error("a private key in the list")
		}
	}
}

// TestReload: the client hears of new keys; a faulty file leaves the old ones; an
// agent that went and came back is followed.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	putKey(t, dir, "own/p256/seal", "p256@bl.example", kinds()["p256"])
	r := newRig(t, dir, nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	type state struct {
		keys int
		err  error
	}
	states := make(chan state)
	go r.client.Follow(ctx, func(own []keys.Own, err error) {
		select {
		case states <- state{len(own), err}:
		case <-ctx.Done():
		}
	})
	if s := <-states; s.keys != 1 || s.err != nil {
		t.Errorf("%+v", s)
	}
	putKey(t, dir, "own/p384/seal", "p384@bl.example", kinds()["p384"])
	if err := r.client.Reload(ctx); err != nil {
		t.Error(err)
	}
	if s := <-states; s.keys != 2 || s.err != nil {
		t.Errorf("%+v", s)
	}
	put(t, dir, "own/p384/broken.asc", []byte("junk"))
	if err := r.client.Reload(ctx); err == nil || len(r.own()) != 2 {
		t.Errorf("faulty file: %v", err)
	}
	if _, err := New(r.o); !errors.Is(err, ErrKeys) {
		t.Errorf("started with a part of its keys: %v", err)
	}
	if err := os.Remove(dir + "/own/p384/broken.asc"); err != nil {
		t.Fatal(err)
	}
	held := *r.own()["p256"].SMIME
	r.stop()
	if s := <-states; !errors.Is(s.err, cms.ErrKeyAway) {
		t.Errorf("%+v", s)
	}
	sum := sha256.Sum256(nil)
	if _, err := held.Key.Sign(nil, sum[:], stdcrypto.SHA256); !errors.Is(err, cms.ErrKeyAway) {
		t.Errorf("signed by nobody: %v", err)
	}
	r.start()
	if s := <-states; s.keys != 2 || s.err != nil {
		t.Errorf("%+v", s)
	}
	if _, err := held.Key.Sign(nil, sum[:], stdcrypto.SHA256); err != nil {
		t.Errorf("after its return: %v", err)
	}
}

// slow is a key that takes its time.
type slow struct {
	stdcrypto.Signer
	begun, goes chan struct{}
}

func (s slow) Sign(r io.Reader, d []byte, o stdcrypto.SignerOpts) ([]byte, error) {
	close(s.begun)
	<-s.goes
	return s.Signer.Sign(r, d, o)
}

// TestDrain: a question under way is answered before the end.
func TestDrain(t *testing.T) {
	dir := t.TempDir()
	putKey(t, dir, "own/p256/seal", "p256@bl.example", kinds()["p256"])
	s := slow{kinds()["p256"].(stdcrypto.Signer), make(chan struct{}), make(chan struct{})}
	r := newRig(t, dir, func(o *Options) {
		load := o.Load
		o.Load = func() ([]keys.Own, []keys.Problem) {
			list, problems := load()
			list[0].SMIME.Key = s
			return list, problems
		}
	})
	key, done := r.own()["p256"].SMIME.Key, make(chan error)
	sum := sha256.Sum256(nil)
	go func() {
		_, err := key.Sign(nil, sum[:], stdcrypto.SHA256)
		done <- err
	}()
	<-s.begun
	stopped := make(chan struct{})
	go func() {
		r.server.Shutdown(context.Background())
		close(stopped)
	}()
	<-r.server.done
	close(s.goes)
	if err := <-done; err != nil {
		t.Errorf("the answer was cut off: %v", err)
	}
	<-stopped
}

// FuzzServer: whatever is asked, the answer is one frame, and never longer than a
// signature or a session key may be.
func FuzzServer(f *testing.F) {
	dir := f.TempDir()
	putKey(f, dir, "own/p256/seal", "p256@bl.example", kinds()["p256"])
	put(f, dir, "own/p256/key.asc", pgpKey("p256@bl.example", pgpConfig()))
	own, _ := keys.LoadOwn(dir, nil)
	s := must(New(Options{Load: func() ([]keys.Own, []keys.Problem) { return own, nil }, Quota: 1 << 60, Record: func(Use) error { return nil }, Now: time.Now}))
	for _, o := range own {
		part := ""
		if o.OpenPGP != nil {
			part = o.OpenPGP.Parts()[0]
		}
		for _, what := range []op{opSign, opDecrypt, opAgree, opOpen, opSignature} {
			f.Add(must(json.Marshal(request{Op: what, Key: o.Fingerprint(), Part: part, Hash: "SHA-256", Data: make([]byte, 32)})))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var q request
		if readFrame(bytes.NewReader(append(binary.BigEndian.AppendUint32(nil, uint32(len(raw))), raw...)), &q, maxRequest) != nil {
			return
		}
		a := s.use(peerZero(), q)
		if len(a.Data) > 4096+len(q.Recipients)*256 {
			t.Fatalf("%d octets", len(a.Data))
		}
	})
}
