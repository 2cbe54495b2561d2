package message

import (
	"slices"
	"strings"
)

// Field is one field of a record that the gateway keeps, and what it is kept for.
type Field struct {
	Name     string `json:"name"`
	Purpose  string `json:"purpose"`
	Personal bool   `json:"personal"` // it names a person, or leads to one without the ledger
}

// EventRecord declares one kind of event: what it is written for, and every
// field that its data may have. Event.AppendPacked writes by this declaration.
type EventRecord struct {
	Kind    EventKind
	Purpose string
	Fields  []string // names, in order; EventField tells what each is for
}

// Undescribed is the field that names, without their values, what was to be
// written and is not declared. A test fails where it appears.
const Undescribed = "undescribed"

// eventFields declares every field of the data of events. A name means the same
// in every kind.
var eventFields = []Field{
	{"account", "login or token that brought it: who is responsible", true},
	{"action", "what a mail system reports: failed, delayed, displayed", false},
	{"again_as", "id under which the repeated message would have entered", false},
	{"alarm", "code of the alarm", false},
	{"anchor", "the set of issuers that a signature was believed by", false},
	{"asked", "what was asked for", true},
	{"at", "time that a platform states", false},
	{"attempt", "number of the attempt", false},
	{"basis", "on what a computed service date rests", false},
	{"because", "the rule that decided, and its words", false},
	{"by", "who did it: an administrator, an account, a token", true},
	{"calendar", "calendar of holidays that counts for the recipient", false},
	{"case", "where the delivery case stands by the receipts", false},
	{"change", "what a receipt changed", false},
	{"class", "class of the message", false},
	{"consent", "id of the recipient's consent", true},
	{"count", "number of messages, lines or documents concerned", false},
	{"covers", "how much of a received mail its signature covers", false},
	{"day", "day of the key or of the folder concerned", false},
	{"days", "days that are left", false},
	{"delegate", "account that acted for an authority that is not its own", true},
	{"delivery", "state of the delivery case", false},
	{"destination", "platform, or domain of the next system", false},
	{"detail", "what a receipt says beside its kind", true},
	{"diagnostic", "words of a foreign mail system", true},
	{"differs", "names of header fields that stand differently outside of the protection", false},
	{"direction", "in, out or notice", false},
	{"disposition", "what became of a record before its content goes", false},
	{"door", "by which command or interface log data were read", false},
	{"encrypted_by", "S/MIME or OpenPGP", false},
	{"encryption", "how a received mail was encrypted", false},
	{"erase_by", "instant until which the content was to be gone", false},
	{"evidence", "id of an evidence bundle", false},
	{"evidence_sha256", "SHA-256 of the evidence.json of a bundle: the next bundle of the case names it", false},
	{"expects", "whether the party had to expect the delivery", false},
	{"exported", "whether they were exported, or will be", false},
	{"family", "content or log", false},
	{"file", "name of the file that was set aside", false},
	{"file_ref", "reference of the authority's file, of the archive or of a standing agreement", false},
	{"from", "sender of the envelope", true},
	{"hidden", "names of header fields that are told inside of the encryption only", false},
	{"identified", "whether the recipient's mailbox is an identified one", false},
	{"identified_checked", "when that was looked up", false},
	{"keep", "how long the route keeps the body", false},
	{"key", "fingerprint of a key or certificate", true},
	{"kind", "kind of the receipt", false},
	{"lost", "whether the content went without an export", false},
	{"mail", "id of the mail that brought it", false},
	{"matched_by", "by what a receipt was matched to its message", false},
	{"message_id", "Message-ID of the client", true},
	{"mismatch", "how a receipt differs from what was sent", true},
	{"missing", "receipt that has not come", false},
	{"next_try", "when the next attempt is due", false},
	{"notice", "id of the notice that was written", false},
	{"octets", "length of the damaged stretch", false},
	{"of", "address whose key it is", true},
	{"offset", "place of the damaged stretch", false},
	{"own_key", "fingerprint of the authority's own key that has signed or opened the mail", true},
	{"peer", "network address of the client", true},
	{"permanent", "whether a reported failure is final", false},
	{"platform", "platform that states it", false},
	{"purpose", "for which purpose log data were read (§ 22)", false},
	{"reason", "why it happened: found by the gateway, or said by a person", true},
	{"receipts", "number of receipts that were there", false},
	{"reference", "short reference in the subject of a registered message", true},
	{"remote_id", "id that the next system gave it", true},
	{"reply", "last answer of the next system", true},
	{"route", "route that was chosen", false},
	{"seal", "seal of an evidence bundle that was made without a time stamp: as it waits, and stamped", true},
	{"segment", "file of the vault", false},
	{"service", "computed date of service; not binding", false},
	{"sha256", "digest of the content, of a receipt, of an export or of the manifest of a bundle", false},
	{"signature", "what the signature of a received mail is worth", false},
	{"signed_by", "S/MIME or OpenPGP", false},
	{"signer", "whose signature it is", true},
	{"signer_is_from", "whether the signer is the author of the mail", false},
	{"since", "since when it has been so", false},
	{"size", "octets of the content", false},
	{"source", "where a key was found", false},
	{"state", "state of the item afterwards", false},
	{"status", "status code of a mail system", false},
	{"task", "task of a delivery case that a person closes", false},
	{"text", "alarm in words", false},
	{"tls", "protection of the connection", false},
	{"to", "recipient of the envelope", true},
	{Undescribed, "names of fields that were not written because nobody had declared them: a fault of the program", false},
	{"until", "last day or instant of a key", false},
	{"verdict", "what was decided, or what a receipt is worth", false},
	{"via", "way that was taken", false},
	{"waits_for", "what is waited for", false},
	{"was", "state before", false},
	{"what", "what happened to a key, or to the key agent", false},
}

// eventRecords declares every kind of event, in the order of its constants.
var eventRecords = []EventRecord{
	record(EventAccepted, "proof that a message was taken over, from whom and unchanged", "account delegate direction from message_id peer sha256 size tls"),
	record(EventDecided, "proof of which way was chosen, and why", "because calendar class consent expects identified identified_checked reference route to verdict via"),
	record(EventDuplicate, "explains why a repeated message was not sent again", "again_as to"),
	record(EventAttempt, "the intent before a hand-over", "attempt via"),
	record(EventHanded, "proof of the hand-over to the next system", "calendar consent expects identified identified_checked own_key remote_id reply state via"),
	record(EventRetry, "explains a delay", "by next_try own_key reason reply state via"),
	record(EventUnclear, "explains why a message is not sent again by itself", "calendar consent expects identified identified_checked own_key reason reply state via"),
	record(EventHeld, "explains why a message waits, and who held it", "by reason reply state via"),
	record(EventReleased, "who let a held message go, and why", "because by calendar class consent expects identified identified_checked reason reference route state via"),
	record(EventRefused, "proof that a message was not delivered", "own_key reason reply state via"),
	record(EventDropped, "who ended a message without sending it, and why", "by reason state"),
	record(EventExpired, "proof that a message ended because its window was over", "erase_by reason was"),
	record(EventNotice, "proof that the sender was told", "notice state to"),
	record(EventReceipt, "proof by the platform", "at detail kind mail matched_by mismatch platform sha256 verdict"),
	record(EventCase, "course of the delivery case", "at case change state waits_for"),
	record(EventOverdue, "alarm: a receipt has not come", "alarm basis case delivery missing service since state text"),
	record(EventUnmatched, "a receipt that belongs to no known message", "at detail kind mail matched_by mismatch platform sha256 verdict"),
	record(EventForged, "detection of forged receipts", "at detail kind mail matched_by mismatch platform sha256 verdict"),
	record(EventBounced, "hint that a delivered message failed later", "action diagnostic mail permanent reason status"),
	record(EventStated, "on what a delivery case rests, said by a person", "by calendar consent expects identified identified_checked reason state task"),
	record(EventTaskClosed, "who has done what a delivery case asked for", "by reason state task"),
	record(EventAlarm, "a delivery case wants a person's attention", "alarm basis case delivery missing service since state text"),
	record(EventOpened, "what the protection of a received mail was worth once its key was there", protection),
	record(EventKey, "which keys are believed, by whose decision, and which end soon; when the private ones were out of reach", "by days key of reason source until what"),
	record(EventMailbox, "proof of delivery into an authority's mailbox, and what its protection was worth", protection+" to"),
	record(EventHandedOver, "what became of a record: the authority's own file has message and receipts, or an archive", "by disposition file_ref receipts sha256"),
	record(EventEvidence, "who has taken the evidence of a delivery case out, and which", "by door evidence evidence_sha256 purpose seal sha256"),
	record(EventStamped, "the time stamp of a bundle that was made while nobody stamped", "evidence seal"),
	record(EventUnfiled, "proof that the authority was told before its content was exported or erased", "count day exported lost notice to until"),
	record(EventExported, "proof that nothing was erased before the authority had it", "day sha256"),
	record(EventLost, "alarm: content went before the authority had it, and why", "because day sha256 state"),
	record(EventErased, "proof of erasure of one message", "keep sha256 size"),
	record(EventDoomed, "proof that content could no longer be read", "day"),
	record(EventDestroyed, "proof of erasure of a day", "day family"),
	record(EventClock, "explains what the clock made of windows", "by reason"),
	record(EventRun, "who has released a run of destruction: two persons must", "by day reason"),
	record(EventPaused, "who stopped a destination, and why", "by destination reason"),
	record(EventResumed, "who let a destination go on, and why", "by destination reason"),
	record(EventDamaged, "detection of damage to the stored mail", "day file octets offset segment"),
	record(EventStarted, "start of the program", ""),
	record(EventRead, "who has read log data, and for which purpose (Benutzungsreglement BL § 22)", "asked by count door purpose sha256"),
}

// protection are the fields that say what S/MIME and OpenPGP around a received
// mail are worth.
const protection = "anchor covers detail differs encrypted_by encryption hidden key own_key signature signed_by signer signer_is_from verdict"

// declared is eventRecords by kind.
var declared = func() map[EventKind][]string {
	all := map[EventKind][]string{}
	for _, r := range eventRecords {
		all[r.Kind] = r.Fields
	}
	return all
}()

func record(kind EventKind, purpose, fields string) EventRecord {
	names := strings.Fields(fields)
	slices.Sort(names)
	return EventRecord{kind, purpose, names}
}

// EventRecords returns what is declared of every kind of event.
func EventRecords() []EventRecord { return slices.Clone(eventRecords) }

// EventField returns what is declared of a field of the data of events.
func EventField(name string) (Field, bool) {
	i, ok := slices.BinarySearchFunc(eventFields, name, func(f Field, name string) int { return strings.Compare(f.Name, name) })
	if !ok {
		return Field{}, false
	}
	return eventFields[i], true
}

// undeclared returns the names in the data of e that are not declared for its
// kind, in order, and of these the ones that are declared for other kinds.
func (e Event) undeclared() (here, elsewhere []string) {
	for name := range e.Data {
		if _, ok := slices.BinarySearch(declared[e.Kind], name); !ok && name != Undescribed {
			here = append(here, name)
		}
	}
	slices.Sort(here)
	for _, name := range here {
		if _, ok := EventField(name); ok {
			elsewhere = append(elsewhere, name)
		}
	}
	return here, elsewhere
}
