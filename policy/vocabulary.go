package policy

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatewayd/message"
	"gatewayd/spelling"
)

// Vocabulary is how an authority's users say what they want.
type Vocabulary struct {
	// Tags are the words in brackets that stand at the very start of a subject.
	Tags map[string]message.Class
	// Suffixes of recipient domains that ask for a platform: ".incamail.ch".
	Suffixes map[string]string
	// Header is the name of a header field whose value is a class.
	Header string
}

// DefaultVocabulary returns the words that apply where the configuration gives
// no others.
func DefaultVocabulary() Vocabulary {
	return Vocabulary{
		Tags: map[string]message.Class{
			"<r>": message.Registered, "[einschreiben]": message.Registered, "[Einschreiben]": message.Registered, "[registered]": message.Registered,
			"<c>": message.Confidential, "[vertraulich]": message.Confidential, "[Vertraulich]": message.Confidential, "[confidential]": message.Confidential,
			"<p>": message.Personal, "[persönlich]": message.Personal, "[Persönlich]": message.Personal,
		},
		Suffixes: map[string]string{".incamail.ch": ViaIncaMail},
		Header:   "X-Gatewayd-Class",
	}
}

// replyPrefix is what mail programs put before the subject of a message that
// they answer or pass on. A tag behind it is quoted, not said.
var replyPrefix = regexp.MustCompile(`(?i)^(re|aw|antw|antwort|wg|fw|fwd|tr|rv|rif|r|i|sv|vs)(\s*[\[(]\d+[\])])?\s*[:：]`)

// Read finds the user's tag. A tag counts only at the very start of the subject
// and only if written exactly; tag and blanks are then missing in rest. Behind a
// reply prefix (Re:, AW:, WG: …) a tag is no command: class is empty, Hygiene
// makes it harmless.
//
// problem is a sentence that helps the user when something looks like a tag but
// is none: misspelt, in other brackets, elsewhere in the subject, or two
// different ones. Class is then empty, rest the whole subject; the message must
// be held, never sent as if nothing had been said.
func (v Vocabulary) Read(subject string) (class message.Class, rest, problem string) {
	return v.reader().read(subject)
}

// reader is a vocabulary made ready for reading subjects.
type reader []readerTag

type readerTag struct {
	tag, folded, inner string
	class              message.Class
}

// reader returns the tags, the longest first.
func (v Vocabulary) reader() reader {
	var r reader
	for _, tag := range v.tags() {
		folded := foldText(tag)
		if folded == "" { // Compile refuses such a tag
			continue
		}
		r = append(r, readerTag{tag, folded, strings.Trim(folded, openers+closers), v.Tags[tag]})
	}
	return r
}

func (v Vocabulary) tags() []string {
	return slices.SortedFunc(maps.Keys(v.Tags), func(a, b string) int {
		return cmp.Or(len(b)-len(a), strings.Compare(a, b))
	})
}

func (r reader) read(subject string) (class message.Class, rest, problem string) {
	rest = strings.TrimLeftFunc(subject, unicode.IsSpace)
	for {
		i := slices.IndexFunc(r, func(t readerTag) bool { return strings.HasPrefix(rest, t.tag) })
		if i < 0 {
			break
		}
		if class != "" && r[i].class != class {
			return "", subject, "the subject begins with tags of two different classes: keep one"
		}
		class = r[i].class
		rest = strings.TrimLeftFunc(rest[len(r[i].tag):], unicode.IsSpace)
	}
	if replyPrefix.MatchString(rest) {
		return class, rest, ""
	}
	if problem := r.nearMiss(rest); problem != "" {
		return "", subject, problem
	}
	f := foldText(rest)
	for _, t := range r {
		if t.class != class && strings.Contains(f, t.folded) {
			return "", subject, fmt.Sprintf("the tag %s counts only at the very start of the subject: move it there, or remove it", t.tag)
		}
	}
	return class, rest, ""
}

const (
	openers = "<[({"
	closers = ">])}"
)

// nearMiss returns what is wrong when s begins with something that looks like a
// tag. Exact tags must have been taken off before.
func (r reader) nearMiss(s string) string {
	word, angle := bracketed(s)
	if word == "" {
		return ""
	}
	var near []string
	least := 1 << 30
	for _, t := range r {
		if !similar(word, t.inner, angle) {
			continue
		}
		start := firstRunes(s, utf8.RuneCountInString(t.tag))
		d := 100*spelling.Distance(word, t.inner) + spelling.Distance(start, t.tag)
		if d < least {
			near, least = nil, d
		}
		if d == least {
			near = append(near, t.tag)
		}
	}
	if len(near) > 0 {
		return fmt.Sprintf("the subject begins with something like the tag %s, but not exactly: write the tag as shown, or remove it", strings.Join(near, " or "))
	}
	for _, c := range []message.Class{message.Confidential, message.Personal, message.Private, message.Registered} {
		if len(r) > 0 && similar(word, string(c), angle) {
			return fmt.Sprintf("the subject begins with a word in brackets that seems to ask for %s, but is no tag: use the tag for it, or remove the word", c)
		}
	}
	return ""
}

func firstRunes(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// bracketed returns the folded word in brackets at the start of s, also when
// one of the two brackets is missing, and whether they are angle brackets.
func bracketed(s string) (word string, angle bool) {
	if strings.IndexFunc(firstRunes(s, longestTag), maybeBracket) < 0 {
		return "", false
	}
	head := foldText(firstRunes(s, longestTag))
	first, _, _ := strings.Cut(s, " ")
	first = foldText(firstRunes(first, longestTag))
	end := strings.IndexAny(head, closers)
	opened := head != "" && strings.IndexByte(openers, head[0]) >= 0
	switch {
	case opened && end > 0:
		return head[1:end], head[0] == '<'
	case opened && len(first) > 1:
		return first[1:], head[0] == '<'
	case end > 0 && end == len(first)-1:
		return head[:end], head[end] == '>'
	}
	return "", false
}

// longestTag bounds how far into a subject the end of a tag is looked for, in
// runes.
const longestTag = 60

func maybeBracket(r rune) bool {
	return r >= utf8.RuneSelf || strings.ContainsRune(openers+closers, r)
}

// similar reports whether somebody may have meant want when he wrote word.
func similar(word, want string, angle bool) bool {
	n := len([]rune(want))
	switch {
	case n <= 2: // <r>: any one or two letters in angle brackets
		return angle && len([]rune(word)) <= 2 && strings.IndexFunc(word, func(r rune) bool { return !unicode.IsLetter(r) }) < 0
	case n < 5:
		return word == want
	case n < 10:
		return spelling.Distance(word, want) <= 1
	}
	return spelling.Distance(word, want) <= 2
}

// SplitSuffix takes a platform's suffix off a recipient:
// name@dest.example.incamail.ch means name@dest.example by IncaMail. Without a
// suffix the address comes back and platform is empty.
func (v Vocabulary) SplitSuffix(a message.Address) (bare message.Address, platform string) {
	for _, suffix := range slices.Sorted(maps.Keys(v.Suffixes)) {
		domain, ok := strings.CutSuffix(a.Domain, suffix)
		if ok && strings.Contains(strings.Trim(domain, "."), ".") {
			return message.Address{Local: a.Local, Domain: domain}, v.Suffixes[suffix]
		}
	}
	return a, ""
}

// Marks reads what a header says; values returns every value of the field of
// that name (case ignored), unfolded or not.
func (v Vocabulary) Marks(values func(field string) []string) Marks {
	m := Marks{Sensitivity: values("Sensitivity")}
	if v.Header != "" {
		m.Class = values(v.Header)
	}
	for _, field := range forwardFields {
		m.Forwarded = m.Forwarded || len(values(field)) > 0
	}
	for _, auto := range values("Auto-Submitted") {
		m.Forwarded = m.Forwarded || strings.Contains(strings.ToLower(auto), "auto-forwarded")
	}
	return m
}

// forwardFields are header fields that only a forwarding rule writes (docs/law.md,
// Benutzungsreglement BL § 10). Resent-* is none of them: by RFC 5322 section
// 3.6.6 a person resends, and the regulation forbids what happens by itself.
var forwardFields = []string{
	"X-MS-Exchange-Inbox-Rules-Loop", "X-MS-Exchange-ForwardingLoop", "X-Forwarded-To",
}

// validate reports every mistake in the vocabulary.
func (v Vocabulary) validate() []error {
	var errs []error
	for _, tag := range v.tags() {
		if !validTag(tag) {
			errs = append(errs, fmt.Errorf("tag %q: write one word in brackets, like [einschreiben]", tag))
		}
		if _, err := message.ParseClass(string(v.Tags[tag])); err != nil {
			errs = append(errs, fmt.Errorf("tag %q: %w", tag, err))
		}
	}
	for _, suffix := range slices.Sorted(maps.Keys(v.Suffixes)) {
		if len(suffix) < 2 || suffix[0] != '.' || suffix != strings.ToLower(suffix) {
			errs = append(errs, fmt.Errorf("suffix %q: begins with a dot, lower case, like .incamail.ch", suffix))
		}
		if !isPlatform(v.Suffixes[suffix]) {
			errs = append(errs, fmt.Errorf("suffix %q: unknown platform %q: use one of %v", suffix, v.Suffixes[suffix], Platforms()))
		}
	}
	return errs
}

// validTag reports whether a tag is a word in one pair of brackets.
func validTag(tag string) bool {
	f := foldText(tag)
	if len(f) < 3 || len(f) > 40 || strings.ContainsFunc(tag, unicode.IsSpace) {
		return false
	}
	i := strings.IndexByte(openers, f[0])
	return i >= 0 && f[len(f)-1] == closers[i] && !strings.ContainsAny(f[1:len(f)-1], openers+closers)
}
