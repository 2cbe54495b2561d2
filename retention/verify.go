package retention

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// ReadProtocol reads one protocol and checks its signature against the public
// key, or, when that is nil, against the one it carries.
func ReadProtocol(r io.Reader, public ed25519.PublicKey) (h Head, list []Destroyed, t Tail, err error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return h, nil, t, err
	}
	lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	if len(lines) < 2 {
		return h, nil, t, errors.New("protocol: not complete")
	}
	last := lines[len(lines)-1]
	if err := errors.Join(json.Unmarshal(lines[0], &h), json.Unmarshal(last, &t)); err != nil {
		return h, nil, t, fmt.Errorf("protocol: %w", err)
	}
	for _, line := range lines[1 : len(lines)-1] {
		var d Destroyed
		if err := json.Unmarshal(line, &d); err != nil {
			return h, nil, t, fmt.Errorf("protocol: %w", err)
		}
		list = append(list, d)
	}
	if again, err := json.Marshal(t); err != nil || !bytes.Equal(again, last) {
		return h, nil, t, fmt.Errorf("protocol of %s: its last line is not as it was written", h.Run)
	}
	signature := t.Signature
	t.Signature = nil
	bare, err := json.Marshal(t)
	if err != nil {
		return h, nil, t, err
	}
	t.Signature = signature
	if public == nil {
		public = t.PublicKey
	}
	if !bytes.Equal(public, t.PublicKey) || len(public) != ed25519.PublicKeySize || !ed25519.Verify(public, append(text[:len(text)-len(last)-1:len(text)-len(last)-1], bare...), signature) {
		return h, list, t, fmt.Errorf("protocol of %s: the signature does not fit: it was altered, or another key signed it", h.Run)
	}
	digest := sha256.Sum256(text[:len(text)-len(last)-1])
	var sums Tail
	if err := sums.total(text[:len(text)-len(last)-1]); err != nil {
		return h, list, t, err
	}
	if hex.EncodeToString(digest[:]) != t.Digest || sums.Root != t.Root || sums.Objects != t.Objects || sums.Bytes != t.Bytes || sums.Failed != t.Failed || sums.Skipped != t.Skipped {
		return h, list, t, fmt.Errorf("protocol of %s: its sums do not fit its list", h.Run)
	}
	return h, list, t, nil
}

// ChainReport is what VerifyProtocols found.
type ChainReport struct {
	Protocols int    `json:"protocols"` // that verify, from the first on
	Objects   int    `json:"objects"`   // messages that they name
	Last      string `json:"last,omitempty"`
	SHA256    string `json:"sha256,omitempty"`     // of the last one
	PublicKey string `json:"public_key,omitempty"` // hexadecimal; it signed all of them
	Stamps    int    `json:"stamps"`               // protocols with a time stamp beside them
	Stamped   int    `json:"stamped"`              // whose time stamp was checked, and proves the time
	Bad       string `json:"bad,omitempty"`        // the first that does not verify, and why; empty: all do
}

// OK reports whether the chain is whole.
func (r ChainReport) OK() bool { return r.Bad == "" }

// VerifyProtocols checks every protocol of destruction in a folder and the chain
// between them: signatures, sums, Merkle roots, numbers without a gap, each naming
// the hash of the one before. Without a public key all must bear the key of the
// first one, which only proves that the folder agrees with itself. destroyed, if
// not nil, tells of which days keys were destroyed: a day of which no protocol
// tells is named, so that a cut-off end is found, too.
func VerifyProtocols(dir string, public ed25519.PublicKey, destroyed map[Family][]string) (ChainReport, error) {
	var r ChainReport
	all, err := protocols(dir, protocolExt)
	if err != nil {
		return r, err
	}
	told := map[string]bool{}
	for i, name := range all {
		text, err := os.ReadFile(filepath.Join(dir, name+protocolExt))
		if err != nil {
			return r, err
		}
		h, list, t, err := ReadProtocol(bytes.NewReader(text), public)
		if err == nil {
			err = r.follows(i, name, h, t)
		}
		if err != nil {
			r.Bad = fmt.Sprintf("protocol %s: %v", name, err)
			return r, nil
		}
		public = t.PublicKey
		sum := sha256.Sum256(text)
		r.Protocols, r.Objects, r.Last, r.SHA256, r.PublicKey = i+1, r.Objects+len(list), name+protocolExt, hex.EncodeToString(sum[:]), hex.EncodeToString(public)
		told[partName(h.Family, h.Day)] = true
	}
	return r, r.complete(dir, told, destroyed)
}

// follows checks the place of protocol i in the chain.
func (r *ChainReport) follows(i int, name string, h Head, t Tail) error {
	switch {
	case !bytes.HasPrefix([]byte(name), fmt.Appendf(nil, "%08d-", i+1)):
		return fmt.Errorf("number %d is missing before it", i+1)
	case name != fmt.Sprintf("%08d-%s", i+1, partName(h.Family, h.Day)):
		return fmt.Errorf("it tells of %s", partName(h.Family, h.Day))
	case t.Previous != r.Last || t.PrevHash != r.SHA256:
		return fmt.Errorf("it follows %q with hash %q, but before it stands %q with hash %q", t.Previous, t.PrevHash, r.Last, r.SHA256)
	}
	return nil
}

// complete looks for a destroyed key of which no protocol tells.
func (r *ChainReport) complete(dir string, told map[string]bool, destroyed map[Family][]string) error {
	parts, err := protocols(dir, partExt)
	if err != nil {
		return err
	}
	for _, name := range parts {
		told[name] = true // cut off behind the destruction: the next sweep ends it
	}
	for _, f := range []Family{Content, Log} {
		for _, day := range destroyed[f] {
			if !told[partName(f, day)] && r.Bad == "" {
				r.Bad = fmt.Sprintf("the key of %s was destroyed, but no protocol tells it: protocols are missing, at the end after %q", partName(f, day), r.Last)
			}
		}
	}
	return nil
}

// merkleRoot is the tree hash of RFC 9162 section 2.1.1 over lines, in
// hexadecimal; empty for none.
func merkleRoot(lines [][]byte) string {
	if len(lines) == 0 {
		return ""
	}
	level := make([][32]byte, len(lines))
	for i, line := range lines {
		level[i] = sha256.Sum256(append([]byte{0}, line...))
	}
	for ; len(level) > 1; level = level[:(len(level)+1)/2] {
		for i := 0; i < len(level); i += 2 {
			if i+1 == len(level) {
				level[i/2] = level[i]
				continue
			}
			level[i/2] = sha256.Sum256(append(append([]byte{1}, level[i][:]...), level[i+1][:]...))
		}
	}
	return hex.EncodeToString(level[0][:])
}
