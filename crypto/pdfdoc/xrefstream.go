package pdfdoc

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"io"
)

// Bounds of compressed cross-reference data.
const (
	maxInflated   = 16 << 20 // octets of all streams of one document, or of one tail
	maxContained  = 1 << 16  // objects of one object stream
	maxContainers = 256      // object streams kept unpacked
)

// room is how many octets may still be unpacked. A document is small, and what it
// holds need not be.
type room int

// Place says where an object stands: at an offset, or as the index-th of an
// object stream. The zero value: it is free.
type Place struct {
	Offset    int64
	container int64 // number of the object stream; 0: none
	index     int64
}

// StreamAt returns the dictionary and the data of the stream object at an
// offset, still encoded, and the number of the object.
func StreamAt(pdf []byte, at int64) (n int64, d Dict, data []byte, err error) {
	if at < 0 || at >= int64(len(pdf)) {
		return 0, nil, nil, malformed("stream offset", len(pdf))
	}
	m := objectHeader.FindSubmatchIndex(pdf[at:min(at+64, int64(len(pdf)))])
	if m == nil {
		return 0, nil, nil, malformed("object header", int(at))
	}
	n, _ = Number(pdf[at+int64(m[2]) : at+int64(m[3])])
	d, end, err := ParseDict(pdf, int(at)+m[1])
	if err != nil {
		return 0, nil, nil, err
	}
	data, _, err = streamData(pdf, d, end)
	return n, d, data, err
}

// streamData returns what stands between "stream" and "endstream" behind a
// dictionary that ends at i, and where that ends. A length that is a reference
// is not followed: the data then ends at the first "endstream".
func streamData(pdf []byte, d Dict, i int) (data []byte, end int, err error) {
	word, err := scan(pdf, i)
	if err != nil {
		return nil, 0, err
	}
	if word.kind != kindWord || string(pdf[word.start:word.end]) != "stream" {
		return nil, 0, malformed("stream is missing", word.start)
	}
	start := word.end
	switch {
	case bytes.HasPrefix(pdf[start:], []byte("\r\n")):
		start += 2
	case bytes.HasPrefix(pdf[start:], []byte("\n")):
		start++
	default:
		return nil, 0, malformed("line end after stream", start)
	}
	stop := -1
	if n, ok := Number(d.Get("Length")); ok {
		if stop = start + int(n); stop > len(pdf) {
			return nil, 0, malformed("stream length", start)
		}
	} else if n := bytes.Index(pdf[start:], []byte("endstream")); n >= 0 {
		stop = start + n
	} else {
		return nil, 0, malformed("stream without end", start)
	}
	last := stop
	for last < len(pdf) && isSpace(pdf[last]) {
		last++
	}
	if !bytes.HasPrefix(pdf[last:], []byte("endstream")) {
		return nil, 0, malformed("stream length", start)
	}
	return pdf[start:stop], last + len("endstream"), nil
}

// decode undoes the filters that cross-reference and object streams have: none,
// or FlateDecode, with a PNG predictor or without.
func (r *room) decode(d Dict, data []byte) ([]byte, error) {
	switch filter := Canonical(d.Get("Filter")); filter {
	case "":
		return data, nil
	case "/FlateDecode", "[/FlateDecode]":
	default:
		return nil, fmt.Errorf("%w: filter %.40q", ErrUnsupported, filter)
	}
	z, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	defer z.Close()
	out, err := io.ReadAll(io.LimitReader(z, int64(*r)+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if len(out) > int(*r) {
		return nil, fmt.Errorf("%w: compressed data too long", ErrMalformed)
	}
	*r -= room(len(out))
	parms := d.Get("DecodeParms")
	if list, err := Elements(parms); err == nil && len(list) == 1 {
		parms = list[0]
	}
	if parms == nil || string(parms) == "null" {
		return out, nil
	}
	p, _, err := ParseDict(parms, 0)
	if err != nil {
		return nil, err
	}
	predictor, _ := Number(p.Get("Predictor"))
	if predictor < 10 {
		if predictor > 1 {
			return nil, fmt.Errorf("%w: predictor %d", ErrUnsupported, predictor)
		}
		return out, nil
	}
	columns, ok := Number(p.Get("Columns"))
	if !ok {
		columns = 1
	}
	if columns > 1<<10 || p.Find("Colors") != nil && Canonical(p.Get("Colors")) != "1" || p.Find("BitsPerComponent") != nil && Canonical(p.Get("BitsPerComponent")) != "8" {
		return nil, fmt.Errorf("%w: predictor", ErrUnsupported)
	}
	return unpredict(out, int(columns))
}

// unpredict undoes the PNG filters (RFC 2083 section 6) None, Sub, Up, Average
// and Paeth over rows of single octets.
func unpredict(b []byte, columns int) ([]byte, error) {
	if columns < 1 || len(b)%(columns+1) != 0 {
		return nil, fmt.Errorf("%w: predicted rows", ErrMalformed)
	}
	out := make([]byte, 0, len(b))
	above := make([]byte, columns)
	for ; len(b) > 0; b = b[columns+1:] {
		row := bytes.Clone(b[1 : columns+1])
		for i := range row {
			var left, corner byte
			if i > 0 {
				left, corner = row[i-1], above[i-1]
			}
			switch b[0] {
			case 0:
			case 1:
				row[i] += left
			case 2:
				row[i] += above[i]
			case 3:
				row[i] += byte((int(left) + int(above[i])) / 2)
			case 4:
				row[i] += paeth(left, above[i], corner)
			default:
				return nil, fmt.Errorf("%w: predictor of a row", ErrMalformed)
			}
		}
		out, above = append(out, row...), row
	}
	return out, nil
}

func paeth(a, b, c byte) byte {
	p := int(a) + int(b) - int(c)
	pa, pb, pc := abs(p-int(a)), abs(p-int(b)), abs(p-int(c))
	switch {
	case pa <= pb && pa <= pc:
		return a
	case pb <= pc:
		return b
	}
	return c
}

func abs(n int) int { return max(n, -n) }

// readXRefStream reads a cross-reference stream (7.5.8): each entry is told to
// set, the dictionary is the trailer.
func (r *room) readXRefStream(pdf []byte, at int64, set func(n int64, p Place, inUse bool)) (Dict, error) {
	_, d, data, err := StreamAt(pdf, at)
	if err != nil {
		return nil, err
	}
	if Canonical(d.Get("Type")) != "/XRef" {
		return nil, malformed("no cross-reference", int(at))
	}
	if data, err = r.decode(d, data); err != nil {
		return nil, err
	}
	widths, err := numbers(d.Get("W"))
	if err != nil || len(widths) != 3 || max(widths[0], widths[1], widths[2]) > 8 {
		return nil, malformed("widths of a cross-reference stream", int(at))
	}
	index, err := numbers(d.Get("Index"))
	if d.Get("Index") == nil {
		size, ok := Number(d.Get("Size"))
		index, err = []int64{0, size}, nil
		if !ok {
			err = malformed("size of a cross-reference stream", int(at))
		}
	}
	if err != nil || len(index)%2 != 0 {
		return nil, malformed("index of a cross-reference stream", int(at))
	}
	field := func(width, missing int64) int64 {
		if width == 0 {
			return missing
		}
		v := int64(0)
		for _, c := range data[:width] {
			v = v<<8 | int64(c)
		}
		data = data[width:]
		return v
	}
	entry := widths[0] + widths[1] + widths[2]
	for ; len(index) > 0; index = index[2:] {
		first, count := index[0], index[1]
		if first+count > MaxObjects || entry == 0 || count*entry > int64(len(data)) {
			return nil, malformed("length of a cross-reference stream", int(at))
		}
		for n := first; n < first+count; n++ {
			kind, a, b := field(widths[0], 1), field(widths[1], 0), field(widths[2], 0)
			switch kind {
			case 0:
				set(n, Place{}, false)
			case 1:
				set(n, Place{Offset: a}, true)
			case 2:
				set(n, Place{container: a, index: b}, true)
			default:
				return nil, malformed("kind of a cross-reference", int(at))
			}
		}
	}
	return d, nil
}

// numbers reads an array of numbers.
func numbers(raw []byte) ([]int64, error) {
	list, err := Elements(raw)
	if err != nil {
		return nil, err
	}
	out := make([]int64, len(list))
	for i, e := range list {
		n, ok := Number(e)
		if !ok {
			return nil, malformed("number", 0)
		}
		out[i] = n
	}
	return out, nil
}

// packed are the objects of an object stream by their number.
type packed map[int64]part

// part is one of them. Some programs find it by its index, others by its number:
// get demands that both name the same.
type part struct {
	raw   []byte
	index int64
}

func (p packed) get(n, index int64) ([]byte, bool) {
	got, ok := p[n]
	return got.raw, ok && got.index == index
}

// contained reads an object stream (7.5.7).
func (r *room) contained(d Dict, data []byte) (packed, error) {
	data, err := r.decode(d, data)
	if err != nil {
		return nil, err
	}
	count, okN := Number(d.Get("N"))
	first, okF := Number(d.Get("First"))
	if Canonical(d.Get("Type")) != "/ObjStm" || !okN || !okF || count > maxContained || first > int64(len(data)) {
		return nil, malformed("object stream", 0)
	}
	out := make(packed, count)
	last, from := int64(-1), first // the object whose value is still to be read, and where it begins
	keep := func(to int64) error {
		if last < 0 {
			return nil
		}
		start, end, err := value(data[:to], int(from))
		if err == nil {
			out[last] = part{data[start:end], int64(len(out))}
		}
		return err
	}
	for i, k := 0, int64(0); k < count; k++ {
		var pair [2]int64
		for j := range pair {
			t, err := scan(data[:first], i)
			if err != nil {
				return nil, err
			}
			n, ok := Number(data[t.start:t.end])
			if !ok {
				return nil, malformed("object stream", t.start)
			}
			pair[j], i = n, t.end
		}
		at := first + pair[1]
		if at > int64(len(data)) || last >= 0 && at <= from { // 7.5.7: in increasing order, so that no two share octets
			return nil, malformed("object stream", int(pair[1]))
		}
		if err := keep(at); err != nil {
			return nil, err
		}
		if _, twice := out[pair[0]]; twice {
			return nil, malformed("object stream", i)
		}
		last, from = pair[0], at
	}
	return out, keep(int64(len(data)))
}
