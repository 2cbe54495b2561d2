package bounce

import (
	"bufio"
	"html"
	"regexp"
	"strings"

	"gatewayd/mail"
)

// header reads the header section at the start of text; nil if there is none.
func header(text string) *mail.Header {
	text = strings.TrimLeft(text, "\r\n")
	h, err := mail.ReadHeader(bufio.NewReader(strings.NewReader(text)), len(text)+2)
	if err != nil {
		return nil
	}
	return h
}

// tidy gives lines without trailing space, ended by line feeds, bounded.
func tidy(text string) string {
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "")
	}
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u00a0", " ", "\u3000", " ", "\x00", " ").Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " \t")
	}
	return strings.Join(lines, "\n")
}

var (
	tagBreak = regexp.MustCompile(`(?i)<\s*/?\s*(br|p|div|tr|li|h\d|table|pre)\b[^<>]*>`)
	tagStyle = regexp.MustCompile(`(?is)<(style|script)\b.*?</(style|script)>`)
	tagAny   = regexp.MustCompile(`(?i)</?(a|b|i|u|em|strong|span|font|body|html|head|title|meta|td|th|img|ul|ol|center|code|tt|hr|!doctype|o:p|link|tbody)\b[^<>]*>`)
)

// stripTags leaves the text of HTML. Its result is only searched.
func stripTags(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	s = tagStyle.ReplaceAllString(s, "")
	s = tagBreak.ReplaceAllString(s, "\n")
	return html.UnescapeString(tagAny.ReplaceAllString(s, ""))
}

// marker is a line behind which the returned message stands.
var marker = regexp.MustCompile(`(?i)^\W{0,40}(` +
	`(below (this line )?)?(is|this is|here is|follows) a (full |complete )?copy of (the|your)( original)? (message|header|mail)('s headers?)?(, including all (of )?(the|its) headers)?|` +
	`(here|below) (is|follows) (a copy of )?(the|your) (original )?(message|header|mail)|` +
	`(the )?(header|text|start|beginning|copy|body|full text) of (the |your )?(original|returned|undelivered|unsent|rejected)? ?(message|mail|e-mail|email)( is)?( following| follows)?|` +
	`(your |the )?(original|returned|unsent|undelivered|rejected|bounced) (e-?mail |mail |message )?(message|mail|headers?|info|text)?( info)?( (headers?|text|body))?( is)?( follows?| following)?( below)?|` +
	`(message|mail) headers?( follow| follows| is)?|received message( follows)?|` +
	`(ursprüngliche|original)[- ]?nachricht.*|message d'origine|en-t[êe]tes? d'origine|` +
	`below this line is a copy of the message|message (text|body|headers?) follows?|` +
	`received: from .*` +
	`)\W{0,80}$`)

// traced is a field that only the header section of a mail holds.
var (
	traced = regexp.MustCompile(`(?i)^(received|return-path|message-id|mime-version|x-mailer|dkim-signature|delivered-to|authentication-results)\s*:`)
	field  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{1,40}\s*:`)
)

// cutOriginal separates what the reporter wrote from the message he returns
// below: behind a marker line, or where a header section begins.
func cutOriginal(text string) (said, original string) {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || i == 0 && !traced.MatchString(line) {
			continue
		}
		switch {
		case traced.MatchString(line) && fieldRun(lines[i:]) >= 3:
			return strings.Join(lines[:start(lines, i)], "\n"), strings.Join(lines[start(lines, i):], "\n")
		case len(trimmed) < 160 && marker.MatchString(trimmed) && headerNear(lines[i+1:]):
			return strings.Join(lines[:i], "\n"), strings.Join(lines[i+1:], "\n")
		}
	}
	return text, ""
}

// start goes back over the fields before line i.
func start(lines []string, i int) int {
	for i > 0 && (field.MatchString(lines[i-1]) || strings.HasPrefix(lines[i-1], "\t")) {
		i--
	}
	return i
}

// fieldRun counts the header fields at the start of lines.
func fieldRun(lines []string) int {
	n := 0
	for _, line := range lines {
		switch {
		case field.MatchString(line):
			n++
		case line == "", line[0] != ' ' && line[0] != '\t':
			return n
		}
		if n >= 3 {
			break
		}
	}
	return n
}

// headerNear tells whether a header field, or nothing at all, is what follows.
func headerNear(lines []string) bool {
	seen := 0
	for _, line := range lines {
		if strings.TrimSpace(line) == "" {
			continue
		}
		if field.MatchString(strings.TrimSpace(line)) {
			return true
		}
		if seen++; seen >= 4 {
			return false
		}
	}
	return seen == 0
}

// squeeze makes text comparable with the phrases of this package: lower case,
// every run of white space one space.
func squeeze(s string) string {
	return strings.Join(strings.Fields(strings.ToLower(s)), " ")
}

// oneLine gives text as a diagnostic.
func oneLine(s string) string {
	s = mail.DecodeText(strings.Join(strings.Fields(s), " "))
	if len(s) > maxDiagnostic {
		s = strings.ToValidUTF8(s[:maxDiagnostic], "")
	}
	return s
}
