package retention

import (
	"context"
	"crypto/ed25519"
	"time"

	"gatewayd/calendar"
)

// Object is one message as the sweep sees it.
type Object struct {
	ID        string
	Authority string
	Class     string
	Size      int64 // octets of its content
	Start     time.Time
	SHA256    string    // of its content
	Open      bool      // an item is not final
	Confirmed bool      // the authority's file has it, or the archive has answered
	Filed     string    // by which disposition; empty: handed_over_gever
	FiledRef  string    // reference of the file, accession or agreement
	Agreement string    // standing agreement that covers it, if it has ended; empty: none
	NoRecord  bool      // by its decision nothing of it was to be kept
	Exported  bool      // it lies among the exports
	Erased    time.Time // its key was overwritten before; zero: not
}

// Keys are the day keys.
type Keys interface {
	Days(f Family) []string           // whose key exists, doomed or not, ascending
	Exists(f Family, day string) bool // the same for one
	Doomed(f Family, day string) (time.Time, bool)
	Doom(f Family, day string, at time.Time) error
	Spare(f Family, day string) error
	Destroy(f Family, day string) error
	SigningKey() (ed25519.PrivateKey, error)
	// Wrap seals a run key under the log key of a day.
	Wrap(day string, secret []byte) ([]byte, error)
}

// Messages are what the ledger knows about content.
type Messages interface {
	// Release lets bodies go whose items have all let go of them, and returns
	// how many.
	Release(ctx context.Context, now time.Time) (int, error)
	// Due calls fn with each message whose content must be gone by the end of
	// that day; with left, those are left out of which all has ended and nothing
	// is there any more.
	Due(ctx context.Context, day calendar.Day, left bool, fn func(Object) error) error
	// Export writes a message with its receipts, encrypted to its authority's
	// fallback key, and notes it.
	Export(ctx context.Context, o Object, now time.Time) error
	// File notes that a standing agreement (Object.Agreement) covers a message.
	File(ctx context.Context, o Object, now time.Time) error
	// Lost notes that content goes which nobody has, and sets a task for a person; false:
	// that was done before.
	Lost(ctx context.Context, o Object, because string, now time.Time) (bool, error)
	// Remind tells an authority, by mail and event, what it has not filed yet.
	Remind(ctx context.Context, authority string, about Reminder, now time.Time) error
	// Ended tells when the last item of a message that is not open ended.
	Ended(ctx context.Context, o Object) (time.Time, error)
	// LetGo overwrites the keys of these messages, whatever their routes keep, and
	// notes it. It returns how many.
	LetGo(ctx context.Context, list []Object, now time.Time) (int, error)
	// Expire ends the items of a message that are not final, tells their
	// senders, and notes it.
	Expire(ctx context.Context, o Object, now time.Time) error
}

// Logs are what is kept for the log window.
type Logs interface {
	Rows(ctx context.Context, day string) (Rows, error)
	Purge(ctx context.Context, day string) error // rows of log days up to that one
	// RotateAudit seals the day files that have ended.
	RotateAudit(ctx context.Context, now time.Time) error
	// EraseAudit erases the day files whose window is over, but for their seals,
	// and returns their days.
	EraseAudit(ctx context.Context, now time.Time) ([]string, error)
	// EraseExports removes the exports of that erase-by day.
	EraseExports(day calendar.Day) error
	// Compact gives free pages of the ledger back, when that is worth it.
	// it reports whether it did so.
	Compact(ctx context.Context) (bool, error)
	// Note writes one event into the audit log.
	Note(ctx context.Context, now time.Time, kind string, data map[string]string) error
}

// Folders are the vault's folders by day.
type Folders interface {
	Days() ([]string, error)
	EraseDay(f Family, day string) (Folder, error)
}
