package queue

import (
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"gatewayd/message"
)

// What is stored has types of its own: CBOR maps with small integers as keys
// (RFC 8949), so that a field may be added without changing what older records
// mean, and nothing is written that is empty. A key is never used again for
// something else.

// storedAddress is a mailbox.
type storedAddress struct {
	_      struct{} `cbor:",toarray"`
	Local  string
	Domain string
}

func storeAddress(a message.Address) storedAddress {
	return storedAddress{Local: a.Local, Domain: a.Domain}
}

func (a storedAddress) address() message.Address {
	return message.Address{Local: a.Local, Domain: a.Domain}
}

type storedRef struct {
	_       struct{} `cbor:",toarray"`
	Day     string
	Segment uint64
	Offset  int64
	End     int64
}

type storedKey struct {
	_       struct{} `cbor:",toarray"`
	Message message.ID
	N       int
}

type storedEnvelope struct {
	ID         message.ID     `cbor:"1,keyasint"`
	Direction  string         `cbor:"2,keyasint"`
	Authority  string         `cbor:"3,keyasint,omitempty"`
	Account    string         `cbor:"4,keyasint,omitempty"`
	From       storedAddress  `cbor:"5,keyasint"`
	Received   int64          `cbor:"6,keyasint,omitempty"` // nanoseconds since 1970; 0: no time
	Digest     message.Digest `cbor:"7,keyasint"`
	Size       int64          `cbor:"8,keyasint,omitempty"`
	Behind     []byte         `cbor:"9,keyasint,omitempty"` // Content.Body
	Body       *storedRef     `cbor:"10,keyasint,omitempty"`
	MessageID  string         `cbor:"11,keyasint,omitempty"`
	HeaderFrom string         `cbor:"12,keyasint,omitempty"`
	Helo       string         `cbor:"13,keyasint,omitempty"`
	RemoteAddr string         `cbor:"14,keyasint,omitempty"`
	TLS        string         `cbor:"15,keyasint,omitempty"`
	Protocol   string         `cbor:"16,keyasint,omitempty"`
	EnvID      string         `cbor:"17,keyasint,omitempty"`
	Ret        string         `cbor:"18,keyasint,omitempty"`
	UTF8       bool           `cbor:"19,keyasint,omitempty"`
	EightBit   bool           `cbor:"20,keyasint,omitempty"`
	IdemKey    string         `cbor:"21,keyasint,omitempty"`
	About      *storedKey     `cbor:"22,keyasint,omitempty"`
	EraseDay   string         `cbor:"23,keyasint,omitempty"`
	LogDay     string         `cbor:"24,keyasint,omitempty"`
	PlainText  bool           `cbor:"25,keyasint,omitempty"`
}

type storedReason struct {
	_    struct{} `cbor:",toarray"`
	Rule string
	Says string
	Text string
	Law  string
}

type storedDecision struct {
	Verdict string         `cbor:"1,keyasint,omitempty"`
	Class   string         `cbor:"2,keyasint,omitempty"`
	Route   string         `cbor:"3,keyasint,omitempty"`
	Via     string         `cbor:"4,keyasint,omitempty"`
	Tag     string         `cbor:"5,keyasint,omitempty"`
	Owed    []string       `cbor:"6,keyasint,omitempty"`
	GiveUp  int64          `cbor:"7,keyasint,omitempty"` // nanoseconds
	Keep    string         `cbor:"8,keyasint,omitempty"`
	Because []storedReason `cbor:"9,keyasint,omitempty"`
	Footer  string         `cbor:"10,keyasint,omitempty"`
}

// storedItem is an item without its key, which its place tells, and without its
// decision, which many items share.
type storedItem struct {
	Version    uint64        `cbor:"1,keyasint,omitempty"`
	To         storedAddress `cbor:"2,keyasint"`
	Notify     []string      `cbor:"3,keyasint,omitempty"`
	ORcpt      string        `cbor:"4,keyasint,omitempty"`
	State      string        `cbor:"5,keyasint,omitempty"`
	Reference  string        `cbor:"6,keyasint,omitempty"`
	Attempts   int           `cbor:"7,keyasint,omitempty"`
	NextTry    int64         `cbor:"8,keyasint,omitempty"`
	EraseBy    int64         `cbor:"9,keyasint,omitempty"`
	Reply      string        `cbor:"10,keyasint,omitempty"`
	RemoteID   string        `cbor:"11,keyasint,omitempty"`
	SentAs     string        `cbor:"12,keyasint,omitempty"`
	HandedAt   int64         `cbor:"13,keyasint,omitempty"`
	Case       string        `cbor:"14,keyasint,omitempty"`
	CaseAt     int64         `cbor:"15,keyasint,omitempty"`
	Alarm      string        `cbor:"16,keyasint,omitempty"`
	Told       int64         `cbor:"17,keyasint,omitempty"`
	Unclears   int           `cbor:"18,keyasint,omitempty"`
	HandedOver int64         `cbor:"19,keyasint,omitempty"`
	Erased     int64         `cbor:"20,keyasint,omitempty"`
	Filed      *storedFiling `cbor:"21,keyasint,omitempty"`
}

// storedFiling is what an authority said of a record.
type storedFiling struct {
	Disposition string `cbor:"1,keyasint,omitempty"`
	Ref         string `cbor:"2,keyasint,omitempty"`
	By          string `cbor:"3,keyasint,omitempty"`
	At          int64  `cbor:"4,keyasint,omitempty"`
	SHA256      string `cbor:"5,keyasint,omitempty"`
}

func storeFiling(f message.Filing) *storedFiling {
	if f.IsZero() {
		return nil
	}
	return &storedFiling{Disposition: string(f.Disposition), Ref: f.Ref, By: f.By, At: nanos(f.At), SHA256: f.SHA256}
}

func (s *storedFiling) filing() message.Filing {
	if s == nil {
		return message.Filing{}
	}
	return message.Filing{Disposition: message.Disposition(s.Disposition), Ref: s.Ref, By: s.By, At: instant(s.At), SHA256: s.SHA256}
}

// codec holds the modes of encoding; both are safe for use by many goroutines.
type codec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

// stored is the codec of everything in this file. Text is what peers and clients
// sent: it need not be UTF-8, and must come back as it was.
var stored = newCodec()

func newCodec() codec {
	enc, err := cbor.EncOptions{}.EncMode()
	if err != nil {
		panic(err) // the options are constants
	}
	dec, err := cbor.DecOptions{UTF8: cbor.UTF8DecodeInvalid, MaxArrayElements: MaxRecipients, DupMapKey: cbor.DupMapKeyEnforcedAPF}.DecMode()
	if err != nil {
		panic(err)
	}
	return codec{enc, dec}
}

// errStored is what a record is that cannot be read; the library's own words may
// quote what stands in it.
var errStored = errors.New("not a record of the expected form")

func decode(b []byte, v any) error {
	if stored.dec.Unmarshal(b, v) != nil {
		return errStored
	}
	return nil
}

// nanos and instant store times: UTC, to the nanosecond, 0 for none.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func instant(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// EncodeEnvelope returns the stored form of an envelope.
func EncodeEnvelope(e message.Envelope) ([]byte, error) {
	return stored.enc.Marshal(storeEnvelope(e))
}

// DecodeEnvelope reads what EncodeEnvelope wrote.
func DecodeEnvelope(b []byte) (message.Envelope, error) {
	var s storedEnvelope
	if err := decode(b, &s); err != nil {
		return message.Envelope{}, err
	}
	return s.envelope()
}

func storeEnvelope(e message.Envelope) storedEnvelope {
	s := storedEnvelope{
		ID: e.ID, Direction: string(e.Direction), Authority: e.Authority, Account: e.Account, From: storeAddress(e.From), Received: nanos(e.Received),
		Digest: e.Content.Digest, Size: e.Content.Size, MessageID: e.MessageID, HeaderFrom: e.HeaderFrom, Helo: e.Helo, RemoteAddr: e.RemoteAddr,
		TLS: e.TLS, Protocol: e.Protocol, EnvID: e.EnvID, Ret: e.Ret, UTF8: e.UTF8, EightBit: e.EightBit, IdemKey: e.IdemKey, EraseDay: e.EraseDay, LogDay: e.LogDay, PlainText: e.PlainText,
	}
	if e.Content.Body != (message.Digest{}) {
		s.Behind = e.Content.Body[:]
	}
	if !e.Body.IsZero() {
		s.Body = &storedRef{Day: e.Body.Day, Segment: e.Body.Segment, Offset: e.Body.Offset, End: e.Body.End}
	}
	if e.About != (message.ItemKey{}) {
		s.About = &storedKey{Message: e.About.Message, N: e.About.N}
	}
	return s
}

func (s storedEnvelope) envelope() (message.Envelope, error) {
	e := message.Envelope{
		ID: s.ID, Direction: message.Direction(s.Direction), Authority: s.Authority, Account: s.Account, From: s.From.address(), Received: instant(s.Received),
		Content: message.Content{Digest: s.Digest, Size: s.Size}, MessageID: s.MessageID, HeaderFrom: s.HeaderFrom, Helo: s.Helo, RemoteAddr: s.RemoteAddr,
		TLS: s.TLS, Protocol: s.Protocol, EnvID: s.EnvID, Ret: s.Ret, UTF8: s.UTF8, EightBit: s.EightBit, IdemKey: s.IdemKey, EraseDay: s.EraseDay, LogDay: s.LogDay, PlainText: s.PlainText,
	}
	if len(s.Behind) > 0 && copy(e.Content.Body[:], s.Behind) != len(e.Content.Body) {
		return e, errStored
	}
	if s.Body != nil {
		e.Body = message.Ref{Day: s.Body.Day, Segment: s.Body.Segment, Offset: s.Body.Offset, End: s.Body.End}
	}
	if s.About != nil {
		e.About = message.ItemKey{Message: s.About.Message, N: s.About.N}
	}
	return e, nil
}

// EncodeDecision returns the stored form of a decision: the same for the same
// decision, so that those who share it can find it.
func EncodeDecision(d message.Decision) ([]byte, error) {
	return stored.enc.Marshal(storeDecision(d))
}

// DecodeDecision reads what EncodeDecision wrote.
func DecodeDecision(b []byte) (message.Decision, error) {
	var s storedDecision
	err := decode(b, &s)
	return s.decision(), err
}

func storeDecision(d message.Decision) storedDecision {
	s := storedDecision{
		Verdict: string(d.Verdict), Class: string(d.Class), Route: d.Route, Via: d.Via, Tag: d.Tag, GiveUp: int64(d.GiveUp), Keep: string(d.Keep),
		Footer: d.Footer,
	}
	for _, k := range d.Owed {
		s.Owed = append(s.Owed, string(k))
	}
	for _, r := range d.Because {
		s.Because = append(s.Because, storedReason{Rule: r.Rule, Says: r.Says, Text: r.Text, Law: r.Law})
	}
	return s
}

func (s storedDecision) decision() message.Decision {
	d := message.Decision{
		Verdict: message.Verdict(s.Verdict), Class: message.Class(s.Class), Route: s.Route, Via: s.Via, Tag: s.Tag, GiveUp: time.Duration(s.GiveUp), Keep: message.Keep(s.Keep),
		Footer: s.Footer,
	}
	for _, k := range s.Owed {
		d.Owed = append(d.Owed, message.ReceiptKind(k))
	}
	for _, r := range s.Because {
		d.Because = append(d.Because, message.Reason{Rule: r.Rule, Says: r.Says, Text: r.Text, Law: r.Law})
	}
	return d
}

// EncodeItem returns the stored form of an item without its key and decision.
func EncodeItem(i message.Item) ([]byte, error) { return stored.enc.Marshal(storeItem(i)) }

// DecodeItem reads what EncodeItem wrote; key and decision are the caller's.
func DecodeItem(b []byte) (message.Item, error) {
	var s storedItem
	err := decode(b, &s)
	return s.item(), err
}

func storeItem(i message.Item) storedItem {
	return storedItem{
		Version: i.Version, To: storeAddress(i.Recipient.Address), Notify: i.Recipient.Notify, ORcpt: i.Recipient.ORcpt, State: string(i.State),
		Reference: i.Reference, Attempts: i.Attempts, NextTry: nanos(i.NextTry), EraseBy: nanos(i.EraseBy), Reply: i.Reply, RemoteID: i.RemoteID, SentAs: i.SentAs,
		HandedAt: nanos(i.HandedAt), Case: string(i.Case), CaseAt: nanos(i.CaseAt), Alarm: i.Alarm, Told: nanos(i.Told), Unclears: i.Unclears,
		HandedOver: nanos(i.HandedOver), Erased: nanos(i.Erased), Filed: storeFiling(i.Filed),
	}
}

func (s storedItem) item() message.Item {
	return message.Item{
		Version: s.Version, Recipient: message.Recipient{Address: s.To.address(), Notify: s.Notify, ORcpt: s.ORcpt}, State: message.State(s.State),
		Reference: s.Reference, Attempts: s.Attempts, NextTry: instant(s.NextTry), EraseBy: instant(s.EraseBy), Reply: s.Reply, RemoteID: s.RemoteID, SentAs: s.SentAs,
		HandedAt: instant(s.HandedAt), Case: message.CaseState(s.Case), CaseAt: instant(s.CaseAt), Alarm: s.Alarm, Told: instant(s.Told), Unclears: s.Unclears,
		HandedOver: instant(s.HandedOver), Erased: instant(s.Erased), Filed: s.Filed.filing(),
	}
}

// storedAccepted is an accept record. Recipients usually share their decision:
// each stands once.
type storedAccepted struct {
	V         int              `cbor:"1,keyasint"`
	Envelope  storedEnvelope   `cbor:"2,keyasint"`
	Decisions []storedDecision `cbor:"3,keyasint,omitempty"`
	Items     []acceptedItem   `cbor:"4,keyasint"`
	Maps      []mapEvent       `cbor:"5,keyasint,omitempty"` // read only
	Events    []storedEvent    `cbor:"6,keyasint,omitempty"`
}

type acceptedItem struct {
	_        struct{} `cbor:",toarray"`
	N        int
	Decision int // place in Decisions
	Item     storedItem
}

func storeAccepted(a Accepted) (storedAccepted, error) {
	s := storedAccepted{V: encodingVersion, Envelope: storeEnvelope(a.Envelope), Items: make([]acceptedItem, 0, len(a.Items))}
	places := map[string]int{}
	for _, i := range a.Items {
		d := storeDecision(i.Decision)
		text, err := stored.enc.Marshal(d)
		if err != nil {
			return s, err
		}
		place, known := places[string(text)]
		if !known {
			place = len(s.Decisions)
			places[string(text)] = place
			s.Decisions = append(s.Decisions, d)
		}
		s.Items = append(s.Items, acceptedItem{N: i.Key.N, Decision: place, Item: storeItem(i)})
	}
	s.Events = storeEvents(a)
	return s, nil
}

func (s storedAccepted) accepted() (a Accepted, err error) {
	if a.Envelope, err = s.Envelope.envelope(); err != nil {
		return a, err
	}
	decisions := make([]message.Decision, len(s.Decisions))
	for i, d := range s.Decisions {
		decisions[i] = d.decision()
	}
	for _, i := range s.Items {
		if i.Decision < 0 || i.Decision >= len(decisions) {
			return a, fmt.Errorf("item %d: %w", i.N, errStored)
		}
		item := i.Item.item()
		item.Key, item.Decision = message.ItemKey{Message: a.Envelope.ID, N: i.N}, decisions[i.Decision]
		a.Items = append(a.Items, item)
	}
	a.Events, err = s.events(a)
	return a, err
}
