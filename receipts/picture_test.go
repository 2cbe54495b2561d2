package receipts

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"strings"
	"testing"

	"codeberg.org/go-pdf/fpdf"
	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"

	"gatewayd/message"
)

func qr(t testing.TB, text string) *image.Gray {
	t.Helper()
	m, err := qrcode.NewQRCodeWriter().Encode(text, gozxing.BarcodeFormat_QR_CODE, 300, 300, nil)
	if err != nil {
		t.Fatal(err)
	}
	img := image.NewGray(image.Rect(0, 0, m.GetWidth(), m.GetHeight()))
	for y := range m.GetHeight() {
		for x := range m.GetWidth() {
			if !m.Get(x, y) {
				img.SetGray(x, y, color.Gray{Y: 255})
			}
		}
	}
	return img
}

// pictured makes a PDF with text and one picture, in the given form.
func pictured(t testing.TB, form string, img image.Image, lines ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	kind, err := "png", error(nil)
	switch form {
	case "jpeg":
		kind, err = "jpg", jpeg.Encode(&b, img, nil)
	case "palette", "rgb":
		palette := color.Palette{color.RGBA{255, 255, 224, 255}, color.RGBA{32, 0, 64, 255}}
		p := image.NewPaletted(img.Bounds(), palette)
		rgb := image.NewRGBA(img.Bounds())
		for y := range img.Bounds().Dy() {
			for x := range img.Bounds().Dx() {
				dark := img.(*image.Gray).GrayAt(x, y).Y == 0
				if dark {
					p.SetColorIndex(x, y, 1)
				}
				rgb.Set(x, y, palette[map[bool]int{true: 1}[dark]])
			}
		}
		if form == "rgb" {
			err = png.Encode(&b, rgb)
		} else {
			err = png.Encode(&b, p)
		}
	default:
		err = png.Encode(&b, img)
	}
	if err != nil {
		t.Fatal(err)
	}
	pdf := fpdf.New("P", "mm", "A4", "")
	pdf.AddPage()
	pdf.SetFont("Helvetica", "", 11)
	tr := pdf.UnicodeTranslatorFromDescriptor("")
	for _, l := range lines {
		pdf.CellFormat(0, 7, tr(l), "", 1, "L", false, 0, "")
	}
	pdf.RegisterImageOptionsReader("qr", fpdf.ImageOptions{ImageType: kind}, &b)
	pdf.ImageOptions("qr", 20, 60, 50, 50, false, fpdf.ImageOptions{ImageType: kind}, 0, "")
	var out bytes.Buffer
	if err := pdf.Output(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func recordText(code, to string) string {
	return "<rM><d>Mon Nov 23 14:05:06 CET 2026</d><dt>" + code + "</dt><f>bau@bl.example</f><i>6</i><s>Mon Nov 23 14:00:00 CET 2026</s><t>" + to + "</t><u>[BL-7F3K9Q2M] Verf</u></rM>"
}

// TestPicture: the record in a QR code is read in every form that a picture
// usually has in a PDF.
func TestPicture(t *testing.T) {
	text := recordText("0", "buerger@example.ch")
	for _, form := range []string{"grey", "rgb", "palette", "jpeg"} {
		if got := pictureText(pictured(t, form, qr(t, text))); got != text {
			t.Errorf("%s: %q", form, got)
		}
	}
	white := image.NewGray(image.Rect(0, 0, 64, 64))
	if got := pictureText(pictured(t, "grey", white)); got != "" {
		t.Errorf("a black picture: %q", got)
	}
	if got := pictureText([]byte("%PDF-1.4 no picture")); got != "" {
		t.Error(got)
	}
}

// TestRecogniseByPicture: a sealed receipt whose record stands in the QR code
// only, for all codes; and one whose text says something else than its picture.
func TestRecogniseByPicture(t *testing.T) {
	priva := newSeal(t, "PrivaSphere")
	roots := map[string]*x509.CertPool{"privasphere": priva.roots}
	r := recogniser(t, Options{})
	read := func(form, code, to string, lines ...string) Finding {
		t.Helper()
		doc := pictured(t, form, qr(t, recordText(code, to)), append([]string{"PrivaSphere Lesebestätigung"}, lines...)...)
		return one(t, r, input(letter(fromPriva, "=?utf-8?q?Lesebest=C3=A4tigung?=: x", priva.sign(t, doc)), roots))
	}
	for _, code := range strings.Fields("0 2 3 5 6 7 11 12 13 15 16 17 18 19 20 21 99") {
		f := read("grey", code, "buerger@example.ch")
		if f.Kind != kindOfCode(code) || f.Code != code || f.Verdict != message.Verified || f.Reference != "BL-7F3K9Q2M" || f.Recipient.String() != "buerger@example.ch" || !f.At.Equal(testDay) {
			t.Errorf("dt %s: %+v", code, f)
		}
	}
	if f := read("jpeg", "0", "buerger@example.ch", recordText("0", "buerger@example.ch")); f.Verdict != message.Verified {
		t.Errorf("both say the same: %s (%s)", f.Verdict, f.Detail)
	}
	for name, text := range map[string]string{"what happened": recordText("12", "buerger@example.ch"), "the recipient": recordText("0", "anders@example.ch")} {
		if f := read("grey", "0", "buerger@example.ch", text); f.Verdict != message.Unsigned || !strings.Contains(f.Detail, "disagree on "+name) {
			t.Errorf("%s: %s (%s)", name, f.Verdict, f.Detail)
		}
	}
}

// TestHostilePictures: lies about sizes and forms give nothing, and nothing
// breaks.
func TestHostilePictures(t *testing.T) {
	good := pictured(t, "grey", qr(t, "x"))
	for _, edit := range [][2]string{
		{"/Width 300", "/Width 99999"},
		{"/Width 300", "/Width 0"},
		{"/Height 300", "/Height 301"},
		{"/BitsPerComponent 8", "/BitsPerComponent 4"},
		{"/DeviceGray", "/DeviceCMYK"},
		{"/DeviceGray", "/Indexed /DeviceRGB 255 99 0 R"},
		{"/Predictor 15", "/Predictor 2"},
		{"/FlateDecode", "/LZWDecode"},
		{"/FlateDecode", "/DCTDecode"},
	} {
		if !bytes.Contains(good, []byte(edit[0])) {
			t.Fatalf("%q is not in the document", edit[0])
		}
		if got := pictureText(bytes.ReplaceAll(good, []byte(edit[0]), []byte(edit[1]))); got != "" {
			t.Errorf("%s: %q", edit[1], got)
		}
	}
	var many bytes.Buffer
	for i := range 2000 {
		fmt.Fprintf(&many, "%d 0 obj <</Subtype /Image /Width 2000 /Height 2000 /BitsPerComponent 8 /ColorSpace /DeviceGray>>\nstream\nx\nendstream\n", i)
	}
	pictureText(many.Bytes())
}

func FuzzPicture(f *testing.F) {
	f.Add(pictured(f, "grey", qr(f, "x")))
	f.Add(pictured(f, "palette", qr(f, "x")))
	f.Fuzz(func(_ *testing.T, pdf []byte) { pictureText(pdf) })
}
