package policy

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// folded is a text as a careless reader might see it: compatibility characters
// decomposed, accents, spaces and invisible characters gone, lower case, every
// kind of angle bracket as < and >.
type folded struct {
	text string
	at   []int // for each byte of text, the index of its rune in the original
}

func fold(runes []rune) folded {
	b := make([]byte, 0, len(runes))
	at := make([]int, 0, len(runes))
	for i, r := range runes {
		b = appendFolded(b, r)
		for len(at) < len(b) {
			at = append(at, i)
		}
	}
	return folded{string(b), at}
}

func foldText(s string) string {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		b = appendFolded(b, r)
	}
	return string(b)
}

// appendFolded appends the folded form of one rune, often nothing.
func appendFolded(b []byte, r rune) []byte {
	if r < utf8.RuneSelf {
		if r <= ' ' || r == 0x7f {
			return b
		}
		return append(b, byte(unicode.ToLower(r)))
	}
	for _, c := range norm.NFKD.String(string(r)) {
		switch {
		case unicode.IsSpace(c), unicode.In(c, unicode.Cc, unicode.Cf, unicode.Mn):
		case strings.ContainsRune("‹〈⟨«˂❬❮ᐸ⧼≪", c):
			b = append(b, '<')
		case strings.ContainsRune("›〉⟩»˃❭❯ᐳ⧽≫", c):
			b = append(b, '>')
		default:
			b = utf8.AppendRune(b, unicode.ToLower(c))
		}
	}
	return b
}

// control is one control string of a platform (docs/platforms.md § 3.2),
// folded.
type control struct {
	key    string
	name   string // as documented
	broken rune   // the character that is replaced …
	with   rune   // … by this one
	reject bool   // no message with it is taken at all
}

// keywords are the control strings that stand without brackets.
var keywords = []control{
	{"els!:", "eLs!:", '!', '.', false},
	{"els!pdf:", "eLs!Pdf:", '!', '.', false},
	{"els!mime:", "eLs!MiMe:", '!', '.', false},
	{"psph_no_muc_", "psph_no_muc_", '_', '-', false},
	{"dump4debugt0f!l3", "dump4DebugT0f!l3:", '!', '.', true},
}

// openTags are the beginnings of control strings in angle brackets that are
// neutralised even where the closing bracket is missing. Every other word in
// angle brackets is neutralised too: the set of tags differs per instance.
var openTags = []string{
	"sms:", "fax:", "muc:", "muc4all:", "muctext:", "nomuc", "hidesender", "showsender", "hidesubject", "showsubject",
	"saferoute", "unsaferoute", "lang:", "onlyweb", "egov", "pspmucsms", "pspmucfax", "psplang", "pspegov3161",
	"muc", "psp", // whatever else these two families hold
}

// shortTags are the single letters that IncaMail and PrivaSphere know.
var shortTags = []string{"r>", "c>", "p>", "s>"}

// encodedWord is an RFC 2047 encoded word inside text that was decoded already:
// sent as it stands, the next reader would decode it.
var encodedWord = regexp.MustCompile(`=\?[^?\s]+\?[bBqQ]\?`)

// Hygiene makes a subject harmless for both platforms: every control string of
// docs/platforms.md § 3.2, IncaMail's prefixes and the further tags given (those
// configured for a platform) are changed so that neither platform reads them,
// whatever their case, inner spaces or look-alike characters; encoded words
// inside the decoded text and control characters too. The subject is given
// decoded (RFC 2047) and without the user's own tag.
//
// found names the control strings by their documented spelling, never the
// user's text. reject is set for the string that would hand the message to a
// vendor's support: such a message must not be taken. Hygiene of a clean subject
// changes nothing.
func Hygiene(subject string, tags ...string) (clean string, found []string, reject bool) {
	runes, found := plainLine(subject)
	f := fold(runes)
	note := func(name string) {
		if !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	for _, k := range keywords {
		for _, i := range indexAll(f.text, k.key) {
			note(k.name)
			reject = reject || k.reject
			breakRunes(runes, f, i, len(k.key), k.broken, k.with)
		}
	}
	breakAngles(runes, f, note)
	for _, tag := range tags {
		key := foldText(tag)
		for _, i := range indexAll(f.text, key) {
			if strings.HasPrefix(key, "<") {
				continue // done above
			}
			note(strings.TrimSpace(tag))
			runes[f.at[i]] = '*'
		}
	}
	return string(runes), found, reject
}

// plainLine returns the runes of s without control characters and encoded
// words.
func plainLine(s string) (runes []rune, found []string) {
	if encodedWord.MatchString(s) {
		s = strings.ReplaceAll(s, "=?", "= ?")
		found = append(found, "=?")
	}
	runes = []rune(s)
	for i, r := range runes {
		if unicode.Is(unicode.Cc, r) && r != '\t' {
			runes[i] = ' '
			if !slices.Contains(found, "control character") {
				found = append(found, "control character")
			}
		}
	}
	return runes, found
}

func indexAll(s, key string) []int {
	var all []int
	for i := 0; key != ""; i++ {
		j := strings.Index(s[i:], key)
		if j < 0 {
			break
		}
		i += j
		all = append(all, i)
	}
	return all
}

// breakRunes replaces the original of every byte old of f.text[i:i+n].
func breakRunes(runes []rune, f folded, i, n int, old, with rune) {
	for j := i; j < i+n; j++ {
		if rune(f.text[j]) == old {
			runes[f.at[j]] = with
		}
	}
}

// breakAngles turns the angle brackets of everything that looks like a tag into
// round ones.
func breakAngles(runes []rune, f folded, note func(string)) {
	for _, i := range indexAll(f.text, "<") {
		name, end := angleTag(f.text[i+1:])
		if name == "" {
			continue
		}
		note(name)
		runes[f.at[i]] = '('
		if end >= 0 {
			runes[f.at[i+1+end]] = ')'
		}
	}
}

// angleTag reports what stands behind an opening bracket: the documented name
// of a control string, "<...>" for another word with a closing bracket anywhere
// behind it, "" for no tag. end is the index of its closing bracket, -1 without.
func angleTag(s string) (name string, end int) {
	end = strings.IndexAny(s, "<>")
	if end >= 0 && s[end] == '<' {
		end = -1 // the next bracket belongs to another tag
	}
	for _, k := range openTags {
		if strings.HasPrefix(s, k) {
			return "<" + k + ">", end
		}
	}
	for _, k := range shortTags {
		if strings.HasPrefix(s, k) {
			return "<" + k, end
		}
	}
	first, _ := utf8.DecodeRuneInString(s)
	if strings.Contains(s, ">") && (unicode.IsLetter(first) || first == '/') {
		return "<...>", end
	}
	return "", -1
}

// commandsPlatform reports whether a recipient's local part carries
// PrivaSphere's prefix that takes the code away from that recipient.
func commandsPlatform(local string) bool {
	return strings.Contains(foldText(local), "psph_no_muc_")
}
