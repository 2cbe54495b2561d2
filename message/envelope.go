package message

import (
	"encoding/hex"
	"fmt"
	"time"
)

// Direction tells mail of an authority from mail for it.
type Direction string

// Directions.
const (
	Outbound Direction = "out"    // an authority sends
	Inbound  Direction = "in"     // platforms and the world send to an authority
	Notice   Direction = "notice" // the gateway itself writes: DSN or notice to a sender
)

// Digest is a SHA-256 over exact bytes.
type Digest [32]byte

// String returns the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(b []byte) error {
	raw, err := hex.DecodeString(string(b))
	if err != nil || len(raw) != len(d) {
		return fmt.Errorf("not a SHA-256 digest: %q", b)
	}
	copy(d[:], raw)
	return nil
}

// Ref says where the vault keeps a record. It stays valid until the day's
// folder is erased. The zero Ref means: no body.
type Ref struct {
	Day     string `json:"day"` // erase-by day, "2027-01-23"; the folder of the segment
	Segment uint64 `json:"seg"` // number of the segment, growing over the life of the vault
	Offset  int64  `json:"off"` // where the frame starts in the segment
	End     int64  `json:"end"` // where the next frame starts
}

// IsZero reports whether the Ref names nothing.
func (r Ref) IsZero() bool { return r == Ref{} }

// Content identifies the exact bytes of a message as they came in.
type Content struct {
	Digest Digest `json:"sha256"`
	Size   int64  `json:"size"`                 // octets
	Body   Digest `json:"body_sha256,omitzero"` // over what follows the header section: what platforms name on receipts; zero: not computed
}

// Submission is what a door knows about a message before it is accepted: the
// RFC 5321 envelope and who brings it.
type Submission struct {
	Door       Direction // Outbound: authenticated submission or API. Inbound: port 25.
	Account    string    // authenticated account; empty on port 25
	Authority  string    // the account's authority, or the one it acts for; empty on port 25
	Delegate   bool      // it acts for an authority that is not its own
	From       Address
	To         []Recipient
	Helo       string
	RemoteAddr string   // IP address of the peer, without port
	TLS        string   // e.g. "TLS1.3 TLS_AES_128_GCM_SHA256"; empty without TLS
	PeerNames  []string // names in the peer's verified client certificate
	Protocol   string   // "ESMTPSA", "ESMTPS", "HTTP" … (RFC 3848)
	EnvID      string   // DSN ENVID (RFC 3461), decoded
	Ret        string   // DSN RET: "FULL", "HDRS" or ""
	UTF8       bool     // SMTPUTF8 was asked for (RFC 6531)
	EightBit   bool     // BODY=8BITMIME
	Class      Class    // set by the API only; empty: found from the message
	IdemKey    string   // idempotency key of the API; empty otherwise
}

// Recipient is one RCPT TO with its DSN parameters (RFC 3461).
type Recipient struct {
	Address Address  `json:"to"`
	Notify  []string `json:"notify,omitempty"` // NEVER, or any of SUCCESS, FAILURE, DELAY
	ORcpt   string   `json:"orcpt,omitempty"`  // "rfc822;user@host" as given
}

// Envelope is what somebody asked us to transport. It is immutable once
// accepted; what we learn later lives in items, receipts and events.
type Envelope struct {
	ID         ID        `json:"id"`
	Direction  Direction `json:"direction"`
	Authority  string    `json:"authority"`
	Account    string    `json:"account,omitempty"`
	From       Address   `json:"from"`
	Received   time.Time `json:"received"` // when we accepted it, UTC
	Content    Content   `json:"content"`
	Body       Ref       `json:"body"`
	MessageID  string    `json:"message_id,omitempty"`  // the client's, with angle brackets
	HeaderFrom string    `json:"header_from,omitempty"` // addr-spec of the From field
	Helo       string    `json:"helo,omitempty"`
	RemoteAddr string    `json:"remote_addr,omitempty"`
	TLS        string    `json:"tls,omitempty"`
	Protocol   string    `json:"protocol,omitempty"`
	EnvID      string    `json:"envid,omitempty"`
	Ret        string    `json:"ret,omitempty"`
	PlainText  bool      `json:"plain_text,omitempty"` // one text as it stands, without armour: nothing in it is protected
	UTF8       bool      `json:"utf8,omitempty"`
	EightBit   bool      `json:"8bit,omitempty"`
	IdemKey    string    `json:"idem_key,omitempty"`
	About      ItemKey   `json:"about,omitzero"` // a notice: the item it tells about
	EraseDay   string    `json:"erase_day"`      // content window: folder and content key
	LogDay     string    `json:"log_day"`        // log window: key of everything that is no content
}

// ItemKey names one recipient of one message. N counts from 1.
type ItemKey struct {
	Message ID  `json:"message"`
	N       int `json:"n"`
}

// String returns the key as id/n.
func (k ItemKey) String() string { return fmt.Sprintf("%s/%d", k.Message, k.N) }

// Keep says how long a body stays after its work is done.
type Keep string

// Values of Keep. A body never outlives its window, whatever Keep says.
const (
	KeepUntilDone       Keep = "until_done"        // ordinary relay
	KeepUntilHandedOver Keep = "until_handed_over" // default for mailboxes and registered
	KeepWindow          Keep = "window"            // the whole window
)

// Verdict is what policy says about one recipient.
type Verdict string

// Verdicts.
const (
	Deliver Verdict = "deliver"
	Hold    Verdict = "hold"
	Refuse  Verdict = "refuse"
)

// Reason is one step of an explanation: which rule or duty had a say, and what
// it said.
type Reason struct {
	Rule string `json:"rule"` // name of the route, or of a built-in duty ("duty:encrypt")
	Says string `json:"says"` // "chosen", "no match", "passed over", "hold", "refuse", "mark"
	Text string `json:"text"` // one sentence for a mail admin, without address or subject
	Law  string `json:"law,omitempty"`
}

// Decision is how one item must travel, with the reasons. It is made once, at
// accept; the gate before each attempt may only hold, never choose another way.
type Decision struct {
	Verdict Verdict       `json:"verdict"`
	Class   Class         `json:"class"`
	Route   string        `json:"route,omitempty"`   // name of the route that decided
	Via     string        `json:"via,omitempty"`     // connector: "incamail", "privasphere", "smtp", "mailbox"
	Tag     string        `json:"tag,omitempty"`     // platform's subject tag that must be on what leaves
	Footer  string        `json:"footer,omitempty"`  // name of the footer that is put under the text when it leaves
	Owed    []ReceiptKind `json:"owed,omitempty"`    // receipts promised by the platform
	GiveUp  time.Duration `json:"give_up,omitempty"` // after this long in the queue the sender is told
	Keep    Keep          `json:"keep,omitempty"`
	Because []Reason      `json:"because,omitempty"`
}

// Item is one recipient of one message: the unit of class, delivery, retry and
// proof.
type Item struct {
	Key       ItemKey   `json:"key"`
	Version   uint64    `json:"version"` // counts the commits that changed it; a store refuses a stale one
	Recipient Recipient `json:"recipient"`
	Decision  Decision  `json:"decision"`
	State     State     `json:"state"`
	Reference string    `json:"reference,omitempty"` // "BL-7F3K9Q2M"
	Attempts  int       `json:"attempts"`
	NextTry   time.Time `json:"next_try,omitzero"`   // when Waiting; else: when it wants attention (return, overdue, delivery case)
	EraseBy   time.Time `json:"erase_by"`            // set on entry; only ever moves earlier
	Reply     string    `json:"reply,omitempty"`     // the next system's last reply, bounded
	RemoteID  string    `json:"remote_id,omitempty"` // the platform's own id, where its reply names one
	SentAs    string    `json:"sent_as,omitempty"`   // Message-ID under which it left
	HandedAt  time.Time `json:"handed_at,omitzero"`
	Case      CaseState `json:"case,omitempty"`
	CaseAt    time.Time `json:"case_at,omitzero"`   // the platform's time of that state
	Alarm     string    `json:"alarm,omitempty"`    // what a person should look at; empty: nothing
	Told      time.Time `json:"told,omitzero"`      // when the sender was last told that it is held
	Unclears  int       `json:"unclears,omitempty"` // how often a hand-over ended without a reply

	// HandedOver is when the authority confirmed that its own file has the
	// message and its receipts; zero: not yet. Keep "until_handed_over" ends then.
	HandedOver time.Time `json:"handed_over,omitzero"`
	// Filed is what was last said of the record; it settles with HandedOver.
	Filed Filing `json:"filed,omitzero"`
	// Erased is when the body's key was overwritten because every item of the
	// message had let go of it; zero: the body is there until its day.
	Erased time.Time `json:"erased,omitzero"`
}

// LetsGo reports whether this item needs the message's body no more, by its
// Decision.Keep. A body may be erased before its day when all items let go.
func (i Item) LetsGo() bool {
	switch i.Decision.Keep {
	case KeepUntilDone:
		return i.State.Final()
	case KeepUntilHandedOver:
		return i.State.Final() && !i.HandedOver.IsZero()
	}
	return false // the whole window, and where nothing was decided
}
