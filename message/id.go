package message

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ID names one message from the SMTP session to the last receipt: it stands in
// the 250 reply, the Received header, the log, the audit trail and the API.
// The first 48 bits are the milliseconds of acceptance, so that IDs sort by
// time; the other 80 bits are random, so that none can be guessed.
type ID [16]byte

// idText is Crockford's alphabet in lower case: no i, l, o, u.
var idText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// ErrBadID is returned for text that is not an ID.
var ErrBadID = errors.New("not a message id (26 letters and digits)")

// NewID returns a fresh ID for a message accepted at now.
func NewID(now time.Time) ID {
	var id ID
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(now.UnixMilli())) //nolint:gosec // times before 1970 do not occur
	copy(id[:6], ms[2:])
	rand.Read(id[6:])
	return id
}

// ParseID reads the 26 characters that String writes; upper case is accepted.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 26 {
		return id, ErrBadID
	}
	raw, err := idText.DecodeString(strings.ToLower(s))
	if err != nil || len(raw) != len(id) {
		return id, ErrBadID
	}
	copy(id[:], raw)
	return id, nil
}

// String returns the ID as 26 lower-case letters and digits.
func (id ID) String() string { return idText.EncodeToString(id[:]) }

// IsZero reports whether the ID was never set.
func (id ID) IsZero() bool { return id == ID{} }

// Time returns the millisecond for which NewID made the ID.
func (id ID) Time() time.Time {
	var ms [8]byte
	copy(ms[2:], id[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(ms[:]))).UTC() //nolint:gosec // 48 bits
}

// MarshalText implements encoding.TextMarshaler; the zero ID is empty text.
func (id ID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return nil, nil
	}
	return []byte(id.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*id = ID{}
		return nil
	}
	v, err := ParseID(string(b))
	if err != nil {
		return fmt.Errorf("%w: %q", err, b)
	}
	*id = v
	return nil
}

// referenceText is Crockford's alphabet in upper case, as people read it aloud.
var referenceText = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// NewReference returns a short random reference such as "BL-7F3K9Q2M" for one
// recipient of one message. It is written early into the subject because it is
// the only mark that survives both platforms (Message-ID does not).
func NewReference(prefix string) string {
	var b [5]byte
	rand.Read(b[:])
	return prefix + "-" + referenceText.EncodeToString(b[:])
}
