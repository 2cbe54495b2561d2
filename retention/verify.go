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
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// ReadProtocol reads one protocol to its end and checks its signature against the
// public key, or, when that is nil, against the one it carries. each, which may be
// nil, is called with every message in it: what it hears holds only if no error is
// returned in the end.
func ReadProtocol(r io.Reader, public ed25519.PublicKey, each func(Destroyed) error) (h Head, t Tail, err error) {
	read := protocolReader{each: each, list: newTally()}
	if err := eachLine(r, read.line); err != nil {
		return read.head, t, err
	}
	h = read.head
	last := bytes.TrimSuffix(read.last, []byte("\n"))
	if read.n < 2 || len(last) == len(read.last) {
		return h, t, errors.New("protocol: not complete")
	}
	if err := json.Unmarshal(last, &t); err != nil {
		return h, t, fmt.Errorf("protocol: %w", err)
	}
	if again, err := json.Marshal(t); err != nil || !bytes.Equal(again, last) {
		return h, t, fmt.Errorf("protocol of %s: its last line is not as it was written", h.Run)
	}
	bare, err := t.signed()
	if err != nil {
		return h, t, err
	}
	if public == nil {
		public = t.PublicKey
	}
	if !bytes.Equal(public, t.PublicKey) || len(public) != ed25519.PublicKeySize || !ed25519.Verify(public, bare, t.Signature) {
		return h, t, fmt.Errorf("protocol of %s: the signature does not fit: it was altered, or another key signed it", h.Run)
	}
	var sums Tail
	if read.list.into(&sums); sums.Digest != t.Digest {
		return h, t, fmt.Errorf("protocol of %s: its lines are not those that the signature covers: it was altered", h.Run)
	}
	if sums.Root != t.Root || sums.Objects != t.Objects || sums.Bytes != t.Bytes || sums.Failed != t.Failed || sums.Skipped != t.Skipped || !slices.Equal(sums.Sums, t.Sums) {
		return h, t, fmt.Errorf("protocol of %s: its sums do not fit its list", h.Run)
	}
	return h, t, nil
}

// protocolReader takes a protocol line by line: only the end tells which one was
// the last.
type protocolReader struct {
	head Head
	list *tally
	each func(Destroyed) error
	n    int
	last []byte
}

func (p *protocolReader) line(line []byte) error {
	if p.n++; p.n == 1 {
		if err := checkForm(line); err != nil {
			return err
		}
		p.list.head(line)
		return json.Unmarshal(line, &p.head)
	}
	if p.n > 2 {
		if err := p.entry(p.last); err != nil {
			return err
		}
	}
	p.last = append(p.last[:0], line...)
	return nil
}

func (p *protocolReader) entry(line []byte) error {
	var d Destroyed
	if err := json.Unmarshal(line, &d); err != nil {
		return fmt.Errorf("protocol: %w", err)
	}
	p.list.add(line, d)
	if p.each == nil {
		return nil
	}
	return p.each(d)
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
		sum := sha256.New()
		h, t, err := readProtocolFile(filepath.Join(dir, name+protocolExt), public, sum)
		if _, ok := errors.AsType[*fs.PathError](err); ok {
			return r, err // the file could not be read
		}
		if err == nil {
			err = r.follows(i, name, h, t)
		}
		if err != nil {
			r.Bad = fmt.Sprintf("protocol %s: %v", name, err)
			return r, nil
		}
		public = t.PublicKey
		r.Protocols, r.Objects, r.Last, r.SHA256, r.PublicKey = i+1, r.Objects+t.Objects, name+protocolExt, hex.EncodeToString(sum.Sum(nil)), hex.EncodeToString(public)
		told[partName(h.Family, h.Day)] = true
	}
	return r, r.complete(dir, told, destroyed)
}

// readProtocolFile verifies a file while its octets go into sum.
func readProtocolFile(path string, public ed25519.PublicKey, sum io.Writer) (h Head, t Tail, err error) {
	f, err := os.Open(path)
	if err != nil {
		return h, t, err
	}
	defer f.Close()
	return ReadProtocol(io.TeeReader(f, sum), public, nil)
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
