package smtp

import "crypto/tls"

// recordTracker follows the TLS records of one direction (RFC 8446 section
// 5.1): type, version, length, payload. In the clear it tracks nonsense, and
// nobody asks it.
type recordTracker struct {
	header [5]byte
	have   int // octets of the header seen
	left   int // octets of the payload still to come
}

const (
	recordAlert = 21
	// An alert of TLS 1.3 travels as application data: two octets, their real
	// type, and the tag of 16 octets that all its cipher suites have.
	sealedAlert = 2 + 1 + 16
)

func (t *recordTracker) see(p []byte) {
	for len(p) > 0 {
		if t.left > 0 {
			n := min(t.left, len(p))
			t.left -= n
			p = p[n:]
			continue
		}
		if t.have == len(t.header) {
			t.have = 0
		}
		n := copy(t.header[t.have:], p)
		t.have += n
		p = p[n:]
		if t.have == len(t.header) {
			t.left = t.length()
		}
	}
}

func (t *recordTracker) length() int { return int(t.header[3])<<8 | int(t.header[4]) }

// mayBeAlert reports whether the last complete record can have been an alert.
func (t *recordTracker) mayBeAlert(version uint16) bool {
	if t.have < len(t.header) || t.left > 0 {
		return false
	}
	return t.header[0] == recordAlert || version >= tls.VersionTLS13 && t.length() == sealedAlert
}
