package queue

import (
	"errors"
	"strings"

	"gatewayd/message"
)

// What a message with an idempotency key can fail with.
var (
	ErrKeyInFlight = errors.New("a message with this idempotency key is being accepted")
	ErrKeyReused   = errors.New("this idempotency key stands for another message")
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
