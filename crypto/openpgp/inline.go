package openpgp

import (
	"bytes"
	"io"

	"github.com/ProtonMail/go-crypto/openpgp/clearsign"

	"gatewayd/crypto/entity"
)

// maxInline is the longest text that is searched for an inline block, in
// octets as it stands in the message.
const maxInline = 1 << 20

// openInline opens a block in plain text, of old mail programs. Only a text
// that is nothing but the block is opened: what stands around it is neither
// signed nor encrypted, and could speak in the block's name.
func (o Opener) openInline(e *entity.Entity, w entity.Work) *entity.Layer {
	text, err := io.ReadAll(io.LimitReader(e.Decoded(e.Root), maxInline))
	if err != nil {
		return nil // the caller notices that reading failed
	}
	text = bytes.TrimSpace(text)
	switch {
	case bytes.Contains(text, []byte("-----BEGIN PGP MESSAGE-----")):
		return o.openInlineMessage(text, w)
	case bytes.Contains(text, []byte("-----BEGIN PGP SIGNED MESSAGE-----")):
		return o.openClearSigned(text, w)
	}
	return nil
}

// inlineHeader is the header of the text that comes out: OpenPGP's text is
// UTF-8 (RFC 9580 section 5.9).
const inlineHeader = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"

func (o Opener) openInlineMessage(text []byte, w entity.Work) *entity.Layer {
	end := []byte("-----END PGP MESSAGE-----")
	if !bytes.HasPrefix(text, []byte("-----BEGIN PGP MESSAGE-----")) || bytes.Index(text, end) != len(text)-len(end) {
		return closed(entity.PartlyHidden, "other text stands around the encrypted block")
	}
	out := w.Out()
	if _, err := io.WriteString(out, inlineHeader); err != nil {
		return closed(entity.Unreadable, "") // the caller notices that the spool failed
	}
	l := o.decrypt(bytes.NewReader(text), out, w)
	if opened(l) {
		l.Inner = out.Whole()
	}
	return l
}

func (o Opener) openClearSigned(text []byte, w entity.Work) *entity.Layer {
	l := &entity.Layer{Technique: entity.OpenPGP, Encryption: entity.NotEncrypted}
	block, rest := clearsign.Decode(text)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 || !bytes.HasPrefix(text, []byte("-----BEGIN PGP SIGNED MESSAGE-----")) {
		l.Detail = "other text stands around the signed block"
		l.Signatures = []entity.Signature{{Verdict: entity.PartlySeen, Detail: l.Detail}}
		return l
	}
	l.Signatures = o.verify(bytes.NewReader(block.Bytes), block.ArmoredSignature.Body, w)
	out := w.Out()
	if _, err := io.Copy(entity.CRLF(out), io.MultiReader(bytes.NewReader([]byte(inlineHeader)), bytes.NewReader(block.Plaintext))); err == nil {
		l.Inner = out.Whole()
	}
	return l
}
