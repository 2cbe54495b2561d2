package simulator

import (
	"mime"
	netmail "net/mail"
	"regexp"
	"strings"

	"gatewayd/message"
)

// maxSubject bounds the subject that is repeated in receipts, in characters.
const maxSubject = 500

// reading is what a platform makes of the header of a submitted mail.
type reading struct {
	class    message.Class
	tag      string   // that chose the class; "" for the silent default
	subject  string   // decoded, without tag and control strings
	mode     int      // PrivaSphere's i element: 5 registered, 6 eGov registered
	controls []string // control strings that were obeyed
}

// PrivaSphere's modes of registered mail.
const (
	modeRegistered = 5
	modeEGov       = 6
)

// registeredHeader asks PrivaSphere for registered mail; its value is not
// documented.
const registeredHeader = "X-Psph-Registered-Request"

// controlStrings are PrivaSphere's tags and keywords (case sensitive).
var controlStrings = regexp.MustCompile(
	`<(?:sms|fax|muc|muc4all|muctext|lang):[^<>]*>` +
		`|<(?:nomuc|hidesender|showsender|hidesubject|showsubject|safeRoute|unSafeRoute|onlyWeb)>` +
		`|<PSP[A-Za-z0-9]*[^<>]*>` +
		`|eLs!(?:Pdf|MiMe)?:|psph_no_muc_|dump4DebugT0f!l3:`)

// defaultTags are what the platforms' help pages name. PrivaSphere's tag for
// eGov registered mail is not published: it is an option.
func defaultTags(k Kind) map[message.Class]string {
	if k == PrivaSphere {
		return map[message.Class]string{message.Confidential: "<c>"}
	}
	return map[message.Class]string{
		message.Registered: "<r>", message.Confidential: "<c>", message.Personal: "<p>",
	}
}

// readTags finds the class of a mail. The tag must stand in plain ASCII at the
// very start of the subject; without one the mail is confidential, silently:
// that is how a proof of service gets lost.
func readTags(k Kind, tags map[message.Class]string, h netmail.Header, stripTag bool) reading {
	raw := strings.TrimSpace(h.Get("Subject"))
	r := reading{class: message.Confidential, mode: modeRegistered}
	for class, tag := range tags {
		tag = strings.TrimSpace(tag)
		if rest, ok := strings.CutPrefix(raw, tag); ok && tag != "" {
			raw = strings.TrimSpace(rest)
			if !stripTag {
				r.class, r.tag, r.mode = class, tag, modeEGov
			}
			break
		}
	}
	r.subject = decodeWords(raw)
	if k == PrivaSphere {
		r.readControls(h, stripTag)
	}
	if runes := []rune(r.subject); len(runes) > maxSubject {
		r.subject = string(runes[:maxSubject])
	}
	return r
}

// readControls obeys PrivaSphere's keywords wherever they stand, also inside
// encoded words: the worst case for whoever lets users write them.
func (r *reading) readControls(h netmail.Header, stripTag bool) {
	r.controls = controlStrings.FindAllString(r.subject, -1)
	if len(r.controls) > 0 {
		r.subject = strings.Join(strings.Fields(controlStrings.ReplaceAllString(r.subject, "")), " ")
	}
	if _, ok := h[registeredHeader]; ok {
		r.controls = append(r.controls, registeredHeader)
	}
	for _, c := range r.controls {
		if (strings.HasPrefix(c, "eLs!") || c == registeredHeader) && !stripTag && r.class != message.Registered {
			r.class, r.tag, r.mode = message.Registered, c, modeRegistered
		}
	}
}

// decodeWords decodes RFC 2047; what can't be decoded stays as it is.
func decodeWords(s string) string {
	d, err := new(mime.WordDecoder).DecodeHeader(s)
	if err != nil {
		return s
	}
	return d
}
