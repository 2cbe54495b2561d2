package entity

import (
	"bufio"
	"io"
)

// Detached takes a multipart/signed apart (RFC 1847 section 2.1) and lets
// verify check the signature, given without its transfer encoding, over the
// octets of the first part. Where nothing fits and the content has bare line
// feeds, it is tried again in canonical form: some sign that and then encrypt
// what they have on disk.
func Detached(t Technique, e *Entity, verify func(content, signature io.Reader) []Signature) *Layer {
	l := &Layer{Technique: t, Encryption: NotEncrypted, Clear: true}
	if len(e.Children) > 0 {
		content := e.Part(e.Children[0])
		l.Inner = &content
	}
	if len(e.Children) != 2 {
		l.Signatures = []Signature{{Verdict: Broken, Detail: "multipart/signed without exactly two parts"}}
		return l
	}
	try := func(content io.Reader) []Signature { return verify(content, e.Decoded(e.Children[1])) }
	l.Signatures = try(l.Inner.Reader())
	if !allBroken(l.Signatures) || !hasBareLF(l.Inner.Reader()) {
		return l
	}
	if again := try(CRLFReader(l.Inner.Reader())); !allBroken(again) {
		l.Signatures = again
		for i := range again {
			again[i].LineEnds = true
		}
	}
	return l
}

func allBroken(list []Signature) bool {
	for _, s := range list {
		if s.Verdict != Broken {
			return false
		}
	}
	return true
}

// hasBareLF reports a line feed without carriage return.
func hasBareLF(r io.Reader) bool {
	b := bufio.NewReader(r)
	for last := byte(0); ; {
		c, err := b.ReadByte()
		if err != nil {
			return false
		}
		if c == '\n' && last != '\r' {
			return true
		}
		last = c
	}
}
