package entity

import (
	"fmt"
	"strings"

	"gatewayd/mail/parts"
)

// conclude forms the verdicts about the whole message.
func (op *Opened) conclude() error {
	op.Encryption, op.Signature = NotEncrypted, NotSigned
	last := -1 // the innermost encrypted layer
	for i, l := range op.Layers {
		if l.Encryption != NotEncrypted {
			last, op.Encryption = i, l.Encryption
		}
	}
	authors := op.Layers[max(last, 0):]
	clear := false
	for _, l := range authors {
		clear = clear || l.Clear
		op.Signature = worse(op.Signature, l.signing(), clear)
	}
	unproved := op.Encryption == Malleable || op.Encryption == WeakCipher
	if op.Encryption == Malleable && proves(op.Signature) {
		op.Encryption = Decrypted
	}
	if op.Signature == NotSigned && last > 0 {
		for _, l := range op.Layers[:last] {
			if len(l.Signatures) > 0 {
				op.Signature = Outside
			}
		}
	}
	switch {
	case op.Content == nil:
		op.Detail = op.Layers[len(op.Layers)-1].Detail
	case unproved && op.Signature == Broken:
		op.Content, op.Detail = nil, "held back: encrypted, and the signature inside is broken"
	case op.buried:
		op.Encryption = PartlyHidden
	case op.Signature == NotSigned || op.Encryption == NotEncrypted:
		return op.lookInside()
	}
	return nil
}

// worse joins the verdicts of layers around the same content. A further
// signature inside may be somebody else's: who forwards signed mail signs it
// for himself. But if one of the two stands open beside its content (clear),
// mail programs do not agree on whose signature they show, and the sender's
// alone is not enough.
func worse(sofar, next Signing, clear bool) Signing {
	switch {
	case next == NotSigned:
		return sofar
	case sofar == NotSigned:
		return next
	case next == WrongSender && !clear:
		next = Good
	}
	if severity(next) > severity(sofar) {
		return next
	}
	return sofar
}

// lookInside looks for protected parts that are not the root. They are only
// told, never opened. What lies in an attached message is that one's affair.
func (op *Opened) lookInside() error {
	tree, err := parts.Read(op.Content.Reader(), op.Content.Size, parts.Limits{})
	if err != nil {
		return fmt.Errorf("read content: %w", err)
	}
	attached := make([]bool, len(tree.Parts))
	for i, p := range tree.Parts {
		if p.Parent >= 0 {
			attached[i] = attached[p.Parent] || strings.HasPrefix(tree.Parts[p.Parent].Type, "message/")
		}
		if attached[i] {
			continue
		}
		encrypted, signed := protection(p)
		if encrypted && op.Encryption == NotEncrypted {
			op.Encryption = PartlyHidden
		}
		if signed && op.Signature == NotSigned {
			op.Signature = PartlySeen
		}
	}
	return nil
}

// protection tells what the type of a part promises.
func protection(p parts.Part) (encrypted, signed bool) {
	switch p.Type {
	case "multipart/encrypted":
		return true, false
	case "multipart/signed":
		return false, true
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
		kind := strings.ToLower(p.Params["smime-type"])
		return kind == "" || strings.HasSuffix(kind, "enveloped-data"), kind == "signed-data"
	case "application/octet-stream": // RFC 8551 section 3.9
		return strings.HasSuffix(strings.ToLower(p.FileName), ".p7m"), false
	}
	return false, false
}
