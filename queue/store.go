package queue

import (
	"context"
	"errors"
	"time"

	"gatewayd/message"
)

// MaxRecipients bounds the recipients of one message.
const MaxRecipients = 1 << 24

// MaxPage bounds what one Find, Due, Unmatched or Pending returns.
const MaxPage = 10_000

// Errors that callers branch on. A store returns them wrapped.
var (
	ErrNotFound   = errors.New("not in the ledger")
	ErrConflict   = errors.New("changed by somebody else meanwhile")
	ErrTransition = errors.New("the table of states does not allow this change")
	ErrEraseBy    = errors.New("erase-by is missing or would move later")
	ErrMalformed  = errors.New("malformed")
	ErrFull       = errors.New("no space left for the ledger")
	ErrClosed     = errors.New("ledger is closed")
)

// Change is one atomic change of the ledger: all of it is committed, or none.
type Change struct {
	// Items are new values of existing items. Version must be the stored one;
	// the store writes Version+1.
	Items []message.Item
	// New are messages born in this commit (DSNs, notices). Their bodies lie in
	// the vault already, as blobs. A message that the ledger has is skipped.
	New []Accepted
	// Receipts that equal a stored one are one with it (ReceiptIdentity).
	Receipts []message.Receipt
	// Events go into the chain in this order, after those of New.
	Events []message.Event
}

// Query selects items. Every field that is set must match. Recipient,
// MessageID and IdemKey are looked up among the items of Authority only, because their
// index is keyed per authority: without Authority they find only what belongs
// to none. The empty Query selects every item.
type Query struct {
	Authority string
	State     message.State
	Recipient string // message.Address.Key of the recipient
	MessageID string // as the client gave it, or as the message left; with angle brackets
	Reference string // "BL-7F3K9Q2M"
	RemoteID  string // the platform's own id
	IdemKey   string // a client's idempotency key (SplitIdemKey); finds one item of its message
	After     string // cursor from an earlier Find with the same Query
	Limit     int    // at most MaxPage; 0: 100
}

// Leased is an item whose attempt is open, with the envelope of its message.
type Leased struct {
	Item     message.Item
	Envelope message.Envelope
}

// Room says how many more items of a destination may be leased now.
type Room struct {
	Free int
	// Again is when a destination without room is asked again; zero: at the next
	// Lease. It is for one that rests after failures, so that its items cost
	// nothing meanwhile.
	Again time.Time
}

// Store is the ledger. Every method that changes something is one atomic
// commit, durable when it returns nil. After an error that is none of this
// package's the outcome is unknown: read before you repeat.
//
// A Store serves any number of goroutines.
type Store interface {
	// Index takes over accepted messages from the vault, and, per vault segment,
	// the offset of the next record to replay. It is idempotent by message ID.
	// Marks only ever grow.
	Index(ctx context.Context, batch []Accepted, marks map[uint64]int64) error
	// IndexAndLease is Index that opens attempts in the same commit: an item that
	// is due at now, and that take says yes to, becomes Sending at once, as Lease
	// would make it. take is asked once per item, inside the commit; after an
	// error what it took was not leased, or will be found as after a crash.
	IndexAndLease(ctx context.Context, batch []Accepted, marks map[uint64]int64, now time.Time, take func(message.Item) bool) ([]Leased, error)
	// Marks returns, per vault segment, where replay must begin.
	Marks(ctx context.Context) (map[uint64]int64, error)

	// Lease opens attempts: of the items in Waiting with NextTry ≤ now, up to max
	// become Sending with Attempts+1 and an event, in one commit. Of one
	// Destination the earliest come first; the destinations take turns, so that
	// none waits for the end of another. room, which may be nil, is asked once
	// per destination and call, and outside the commit.
	Lease(ctx context.Context, now time.Time, max int, room func(destination string) Room) ([]Leased, error)
	// NextDue returns the smallest NextTry of all items in Waiting; false when
	// there is none. A destination without room (Lease) counts with the instant
	// at which it is asked again.
	NextDue(ctx context.Context) (time.Time, bool, error)
	// Due returns items in any state but Waiting and Sending that want attention:
	// NextTry is set and ≤ now. The earliest come first, at most max. An item that
	// has ended still does where its delivery case goes on.
	Due(ctx context.Context, now time.Time, max int) ([]message.Item, error)

	// Apply commits one change. ErrNotFound: an item, or a receipt's item, does
	// not exist. ErrConflict: an item's Version is not the stored one, or it
	// stands twice. ErrTransition, ErrEraseBy: CheckItem. Nothing of a failing
	// change is kept.
	Apply(ctx context.Context, c Change) error

	// Message returns an envelope with its items in the order of N.
	Message(ctx context.Context, id message.ID) (message.Envelope, []message.Item, error)
	// Item returns one item.
	Item(ctx context.Context, key message.ItemKey) (message.Item, error)
	// Find returns a page of items and the cursor of the next one, "" when there
	// is none. Within one authority and one state the oldest messages come
	// first. Without changes meanwhile, pages neither repeat nor omit an item.
	Find(ctx context.Context, q Query) ([]message.Item, string, error)
	// Receipts returns the receipts of all items of a message, by the time we
	// received them.
	Receipts(ctx context.Context, id message.ID) ([]message.Receipt, error)
	// Unmatched returns receipts that belong to no item, at most limit.
	Unmatched(ctx context.Context, limit int) ([]message.Receipt, error)
	// Duplicate reports which message brought this registered decision first.
	// key is the SHA-256 of DupKey.
	Duplicate(ctx context.Context, authority string, key [32]byte) (message.ID, bool, error)
	// Sending returns the items whose attempt is open. At start they are what a
	// crash left.
	Sending(ctx context.Context) ([]message.Item, error)
	// Counts returns how many items are in each state that has any. It is kept
	// up to date by every commit, not counted.
	Counts(ctx context.Context) (map[message.State]int, error)

	// Pending returns links of the audit chain with Seq > after that were not
	// forgotten yet, in order, at most max.
	Pending(ctx context.Context, after uint64, max int) ([]message.Link, error)
	// Forget drops the links with Seq ≤ upTo: the day files have them.
	Forget(ctx context.Context, upTo uint64) error
	// Head returns the newest link's number and hash; 0 when there is none.
	Head(ctx context.Context) (seq uint64, hash message.Digest, err error)

	// Events returns the events of one message in the order of the chain. Those
	// whose log window is over are left out.
	Events(ctx context.Context, id message.ID) ([]message.Event, error)
	// Feed returns the events of one authority with Seq > after, in the order of
	// the chain and without gaps, at most max. Those whose log window is over are
	// left out.
	Feed(ctx context.Context, authority string, after uint64, max int) ([]message.Event, error)

	// Epoch returns the mark that ledger and vault have in common; random at
	// creation.
	Epoch(ctx context.Context) (string, error)
	// SetEpoch replaces it.
	SetEpoch(ctx context.Context, epoch string) error

	// Check verifies every invariant and reports each violation without any
	// personal data. It reads everything: it is for tests and operators. An
	// error means that the check could not be finished.
	Check(ctx context.Context, fn func(problem string)) error
	// Close waits for open commits. Later calls fail with ErrClosed.
	Close() error
}
