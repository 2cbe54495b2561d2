package directory

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Parameters of new hashes: the second recommendation of OWASP for argon2id,
// 19 MiB and two passes.
const (
	newMemory = 19 * 1024 // KiB
	newTime   = 2
	newLanes  = 1
	saltSize  = 16
	sumSize   = 32
)

// What a hash in the file may cost: at least what still counts as strong, at
// most what four checks at once can afford.
const (
	minMemory = 7 * 1024   // KiB
	maxMemory = 256 * 1024 // KiB
	maxTime   = 16
	maxLanes  = 16
)

// phc is a parsed PHC string of argon2id, version 19.
type phc struct {
	memory, time uint32
	lanes        uint8
	salt, sum    []byte
}

var errNotPHC = errors.New("the hash must look like $argon2id$v=19$m=19456,t=2,p=1$salt$hash; gatewayd account hash writes one")

func parsePHC(s string) (phc, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v=19" {
		return phc{}, errNotPHC
	}
	var h phc
	if err := h.parameters(parts[3]); err != nil {
		return phc{}, err
	}
	var err1, err2 error
	h.salt, err1 = base64.RawStdEncoding.Strict().DecodeString(parts[4])
	h.sum, err2 = base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err1 != nil || err2 != nil {
		return phc{}, errNotPHC
	}
	if len(h.salt) < 8 || len(h.salt) > 64 || len(h.sum) < 16 || len(h.sum) > 64 {
		return phc{}, errors.New("the salt must have 8 to 64 octets and the hash 16 to 64")
	}
	return h, nil
}

func (h *phc) parameters(s string) error {
	parts := strings.Split(s, ",")
	if len(parts) != 3 {
		return errNotPHC
	}
	var n [3]uint64
	for i, name := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(parts[i], name)
		v, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil {
			return errNotPHC
		}
		n[i] = v
	}
	switch {
	case n[0] < minMemory:
		return fmt.Errorf("the hash is too weak: m must be at least %d", minMemory)
	case n[0] > maxMemory || n[1] < 1 || n[1] > maxTime || n[2] < 1 || n[2] > maxLanes:
		return fmt.Errorf("the hash costs too much or is impossible: m at most %d, t 1 to %d, p 1 to %d", maxMemory, maxTime, maxLanes)
	}
	h.memory, h.time, h.lanes = uint32(n[0]), uint32(n[1]), uint8(n[2])
	return nil
}

// matches does the whole work whatever the outcome.
func (h phc) matches(password string) bool {
	sum := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.lanes, uint32(len(h.sum))) //nolint:gosec // at most 64
	return subtle.ConstantTimeCompare(sum, h.sum) == 1
}

func (h phc) String() string {
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", h.memory, h.time, h.lanes,
		base64.RawStdEncoding.EncodeToString(h.salt), base64.RawStdEncoding.EncodeToString(h.sum))
}

// decoy is a hash that no password matches, for a file without accounts.
func decoy() phc {
	h := phc{memory: newMemory, time: newTime, lanes: newLanes, salt: make([]byte, saltSize), sum: make([]byte, sumSize)}
	rand.Read(h.salt)
	rand.Read(h.sum)
	return h
}

// HashPassword returns the PHC string of a password for the password file.
func HashPassword(password string) (string, error) {
	if password == "" || len(password) > maxPassword {
		return "", fmt.Errorf("a password has 1 to %d octets", maxPassword)
	}
	h := decoy()
	h.sum = argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.lanes, sumSize)
	return h.String(), nil
}
