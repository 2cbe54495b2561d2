package queue

import (
	"strings"

	"gatewayd/message"
)

// JoinIdemKey returns what Envelope.IdemKey holds: the idempotency key that a
// client gave, and a digest of what it asked for beside the content (sender,
// recipients, class), so that the same key with another wish is found out. The
// key has no space.
func JoinIdemKey(key string, asked message.Digest) string {
	if key == "" {
		return ""
	}
	return key + " " + asked.String()
}

// SplitIdemKey is the reverse of JoinIdemKey.
func SplitIdemKey(s string) (key, asked string) {
	key, asked, _ = strings.Cut(s, " ")
	return key, asked
}
