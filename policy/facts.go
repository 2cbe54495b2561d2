package policy

import (
	"gatewayd/message"
)

// The connectors that a route may name in via.
const (
	ViaIncaMail    = "incamail"
	ViaPrivaSphere = "privasphere"
	ViaSMTP        = "smtp"
	ViaSMIME       = "smime"
	ViaOpenPGP     = "openpgp"
	ViaMailbox     = "mailbox"
)

// Vias lists every value of via.
func Vias() []string {
	return []string{ViaIncaMail, ViaPrivaSphere, ViaSMTP, ViaSMIME, ViaOpenPGP, ViaMailbox}
}

// Platforms lists those of Vias that are Zustellplattformen.
func Platforms() []string { return []string{ViaIncaMail, ViaPrivaSphere} }

func isPlatform(via string) bool { return via == ViaIncaMail || via == ViaPrivaSphere }

// Facts is all that a decision rests on. Plain values; the caller looks them
// up on the day of the decision.
type Facts struct {
	// Direction: Outbound mail passes duties and routes; Inbound mail goes to
	// the mailbox of an authority or is refused; a Notice of the gateway
	// itself goes to the mailbox or by the routes as normal mail.
	Direction message.Direction
	Sender    Sender
	Message   Message
	Recipient Recipient
	Platforms map[string]PlatformState // by via name; a missing one is not configured
}

// Sender is who sends.
type Sender struct {
	Authority string          // name in the configuration
	Account   string          // authenticated account
	Address   message.Address // envelope sender
}

// Message is what is sent, as far as it matters for the way.
type Message struct {
	Class    message.Class // asked for by the API; empty: found from the rest
	Subject  string        // decoded (RFC 2047), as the user wrote it, with his tag
	Size     int64         // octets
	Marks    Marks         // from the header, see Vocabulary.Marks
	Bulk     int           // internal recipients of the whole message
	Approved bool          // somebody entitled approved exactly this content as mass mail
}

// Recipient is one recipient, as the directory knows him.
type Recipient struct {
	Address         message.Address // without the platform's suffix, see Vocabulary.SplitSuffix
	Suffix          string          // the platform that the suffix asked for; empty: none
	Known           bool            // has an entry in the directory
	Internal        bool            // mailbox of an authority on this gateway
	Platforms       []PlatformFact
	Consent         bool     // valid consent to electronic service by this authority, today
	Keys            []string // "smime", "openpgp": a usable, trusted key is at hand
	PrivateOfSender bool     // registered as the sender's own private address
}

// PlatformFact says that the recipient has an account on a platform.
type PlatformFact struct {
	Name       string
	Identified bool // opened after identification of the person: basis of the seven-day fiction
}

// PlatformState is what the configuration says about a platform today.
type PlatformState struct {
	Configured bool
	Recognised bool // legal basis and reference named, today within its dates
	// Tags say a class on this platform ("<r> "). A class without a tag cannot
	// travel over it; private falls back to the tag of confidential.
	Tags    map[message.Class]string
	MaxSize int64 // octets; 0: no limit known
}

// Marks is what a message's header says about its class.
type Marks struct {
	Sensitivity []string // values of every Sensitivity field (RFC 4021, RFC 2156)
	Class       []string // values of every field Vocabulary.Header
	Forwarded   bool     // somebody's automatic forwarding or redirection has passed it on
}

// FactDoc documents one fact that conditions may use.
type FactDoc struct {
	Name   string   // "message.class"
	Type   string   // "string", "int", "bool" or "[]string"
	Values []string // every possible value; empty: any. A condition that compares with another is refused.
	Text   string   // one sentence
}

// env is what conditions see.
type env struct {
	Message   envMessage   `expr:"message"`
	Sender    envSender    `expr:"sender"`
	Recipient envRecipient `expr:"recipient"`
}

type envMessage struct {
	Class       string `expr:"class"`
	Sensitivity string `expr:"sensitivity"`
	Size        int    `expr:"size"`
	Subject     string `expr:"subject"`
}

type envSender struct {
	Authority string `expr:"authority"`
	Account   string `expr:"account"`
	Address   string `expr:"address"`
	Domain    string `expr:"domain"`
}

type envRecipient struct {
	Address   string   `expr:"address"`
	Domain    string   `expr:"domain"`
	Platforms []string `expr:"platforms"`
	Keys      []string `expr:"keys"`
	Suffix    string   `expr:"suffix"`
	Known     bool     `expr:"known"`
	Internal  bool     `expr:"internal"`
	Consent   bool     `expr:"consent"`
}

func newEnv(f Facts, c classified) env {
	e := env{
		Message: envMessage{
			Class: string(c.class), Sensitivity: c.sensitivity, Size: int(f.Message.Size), Subject: c.rest,
		},
		Sender: envSender{
			Authority: f.Sender.Authority, Account: f.Sender.Account,
			Address: f.Sender.Address.Key(), Domain: f.Sender.Address.Domain,
		},
		Recipient: envRecipient{
			Address: f.Recipient.Address.Key(), Domain: f.Recipient.Address.Domain, Keys: f.Recipient.Keys,
			Suffix: f.Recipient.Suffix, Known: f.Recipient.Known, Internal: f.Recipient.Internal, Consent: f.Recipient.Consent,
		},
	}
	for _, p := range f.Recipient.Platforms {
		e.Recipient.Platforms = append(e.Recipient.Platforms, p.Name)
	}
	return e
}

// fact is one documented fact and how to read it.
type fact struct {
	FactDoc
	value func(env) any
}

func facts() []fact {
	var classes []string
	for _, c := range message.Classes() {
		classes = append(classes, string(c))
	}
	return []fact{
		{FactDoc{"message.class", "string", classes, "class found from every mark; the strictest wins"}, func(e env) any { return e.Message.Class }},
		{FactDoc{"message.sensitivity", "string", []string{"", sensCompany, sensPrivate, sensPersonal}, "Sensitivity field, the strictest of several; empty: none"}, func(e env) any { return e.Message.Sensitivity }},
		{FactDoc{"message.size", "int", nil, "size in octets"}, func(e env) any { return e.Message.Size }},
		{FactDoc{"message.subject", "string", nil, "decoded subject without the user's tag"}, func(e env) any { return e.Message.Subject }},
		{FactDoc{"sender.authority", "string", nil, "the sender's authority, as named in the configuration"}, func(e env) any { return e.Sender.Authority }},
		{FactDoc{"sender.account", "string", nil, "authenticated account"}, func(e env) any { return e.Sender.Account }},
		{FactDoc{"sender.address", "string", nil, "envelope sender, lower case"}, func(e env) any { return e.Sender.Address }},
		{FactDoc{"sender.domain", "string", nil, "domain of the envelope sender, lower case"}, func(e env) any { return e.Sender.Domain }},
		{FactDoc{"recipient.address", "string", nil, "recipient without a platform's suffix, lower case"}, func(e env) any { return e.Recipient.Address }},
		{FactDoc{"recipient.domain", "string", nil, "domain of the recipient, lower case"}, func(e env) any { return e.Recipient.Domain }},
		{FactDoc{"recipient.platforms", "[]string", Platforms(), "platforms on which the directory knows the recipient"}, func(e env) any { return e.Recipient.Platforms }},
		{FactDoc{"recipient.keys", "[]string", []string{ViaSMIME, ViaOpenPGP}, "kinds of encryption for which a usable key is at hand"}, func(e env) any { return e.Recipient.Keys }},
		{FactDoc{"recipient.suffix", "string", append([]string{""}, Platforms()...), "platform that the recipient's suffix asks for; empty: none"}, func(e env) any { return e.Recipient.Suffix }},
		{FactDoc{"recipient.known", "bool", nil, "the recipient has an entry in the directory"}, func(e env) any { return e.Recipient.Known }},
		{FactDoc{"recipient.internal", "bool", nil, "the recipient is a mailbox of an authority on this gateway"}, func(e env) any { return e.Recipient.Internal }},
		{FactDoc{"recipient.consent", "bool", nil, "the recipient has consented to electronic service by this authority"}, func(e env) any { return e.Recipient.Consent }},
	}
}

// FactNames documents every fact that conditions may use, in the order of the
// documentation.
func FactNames() []FactDoc {
	var docs []FactDoc
	for _, f := range facts() {
		docs = append(docs, f.FactDoc)
	}
	return docs
}
