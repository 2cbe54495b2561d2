package smime

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
	"gatewayd/mail/parts"
)

// ErrNotSigned: the root of the mail is no S/MIME signature.
var ErrNotSigned = errors.New("the mail is not signed by S/MIME")

// SignedMail is a mail whose root is an S/MIME signature that fits.
type SignedMail struct {
	Signature cms.Signature // its chain is judged by the caller's trust: ChainErr, Weak
	Content   io.ReaderAt   // the signed MIME entity, header and body
	Size      int64
}

// maxOpaque bounds a signed entity that is held in memory, in octets.
const maxOpaque = 16 << 20

// VerifySigned checks the signature around a whole mail (RFC 8551 section 3.5),
// for seals: whose address the mail claims is not looked at, only who signed.
// What stands outside of the signature, the mail's own header fields above all,
// is not in Content. cms.ErrSignature and others if it does not fit.
func VerifySigned(r io.ReaderAt, size int64, o cms.VerifyOptions) (SignedMail, error) {
	tree, err := parts.Read(r, size, parts.Limits{})
	if err != nil {
		return SignedMail{}, err
	}
	root := &tree.Parts[0]
	if root.Type == "multipart/signed" && isSignature(root.Params["protocol"]) {
		return verifyDetached(r, tree, o)
	}
	if !isMIME(*root) || cms.KindOf(root.Decode(r)) != cms.Signed {
		return SignedMail{}, ErrNotSigned
	}
	if root.Body.Len() > 2*maxOpaque {
		return SignedMail{}, fmt.Errorf("signed mail: %w", parts.ErrLimits)
	}
	var content bytes.Buffer
	o.Out = &content
	s, err := one(cms.Verify(root.Decode(r), nil, o))
	return SignedMail{Signature: s, Content: bytes.NewReader(content.Bytes()), Size: int64(content.Len())}, err
}

// verifyDetached wants exactly two parts, the second of them the signature.
func verifyDetached(r io.ReaderAt, tree parts.Tree, o cms.VerifyOptions) (SignedMail, error) {
	var children []*parts.Part
	for i := range tree.Parts[1:] {
		if p := &tree.Parts[i+1]; p.Parent == 0 {
			children = append(children, p)
		}
	}
	if len(children) != 2 || !isSignature(children[1].Type) {
		return SignedMail{}, fmt.Errorf("signed mail: %w: not one content and one signature", cms.ErrSignature)
	}
	w := children[0].Whole
	content := io.NewSectionReader(r, w.Start, w.Len())
	s, err := one(cms.Verify(children[1].Decode(r), entity.CRLFReader(io.NewSectionReader(r, w.Start, w.Len())), o))
	return SignedMail{Signature: s, Content: content, Size: w.Len()}, err
}

// one demands a single signer.
func one(res *cms.Result, err error) (cms.Signature, error) {
	switch {
	case err != nil:
		return cms.Signature{}, fmt.Errorf("signed mail: %w", err)
	case len(res.Signatures) != 1:
		return cms.Signature{}, fmt.Errorf("signed mail: %w: more than one signer", cms.ErrSignature)
	}
	return res.Signatures[0], nil
}
