package evidence

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// unsealed are the files that the manifest cannot name.
func unsealed() []string { return []string{FileManifest, FileSeal, FileStamp} }

// formatManifest writes the digests as sha256sum does, in the order of names.
func formatManifest(digests map[string][32]byte) []byte {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(digests)) {
		fmt.Fprintf(&b, "%x  %s\n", digests[name], name)
	}
	return b.Bytes()
}

// plainName is what a file in a bundle may be called: no way out of the folder,
// nothing hidden, nothing that two file systems read differently.
var plainName = regexp.MustCompile(`^(receipts/|revocation/|audit/)?[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// parseManifest reads what formatManifest wrote, and nothing else.
func parseManifest(text []byte) (map[string][32]byte, error) {
	digests := map[string][32]byte{}
	last := ""
	for line := range strings.Lines(string(text)) {
		line, ended := strings.CutSuffix(line, "\n")
		sum, name, ok := strings.Cut(line, "  ")
		raw, err := hex.DecodeString(sum)
		switch {
		case !ok || !ended || err != nil || len(raw) != 32 || sum != strings.ToLower(sum) || !plainName.MatchString(name):
			return nil, fmt.Errorf("line %d cannot be read", len(digests)+1)
		case name <= last || slices.Contains(unsealed(), name):
			return nil, fmt.Errorf("line %d: %s must not stand here", len(digests)+1, name)
		}
		digests[name], last = [32]byte(raw), name
	}
	if len(digests) == 0 {
		return nil, errors.New("it is empty")
	}
	return digests, nil
}
