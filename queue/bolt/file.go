package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
)

// bbolt's file format: pages 0 and 1 carry a meta block each behind a header of
// 16 bytes; the valid one with the higher transaction number counts.
const (
	pageHeader = 16
	metaSize   = 64
	metaMagic  = 0xED0CDAED
	minPage    = 1 << 10
	maxPage    = 1 << 16
)

// metaBlock is what checkSize needs of a meta block.
type metaBlock struct {
	pageSize int64
	pages    uint64 // pages in use
	tx       uint64
}

// checkSize refuses a file that is shorter than its meta page says: bbolt maps
// the file into memory and the process would die of SIGBUS at the first read
// behind its end. A file that does not exist or is empty is fine.
func checkSize(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	best, found := metaBlock{}, false
	for _, m := range metas(f) {
		if !found || m.tx > best.tx {
			best, found = m, true
		}
	}
	if !found {
		return errors.New("no valid meta page: the file is damaged or no ledger; restore it from a backup")
	}
	if want := int64(best.pages) * best.pageSize; info.Size() < want || want < 0 { //nolint:gosec // checked for overflow
		return fmt.Errorf("the file has %d bytes, its meta page asks for %d: it is truncated; restore it from a backup", info.Size(), want)
	}
	return nil
}

// metas returns the valid meta blocks: the first one at offset 0, the second
// one a page later, whatever the size of a page is.
func metas(f *os.File) []metaBlock {
	var all []metaBlock
	if m, ok := readMeta(f, 0); ok {
		all = append(all, m)
	}
	for size := int64(minPage); size <= maxPage; size *= 2 {
		if m, ok := readMeta(f, size); ok && m.pageSize == size {
			all = append(all, m)
		}
	}
	return all
}

func readMeta(f *os.File, at int64) (metaBlock, bool) {
	var b [metaSize]byte
	if _, err := f.ReadAt(b[:], at+pageHeader); err != nil {
		return metaBlock{}, false
	}
	order := binary.NativeEndian
	sum := fnv.New64a()
	sum.Write(b[:metaSize-8])
	if order.Uint32(b[0:]) != metaMagic || order.Uint64(b[metaSize-8:]) != sum.Sum64() {
		return metaBlock{}, false
	}
	m := metaBlock{pageSize: int64(order.Uint32(b[8:])), pages: order.Uint64(b[40:]), tx: order.Uint64(b[48:])}
	return m, m.pageSize >= minPage && m.pageSize <= maxPage
}
