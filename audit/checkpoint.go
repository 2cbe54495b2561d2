package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"path/filepath"
	"time"

	"gatewayd/message"
)

// A checkpoint is signed when that much time has passed, or so many links were
// written, since the last one.
const (
	checkpointEvery = time.Hour
	checkpointLinks = 100_000
)

const checkpointName = "checkpoint"

// Checkpoint is the signed statement of how far the chain had come at an
// instant: whoever rewrites or cuts off what lies before it contradicts it.
// It stands beside the day files, which hold the day that goes on, and may be
// kept elsewhere; the syslog forwarder sends it there.
type Checkpoint struct {
	Seq       uint64         `json:"link"`
	Hash      message.Digest `json:"hash"`
	At        time.Time      `json:"at"`
	PublicKey []byte         `json:"public_key"` // Ed25519, the gateway's
	Signature []byte         `json:"signature,omitempty"`
}

const checkpointLabel = "gatewayd audit checkpoint 1\x00"

// errCheckpoint is for a checkpoint that does not hold.
var errCheckpoint = errors.New("the checkpoint is not as it was signed, or another gateway's")

// checkpoint signs how far the chain has come, if it is time.
func (l *Log) checkpoint(now time.Time) error {
	l.mu.Lock()
	last, before := l.last, l.signed
	l.mu.Unlock()
	if last.Seq == before.Seq || last.Seq > before.Seq && last.Seq-before.Seq < checkpointLinks && now.Sub(before.At).Abs() < checkpointEvery {
		return nil
	}
	_, err := l.Checkpoint(now)
	return err
}

// Checkpoint signs now how far the chain has come, durably.
func (l *Log) Checkpoint(now time.Time) (Checkpoint, error) {
	key, err := l.keys.SigningKey()
	if err != nil {
		return Checkpoint{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := Checkpoint{Seq: l.last.Seq, Hash: l.last.Hash, At: now.UTC(), PublicKey: key.Public().(ed25519.PublicKey)}
	bare, err := json.Marshal(c)
	if err != nil {
		return c, err
	}
	c.Signature = ed25519.Sign(key, append([]byte(checkpointLabel), bare...))
	text, err := json.Marshal(c)
	if err != nil {
		return c, err
	}
	if err := l.replace(filepath.Join(l.dir, checkpointName), text); err != nil {
		return c, err
	}
	l.signed = c
	l.step("checkpointed")
	return c, syncDir(l.dir)
}

// Signed returns the newest checkpoint; the zero one when there is none.
func (l *Log) Signed() Checkpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.signed
}

// readCheckpoint reads the checkpoint of a folder and checks its form and
// signature; public may be nil.
func readCheckpoint(dir string, public ed25519.PublicKey) (Checkpoint, error) {
	text, err := readSmall(filepath.Join(dir, checkpointName))
	if err != nil {
		return Checkpoint{}, err
	}
	return ParseCheckpoint(text, public)
}

// ParseCheckpoint reads a checkpoint and checks its form and signature, by that
// key, or, when it is nil, by the one that it carries.
func ParseCheckpoint(text []byte, public ed25519.PublicKey) (Checkpoint, error) {
	var c Checkpoint
	if err := json.Unmarshal(text, &c); err != nil {
		return c, errCheckpoint
	}
	if again, err := json.Marshal(c); err != nil || !bytes.Equal(again, text) {
		return c, errCheckpoint // every octet counts
	}
	bare := c
	bare.Signature = nil
	signed, err := json.Marshal(bare)
	if err != nil || !signedBy(public, c.PublicKey, c.Signature, checkpointLabel, signed) {
		return c, errCheckpoint
	}
	return c, nil
}
