package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"

	"gatewayd/calendar"
	"gatewayd/message"
)

// Proof proves that one line stood in the log of a day, without any other line:
// by its place in the Merkle tree (RFC 9162 section 2.1.3) under the root that the
// seal of the day signs. It needs neither the log nor a key to be checked, also
// when everything else was erased.
type Proof struct {
	Version  string           `json:"version"`
	Line     string           `json:"line"`     // as it stands in the file of the day
	Index    uint64           `json:"index"`    // its place in the file, from 0
	Path     []message.Digest `json:"path"`     // of the Merkle tree, from the leaf to the root
	Seal     Seal             `json:"seal"`     // of the day
	Event    *message.Event   `json:"event"`    // what the line had sealed; null: its key was destroyed
	Attested []byte           `json:"attested"` // the gateway's word that Event is what the line had sealed
}

const (
	proofVersion = "gatewayd audit proof 1"
	proofLabel   = "gatewayd audit proof 1\x00"
)

// What can stand in the way of a proof.
var (
	ErrNoLink    = errors.New("the log has no such line")
	ErrNotSealed = errors.New("its day is not sealed yet; that is done five minutes after midnight: ask again then")
	ErrErased    = errors.New("its day was erased, because its window was over; only the seal of the day stays")
)

// Prove makes the proof of one line, by the number of its link.
func (l *Log) Prove(ctx context.Context, seq uint64) (Proof, error) {
	day, err := l.dayOf(ctx, seq)
	if err != nil {
		return Proof{}, fmt.Errorf("audit link %d: %w", seq, err)
	}
	key, err := l.keys.SigningKey()
	if err != nil {
		return Proof{}, err
	}
	p := Proof{Version: proofVersion, Path: []message.Digest{}}
	if p.Seal, err = readSeal(sealOf(l.dir, day), day, key.Public().(ed25519.PublicKey)); err != nil {
		return p, fmt.Errorf("audit link %d: %w", seq, err)
	}
	var leaves []message.Digest
	var link message.Link
	err = eachLine(zipOf(l.dir, day), func(_ int, line []byte) error {
		found, err := parseLine(line, day)
		if err != nil {
			return err
		}
		if found.Seq == seq {
			link, p.Line, p.Index = found, string(line), uint64(len(leaves))
		}
		leaves = append(leaves, leafOf(found.Hash))
		return ctx.Err()
	})
	switch {
	case err != nil:
		return p, fmt.Errorf("read audit log %s: %w", day, err)
	case p.Line == "":
		return p, fmt.Errorf("audit link %d: %w", seq, ErrNoLink)
	}
	p.Path = append(p.Path, pathTo(leaves, p.Index)...)
	if p.Event, err = openEvent(l.keys, link); err != nil {
		return p, fmt.Errorf("audit link %d: %w", seq, err)
	}
	if p.Event != nil {
		text, err := attested(link.Hash, p.Event)
		if err != nil {
			return p, err
		}
		p.Attested = ed25519.Sign(key, text)
	}
	return p, p.Verify(key.Public().(ed25519.PublicKey))
}

// dayOf finds the day in whose file a link stands.
func (l *Log) dayOf(ctx context.Context, seq uint64) (calendar.Day, error) {
	days, err := daysIn(l.dir)
	if err != nil {
		return calendar.Day{}, err
	}
	for _, day := range days {
		if exists(pathOf(l.dir, day)) {
			continue
		}
		seal, err := readSeal(sealOf(l.dir, day), day, nil)
		if err != nil || !seal.has(seq) {
			continue
		}
		if !seal.Erased.IsZero() {
			return day, ErrErased
		}
		return day, nil
	}
	l.mu.Lock()
	last := l.last.Seq
	l.mu.Unlock()
	if seq == 0 || seq > last {
		return calendar.Day{}, ErrNoLink
	}
	return calendar.Day{}, ErrNotSealed
}

// has reports whether a link stands in the sealed day.
func (s Seal) has(seq uint64) bool {
	for _, r := range s.Runs {
		if r.First <= seq && seq <= r.Last {
			return true
		}
	}
	return false
}

// attested is what the gateway signs to say which event a line had sealed.
func attested(line message.Digest, e *message.Event) ([]byte, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	return append(append([]byte(proofLabel), line[:]...), text...), nil
}

// ParseProof reads a proof. It says nothing about whether it holds: Verify does.
func ParseProof(text []byte) (Proof, error) {
	var p Proof
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return p, fmt.Errorf("not a proof of this program: %w", err)
	}
	if p.Version != proofVersion {
		return p, fmt.Errorf("not a proof of this program: it calls itself %q", p.Version)
	}
	return p, nil
}

// Verify checks a proof by the gateway's public key, or, when it is nil, by the
// one that the proof carries: then it only agrees with itself. The error names
// what does not hold.
func (p Proof) Verify(public ed25519.PublicKey) error {
	link, err := parseLine([]byte(p.Line), p.Seal.Day)
	if err != nil {
		return fmt.Errorf("the line: %w", err)
	}
	bare := p.Seal
	bare.Signature = nil
	signed, err := json.Marshal(bare)
	switch {
	case err != nil:
		return err
	case !p.Seal.sound() || !signedBy(public, p.Seal.PublicKey, p.Seal.Signature, sealLabel, signed):
		return errSeal
	case !p.Seal.has(link.Seq):
		return errors.New("the seal of the day does not name the number of the line")
	case !leads(leafOf(link.Hash), p.Index, uint64(p.Seal.Count), p.Path, p.Seal.Root): //nolint:gosec // sound
		return errors.New("the path does not lead from the line to the root that the seal signs")
	}
	if p.Event == nil {
		return nil
	}
	text, err := attested(link.Hash, p.Event)
	switch {
	case err != nil:
		return err
	case p.Event.Seq != link.Seq || !p.Event.At.Equal(link.At) || p.Event.Message != link.Message:
		return errors.New("the event is not that of the line")
	case !ed25519.Verify(p.Seal.PublicKey, text, p.Attested):
		return errors.New("the event is not the one that the gateway attests")
	}
	return nil
}

// leafOf and nodeOf are the hashes of RFC 9162 section 2.1.1, which keeps leaves
// and nodes apart.
func leafOf(hash message.Digest) message.Digest {
	return sha256.Sum256(append([]byte{0}, hash[:]...))
}

func nodeOf(left, right message.Digest) message.Digest {
	return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
}

// pathTo returns the inclusion proof of one leaf, from the leaf to the root (RFC
// 9162 section 2.1.3.1).
func pathTo(leaves []message.Digest, at uint64) []message.Digest {
	n := uint64(len(leaves))
	if n <= 1 {
		return nil
	}
	half := uint64(1) << (bits.Len64(n-1) - 1) // the largest power of two below n
	if at < half {
		return append(pathTo(leaves[:half], at), rootOf(leaves[half:]))
	}
	return append(pathTo(leaves[half:], at-half), rootOf(leaves[:half]))
}

// rootOf returns the root over some leaves; there is at least one.
func rootOf(leaves []message.Digest) message.Digest {
	var tree merkle
	for _, leaf := range leaves {
		tree.addLeaf(leaf)
	}
	return tree.root()
}

// leads reports whether a path leads from a leaf to the root of a tree with that
// many leaves (RFC 9162 section 2.1.3.2).
func leads(leaf message.Digest, at, leaves uint64, path []message.Digest, root message.Digest) bool {
	if at >= leaves {
		return false
	}
	last := leaves - 1
	for _, p := range path {
		switch {
		case last == 0:
			return false
		case at%2 == 1 || at == last:
			leaf = nodeOf(p, leaf)
			for at%2 == 0 && at != 0 {
				at, last = at/2, last/2
			}
		default:
			leaf = nodeOf(leaf, p)
		}
		at, last = at/2, last/2
	}
	return last == 0 && leaf == root
}
