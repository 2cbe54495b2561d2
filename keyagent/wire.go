package keyagent

import (
	"bytes"
	stdcrypto "crypto"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Bounds of the protocol.
const (
	maxRequest = 128 << 10 // octets of a frame to the agent: an OpenPGP packet of 64 KiB, in base64
	maxAnswer  = 4 << 20   // octets of a frame from it: a certificate file of 1 MiB with its chain
	maxKeys    = 10_000    // keys of one agent
	maxSession = 64        // octets of a session key: nothing longer is ever given out
	maxSecret  = 66        // octets of a shared secret: P-521
)

// op is what is asked for.
type op string

const (
	opList      op = "list"      // the public halves of all keys
	opWatch     op = "watch"     // answered when the keys are others than Seen, or after a while
	opPing      op = "ping"      // answered at once: the agent works
	opReload    op = "reload"    // read the key folder again
	opSign      op = "sign"      // a digest, by the key of a certificate
	opDecrypt   op = "decrypt"   // a content key, by RSA
	opAgree     op = "agree"     // a shared secret, by ECDH
	opOpen      op = "open"      // an OpenPGP session key
	opSignature op = "signature" // an OpenPGP signature packet over a document
	opMaster    op = "master"    // the master key of the gateway (crypto/seal)
)

// masterName is the name of the master key in the log of uses.
const masterName = "master"

// request is a question to the agent.
type request struct {
	Op   op     `json:"op"`
	Key  string `json:"key,omitempty"`  // fingerprint
	Part string `json:"part,omitempty"` // of an OpenPGP key

	Data []byte `json:"data,omitempty"` // digest; cipher text; the other's public key; packet; state of a hash
	Hash string `json:"hash,omitempty"` // of a digest; of OAEP. Empty with Ed25519, where Data is the message
	PSS  bool   `json:"pss,omitempty"`  // RSASSA-PSS, with a salt as long as the digest

	Size  int    `json:"size,omitempty"` // RSAES-PKCS1-v1_5, and a session key of that many octets; 0: OAEP
	Mask  string `json:"mask,omitempty"` // hash of OAEP's MGF1
	Label []byte `json:"label,omitempty"`

	Salt       []byte      `json:"salt,omitempty"`
	Time       time.Time   `json:"time,omitzero"`
	Recipients []recipient `json:"recipients,omitempty"`

	Seen uint64 `json:"seen,omitempty"`
}

// recipient is an openpgp.Recipient.
type recipient struct {
	Version     int    `json:"version"`
	Fingerprint []byte `json:"fingerprint"`
}

// fault is why there is no result.
type fault string

const (
	faultUnopened fault = "unopened" // this key does not open it, whatever is wrong
	faultBad      fault = "bad"      // the question cannot be answered by this key
	faultUnknown  fault = "unknown"  // no such key
	faultBusy     fault = "busy"     // the quota of the key is used up
	faultTrouble  fault = "trouble"  // of the agent's own
)

// answer is what the agent says.
type answer struct {
	Fault  fault   `json:"fault,omitempty"`
	Text   string  `json:"text,omitempty"` // why, for a log
	Data   []byte  `json:"data,omitempty"`
	Cipher uint8   `json:"cipher,omitempty"` // of an OpenPGP session key
	Key    *listed `json:"key,omitempty"`    // one of the list; more follow
	Seen   uint64  `json:"seen,omitempty"`   // names these keys: it is another one after each change
}

// listed is the public half of one key.
type listed struct {
	Authority string   `json:"authority"`
	File      string   `json:"file"`
	Chain     [][]byte `json:"chain,omitempty"` // DER: its certificate, and those above it
	Signs     bool     `json:"signs,omitempty"`
	Agrees    bool     `json:"agrees,omitempty"`
	Decrypts  bool     `json:"decrypts,omitempty"`
	OpenPGP   []byte   `json:"openpgp,omitempty"` // packets
	Parts     []string `json:"parts,omitempty"`   // those with a private key
}

// hashes are those that are spoken of, by name.
func hashes() map[string]stdcrypto.Hash {
	named := map[string]stdcrypto.Hash{}
	for _, h := range []stdcrypto.Hash{stdcrypto.SHA1, stdcrypto.SHA256, stdcrypto.SHA384, stdcrypto.SHA512} {
		named[h.String()] = h
	}
	return named
}

// errFrame is returned for what is no frame.
var errFrame = errors.New("not a frame of the protocol")

func writeFrame(w io.Writer, v any, limit int) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > limit {
		return fmt.Errorf("%w: %d octets", errFrame, len(body))
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	return err
}

func readFrame(r io.Reader, v any, limit int) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > uint32(limit) {
		return fmt.Errorf("%w: %d octets", errFrame, size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return errFrame // its text may quote what was sent
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errFrame
	}
	return nil
}
