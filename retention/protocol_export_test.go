package retention

import (
	"crypto/ed25519"
	"io"
	"path/filepath"
)

// MaxLine bounds a line of a protocol.
const MaxLine = maxLine

// EachLine calls fn with each line.
func EachLine(r io.Reader, fn func([]byte) error) error { return eachLine(r, fn) }

// List is a protocol under construction.
type List struct{ p *protocol }

// NewList begins one, always with the same key.
func NewList(dir string, h Head) (List, error) {
	p, err := createProtocol(dir, h, make([]byte, 32))
	return List{p}, err
}

// Add writes a message.
func (l List) Add(o Object, d Destroyed) error { return l.p.add(o, d) }

// Sync ends the list.
func (l List) Sync() error { return l.p.sync() }

// Seal signs it, with the sums that were kept while it was written or not.
func (l List) Seal(t Tail, key ed25519.PrivateKey, kept bool) error {
	if kept {
		t.list = l.p.list
	}
	return sealProtocol(l.p.path, t, key)
}

// Sealed is where the first protocol of its folder lies.
func (l List) Sealed() string {
	return filepath.Join(filepath.Dir(l.p.path), "00000001-"+filepath.Base(l.p.path)+protocolExt)
}
