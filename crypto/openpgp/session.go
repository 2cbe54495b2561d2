package openpgp

import (
	"bufio"
	"bytes"
	stdcrypto "crypto"
	"crypto/rsa"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math/big"
	"slices"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// go-crypto wants the private key itself to open a session key. So that a Keeper
// can do it instead, and everything else (which key is tried, integrity, order of
// packets, intended recipients) stays go-crypto's: on the way to it every packet
// with a session key for one of our keys is replaced by one in RSA that holds
// nothing but a number, and each of our keys has in place of its private part an
// "RSA key" that looks up the original by that number and asks the keeper.

const (
	tagSessionKey = 1  // PKESK, RFC 9580 section 5.1
	tagPassphrase = 3  // SKESK, section 5.3
	tagMarker     = 10 // section 5.8

	maxKeyPacket = 64 << 10 // octets of a packet in front of the encrypted data
	maxOriginals = 64       // packets that are kept for our keys
	maxTries     = 32       // times that a keeper is asked about one message: hidden recipients (key ID 0) may be anybody
)

// sessions opens the session keys of one message.
type sessions struct {
	keys      []Key
	originals []original
	tries     int
	trouble   error  // of a keeper that could not answer
	form      string // of the encrypted data: how they are protected against change
}

// original is a packet with a session key as it came.
type original struct {
	raw     []byte
	version int
	algo    packet.PublicKeyAlgorithm
}

// standIn gives the parts of our key that its keeper has something that go-crypto
// takes for private RSA keys.
func (s *sessions) standIn(k Key, e *pgp.Entity) {
	private := func(p *packet.PublicKey) *packet.PrivateKey {
		stub := &packet.PrivateKey{PublicKey: *p, PrivateKey: asker{s, k, nameOf(p), p.PubKeyAlgo}}
		stub.PubKeyAlgo = packet.PubKeyAlgoRSA
		return stub
	}
	if k.holds(e.PrimaryKey) {
		e.PrivateKey = private(e.PrimaryKey)
	}
	for i := range e.Subkeys {
		if p := e.Subkeys[i].PublicKey; k.holds(p) {
			e.Subkeys[i].PrivateKey = private(p)
		}
	}
}

// asker is a crypto.Decrypter that asks the keeper of one part of a key.
type asker struct {
	of   *sessions
	key  Key
	part string
	algo packet.PublicKeyAlgorithm
}

// Public says that cipher texts have two octets.
func (asker) Public() stdcrypto.PublicKey { return &rsa.PublicKey{N: big.NewInt(0xffff), E: 3} }

// Decrypt takes the number of an original and returns its session key in the form
// of section 5.1.3.
func (a asker) Decrypt(_ io.Reader, number []byte, _ stdcrypto.DecrypterOpts) ([]byte, error) {
	n := -1
	if len(number) == 2 {
		n = int(binary.BigEndian.Uint16(number) &^ numberMark)
	}
	if n < 0 || n >= len(a.of.originals) || a.of.tries >= maxTries {
		return nil, ErrSessionKey
	}
	o := a.of.originals[n]
	if o.algo != a.algo {
		return nil, ErrSessionKey
	}
	a.of.tries++
	k, err := a.key.OpenSessionKey(a.part, o.raw)
	if err != nil {
		if !errors.Is(err, ErrSessionKey) {
			a.of.trouble = err
		}
		return nil, err
	}
	var block []byte
	if o.version < 6 {
		block = append(block, k.Cipher)
	}
	sum := uint16(0)
	for _, c := range k.Key {
		sum += uint16(c)
	}
	return binary.BigEndian.AppendUint16(append(block, k.Key...), sum), nil
}

// numberMark keeps the first bit of a number set: MPIs have no leading zeros.
const numberMark = 0x8000

// replaced returns the message with our packets replaced.
func (s *sessions) replaced(message io.Reader) io.Reader {
	return &replacer{s: s, from: bufio.NewReaderSize(message, maxKeyPacket+16)}
}

// replacer replaces packets in front of the encrypted data; from the first packet
// of another kind on it passes on what comes.
type replacer struct {
	s    *sessions
	from *bufio.Reader
	next bytes.Reader // what is to be given out before anything else
	pass bool
}

// Read implements io.Reader.
func (r *replacer) Read(p []byte) (int, error) {
	for r.next.Len() == 0 && !r.pass {
		size, body := r.packet()
		if r.pass = size == 0; r.pass {
			head, _ := r.from.Peek(10) // fewer at the end
			r.s.form = formOf(head)
			break
		}
		raw, err := r.from.Peek(size)
		if err != nil {
			r.pass = true // cut off inside: go-crypto says so
			break
		}
		r.next.Reset(r.s.replace(slices.Clone(raw), body))
		_, _ = r.from.Discard(size) // it was peeked at
	}
	if r.next.Len() > 0 {
		return r.next.Read(p)
	}
	return r.from.Read(p)
}

// packet returns the octets of the packet that comes next, and where its body
// begins; 0 if it is none of those that stand in front.
func (r *replacer) packet() (size, body int) {
	head, _ := r.from.Peek(6) // fewer at the end
	tag, body, size := header(head)
	if tag != tagSessionKey && tag != tagPassphrase && tag != tagMarker || size > maxKeyPacket {
		return 0, 0
	}
	return body + size, body
}

// header reads a packet's header (section 4.2): its tag, where its body begins, and
// how long that is. The tag is 0 for what has no length, or is none.
func header(head []byte) (tag, body, size int) {
	if len(head) < 2 || head[0]&0x80 == 0 {
		return 0, 0, 0
	}
	tag, form := int(head[0]&0x3f), 0
	switch first := head[1]; {
	case head[0]&0x40 == 0: // the old form
		tag, form = int(head[0]>>2&0xf), 1<<(head[0]&3)
		body = 1
	case first < 192:
		return tag, 2, int(first)
	case first < 224 && len(head) > 2:
		return tag, 3, int(first-192)<<8 + int(head[2]) + 192
	case first == 255:
		form, body = 4, 2
	}
	if form == 0 || form == 8 || len(head) < body+form { // partial, or until the end
		return 0, 0, 0
	}
	for _, c := range head[body : body+form] {
		size = size<<8 | int(c)
	}
	return tag, body + form, size
}

// formOf names how encrypted data are protected, by the first octets of their
// packet (sections 5.13 and 5.7; 20 is a draft's): "MDC" behind a cipher in CFB mode,
// or the AEAD mode. "" if they are not, or are no such packet.
func formOf(head []byte) string {
	if len(head) < 2 || head[0]&0x80 == 0 {
		return ""
	}
	tag, at := int(head[0]&0x3f), 2
	switch {
	case head[0]&0x40 == 0:
		tag, at = int(head[0]>>2&0xf), 1+[]int{1, 2, 4, 0}[head[0]&3]
	case head[1] >= 192 && head[1] < 224:
		at = 3
	case head[1] == 255:
		at = 6
	}
	if len(head) < at+3 {
		return ""
	}
	mode := map[byte]string{1: "EAX", 2: "OCB", 3: "GCM"}[head[at+2]]
	switch {
	case tag == 18 && head[at] == 1:
		return "MDC"
	case tag == 18 && head[at] == 2, tag == 20:
		return mode
	}
	return ""
}

// replace returns what stands in place of a packet.
func (s *sessions) replace(raw []byte, body int) []byte {
	o := original{raw: raw}
	id, head := o.read(raw[body:])
	if head == nil || len(s.originals) == maxOriginals || !s.ours(id) {
		return raw
	}
	number := numberMark | uint16(len(s.originals))
	s.originals = append(s.originals, o)
	content := append(slices.Clone(head), uint8(packet.PubKeyAlgoRSA))
	content = binary.BigEndian.AppendUint16(append(content, 0, 16), number) // an MPI of 16 bits
	return append([]byte{0xc0 | tagSessionKey, uint8(len(content))}, content...)
}

// read looks at the body of a PKESK packet: for which key it is, and everything in
// front of the algorithm; nil if it is of another form.
func (o *original) read(body []byte) (id []byte, head []byte) {
	n := 0
	switch {
	case len(body) > 9 && body[0] == 3:
		id, n = body[1:9], 9
	case len(body) > 2 && body[0] == 6 && body[1] == 0:
		n = 2
	case len(body) > 2 && body[0] == 6 && len(body) > 2+int(body[1]):
		n = 2 + int(body[1])
		id = body[3:n]
	default:
		return nil, nil
	}
	o.version, o.algo = int(body[0]), packet.PublicKeyAlgorithm(body[n])
	return id, body[:n]
}

// ours reports whether one of our keys may be meant by a key ID or fingerprint; by
// none, or zeros, each.
func (s *sessions) ours(id []byte) bool {
	if len(bytes.Trim(id, "\x00")) == 0 {
		return slices.ContainsFunc(s.keys, func(k Key) bool { return k.Private })
	}
	name := hex.EncodeToString(id)
	for _, k := range s.keys {
		if slices.Contains(k.parts, name) || len(id) == 8 && k.Private && slices.Contains(k.ids, binary.BigEndian.Uint64(id)) {
			return true
		}
	}
	return false
}
