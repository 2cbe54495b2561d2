package vault_test

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"testing"
)

// patchSynced changes the synced mark of the frame at an offset.
func patchSynced(t *testing.T, path string, at, synced int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var head [64]byte
	if _, err := f.ReadAt(head[:], at); err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint64(head[24:], uint64(synced)) //nolint:gosec // an offset
	binary.BigEndian.PutUint32(head[60:], crc32.Checksum(head[:60], crc32.MakeTable(crc32.Castagnoli)))
	if _, err := f.WriteAt(head[:], at); err != nil {
		t.Fatal(err)
	}
}
