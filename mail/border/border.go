// Package border keeps what a sender wrote from looking like what the gateway
// says. It works on the copy that is delivered; what is stored stays as it came.
//
// Three things can look like our word: a header field with our name, or with
// one that a reader takes for it; an Authentication-Results field that claims to
// be ours (RFC 8601 section 5); and a subject that holds one of the tags by which
// we mark verdicts.
package border

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"gatewayd/mail"
)

// Border is what is ours.
type Border struct {
	Host string   // name of this gateway, under which it would write Authentication-Results
	Tags []string // subject tags, each in square brackets
}

// reserved begins, as skeleton, the names of all fields that only the gateway
// writes: X-Gatewayd-Verdict and its kin.
const reserved = "gatewayd"

// Clean takes out of a header what only the gateway may say, and returns the
// names of what it took or changed, for people: "X-Gatewayd-Verdict", "Subject".
// Every other octet stays.
func (b Border) Clean(h *mail.Header) (found []string) {
	note := func(what string) {
		if !slices.Contains(found, what) {
			found = append(found, what)
		}
	}
	h.Filter(func(f mail.Field) bool {
		switch {
		case ours(f):
			note("X-Gatewayd-…")
		case strings.EqualFold(f.Name, "Authentication-Results") && b.claims(f):
			note("Authentication-Results")
		default:
			return true
		}
		return false
	})
	if b.subject(h) {
		note("Subject")
	}
	return found
}

// subject cleans the subject; of several, of which every reader may show
// another one, the first stays. Octets that are not ASCII are also read in the
// charset of the message, as many readers do (mail.Header.Text).
func (b Border) subject(h *mail.Header) bool {
	_, params := mail.ParseParams(h.Get("Content-Type"))
	tagged := slices.ContainsFunc(h.All("Subject"), func(raw string) bool {
		return slices.ContainsFunc([]string{mail.DecodeText(raw), raw, mail.DecodeCharset(params["charset"], []byte(raw))}, func(text string) bool {
			_, changed := b.Subject(text)
			return changed
		})
	})
	if !tagged {
		return false
	}
	clean, _ := b.Subject(h.Text("Subject"))
	if h.Replace("Subject", mail.EncodeText(clean)) != nil { // a word that cannot be written
		h.Remove("Subject")
	}
	return true
}

// ours reports a field, or a line that a careless reader takes for one, whose
// name begins like ours whatever its case, its hyphens or its letters. To some a
// bare CR ends a line; what was encrypted may hold one.
func ours(f mail.Field) bool {
	if f.Name != "" && named(f.Name) {
		return true
	}
	first := true
	for line := range bytes.FieldsFuncSeq(f.Raw, func(r rune) bool { return r == '\r' || r == '\n' }) {
		name, _, colon := strings.Cut(string(line[:min(len(line), 256)]), ":")
		goesOn := !first && (line[0] == ' ' || line[0] == '\t')
		if colon && !goesOn && (named(name) || !first && judged(name)) {
			return true
		}
		first = false
	}
	return false
}

// judged reports a field that Clean looks at where it stands openly.
func judged(name string) bool {
	name = strings.TrimRight(name, " \t")
	return strings.EqualFold(name, "Authentication-Results") || strings.EqualFold(name, "Subject")
}

func named(name string) bool {
	key := skeleton(name)
	return strings.HasPrefix(key, reserved) || strings.HasPrefix(strings.TrimLeft(key, "x"), reserved)
}

// claims reports an Authentication-Results field that names us as its author, or
// whose author cannot be told: RFC 8601 section 5 lets both go.
func (b Border) claims(f mail.Field) bool {
	_, value, _ := strings.Cut(string(f.Raw), ":")
	value = strings.NewReplacer("\r\n", "", "\n", "").Replace(value)
	// A comment may stand within the name, to a careless reader, or between it and a version.
	return b.names(mail.StripComments(value)) || b.names(mail.StripComments(strings.ReplaceAll(value, ")", ") ")))
}

// names reports whether a value without comments begins with our name, or with none.
func (b Border) names(value string) bool {
	id, _, _ := strings.Cut(strings.Trim(value, " \t"), ";")
	id = strings.Trim(id, " \t")
	if quoted := strings.TrimPrefix(id, `"`); quoted != id {
		id, _, _ = strings.Cut(strings.ReplaceAll(quoted, `\`, ""), `"`)
	}
	if end := strings.IndexAny(id, " \t"); end >= 0 { // a version may follow
		id = id[:end]
	}
	return id == "" || skeletonHost(id) == skeletonHost(b.Host)
}

// GoodTag reports whether a text can be a tag: square brackets around letters,
// digits and single spaces, so that nothing that reads like it escapes Subject.
func GoodTag(tag string) bool {
	inner := strings.TrimSuffix(strings.TrimPrefix(tag, "["), "]")
	n := utf8.RuneCountInString(inner)
	return tag == "["+inner+"]" && n > 0 && n <= 40 && strings.Join(strings.Fields(inner), " ") == inner &&
		!strings.ContainsFunc(inner, func(r rune) bool { return r != ' ' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// Subject changes the square brackets around everything that reads like one of
// our tags into round ones. changed is false for a subject without any.
func (b Border) Subject(text string) (clean string, changed bool) {
	if len(b.Tags) == 0 {
		return text, false
	}
	runes := []rune(text)
	read := make([]string, len(runes)) // each as a careless reader sees it
	for i, r := range runes {
		read[i] = skeleton(string(r))
	}
	keys := make([]string, len(b.Tags))
	for i, t := range b.Tags {
		keys[i] = skeleton(t)
	}
	for i, r := range runes {
		if !opens(r) {
			continue
		}
		if end := tagEnd(runes[i:min(len(runes), i+maxTag)], read[i:], keys); end > 0 {
			round(runes[i : i+end+1])
			changed = true
		}
	}
	if !changed {
		return text, false
	}
	return string(runes), true
}

// tagEnd finds the last bracket that closes one of the tags, from the opening one on; 0:
// none does. It stops where no tag goes on: a subject may be all brackets.
func tagEnd(runes []rune, read, keys []string) (end int) {
	var so []byte
	for j := 1; j < len(runes); j++ {
		switch {
		case read[j] != "":
			so = append(so, read[j]...)
			if !slices.ContainsFunc(keys, func(key string) bool { return strings.HasPrefix(key, string(so)) }) {
				return end
			}
		case closes(runes[j]) && slices.Contains(keys, string(so)):
			end = j
		}
	}
	return end
}

// round turns all square brackets into round ones.
func round(runes []rune) {
	for i, r := range runes {
		switch {
		case opens(r):
			runes[i] = '('
		case closes(r):
			runes[i] = ')'
		}
	}
}

// maxTag is the longest stretch in which a tag is looked for, in characters;
// invisible ones may stand between its letters.
const maxTag = 200

// opens and closes know everything that looks like a square bracket.
func opens(r rune) bool { return strings.ContainsRune("[［⁅〔【〚⟦⦋⦍⦏❲﹝", r) }

func closes(r rune) bool { return strings.ContainsRune("]］⁆〕】〛⟧⦌⦎⦐❳﹞", r) }

// skeleton is a text as a careless reader sees it: letters and digits only,
// without accents, in lower case, with the letters of other scripts that look
// like Latin ones as those.
func skeleton(s string) string { return fold(s, false) }

// skeletonHost keeps dots and hyphens: they tell names of hosts apart.
func skeletonHost(s string) string { return strings.TrimRight(fold(s, true), ".") }

func fold(s string, host bool) string {
	out := make([]byte, 0, len(s))
	for _, r := range norm.NFKD.String(strings.ToValidUTF8(s, "")) {
		r = lookAlike(unicode.ToLower(r))
		if unicode.IsLetter(r) || unicode.IsDigit(r) || host && (r == '.' || r == '-') {
			out = utf8.AppendRune(out, r)
		}
	}
	return string(out)
}

// confusable pairs letters and digits with the Latin letter that they cannot be
// told from in common type faces (Unicode UTS 39, confusables: Cyrillic, Greek,
// Armenian, small capitals). What has accents was taken apart before.
const confusable = "аa ьb сc ԁd еe һh іl јj ӏl кk мm пn оo өo рp ԛq гr ѕs тt υu ѵv ԝw хx уy ґr қk ҡk ԍg ϲc " +
	"αa βb γy εe ηn ιl κk νv οo ρp ϸp σo ςc τt χx ωw զq ոn սu ցg օo հh յj քp" +
	" ʟl ɡg ıl ɩl ʀr ɪl ɴn ɢg ᴀa ᴄc ᴅd ᴇe ᴊj ᴋk ᴍm ᴏo ᴘp ᴛt ᴜu ᴠv ᴡw ᴢz ǀl 0o 1l |l il "

func lookAlike(r rune) rune {
	if r >= 'a' && r <= 'z' && r != 'i' {
		return r
	}
	i := strings.IndexRune(confusable, r)
	if i < 0 || r == ' ' {
		return r
	}
	if latin := confusable[i+utf8.RuneLen(r)]; latin != ' ' {
		return rune(latin)
	}
	return r
}
