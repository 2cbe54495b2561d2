package pdfsig

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/pdfdoc"
)

// Signer is who seals: a certificate, the certificates between it and its
// anchor, and the private key.
type Signer struct {
	Cert  *x509.Certificate
	Chain []*x509.Certificate
	Key   stdcrypto.Signer
}

// Options say what stands in the signature dictionary. All texts may be empty.
type Options struct {
	Name     string // who signs, for a person
	Reason   string
	Location string
	Time     time.Time // claimed signing time; required
	PSS      bool      // RSA keys: PSS instead of PKCS #1 v1.5
	MaxSize  int64     // octets; zero: DefaultMaxSize

	// Stamp returns a time stamp (RFC 3161 token) over the signature, which is laid
	// beside it (PAdES level B-T); nil: none.
	Stamp func(signature []byte) (token []byte, err error)
}

// Sign appends a signature to a PDF document and returns the whole. The octets
// of pdf stay as they are. The signature covers everything but its own value.
func Sign(pdf []byte, s Signer, o Options) ([]byte, error) {
	if err := checkSize(pdf, o.MaxSize); err != nil {
		return nil, fmt.Errorf("sign PDF: %w", err)
	}
	if s.Cert == nil || s.Key == nil || o.Time.IsZero() {
		return nil, errors.New("sign PDF: certificate, key or time is missing")
	}
	doc, err := pdfdoc.Open(pdf)
	if err == nil {
		err = doc.Signable()
	}
	if err != nil {
		return nil, fmt.Errorf("sign PDF: %w", err)
	}
	out, hole, err := update(doc, reserve(s)+stampRoom(o), o)
	if err != nil {
		return nil, fmt.Errorf("sign PDF: %w", err)
	}
	covered := io.MultiReader(bytes.NewReader(out[:hole.start]), bytes.NewReader(out[hole.end:]))
	// PAdES forbids the signing-time attribute; the time stands in /M (ETSI EN 319 142-1, 6.3).
	signature, err := cms.Sign(covered, cms.Signer{Cert: s.Cert, Chain: s.Chain, Key: s.Key}, cms.SignOptions{PSS: o.PSS, Stamp: o.Stamp})
	if err != nil {
		return nil, fmt.Errorf("sign PDF: %w", err)
	}
	if hex.EncodedLen(len(signature)) > hole.end-hole.start-2 {
		return nil, errors.New("sign PDF: signature longer than the room reserved for it")
	}
	hex.Encode(out[hole.start+1:], signature)
	return out, nil
}

// reserve returns how many octets a signature may take: certificates, the
// longest RSA signature in use, attributes and names.
func reserve(s Signer) int {
	n := 4096 + 2*len(s.Cert.Raw)
	for _, c := range s.Chain {
		n += len(c.Raw)
	}
	return n
}

// stampRoom is how many octets a time stamp may take.
func stampRoom(o Options) int {
	if o.Stamp == nil {
		return 0
	}
	return 16 << 10
}

// span is a piece of the file.
type span struct{ start, end int }

// byteRangeWidth is the room for "[0 a b c]": three numbers of ten digits.
const byteRangeWidth = len("[0 0000000000 0000000000 0000000000]")

// update returns the document with an incremental update that holds an empty
// signature of the given size, its ByteRange filled in, and where the value of
// /Contents stands, angle brackets included.
func update(d *pdfdoc.Document, size int, o Options) ([]byte, span, error) {
	next, ok := pdfdoc.Number(d.Trailer.Get("Size"))
	if !ok || next <= 0 || next >= pdfdoc.MaxObjects {
		return nil, span{}, fmt.Errorf("%w: trailer without size", ErrMalformed)
	}
	objects, err := fieldObjects(d, next)
	if err != nil {
		return nil, span{}, err
	}
	w := writer{offsets: map[int64]int64{}}
	w.buf.Grow(len(d.Data) + 2*size + 8192)
	w.buf.Write(d.Data)
	if !bytes.HasSuffix(d.Data, []byte("\n")) {
		w.buf.WriteByte('\n')
	}
	byteRange, hole := w.signature(next, size, o)
	for _, n := range slices.Sorted(maps.Keys(objects)) {
		w.object(n, objects[n])
	}
	w.finish(d, next+2)
	out := w.buf.Bytes()
	text := fmt.Sprintf("[0 %d %d %d]", hole.start, hole.end, len(out)-hole.end)
	copy(out[byteRange:], text)
	return out, hole, nil
}

// fieldObjects returns what changes beside the signature itself, whose number
// is next: its field (next+1), the catalogue, the first page.
func fieldObjects(d *pdfdoc.Document, next int64) (map[int64][]byte, error) {
	rootAt := d.Trailer.Get("Root")
	root, err := d.DictAt(rootAt)
	if err != nil {
		return nil, fmt.Errorf("catalogue: %w", err)
	}
	pageAt, page, err := d.FirstPage(root)
	if err != nil {
		return nil, err
	}
	rootN, rootGen, okRoot := pdfdoc.Reference(rootAt)
	pageN, pageGen, okPage := pdfdoc.Reference([]byte(pageAt))
	if !okRoot || !okPage || rootGen != 0 || pageGen != 0 {
		return nil, fmt.Errorf("%w: catalogue or page is not an object of generation 0", ErrUnsupported)
	}
	field := fmt.Sprintf("%d 0 R", next+1)
	form, err := form(d, root, field)
	if err != nil {
		return nil, err
	}
	annots, err := appendTo(d, page.Get("Annots"), field)
	if err != nil {
		return nil, fmt.Errorf("annotations: %w", err)
	}
	return map[int64][]byte{
		next + 1: fmt.Appendf(nil, "<<\n/Type /Annot\n/Subtype /Widget\n/FT /Sig\n/T (Signature%d)\n/V %d 0 R\n"+
			"/F 132\n/Rect [0 0 0 0]\n/P %s\n>>", next, next, pageAt),
		rootN: root.With("AcroForm", form).Bytes(),
		pageN: page.With("Annots", annots).Bytes(),
	}, nil
}

// form returns the interactive form (12.7.2) with one more field. SigFlags 3:
// signatures exist, append only.
func form(d *pdfdoc.Document, root pdfdoc.Dict, field string) (string, error) {
	var form pdfdoc.Dict
	if raw := root.Get("AcroForm"); raw != nil {
		var err error
		if form, err = d.DictAt(raw); err != nil {
			return "", fmt.Errorf("form: %w", err)
		}
	}
	fields, err := appendTo(d, form.Get("Fields"), field)
	if err != nil {
		return "", fmt.Errorf("form fields: %w", err)
	}
	return string(form.With("Fields", fields).With("SigFlags", "3").Bytes()), nil
}

// appendTo returns an array, given as value or reference or not at all, with
// one more element.
func appendTo(d *pdfdoc.Document, raw []byte, element string) (string, error) {
	if raw == nil {
		return "[" + element + "]", nil
	}
	raw, err := d.Resolve(raw)
	if err != nil {
		return "", err
	}
	list, err := pdfdoc.Elements(raw)
	if err != nil {
		return "", err
	}
	return "[" + string(bytes.Join(append(list, []byte(element)), []byte(" "))) + "]", nil
}

// writer appends an incremental update.
type writer struct {
	buf     bytes.Buffer
	offsets map[int64]int64
}

func (w *writer) object(n int64, content []byte) {
	w.offsets[n] = int64(w.buf.Len())
	fmt.Fprintf(&w.buf, "%d 0 obj\n%s\nendobj\n", n, content)
}

// signature writes the signature dictionary (12.8.1) with room for its value.
func (w *writer) signature(n int64, size int, o Options) (byteRange int, hole span) {
	w.offsets[n] = int64(w.buf.Len())
	fmt.Fprintf(&w.buf, "%d 0 obj\n<<\n/Type /Sig\n/Filter /Adobe.PPKLite\n/SubFilter /%s\n", n, subFilterCAdES)
	for _, e := range []struct{ key, text string }{{"Name", o.Name}, {"Reason", o.Reason}, {"Location", o.Location}} {
		if e.text != "" {
			fmt.Fprintf(&w.buf, "/%s %s\n", e.key, textString(e.text))
		}
	}
	fmt.Fprintf(&w.buf, "/M (%s)\n/ByteRange ", formatTime(o.Time))
	byteRange = w.buf.Len()
	w.buf.WriteString(strings.Repeat(" ", byteRangeWidth))
	w.buf.WriteString("\n/Contents ")
	hole.start = w.buf.Len()
	w.buf.WriteByte('<')
	w.buf.Write(bytes.Repeat([]byte("00"), size))
	w.buf.WriteByte('>')
	hole.end = w.buf.Len()
	w.buf.WriteString("\n>>\nendobj\n")
	return byteRange, hole
}

// finish writes the cross-reference section (7.5.4), one subsection for each
// object, and the trailer.
func (w *writer) finish(d *pdfdoc.Document, size int64) {
	at := w.buf.Len()
	w.buf.WriteString("xref\n")
	for _, n := range slices.Sorted(maps.Keys(w.offsets)) {
		fmt.Fprintf(&w.buf, "%d 1\n%010d 00000 n\r\n", n, w.offsets[n])
	}
	trailer := d.Trailer.With("Size", fmt.Sprint(size)).With("Prev", fmt.Sprint(d.Start))
	fmt.Fprintf(&w.buf, "trailer\n%s\nstartxref\n%d\n%%%%EOF\n", trailer.Bytes(), at)
}

// textString writes a text (7.9.2.2): ASCII as literal, other as UTF-16.
func textString(s string) string {
	ascii := true
	for i := range len(s) {
		ascii = ascii && s[i] >= ' ' && s[i] < 127
	}
	if ascii {
		return "(" + strings.NewReplacer(`\`, `\\`, "(", `\(`, ")", `\)`).Replace(s) + ")"
	}
	var b strings.Builder
	b.WriteString("<FEFF")
	for _, u := range utf16.Encode([]rune(s)) {
		fmt.Fprintf(&b, "%04X", u)
	}
	b.WriteByte('>')
	return b.String()
}

// formatTime writes a date (7.9.4).
func formatTime(t time.Time) string {
	zone := strings.Replace(t.Format("-07:00"), ":", "'", 1)
	return t.Format("D:20060102150405") + zone + "'"
}
