package simulator

import (
	"crypto/rand"
	"strconv"
	"strings"
	"time"

	"gatewayd/calendar"
	"gatewayd/message"
)

// Kind says which platform is played.
type Kind string

// The recognised platforms (platform names of the contracts and the directory).
const (
	IncaMail    Kind = "incamail"
	PrivaSphere Kind = "privasphere"
)

// brand is how a platform shows itself in mail. The addresses are those seen in
// the wild; the titles of receipts are invented where the vendors publish none.
type brand struct {
	kind    Kind
	name    string
	address string // From of everything it writes
}

func brandOf(k Kind) brand {
	if k == PrivaSphere {
		return brand{kind: k, name: "PrivaSphere", address: "securemessaging@privasphere.com"}
	}
	return brand{kind: k, name: "IncaMail", address: "swisspost@im.post.ch"}
}

// returnPath is the MAIL FROM of one mail: IncaMail gives each mail its own
// token to track bounces.
func (b brand) returnPath(token string) string {
	if b.kind == PrivaSphere {
		return b.address
	}
	local, domain, _ := strings.Cut(b.address, "@")
	return local + "+" + token + "@" + domain
}

// messageID is the Message-ID of one mail.
func (b brand) messageID(token string) string {
	_, domain, _ := strings.Cut(b.address, "@")
	return "<" + token + "@" + domain + ">"
}

func newToken() string { return strings.ToLower(rand.Text()[:20]) }

// incaTitles are IncaMail's names of its receipts.
func incaTitle(k message.ReceiptKind) string {
	switch k {
	case message.Abgabequittung:
		return "Abgabequittung"
	case message.Abholquittung:
		return "Abholquittung"
	case message.Annahmeverweigerung:
		return "Annahmeverweigerungsquittung"
	case message.Verfallquittung:
		return "Verfallquittung"
	}
	return ""
}

// title names a receipt document; "" means that this platform issues none.
// PrivaSphere knows two documents: what became of a mail stands in the dt code
// of the record inside.
func (b brand) title(k message.ReceiptKind) string {
	switch {
	case b.kind == IncaMail:
		return incaTitle(k)
	case k == message.Abgabequittung:
		return "Abgabequittung"
	default:
		return "Lesebestätigung"
	}
}

// subject is what the mail with a receipt is called.
func (b brand) subject(k message.ReceiptKind) string {
	if b.kind == PrivaSphere && k == message.Abgabequittung {
		return "Archivkopie"
	}
	return b.title(k)
}

// javaDate is the form of java.util.Date in Swiss local time: the zone is
// written as CET or CEST only, as PrivaSphere does.
func javaDate(t time.Time) string {
	return t.In(calendar.Zone()).Format("Mon Jan 02 15:04:05 MST 2006")
}

// Delivery types of PrivaSphere's receipt record.
const (
	dtRead       = 0
	dtSMTP       = 7
	dtRefused    = 11
	dtExpired    = 12
	dtHandedOver = 17
	dtReadOther  = 18
	dtAutoAccept = 19
)

// deliveryType is the dt element of a receipt; "" where there is none.
func deliveryType(k message.ReceiptKind, p Profile) string {
	switch k {
	case message.Abholquittung:
		switch p.Kind {
		case AutoAccept:
			return strconv.Itoa(dtAutoAccept)
		case Business:
			return strconv.Itoa(dtSMTP)
		case OtherPlatform:
			return strconv.Itoa(dtReadOther)
		}
		return strconv.Itoa(dtRead)
	case message.Annahmeverweigerung:
		return strconv.Itoa(dtRefused)
	case message.Verfallquittung:
		return strconv.Itoa(dtExpired)
	case message.Weitergabe:
		return strconv.Itoa(dtHandedOver)
	}
	return ""
}
