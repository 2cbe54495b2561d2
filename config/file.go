package config

import (
	"github.com/pelletier/go-toml/v2"
)

// File is the configuration file as written. Relative paths are taken from the
// folder of the file. The tags doc, default and example make `config describe`.
type File struct {
	Hostname  string `toml:"hostname" doc:"Name of this gateway in greetings, Received fields and Message-IDs." example:"gateway.bl.example" need:"yes"`
	Data      string `toml:"data" doc:"Folder for queue, mail, keys and audit log. Owned by the gateway alone (mode 0700)." example:"/var/lib/gatewayd" need:"yes"`
	Directory string `toml:"directory" doc:"Recipients with their platforms and consent; reloaded on SIGHUP." default:"directory.toml"`
	Accounts  string `toml:"accounts" doc:"Password file: lines name:hash, made by gatewayd account hash." default:"accounts"`

	MasterKey MasterKey   `toml:"master_key" doc:"32 bytes in hexadecimal that wrap every key in the data folder. Keep a copy away from the backup." default:"{ file = \"master.key\" }"`
	TLS       Certificate `toml:"tls" doc:"Certificate of this gateway for both ports." default:"{ cert = \"gateway.crt\", key = \"gateway.key\" }"`
	ClientCA  string      `toml:"client_ca" doc:"PEM file: issuers of client certificates accepted at the submission port. Empty: passwords only."`

	Keyring string `toml:"keyring" doc:"Folder of keys for S/MIME and OpenPGP: partners/<address>.crt|.asc|.method, own/<authority>/…, roots/…; reloaded on SIGHUP." default:"keyring"`

	Scan      Scan                 `toml:"scan" doc:"Who looks for malware in what comes in and what leaves."`
	Keys      KeySources           `toml:"keys" doc:"Where keys come from beside the keyring, and whether they are revoked."`
	KeyAgent  *KeyAgent            `toml:"keyagent" doc:"The key agent: authorities' private keys in a process of their own (gatewayd keyagent, docs/operate.md)."`
	API       API                  `toml:"api" doc:"HTTP API for the programs of authorities."`
	Listen    Listen               `toml:"listen" doc:"Where the doors listen."`
	Account   map[string]Account   `toml:"account" doc:"What is to be said of an account beyond its name in members."`
	Authority map[string]Authority `toml:"authority" doc:"One table per authority; its name appears in the audit log." need:"yes"`
	Platform  Platforms            `toml:"platform" doc:"The recognised Zustellplattformen."`
	SMTP      Relay                `toml:"smtp" doc:"Ordinary mail (via = \"smtp\")."`

	Route      []Route           `toml:"route" doc:"The rules, in order; the first whose condition holds and that can be met decides. No match: the mail is held." need:"yes"`
	Footer     map[string]Footer `toml:"footer" doc:"Footers that routes name (route.footer): under the text of mail that leaves, before it is signed and encrypted."`
	Vocabulary Vocabulary        `toml:"vocabulary" doc:"How users say the class. Leave out to use the built-in words."`
	Policy     Policy            `toml:"policy" doc:"Values of the built-in duties."`
	Legal      Legal             `toml:"legal" doc:"The delivery case: help with service dates and periods, never binding."`
	Evidence   Evidence          `toml:"evidence" doc:"Evidence bundles (Nachweisdossier): what seals and stamps them."`
	Archive    Archive           `toml:"archive" doc:"Delivery to the archive (eCH-0160)."`
	Retention  Retention         `toml:"retention" doc:"The legal windows (Vo E-GovG BL § 11)."`
	Audit      Audit             `toml:"audit" doc:"The audit log."`
	Log        Log               `toml:"log" doc:"The operational log: no subject, body or address stands in it."`
	Delivery   Delivery          `toml:"delivery" doc:"Retries and limits of delivery."`
	Limits     Limits            `toml:"limits" doc:"Limits of the SMTP doors."`

	Test []Test `toml:"test" doc:"Assertions about routes, run by config check and at every reload."`
}

// KeyAgent is the process that has the private keys. Its socket is keys.agent, its
// keys are keyring/own.
type KeyAgent struct {
	Users  []string `toml:"users" doc:"Users that may ask the agent, by name or number: the gateway's. Root and the agent's own may always." default:"[\"gatewayd\"]"`
	Groups []string `toml:"groups" doc:"Whoever has one of these as primary group may ask as well." example:"[\"gatewayd\"]"`
	Quota  int      `toml:"quota" doc:"Uses of one key in one minute; what is beyond waits. It bounds what a stolen gateway can do." default:"6000"`
	Master string   `toml:"master" doc:"PKCS #11 URI of a secret key, from which the gateway's master key is derived: master_key = { agent = true }." example:"pkcs11:token=gatewayd;object=master"`
	PKCS11 *PKCS11  `toml:"pkcs11" doc:"Token or HSM, for keys that a .p11 file names. Only a program built with it (make build-pkcs11) can use one."`
	Uses   string   `toml:"uses" doc:"Folder of the log of uses: a line for each use of a key, kept as long as log data." example:"/var/lib/gatewayd-keys/uses" need:"yes"`
}

// Scan names the scanner for malware.
type Scan struct {
	Clamd   string   `toml:"clamd" doc:"clamd of ClamAV: unix:/path or tcp:host:port. While it is away nothing is delivered or sent. Empty: nobody looks." example:"unix:/run/clamav/clamd.ctl"`
	Timeout Duration `toml:"timeout" doc:"Longest time for one message." default:"\"2m\""`
	MaxSize Size     `toml:"max_size" doc:"What is larger is held. Set StreamMaxLength of clamd at least so high." default:"\"100 MB\""`
}

// PKCS11 is the driver of tokens.
type PKCS11 struct {
	Module string `toml:"module" doc:"Library of the driver." example:"/usr/lib/softhsm/libsofthsm2.so" need:"yes"`
	PIN    Secret `toml:"pin" doc:"PIN of the user. It is said once: a wrong one ends the agent." example:"{ file = \"token.pin\" }" need:"yes"`
}

// API is the HTTP API.
type API struct {
	Addr   string `toml:"addr" doc:"host:port, TLS with the certificate of this gateway; empty: no API." example:":8443"`
	Tokens string `toml:"tokens" doc:"Token file: lines name:authority:rights:hash, made by gatewayd token new." default:"tokens"`
}

// Forward is an authority's own mail server.
type Forward struct {
	To       string `toml:"to" doc:"smtps://host:port (TLS from the first byte) or smtp://host:port (STARTTLS)." example:"smtps://mail.bl.example:465"`
	TLS      string `toml:"tls" doc:"verify; there is nothing else." example:"verify"`
	Roots    string `toml:"roots" doc:"PEM file: issuers trusted for this connection; empty: the system's."`
	Username string `toml:"username" doc:"Login there."`
	Password Secret `toml:"password" doc:"Password of that login."`
	Open     bool   `toml:"open" doc:"S/MIME and OpenPGP are taken off before; the mail as it came is attached (original.eml). Encrypted mail then travels and lies there readable: only for a server of the same office."`
}

// Webhook is where an authority's events are posted.
type Webhook struct {
	URL    string `toml:"url" doc:"https address without user, query or fragment." example:"https://fach.bl.example/gatewayd"`
	Secret Secret `toml:"secret" doc:"Key of the signature, at least 16 characters, shared with the receiver."`
}

// Listen names the doors.
type Listen struct {
	Submission    Listener `toml:"submission" doc:"Authorities' mail systems and clients; STARTTLS and a login are required." default:"{ addr = \":587\" }"`
	SubmissionTLS Listener `toml:"submission_tls" doc:"The same with TLS from the first byte (RFC 8314)." example:"{ addr = \":465\" }"`
	Inbound       Listener `toml:"inbound" doc:"Platforms and the world." default:"{ addr = \":25\" }"`
}

// Listener is one address.
type Listener struct {
	Addr string `toml:"addr" doc:"host:port; an empty host means every interface, an empty addr a closed door."`
}

// Account adds to an account named in an authority's members.
type Account struct {
	Certificate string `toml:"certificate" doc:"DNS name in a client certificate that signs in as this account."`
}

// Authority is one authority with its mailbox.
type Authority struct {
	Name        string            `toml:"name" doc:"Full name, as people know it." example:"Bauinspektorat Basel-Landschaft" need:"yes"`
	UID         string            `toml:"uid" doc:"Its number in the federal register of enterprises, for the record in evidence bundles." example:"CHE-123.456.789"`
	Addresses   []string          `toml:"addresses" doc:"Its mail addresses; the first one receives notices." example:"[\"bauinspektorat@bl.example\"]" need:"yes"`
	Platforms   map[string]string `toml:"platforms" doc:"Its address on each platform: sender there, and where receipts come back." example:"{ incamail = \"bauinspektorat@bl.example\" }"`
	Members     []string          `toml:"members" doc:"Accounts that may send for it." example:"[\"sachbearbeitung\"]" need:"yes"`
	Headers     string            `toml:"header_protection" doc:"What becomes of the header fields of mail that is signed or encrypted for it (RFC 9788): off; copy: they stand inside as well; hide: and of encrypted mail the subject is told inside only, outside it reads [...]." default:"off"`
	SubjectTags map[string]string `toml:"subject_tags" doc:"Tags in square brackets that open the subject of received mail, by its verdict (valid, valid-but-untrusted, partial, weak, expired, revoked, invalid, unchecked, unsigned) or where it came encrypted (encrypted). What senders write that looks like one is changed." example:"{ valid = \"[signiert]\", invalid = \"[Signatur ungültig]\" }"`
	Forward     Forward           `toml:"forward" doc:"Its own mail server: a copy of everything that comes in goes there, as it came, with X-Gatewayd-Verdict on top."`
	Webhook     Webhook           `toml:"webhook" doc:"Where its events are posted."`
	Seal        Seal              `toml:"seal" doc:"Its own seal on its evidence bundles; missing: the gateway's."`
	FallbackKey string            `toml:"fallback_key" doc:"PEM certificate to which unclaimed mail is encrypted before it is erased." example:"\"fallback.pem\"" need:"yes"`
}

// Platforms holds both platforms.
type Platforms struct {
	IncaMail    *Platform `toml:"incamail" doc:"IncaMail (Swiss Post)."`
	PrivaSphere *Platform `toml:"privasphere" doc:"PrivaSphere Secure Messaging."`
}

// Platform is one Zustellplattform. What the operators do not publish has no
// default and stands in the contract with them.
type Platform struct {
	Smarthost         string      `toml:"smarthost" doc:"host:port for submission, from the contract." example:"mgi.incamail.example:25" need:"yes"`
	ServerName        string      `toml:"server_name" doc:"Name that the certificate must carry; empty: the host of smarthost."`
	TLS               string      `toml:"tls" doc:"starttls or implicit. There is no plain text." default:"starttls"`
	Roots             string      `toml:"roots" doc:"PEM file: issuers trusted for this connection; empty: the system's."`
	ClientCertificate Certificate `toml:"client_certificate" doc:"Certificate with which the gateway signs in; IncaMail knows the domain by it." example:"{ cert = \"mta.crt\", key = \"mta.key\" }"`
	Username          string      `toml:"username" doc:"Login, where the contract names one."`
	Password          Secret      `toml:"password" doc:"Password of that login." example:"{ file = \"platform.secret\" }"`

	RegisteredTag   string `toml:"registered_tag" doc:"Subject tag of a registered decision. IncaMail: \"<r> \". PrivaSphere: none; class registered is refused while it is empty."`
	ConfidentialTag string `toml:"confidential_tag" doc:"Subject tag of a confidential mail. IncaMail: \"<c> \"."`
	PersonalTag     string `toml:"personal_tag" doc:"Subject tag of a personal mail. IncaMail: \"<p> \"."`
	RecipientSuffix string `toml:"recipient_suffix" doc:"Added to the recipient's address, where the contract asks for it." example:"\".incamail.ch\""`
	MaxSize         Size   `toml:"max_size" doc:"Largest message the platform takes." default:"\"30 MB\""`

	Recognised Recognition `toml:"recognised" doc:"On what the recognition rests; without it class registered is refused (Vo E-GovG BL § 1, § 4)."`

	ReceiptAnchors     string              `toml:"receipt_anchors" doc:"PEM file: issuers of the platform's seal; a receipt under another issuer never closes a case. Empty: class registered is refused here."`
	ReceiptSigners     []string            `toml:"receipt_signers" doc:"Patterns (RE2) of the seal's subject. Needed where the issuer is a public one that issues to others, too."`
	ReceiptMailSigners []string            `toml:"receipt_mail_signers" doc:"Patterns (RE2) of the subjects of certificates that sign receipts as whole mails (S/MIME) and never what users wrote; empty: a signed mail proves nothing."`
	ReceiptSenders     []string            `toml:"receipt_senders" doc:"Domains from which receipts come; empty: the built-in ones."`
	ReceiptSubject     map[string][]string `toml:"receipt_subjects" doc:"Patterns (RE2) of receipt subjects by kind; empty: the built-in examples. Calibrate them on your account."`
	ReceiptText        map[string][]string `toml:"receipt_texts" doc:"Patterns (RE2) of one line in the receipt's text by kind; empty: the built-in examples."`
	ReceiptWait        Duration            `toml:"receipt_wait" doc:"Alarm when the Abgabequittung has not come after this time. Never a resend." default:"\"15m\""`
}

// Recognition names the legal basis of a platform.
type Recognition struct {
	By        string         `toml:"by" doc:"Legal basis." example:"Vo E-GovG Anhang 1" need:"yes"`
	Reference string         `toml:"reference" doc:"Decision that approved it." example:"RRB 2021-…" need:"yes"`
	From      toml.LocalDate `toml:"from" doc:"First day." example:"2022-01-01" need:"yes"`
	Until     toml.LocalDate `toml:"until" doc:"Last day; leave out while it is open-ended."`
}

// Relay is ordinary SMTP.
type Relay struct {
	Smarthost  string `toml:"smarthost" doc:"host:port that takes ordinary mail; empty: straight to the recipients' servers (MX)."`
	ServerName string `toml:"server_name" doc:"Name that the certificate must carry; empty: the host of smarthost."`
	TLS        string `toml:"tls" doc:"starttls or implicit for the smarthost, always verified; without a smarthost: verify, or opportunistic." default:"starttls"`
	Roots      string `toml:"roots" doc:"PEM file: issuers trusted for this connection; empty: the system's."`
	Username   string `toml:"username" doc:"Login at the smarthost."`
	Password   Secret `toml:"password" doc:"Password of that login." example:"{ file = \"relay.secret\" }"`
}

// Route is one rule.
type Route struct {
	Name   string   `toml:"name" doc:"Appears in explanations and in the audit log." need:"yes"`
	When   string   `toml:"when" doc:"Condition over the documented facts (gatewayd route facts)." example:"'message.class == \"registered\"'" need:"yes"`
	Via    []string `toml:"via" doc:"incamail, privasphere, smime, openpgp, smtp, mailbox: in order of preference; the first that can be used is used." need:"yes"`
	Keep   string   `toml:"keep" doc:"How long the body stays: until_done, until_handed_over or window. Left out: until_handed_over for mailboxes and registered mail, until_done for the rest." example:"\"until_done\""`
	GiveUp Duration `toml:"give_up" doc:"After this time in the queue the sender is told that it failed; empty: five days." example:"\"5d\""`
	Footer string   `toml:"footer" doc:"Name of a footer that is put under the text of what goes by smime, openpgp or smtp; never under private mail." example:"amtlich"`
}

// Footer is what stands under the text of mail that leaves.
type Footer struct {
	German      string `toml:"de" doc:"Text for mail whose Content-Language is German." example:"Bauinspektorat Basel-Landschaft, Rheinstrasse 29, 4410 Liestal"`
	English     string `toml:"en" doc:"The same for English. Mail that names neither language gets both, German first."`
	GermanHTML  string `toml:"de_html" doc:"Fragment for the HTML form of a text; empty: made from de."`
	EnglishHTML string `toml:"en_html" doc:"Fragment for the HTML form of a text; empty: made from en."`
}

// Vocabulary is how users say the class.
type Vocabulary struct {
	Tags     map[string]string `toml:"tags" doc:"Subject tag → class." example:"{ \"[einschreiben]\" = \"registered\" }"`
	Suffixes map[string]string `toml:"suffixes" doc:"Recipient suffix → platform." example:"{ \".incamail.ch\" = \"incamail\" }"`
	Header   string            `toml:"header" doc:"Header field that names the class." default:"\"X-Gatewayd-Class\""`
}

// Policy holds values of the built-in duties.
type Policy struct {
	AHV             bool   `toml:"ahv_numbers" doc:"An AHV number in the subject makes a mail confidential." default:"true"`
	BulkLimit       int    `toml:"bulk_limit" doc:"From this many internal recipients a mail is held for approval (Benutzungsreglement § 13)." default:"500"`
	ReferencePrefix string `toml:"reference_prefix" doc:"Letters before the reference in a registered subject: [BL-7F3K9Q2M]." default:"\"BL\""`
}

// Legal holds the choices that the law leaves to the authority.
type Legal struct {
	Calendar      string `toml:"calendar" doc:"Holidays that count where the directory names no canton: BL, BS or CH (federal law alone)." default:"BL"`
	Profile       string `toml:"profile" doc:"Period that the authority usually needs: BL-VwVG, CH-VwVG or CH-ZPO. The others are shown beside it." default:"BL-VwVG"`
	RefusalServes bool   `toml:"refusal_serves" doc:"A refusal counts as service on its day; otherwise the seventh day counts, and the day of refusal is shown beside it."`
	DeadlineNear  int    `toml:"deadline_near" doc:"Days before the end of the period at which a person is told; 0: never." default:"3"`
}

// Evidence says what seals and stamps evidence bundles.
type Evidence struct {
	Seal     Seal   `toml:"seal" doc:"Key and certificate of the gateway's seal on evidence bundles; missing: none are made. With a key agent: { cert = …, agent = true }." example:"{ cert = \"seal.crt\", key = \"seal.key\" }"`
	TSA      string `toml:"tsa" doc:"http or https address of the time-stamping authority (RFC 3161)." example:"https://tsa.swisssign.example"`
	NTP      string `toml:"ntp_source" doc:"Where the system's clock is set from, for the record in evidence bundles; the gateway does not ask there." example:"ntp.metas.ch"`
	TSARoots string `toml:"tsa_roots" doc:"PEM file: issuers of the time-stamping authority; a stamp of another one is refused." example:"tsa-roots.pem"`
}

// Archive says what a delivery to the archive needs.
type Archive struct {
	Schemas string `toml:"schemas" doc:"Folder with the 14 XSDs of eCH-0160 version 1.2, downloaded from www.ech.ch; every package carries them. Empty: gatewayd archive export is refused." example:"/etc/gatewayd/ech-0160"`
}

// Retention holds the windows.
type Retention struct {
	Profile       string      `toml:"profile" doc:"bl-egov (Vo E-GovG BL § 11), or bs-bwpv: runs on 1 January and 1 July, 180 days after the end, three years at most (BWPV BS, binding in Basel-Stadt only; the months below do not count)." default:"bl-egov"`
	ContentMonths int         `toml:"content_months" doc:"Content is gone after at most this many calendar months: 1 or 2." default:"2"`
	LogMonths     int         `toml:"log_months" doc:"Log data are kept exactly this many calendar months; another number than 6 needs log_legal_basis." default:"6"`
	LogLegalBasis string      `toml:"log_legal_basis" doc:"Special law that allows another log_months; stands in every protocol of destruction. Content has no such exception." example:"\"§ 8 Abs. 2 Musterverordnung\""`
	Remind        []int       `toml:"remind" doc:"So many days before its limit an authority is told which content it has not taken over; five days before, it is exported." default:"[14, 7]"`
	Agreements    []Agreement `toml:"agreement" doc:"Standing agreements with the archive on what becomes of messages."`
}

// Agreement is a standing agreement on what need not be handed over one by one.
type Agreement struct {
	ID          string   `toml:"id" doc:"Its reference: a code that names nobody; stands in the protocols of destruction." example:"\"StABL-2026-7\"" need:"yes"`
	Authorities []string `toml:"authorities" doc:"Authorities that made it." example:"[\"bauinspektorat\"]" need:"yes"`
	Classes     []string `toml:"classes" doc:"Classes of messages that it covers." example:"[\"normal\"]" need:"yes"`
	Directions  []string `toml:"directions" doc:"in: received, out: sent, notice: written by the gateway." example:"[\"out\", \"notice\"]" need:"yes"`
}

// Log is the operational log.
type Log struct {
	File    string   `toml:"file" doc:"Log file, rotated and compressed; empty: standard error." example:"/var/log/gatewayd/gatewayd.log"`
	MaxSize Size     `toml:"max_size" doc:"A file is closed at this size." default:"\"10 MB\""`
	MaxAge  Duration `toml:"max_age" doc:"A file is closed, and a closed one removed, after this time." default:"\"7d\""`
}

// Audit is what is done with the audit log beside keeping it.
type Audit struct {
	Syslog Syslog `toml:"syslog" doc:"A collector to which its lines are sent as they come: syslog (RFC 5424) over TLS (RFC 5425), from the first line that is there."`
}

// Syslog is a collector.
type Syslog struct {
	To                string      `toml:"to" doc:"tls://host:port; empty: nothing is sent. There is no plain text." example:"tls://siem.bl.example:6514"`
	CA                string      `toml:"ca" doc:"PEM file: issuers trusted for this connection; empty: the system's."`
	ServerName        string      `toml:"server_name" doc:"Name that the certificate must carry; empty: the host of to."`
	ClientCertificate Certificate `toml:"client_certificate" doc:"Certificate with which the gateway signs in." example:"{ cert = \"siem.crt\", key = \"siem.key\" }"`
	Enterprise        int         `toml:"enterprise" doc:"Private enterprise number (IANA) of the operator, for the names of the structured data; 0: 32473, the one for examples." example:"4711"`
	Personal          []string    `toml:"personal" doc:"Fields that name persons and are sent all the same (gatewayd logging describe names them, without data.); empty: none. The collector must erase them after the log window." example:"[\"by\"]"`
}

// Delivery holds retry values.
type Delivery struct {
	RetryFirst  Duration `toml:"retry_first" doc:"Wait after the first temporary failure; it doubles with each further one." default:"\"1m\""`
	RetryMax    Duration `toml:"retry_max" doc:"Longest wait between two attempts." default:"\"1h\""`
	HoldReturn  Duration `toml:"hold_return" doc:"A held mail goes back to its sender after this time." default:"\"24h\""`
	Concurrency int      `toml:"concurrency" doc:"Parallel deliveries." default:"20"`
	PerTarget   int      `toml:"per_target" doc:"Parallel deliveries to one destination." default:"5"`
	ReserveDisk Size     `toml:"reserve_disk" doc:"Free space below which no mail is accepted (452), so that receipts and the audit log still fit." default:"\"64 MB\""`
}

// Limits of the doors.
type Limits struct {
	MessageSize      Size     `toml:"message_size" doc:"Largest message." default:"\"50 MB\""`
	Recipients       int      `toml:"recipients" doc:"Recipients of one message." default:"100"`
	Connections      int      `toml:"connections" doc:"Open connections of one door." default:"500"`
	ConnectionsPerIP int      `toml:"connections_per_ip" doc:"Open connections from one address." default:"100"`
	Idle             Duration `toml:"idle" doc:"A silent connection is closed after this time." default:"\"5m\""`
	Data             Duration `toml:"data" doc:"Longest time for one message body." default:"\"10m\""`
}

// Test asserts where a message must go.
type Test struct {
	From    string `toml:"from" doc:"Sender." need:"yes"`
	To      string `toml:"to" doc:"Recipient." need:"yes"`
	Class   string `toml:"class" doc:"Class asked for; empty: found from the subject and the header."`
	Subject string `toml:"subject" doc:"Subject to decide on."`
	Expect  Expect `toml:"expect" doc:"What must come out." need:"yes"`
}

// Expect is the outcome a test demands; what is left out is not looked at.
type Expect struct {
	Verdict string `toml:"verdict" doc:"deliver, hold or refuse."`
	Route   string `toml:"route" doc:"Name of the route that decides."`
	Via     string `toml:"via" doc:"Connector."`
	Tag     string `toml:"tag" doc:"Platform tag on what leaves."`
	Class   string `toml:"class" doc:"Class found."`
	Footer  string `toml:"footer" doc:"Footer under its text."`
}

// Certificate is a PEM certificate (with its chain) and its key.
type Certificate struct {
	Cert string `toml:"cert" doc:"PEM file: certificate and chain."`
	Key  string `toml:"key" doc:"PEM file: private key."`
}

// Seal is a Certificate, or one whose key the key agent has.
type Seal struct {
	Cert  string `toml:"cert" doc:"PEM file: certificate and chain."`
	Key   string `toml:"key" doc:"PEM file: private key."`
	Agent bool   `toml:"agent" doc:"The key agent has the private key: below keyring/own, beside the same certificate."`
}

// MasterKey is a Secret, or what the key agent derives.
type MasterKey struct {
	File  string `toml:"file" doc:"File that holds the value; mode 0600."`
	Env   string `toml:"env" doc:"Environment variable that holds the value."`
	Agent bool   `toml:"agent" doc:"The key agent derives it from a secret key on a token (keyagent.master)."`
}

// Secret is a value that never stands in the configuration itself.
type Secret struct {
	File string `toml:"file" doc:"File that holds the value; mode 0600."`
	Env  string `toml:"env" doc:"Environment variable that holds the value."`
}
