package entity

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"gatewayd/mail"
	"gatewayd/mail/parts"
	"gatewayd/mail/recode"
)

// SevenBit brings the entity to seven bits, as what is signed in the open must be
// before it leaves (RFC 8551 section 3.1.3, RFC 3156 section 3): a server on the way
// that does not know 8BITMIME would encode it, and the signature would be broken. Text
// with octets above 127 becomes quoted-printable, everything else base64; parts
// without such octets keep every one of theirs, and so does the content of all.
//
// It reports false, and leaves all as it was, where that is not in our hands: what
// others have signed or encrypted and whole messages keep their octets, and so do
// header fields. Errors are those of reading.
func (m *Message) SevenBit() (bool, error) {
	whole := joined{m.inside, m.body}
	tree, err := parts.Read(whole, m.Size(), parts.Limits{})
	if err != nil || tree.Limited || !definite(tree.Parts[0].Header) {
		return false, err
	}
	changes, ok, err := sevenBit(whole, tree)
	if err != nil || !ok {
		return false, err
	}
	recoded, err := recode.Apply(whole, m.Size(), tree, changes)
	if err != nil {
		return false, nil //nolint:nilerr // a header that cannot be edited stays as it is
	}
	var l lineCheck
	size, err := io.Copy(&l, recoded.Reader())
	if err != nil || l.eightBit || l.err() != nil {
		return false, err
	}
	m.recoded, m.recodedSize = recoded, size
	return true, nil
}

// sevenBit lists what has to change; ok is false where something must not.
func sevenBit(r io.ReaderAt, tree parts.Tree) (changes []recode.Change, ok bool, err error) {
	container := make([]bool, len(tree.Parts)) // it has parts
	around := make([]bool, len(tree.Parts))    // something inside changes
	for i := range tree.Parts {
		if parent := tree.Parts[i].Parent; parent >= 0 {
			container[parent] = true
		}
	}
	for i, p := range tree.Parts {
		if container[i] {
			continue
		}
		high, err := holdsHigh(p.Raw(r))
		if err != nil {
			return nil, false, err
		}
		if !high {
			continue
		}
		for up := i; up >= 0; up = tree.Parts[up].Parent {
			if sealed(tree.Parts[up].Type) {
				return nil, false, nil
			}
			around[up] = true
		}
		c, ok := encoded(r, i, p)
		if !ok {
			return nil, false, nil
		}
		changes = append(changes, c)
	}
	for i, p := range tree.Parts {
		if container[i] && around[i] && p.Header.Get("Content-Transfer-Encoding") != "" {
			changes = append(changes, recode.Change{Part: i, Header: encoding("7bit")})
		}
	}
	return changes, len(changes) > 0, nil
}

// sealed are the types whose content is somebody else's: signed, encrypted, or a
// whole message.
func sealed(kind string) bool {
	switch kind {
	case "multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime":
		return true
	}
	return strings.HasPrefix(kind, "message/")
}

// encoded is the change of one part whose body stands in it as it is.
func encoded(r io.ReaderAt, i int, p parts.Part) (recode.Change, bool) {
	switch {
	case p.Encoding != "7bit" && p.Encoding != "8bit" && p.Encoding != "binary":
		return recode.Change{}, false
	case strings.HasPrefix(p.Type, "multipart/"): // its boundary is lost
		return recode.Change{}, false
	case strings.HasPrefix(p.Type, "text/"):
		return recode.Change{Part: i, Header: encoding("quoted-printable"), Body: func() io.Reader { return recode.QuotedPrintable(p.Raw(r)) }}, true
	}
	return recode.Change{Part: i, Header: encoding("base64"), Body: func() io.Reader { return Base64Reader(p.Raw(r)) }}, true
}

func encoding(name string) func(*mail.Header) error {
	return func(h *mail.Header) error { return h.Replace("Content-Transfer-Encoding", name) }
}

func holdsHigh(r io.Reader) (bool, error) {
	buf := make([]byte, 8<<10)
	for {
		n, err := r.Read(buf)
		if highBit(buf[:n]) {
			return true, nil
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return false, err
		}
	}
}

// joined reads a header in memory and the body behind it.
type joined struct {
	head []byte
	body Range
}

// ReadAt implements io.ReaderAt.
func (j joined) ReadAt(p []byte, off int64) (n int, err error) {
	if edge := int64(len(j.head)); off < edge {
		if n, _ = bytes.NewReader(j.head).ReadAt(p, off); n == len(p) {
			return n, nil
		}
		off = edge
	}
	m, err := j.body.Reader().ReadAt(p[n:], off-int64(len(j.head)))
	return n + m, err
}
