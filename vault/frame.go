package vault

import (
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"

	"gatewayd/crypto/seal"
)

const (
	magic        = "\xf7gwdfrm\n"
	frameVersion = 1
	align        = 64
	headLen      = 192 // header, slot and info
	slotAt       = 64
	slotLen      = 64
	infoAt       = slotAt + slotLen
	maxMeta      = 64 << 20
)

// kind says what a frame is.
type kind byte

const (
	kindAccept kind = 1 // replayed
	kindBlob   kind = 2 // named by a ledger commit, never replayed
	kindEnd    kind = 3 // last in a segment closed in order; a = end of the last accept frame
	kindCut    kind = 4 // first in a segment; segment a ends at offset b
	kindVoid   kind = 5 // taken back by recovery: its body never arrived whole
	kindGone   kind = 6 // a record that was dropped, or a run of them (drop.go)
)

const (
	flagFile = 1 // the body has a file of its own
	flagRun  = 2 // of a gone frame: it stands for a run; in the place of a body's checksum is how many records
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// frame is a frame's head; meta and body follow it in the segment.
type frame struct {
	kind    kind
	family  seal.Family // of the day key that wraps the body's key
	inFile  bool
	run     bool
	metaLen int64
	bodyLen int64
	synced  int64
	segment uint64
	offset  int64
	metaSum uint32
	bodySum uint32
	slot    slot
	id      frameID
	logDay  string
	a, b    uint64
}

// frameID binds slot, meta and body file to each other.
type frameID [16]byte

// String is the name of the body file.
func (id frameID) String() string { return hex.EncodeToString(id[:]) }

// slot holds the wrapped key of a body.
type slot [slotLen]byte

func (f *frame) bodyAt() int64 { return headLen + f.metaLen }

// inline is the number of body octets in the segment.
func (f *frame) inline() int64 {
	if f.inFile {
		return 0
	}
	return f.bodyLen
}

// length is the whole frame with its padding.
func (f *frame) length() int64 { return alignUp(f.bodyAt() + f.inline()) }

func (f *frame) end() int64 { return f.offset + f.length() }

func alignUp(n int64) int64 { return (n + align - 1) &^ (align - 1) }

// encode returns the head. metaSum must cover info and meta already.
func (f *frame) encode() []byte {
	b := make([]byte, headLen)
	copy(b, magic)
	b[8], b[9], b[10] = frameVersion, byte(f.kind), familyByte(f.family)
	if f.inFile {
		b[11] |= flagFile
	}
	if f.run {
		b[11] |= flagRun
	}
	be := binary.BigEndian
	be.PutUint32(b[12:], uint32(f.metaLen)) //nolint:gosec // at most maxMeta
	be.PutUint64(b[16:], uint64(f.bodyLen))
	be.PutUint64(b[24:], uint64(f.synced))
	be.PutUint64(b[32:], f.segment)
	be.PutUint64(b[40:], uint64(f.offset))
	be.PutUint32(b[48:], f.metaSum)
	be.PutUint32(b[52:], f.bodySum)
	be.PutUint32(b[60:], sum(b[:60]))
	copy(b[slotAt:], f.slot[:])
	f.putInfo(b[infoAt:headLen])
	return b
}

func (f *frame) putInfo(b []byte) {
	copy(b, f.id[:])
	copy(b[16:26], f.logDay)
	binary.BigEndian.PutUint64(b[32:], f.a)
	binary.BigEndian.PutUint64(b[40:], f.b)
}

// sumMeta sets metaSum over info and the sealed meta.
func (f *frame) sumMeta(meta []byte) {
	var info [headLen - infoAt]byte
	f.putInfo(info[:])
	f.metaSum = crc32.Update(sum(info[:]), castagnoli, meta)
}

// decodeHead reads a head. It proves the header; what metaSum covers is proven
// by metaGood, the slot by its own checksum.
func decodeHead(b []byte) (frame, bool) {
	be := binary.BigEndian
	if len(b) < headLen || string(b[:8]) != magic || be.Uint32(b[60:]) != sum(b[:60]) || b[8] != frameVersion || b[11]&^(flagFile|flagRun) != 0 {
		return frame{}, false
	}
	f := frame{
		kind: kind(b[9]), inFile: b[11]&flagFile != 0, run: b[11]&flagRun != 0,
		metaLen: int64(be.Uint32(b[12:])), bodyLen: int64(be.Uint64(b[16:])), synced: int64(be.Uint64(b[24:])),
		segment: be.Uint64(b[32:]), offset: int64(be.Uint64(b[40:])), metaSum: be.Uint32(b[48:]), bodySum: be.Uint32(b[52:]),
		a: be.Uint64(b[infoAt+32:]), b: be.Uint64(b[infoAt+40:]),
	}
	copy(f.slot[:], b[slotAt:])
	copy(f.id[:], b[infoAt:])
	if day := string(b[infoAt+16 : infoAt+26]); day != string(make([]byte, 10)) {
		f.logDay = day
	}
	f.family = familyOf(b[10])
	switch {
	case f.kind < kindAccept || f.kind > kindGone, f.family == "", f.run && f.kind != kindGone:
		return frame{}, false
	case f.metaLen > maxMeta, f.bodyLen < 0, f.bodyLen > 1<<56, f.offset < 0, f.offset > 1<<56, f.offset%align != 0, f.synced < 0, f.synced > f.offset:
		return frame{}, false
	}
	return f, true
}

// metaGood proves info and sealed meta; head is the frame's first headLen octets.
func (f *frame) metaGood(head, meta []byte) bool {
	return f.metaSum == crc32.Update(sum(head[infoAt:headLen]), castagnoli, meta)
}

func familyByte(f seal.Family) byte {
	if f == seal.Log {
		return 2
	}
	return 1
}

func familyOf(b byte) seal.Family {
	switch b {
	case 1:
		return seal.Content
	case 2:
		return seal.Log
	}
	return ""
}

func slotAAD(id frameID) []byte { return append([]byte("gatewayd vault key 1 "), id[:]...) }

func metaAAD(id frameID) []byte { return append([]byte("gatewayd vault meta 1 "), id[:]...) }

// wrapKey fills a slot.
func wrapKey(day cipher.AEAD, key [32]byte, id frameID) (s slot) {
	n := copy(s[:], seal.SealRecord(day, key[:], slotAAD(id)))
	binary.BigEndian.PutUint32(s[n:], sum(s[:n]))
	return s
}

// erased reports whether the body was let go.
func (s *slot) erased() bool { return *s == slot{} }

// good reports whether the slot is as it was written, or erased.
func (s *slot) good() bool {
	return s.erased() || binary.BigEndian.Uint32(s[slotLen-4:]) == sum(s[:slotLen-4])
}

// unwrap returns the body's key.
func (s *slot) unwrap(day cipher.AEAD, id frameID) (key [32]byte, err error) {
	plain, err := seal.OpenRecord(day, s[:slotLen-4], slotAAD(id))
	if err != nil {
		return key, err
	}
	copy(key[:], plain)
	return key, nil
}
