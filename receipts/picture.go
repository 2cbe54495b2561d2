package receipts

import (
	"bytes"
	"compress/zlib"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

// Bounds of pictures. A QR code is small; what is larger is something else.
const (
	maxPictures = 4
	maxSide     = 4096 // pixels
	maxPixels   = 2 << 20
)

// pictureText reads the QR codes among the pictures of a PDF document, one text a
// line. Like pdfText it finds objects by their keywords and leaves out what it
// cannot read: JPEG, and pictures of 1 or 8 bits in grey, RGB or a palette,
// uncompressed or deflated. A seal covers every octet it looks at.
func pictureText(pdf []byte) string {
	var texts []string
	rest := pdf
	for n, seen := 0, 0; n < maxStreams && seen < maxPictures; n++ {
		dict, data, after, ok := nextStream(rest)
		if !ok {
			break
		}
		rest = after
		if !pictureMark.Match(dict) {
			continue
		}
		seen++
		if img := decodePicture(pdf, string(dict), data); img != nil {
			if text := readQR(img); text != "" {
				texts = append(texts, text)
			}
		}
	}
	return strings.Join(texts, "\n")
}

var (
	pictureMark = regexp.MustCompile(`/Subtype\s*/Image\b`)
	widthOf     = regexp.MustCompile(`/Width\s+(\d{1,5})\b`)
	heightOf    = regexp.MustCompile(`/Height\s+(\d{1,5})\b`)
	bitsOf      = regexp.MustCompile(`/BitsPerComponent\s+(\d{1,2})\b`)
	predictorOf = regexp.MustCompile(`/Predictor\s+(\d{1,2})\b`)
	paletteOf   = regexp.MustCompile(`/Indexed\s*/DeviceRGB\s+\d{1,3}\s+(\d{1,7})\s+0\s+R`)
)

func numberIn(re *regexp.Regexp, dict string, otherwise int) int {
	if m := re.FindStringSubmatch(dict); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			return n
		}
	}
	return otherwise
}

// decodePicture returns nil for what it cannot read.
func decodePicture(pdf []byte, dict string, data []byte) image.Image {
	w, h := numberIn(widthOf, dict, 0), numberIn(heightOf, dict, 0)
	if w <= 0 || h <= 0 || w > maxSide || h > maxSide || w*h > maxPixels {
		return nil
	}
	if strings.Contains(dict, "/DCTDecode") {
		if c, err := jpeg.DecodeConfig(bytes.NewReader(data)); err != nil || c.Width != w || c.Height != h {
			return nil
		}
		img, err := jpeg.Decode(bytes.NewReader(data))
		if err != nil {
			return nil
		}
		return img
	}
	p := raster{w: w, h: h, bits: numberIn(bitsOf, dict, 1), channels: 1}
	switch m := paletteOf.FindStringSubmatch(dict); {
	case m != nil:
		if p.palette = paletteAt(pdf, m[1]); p.palette == nil {
			return nil
		}
	case strings.Contains(dict, "/Indexed"):
		return nil
	case strings.Contains(dict, "/DeviceRGB"):
		p.channels = 3
	case strings.Contains(dict, "/DeviceCMYK"), strings.Contains(dict, "/ICCBased"):
		return nil
	}
	if p.bits != 1 && p.bits != 8 {
		return nil
	}
	row := (w*p.bits*p.channels + 7) / 8
	predictor := numberIn(predictorOf, dict, 1)
	if predictor >= 10 {
		row++
	} else if predictor != 1 {
		return nil
	}
	if data = inflate(dict, data, row*h); len(data) != row*h {
		return nil
	}
	if predictor >= 10 {
		if data = unfilter(data, row, max(1, p.bits*p.channels/8)); data == nil {
			return nil
		}
	}
	p.data = data
	return p.grey()
}

// inflate undoes FlateDecode, at most n octets; other filters give nil.
func inflate(dict string, data []byte, n int) []byte {
	switch {
	case strings.Contains(dict, "/FlateDecode"):
	case strings.Contains(dict, "/Filter"):
		return nil
	default:
		return data[:min(len(data), n)]
	}
	z, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	defer z.Close()
	out, _ := io.ReadAll(io.LimitReader(z, int64(n)))
	return out
}

// paletteAt reads the stream of object n as a palette.
func paletteAt(pdf []byte, n string) []byte {
	at := bytes.Index(pdf, []byte("\n"+n+" 0 obj"))
	if at < 0 {
		return nil
	}
	dict, data, _, ok := nextStream(pdf[at:])
	if !ok {
		return nil
	}
	return inflate(string(dict), data, 3*256)
}

// unfilter undoes the row filters of PNG (RFC 2083 section 6).
func unfilter(data []byte, row, step int) []byte {
	out := make([]byte, 0, len(data))
	above := make([]byte, row-1)
	for ; len(data) >= row; data = data[row:] {
		line := data[1:row]
		for i := range line {
			var left, corner byte
			if i >= step {
				left, corner = line[i-step], above[i-step]
			}
			switch data[0] {
			case 0:
			case 1:
				line[i] += left
			case 2:
				line[i] += above[i]
			case 3:
				line[i] += byte((int(left) + int(above[i])) / 2)
			case 4:
				line[i] += paeth(left, above[i], corner)
			default:
				return nil
			}
		}
		out = append(out, line...)
		above = line
	}
	return out
}

func paeth(a, b, c byte) byte {
	distance := func(x byte) int { return max(int(a)+int(b)-int(c)-int(x), int(x)+int(c)-int(a)-int(b)) }
	switch {
	case distance(a) <= distance(b) && distance(a) <= distance(c):
		return a
	case distance(b) <= distance(c):
		return b
	}
	return c
}

// raster is a picture of 1 or 8 bits a channel.
type raster struct {
	w, h, bits, channels int
	palette              []byte // RGB; nil: none
	data                 []byte
}

func (p raster) grey() image.Image {
	img := image.NewGray(image.Rect(0, 0, p.w, p.h))
	row := (p.w*p.bits*p.channels + 7) / 8
	for y := range p.h {
		line := p.data[y*row : (y+1)*row]
		for x := range p.w {
			img.SetGray(x, y, color.Gray{Y: p.at(line, x)})
		}
	}
	return img
}

func (p raster) at(line []byte, x int) byte {
	v := byte(0)
	switch {
	case p.bits == 1:
		v = line[x/8] >> (7 - x%8) & 1
		if p.palette == nil {
			return v * 255
		}
	case p.channels == 3:
		return luminance(line[3*x], line[3*x+1], line[3*x+2])
	default:
		if v = line[x]; p.palette == nil {
			return v
		}
	}
	if i := 3 * int(v); i+2 < len(p.palette) {
		return luminance(p.palette[i], p.palette[i+1], p.palette[i+2])
	}
	return 255
}

func luminance(r, g, b byte) byte { return byte((299*int(r) + 587*int(g) + 114*int(b)) / 1000) }

// readQR reads one QR code; "" if there is none. The picture is a stranger's: a
// reader that gives up by a panic has read nothing.
func readQR(img image.Image) (text string) {
	defer func() {
		if recover() != nil {
			text = ""
		}
	}()
	bitmap, err := gozxing.NewBinaryBitmapFromImage(img)
	if err != nil {
		return ""
	}
	for _, hints := range []map[gozxing.DecodeHintType]any{{gozxing.DecodeHintType_PURE_BARCODE: true}, {gozxing.DecodeHintType_TRY_HARDER: true}} {
		if r, err := qrcode.NewQRCodeReader().Decode(bitmap, hints); err == nil && len(r.GetText()) <= maxRecord {
			return r.GetText()
		}
	}
	return ""
}
