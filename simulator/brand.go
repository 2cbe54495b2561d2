package simulator

import (
	"crypto/rand"
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

// title names a receipt document; "" means that this platform issues none.
// PrivaSphere knows two documents: what became of a mail stands in the dt code
// of the record inside.
func (b brand) title(k message.ReceiptKind) string {
	if b.kind == PrivaSphere && k != message.Abgabequittung {
		return "Lesebestätigung"
	}
	return map[message.ReceiptKind]string{
		message.Abgabequittung:      "Abgabequittung",
		message.Abholquittung:       "Abholquittung",
		message.Annahmeverweigerung: "Annahmeverweigerungsquittung",
		message.Verfallquittung:     "Verfallquittung",
	}[k]
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

// deliveryType is the dt element of PrivaSphere's receipts: 0 read on the web,
// 7 delivered by SMTP, 11 refused, 12 withdrawn after 7 days, 17 handed over to
// the other platform, 18 read there, 19 auto-accepted; "" where there is none.
func deliveryType(k message.ReceiptKind, p Profile) string {
	if k != message.Abholquittung {
		return map[message.ReceiptKind]string{
			message.Annahmeverweigerung: "11", message.Verfallquittung: "12", message.Weitergabe: "17",
		}[k]
	}
	if code, ok := map[RecipientKind]string{AutoAccept: "19", Business: "7", OtherPlatform: "18"}[p.Kind]; ok {
		return code
	}
	return "0"
}
