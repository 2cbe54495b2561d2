package api

import (
	"strconv"
	"strings"
	"time"

	"gatewayd/legal"
	"gatewayd/message"
)

// The forms in which programs see things. They are the API's own, so that what
// is stored may change.

// Accepted is the answer to a message that was taken.
type Accepted struct {
	ID    string `json:"id" doc:"Name of the message everywhere, also in the SMTP reply, log and audit trail"`
	Again bool   `json:"again,omitempty" doc:"The same message had been accepted under this Idempotency-Key; nothing was stored now"`
}

// Message is one message with what became of it.
type Message struct {
	ID         string       `json:"id"`
	Direction  string       `json:"direction" enum:"in,out,notice" doc:"in: received; out: sent; notice: written by the gateway to the sender of another message"`
	From       string       `json:"from" doc:"Envelope sender; empty for notices"`
	Accepted   time.Time    `json:"accepted"`
	Size       int64        `json:"size" doc:"Octets"`
	SHA256     string       `json:"sha256" doc:"Of the message as accepted"`
	MessageID  string       `json:"message_id,omitempty"`
	About      string       `json:"about,omitempty" doc:"A notice: the message it tells about"`
	Recipients []Recipient  `json:"recipients"`
	Receipts   []Receipt    `json:"receipts"`
	Subject    string       `json:"subject,omitempty" doc:"In a list that was asked for with subjects"`
	Protection *Protection  `json:"protection,omitempty" doc:"Received: what S/MIME or OpenPGP around it are worth; missing until it lies in the mailbox"`
	Cases      []legal.Case `json:"cases,omitempty" doc:"Registered: the delivery case of each recipient, computed and not binding; only for a single message"`
	Events     []Event      `json:"events,omitempty" doc:"In order; only for a single message"`
}

// Protection is the verdict about a received message.
type Protection struct {
	Verdict      string   `json:"verdict" enum:"valid,valid-but-untrusted,partial,weak,expired,revoked,invalid,unchecked,unsigned" doc:"Only valid says that the author in From wrote what is shown"`
	Signature    string   `json:"signature" doc:"The same in detail"`
	Encryption   string   `json:"encryption" doc:"none, decrypted, or why not"`
	SignerIsFrom bool     `json:"signer_is_from"`
	Covers       string   `json:"covers,omitempty" doc:"What the signature covers: content, part, cipher_text"`
	SignedBy     string   `json:"signed_by,omitempty" enum:"smime,openpgp"`
	EncryptedBy  string   `json:"encrypted_by,omitempty" enum:"smime,openpgp"`
	Key          string   `json:"key,omitempty" doc:"Fingerprint of the signer's certificate or key"`
	Anchor       string   `json:"anchor,omitempty" doc:"Set of issuers that it is trusted by"`
	Hidden       []string `json:"hidden,omitempty" doc:"Header fields that were told inside of the encryption only"`
	Differs      []string `json:"differs,omitempty" doc:"Header fields that stand differently outside of the protection than their author has put them"`
	Detail       string   `json:"detail,omitempty"`
}

// Recipient is the state of the message for one recipient.
type Recipient struct {
	N          int        `json:"n"`
	To         string     `json:"to"`
	State      string     `json:"state" enum:"waiting,sending,unclear,held,handed,done,refused,dropped,expired"`
	Class      string     `json:"class"`
	Via        string     `json:"via,omitempty"`
	Reference  string     `json:"reference,omitempty"`
	Attempts   int        `json:"attempts"`
	NextTry    *time.Time `json:"next_try,omitempty"`
	Handed     *time.Time `json:"handed,omitempty" doc:"When the next system took it over"`
	Reply      string     `json:"reply,omitempty" doc:"The next system's last answer, or why it is held"`
	Case       string     `json:"case,omitempty" doc:"Registered: what the platform's verified receipts say. Computed, not binding"`
	CaseAt     *time.Time `json:"case_at,omitempty" doc:"The platform's time of that state"`
	Alarm      string     `json:"alarm,omitempty" doc:"What a person should look at"`
	HandedOver *time.Time `json:"handed_over,omitempty" doc:"When the authority confirmed that its file has it"`
	Filed      *Filed     `json:"filed,omitempty" doc:"What was last said of the record"`
	EraseBy    time.Time  `json:"erase_by" doc:"The content is gone after this instant"`
}

// Receipt is what a platform says about one recipient.
type Receipt struct {
	N         int       `json:"n" doc:"Number in this list, from 1"`
	ID        string    `json:"id" doc:"Stays the same when others come"`
	Recipient int       `json:"recipient"`
	Kind      string    `json:"kind"`
	Platform  string    `json:"platform"`
	At        time.Time `json:"at" doc:"The platform's time"`
	Received  time.Time `json:"received"`
	Verdict   string    `json:"verdict" enum:"verified,unsigned,untrusted,forged"`
	Detail    string    `json:"detail,omitempty"`
	Signer    string    `json:"signer,omitempty"`
	FileName  string    `json:"file_name,omitempty"`
	SHA256    string    `json:"sha256" doc:"Of the document"`
	Document  string    `json:"document,omitempty" doc:"Path of the original document"`
}

// Event is one step, in the order in which it was recorded.
type Event struct {
	ID        string            `json:"id" doc:"Cursor of this event: give it as after"`
	At        time.Time         `json:"at"`
	Kind      string            `json:"kind"`
	Message   string            `json:"message,omitempty"`
	Recipient int               `json:"recipient,omitempty" doc:"0 or missing: the whole message"`
	Data      map[string]string `json:"data,omitempty"`
}

// Events is a page of the feed; the body of a webhook has the same form.
type Events struct {
	Events []Event `json:"events"`
	Next   string  `json:"next" doc:"Cursor behind this page"`
	More   bool    `json:"more" doc:"There is more now"`
}

// Messages is a page of a mailbox.
type Messages struct {
	Messages []Message `json:"messages"`
	Next     string    `json:"next,omitempty" doc:"Cursor of the next page; missing behind the last message"`
}

func (h *HTTP) message(s message.Story, c *cursors) Message {
	env := s.Envelope
	m := Message{
		ID: env.ID.String(), Direction: string(env.Direction), From: env.From.String(), Accepted: env.Received,
		Size: env.Content.Size, SHA256: env.Content.Digest.String(), MessageID: env.MessageID, Subject: s.Subject, Receipts: []Receipt{},
	}
	if !env.About.Message.IsZero() {
		m.About = env.About.Message.String()
	}
	if p := s.Protection; p != nil {
		m.Protection = &Protection{
			Verdict: p["verdict"], Signature: p["signature"], Encryption: p["encryption"], SignerIsFrom: p["signer_is_from"] == "true", Covers: p["covers"],
			SignedBy: p["signed_by"], EncryptedBy: p["encrypted_by"], Key: p["key"], Anchor: p["anchor"], Detail: p["detail"],
			Hidden: strings.Fields(p["hidden"]), Differs: strings.Fields(p["differs"]),
		}
	}
	for _, i := range s.Items {
		m.Recipients = append(m.Recipients, recipient(i))
	}
	for n, r := range s.Receipts {
		m.Receipts = append(m.Receipts, receipt(n+1, r))
	}
	for _, e := range s.Events {
		m.Events = append(m.Events, event(e, c))
	}
	return m
}

func recipient(i message.Item) Recipient {
	r := Recipient{
		N: i.Key.N, To: i.Recipient.Address.String(), State: string(i.State), Class: string(i.Decision.Class), Via: i.Decision.Via,
		Reference: i.Reference, Attempts: i.Attempts, Handed: instant(i.HandedAt), Reply: i.Reply, Case: string(i.Case), CaseAt: instant(i.CaseAt),
		Alarm: i.Alarm, HandedOver: instant(i.HandedOver), EraseBy: i.EraseBy,
	}
	if !i.Filed.IsZero() {
		r.Filed = filed(i.Filed)
	}
	if i.State == message.Waiting {
		r.NextTry = instant(i.NextTry)
	}
	return r
}

func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func receipt(n int, r message.Receipt) Receipt {
	x := Receipt{
		N: n, ID: r.ID.String(), Recipient: r.Item.N, Kind: string(r.Kind), Platform: r.Platform, At: r.At, Received: r.Received,
		Verdict: string(r.Verdict), Detail: r.Detail, Signer: r.Signer, FileName: r.FileName, SHA256: r.Digest.String(),
	}
	if !r.Document.IsZero() {
		x.Document = "/v1/messages/" + r.Item.Message.String() + "/receipts/" + x.ID
	}
	return x
}

func event(e message.Event, c *cursors) Event {
	x := Event{ID: c.write(e.Seq), At: e.At, Kind: string(e.Kind), Recipient: e.Item, Data: e.Data}
	if e.Seq == 0 {
		x.ID = "" // accepted this instant: it has no place yet
	}
	if !e.Message.IsZero() {
		x.Message = e.Message.String()
	}
	return x
}

// pageSize reads a limit that huma has bounded; 0 stands for the default.
func pageSize(n int) int {
	if n == 0 {
		return 100
	}
	return n
}

// octets writes a Content-Length.
func octets(n int64) string { return strconv.FormatInt(n, 10) }
