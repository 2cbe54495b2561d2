package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"gatewayd/message"
)

// TestMerkleVectors holds roots and a path against the test vectors of the
// reference implementation of Certificate Transparency, whose tree RFC 9162 keeps.
func TestMerkleVectors(t *testing.T) {
	roots := []string{
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
	var leaves []message.Digest
	for i, input := range []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"} {
		b, err := hex.DecodeString(input)
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, sha256.Sum256(append([]byte{0}, b...)))
		if got := rootOf(leaves).String(); got != roots[i] {
			t.Errorf("root over %d leaves %s, want %s", i+1, got, roots[i])
		}
	}
	want := []string{
		"96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
		"5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
		"6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
	}
	for i, got := range pathTo(leaves, 0) {
		if i >= len(want) || got.String() != want[i] {
			t.Errorf("path of leaf 0: %d is %s", i, got)
		}
	}
	if got := (&merkle{}).root(); got != sha256.Sum256(nil) {
		t.Errorf("root over nothing: %s", got)
	}
}

// TestMerklePaths: in trees of every size up to 40, the path of each leaf leads to
// the root, and neither that of another leaf nor a longer or shorter one does.
func TestMerklePaths(t *testing.T) {
	var leaves []message.Digest
	for n := uint64(1); n <= 40; n++ {
		leaves = append(leaves, leafOf(message.Digest{byte(n)}))
		root := rootOf(leaves)
		for at := range n {
			path := pathTo(leaves, at)
			if !leads(leaves[at], at, n, path, root) {
				t.Fatalf("leaf %d of %d: its path does not lead to the root", at, n)
			}
			for other := range n {
				if other != at && (leads(leaves[other], at, n, path, root) || leads(leaves[at], other, n, path, root)) {
					t.Errorf("leaf %d of %d passes for %d", other, n, at)
				}
			}
			if leads(leaves[at], at, n, append(path, message.Digest{}), root) || len(path) > 0 && leads(leaves[at], at, n, path[1:], root) || leads(leaves[at], n, n, path, root) {
				t.Errorf("leaf %d of %d: another path leads to the root", at, n)
			}
		}
	}
}
