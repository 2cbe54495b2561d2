package vault

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"

	"gatewayd/crypto/seal"
	"gatewayd/message"
)

func testFrame(segment uint64, offset int64, meta, body []byte) []byte {
	f := frame{
		kind: kindAccept, family: seal.Content, metaLen: int64(len(meta)), bodyLen: int64(len(body)), segment: segment,
		offset: offset, bodySum: sum(body), id: frameID{1, 2, 3}, logDay: "2027-05-23",
	}
	f.sumMeta(meta)
	b := append(append(f.encode(), meta...), body...)
	return append(b, make([]byte, f.length()-int64(len(b)))...)
}

// octetsRead counts what is read.
type octetsRead struct {
	*bytes.Reader
	n int64
}

func (r *octetsRead) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.Reader.ReadAt(p, off)
	r.n += int64(n)
	return n, err
}

// TestDroppedTo: what was dropped is known by its own head, where it has one, and not
// by all that lies before it.
func TestDroppedTo(t *testing.T) {
	var segment []byte
	for range 1000 {
		segment = append(segment, testFrame(7, int64(len(segment)), []byte("meta"), make([]byte, 4000))...)
	}
	at := int64(len(segment))
	run := frame{kind: kindGone, run: true, family: seal.Content, segment: 7, offset: at, bodyLen: 8000, bodySum: 2}
	run.sumMeta(nil)
	segment = append(append(segment, run.encode()...), make([]byte, run.length()-headLen)...)
	for off, most := range map[int64]int64{at: headLen, at + 4096: int64(len(segment)) + windowSize} {
		r := &octetsRead{Reader: bytes.NewReader(segment)}
		if end, ok := droppedTo(r, r.Size(), message.Ref{Segment: 7, Offset: off}); !ok || end != run.end() || r.n > most {
			t.Errorf("at %d: %d, %v, %d octets read", off-at, end, ok, r.n)
		}
	}
	if _, ok := droppedTo(bytes.NewReader(segment), int64(len(segment)), message.Ref{Segment: 7, Offset: at - 4224}); ok {
		t.Error("a record that is there")
	}
}

func TestFrameRoundTrip(t *testing.T) {
	for _, want := range []frame{
		{kind: kindAccept, family: seal.Content, metaLen: 100, bodyLen: 1 << 40, inFile: true, synced: 64, segment: 1<<64 - 1, offset: 128, metaSum: 7, logDay: "2027-05-23", id: frameID{9}},
		{kind: kindBlob, family: seal.Log, bodyLen: 16, bodySum: 5, slot: slot{1, 2, 3}},
		{kind: kindEnd, family: seal.Content, a: 1 << 33, synced: 1 << 20, offset: 1 << 20},
		{kind: kindCut, family: seal.Content, a: 77, b: 4096},
	} {
		got, ok := decodeHead(want.encode())
		if !ok || got != want {
			t.Errorf("decodeHead(encode(%+v)) = %+v, %v", want, got, ok)
		}
	}
}

// TestFrameForm pins the form on disk: a change needs a new version number.
func TestFrameForm(t *testing.T) {
	b := testFrame(3, 64, []byte("meta"), []byte("body"))
	if len(b) != 256 || string(b[:8]) != "\xf7gwdfrm\n" || b[8] != 1 || string(b[192:200]) != "metabody" || string(b[144:154]) != "2027-05-23" {
		t.Errorf("frame % x", b[:200])
	}
	if got := binary.BigEndian.Uint32(b[60:]); got != 0xaa0c197e {
		t.Errorf("header checksum %#x", got)
	}
}

func TestDecodeHeadRefuses(t *testing.T) {
	good := testFrame(3, 64, []byte("meta"), nil)
	for i := range slotAt {
		b := bytes.Clone(good)
		b[i] ^= 0x40
		if _, ok := decodeHead(b); ok {
			t.Errorf("octet %d changed: still a frame", i)
		}
	}
	for name, change := range map[string]func(b []byte){
		"version": func(b []byte) { b[8] = 2 }, "kind": func(b []byte) { b[9] = 9 }, "family": func(b []byte) { b[10] = 0 },
		"negative body": func(b []byte) { b[16] = 0x80 }, "synced behind": func(b []byte) { b[31] = 65 }, "crooked offset": func(b []byte) { b[47] = 65 },
		"endless meta": func(b []byte) { b[12] = 0xff },
	} {
		b := bytes.Clone(good)
		change(b)
		binary.BigEndian.PutUint32(b[60:], sum(b[:60]))
		if _, ok := decodeHead(b); ok {
			t.Errorf("%s: still a frame", name)
		}
	}
	if _, ok := decodeHead(good[:headLen-1]); ok {
		t.Error("a short head is a frame")
	}
}

func TestSlot(t *testing.T) {
	k, err := seal.Open(t.TempDir(), make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := k.AEAD(seal.Content, "2027-01-23")
	if err != nil {
		t.Fatal(err)
	}
	key, id := [32]byte{1, 2}, frameID{3}
	s := wrapKey(aead, key, id)
	if got, err := s.unwrap(aead, id); err != nil || got != key || !s.good() || s.erased() {
		t.Errorf("unwrap = %v, %v", got, err)
	}
	if _, err := s.unwrap(aead, frameID{4}); err == nil {
		t.Error("the slot opens for another record")
	}
	for i := range s {
		c := s
		c[i] ^= 1
		if c.good() {
			t.Errorf("octet %d changed: still good", i)
		}
	}
	if z := (slot{}); !z.good() || !z.erased() {
		t.Error("zeros do not mean erased")
	}
}

// TestScanSteps: frames behind rubbish of any length are found again, also across
// the scanner's window.
func TestScanSteps(t *testing.T) {
	for _, gap := range []int{0, 1, 63, 64, 65, 1000, windowSize - 64, windowSize, 3*windowSize + 17} {
		first := testFrame(1, 0, []byte("one"), bytes.Repeat([]byte("x"), 500))
		at := alignUp(int64(len(first) + gap))
		data := append(bytes.Clone(first), bytes.Repeat([]byte(magic), int(at)/8+1)...)[:at]
		data = append(data, testFrame(1, at, bytes.Repeat([]byte("m"), windowSize+5), nil)...)
		var frames, bad int
		end, err := scan(bytes.NewReader(data), 1, 0, int64(len(data)), func(x found) error {
			if x.bad {
				bad++
				if x.from != int64(len(first)) || x.to != at {
					t.Errorf("gap %d: bad stretch %d to %d, want %d to %d", gap, x.from, x.to, len(first), at)
				}
			} else {
				frames++
			}
			return nil
		})
		if err != nil || frames != 2 || end != int64(len(data)) || (bad == 1) != (at > int64(len(first))) {
			t.Errorf("gap %d: %d frames, %d bad stretches, end %d of %d, %v", gap, frames, bad, end, len(data), err)
		}
	}
}

func TestScanIgnoresMisplaced(t *testing.T) {
	data := append(testFrame(2, 0, nil, nil), testFrame(1, 0, nil, nil)...) // other segment, other offset
	end, err := scan(bytes.NewReader(data), 1, 0, int64(len(data)), func(x found) error {
		t.Errorf("found %+v", x)
		return nil
	})
	if err != nil || end != 0 {
		t.Errorf("end %d, %v", end, err)
	}
}

// FuzzScan: a segment of foreign octets never panics, never yields overlapping
// frames or frames outside, and every octet belongs to a frame, a bad stretch or
// the tail.
func FuzzScan(f *testing.F) {
	one := testFrame(1, 0, []byte("meta"), []byte("body"))
	two := append(bytes.Clone(one), testFrame(1, int64(len(one)), nil, make([]byte, 500))...)
	torn := append(bytes.Clone(two[:300]), two...)
	f.Add(one, false)
	f.Add(two, false)
	f.Add(torn, true)
	f.Add(two[:len(two)-70], true)
	f.Add([]byte(magic), true)
	f.Fuzz(func(t *testing.T, data []byte, mend bool) {
		if mend { // let the header checksum not hide the rest
			for off := 0; off+headLen <= len(data); off += align {
				if string(data[off:off+8]) == magic {
					binary.BigEndian.PutUint32(data[off+60:], sum(data[off:off+60]))
				}
			}
		}
		at, size := int64(0), int64(len(data))
		end, err := scan(bytes.NewReader(data), 1, 0, size, func(x found) error {
			if x.from != at || x.to <= x.from || x.to > size {
				t.Fatalf("found %d to %d after %d in %d octets", x.from, x.to, at, size)
			}
			if at = x.to; x.bad {
				return nil
			}
			if x.frame.offset != x.from || int64(len(x.meta)) != x.frame.metaLen || x.frame.bodyAt()+x.frame.inline() > x.to-x.from {
				t.Fatalf("frame %+v from %d to %d", x.frame, x.from, x.to)
			}
			_, err := bodySum(bytes.NewReader(data), &x.frame)
			return err
		})
		if err != nil || end != at {
			t.Fatalf("end %d, last found ends at %d, %v", end, at, err)
		}
		endOf(bytes.NewReader(data), 1, size)
	})
}

// FuzzOpen: any octets as a segment file: Open and Check cope, and a second start
// finds nothing left to do.
func FuzzOpen(f *testing.F) {
	one := testFrame(1, 0, []byte("meta"), []byte("body"))
	f.Add(one)
	f.Add(append(bytes.Clone(one[:100]), one...))
	keys, err := seal.Open(f.TempDir(), make([]byte, 32))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		o := Options{Dir: dir, Keys: keys}
		if err := os.MkdirAll(dir+"/2027-01-23", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/2027-01-23/0000000000000001.seg", data, 0o600); err != nil {
			t.Fatal(err)
		}
		for i := range 2 {
			v, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			if err := v.Check(func(string) {}); err != nil {
				t.Fatal(err)
			}
			if i == 1 && v.Recovered().Segments != 0 {
				t.Errorf("second start recovers again: %+v", v.Recovered())
			}
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
