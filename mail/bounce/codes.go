package bounce

import (
	"regexp"
	"strconv"
	"strings"
)

// Codes in text, from the surest form to the loosest (RFC 5321 section 4.2,
// RFC 3463). Octets of IP addresses and version numbers are kept out by what
// must stand around them.
var (
	bothCodes = regexp.MustCompile(`\b([245]\d\d)[ \-:]{1,3}(?:[245]\d\d[ \-]{1,2})?[\[(<]?#?([245]\.\d{1,3}\.\d{1,3})\b`)
	enhanced  = regexp.MustCompile(`(?:^|[\s#(\[<:;,="'_-])([245]\.\d{1,3}\.\d{1,3})(?:$|[\s)\]>:;,"'/_-]|\.(?:\D|$))`)
	saidCode  = regexp.MustCompile(`(?i)(?:said|says|smtp;|<<<|respon(?:se|ded|ds)|return(?:ed|s)?|replied|reply|answer(?:ed)?|error|failed|failure|status|code|message|rcpt to[^\n]{0,80}|recipient[^\n]{0,80}|data|reason)[^0-9\n]{0,60}\n?\s{0,8}["'(\[<]?([245]\d\d)(?:$|[\s\-:;,.)\]>"'#])`)
	lineCode  = regexp.MustCompile(`(?m)^[ \t>*<"'(\[]{0,12}([245]\d\d)(?:$|[ \-:])`)
	anyCode   = regexp.MustCompile(`(?:^|[:;(\["'=<>,]\s?)([45][0-5]\d)(?:$|[ \-:;,)\]"'])`)
)

// codes finds the SMTP reply code and the enhanced status code that a text
// names; 0 and "" where it names none. In a dialogue what was refused counts.
func codes(text string) (reply int, status string) {
	var good []string
	for _, m := range bothCodes.FindAllStringSubmatch(text, maxCodes) {
		switch {
		case m[1][0] != m[2][0] || !isReply(m[1]):
		case m[1][0] != '2':
			return number(m[1]), m[2]
		case good == nil:
			good = m
		}
	}
	status = pick(enhanced.FindAllStringSubmatch(text, maxCodes), "")
	for _, re := range []*regexp.Regexp{saidCode, lineCode, anyCode} {
		if code := pick(re.FindAllStringSubmatch(text, maxCodes), status); code != "" && (code[0] != '2' || good == nil) {
			return number(code), status
		}
	}
	if good != nil {
		return number(good[1]), good[2]
	}
	return 0, status
}

// maxCodes bounds the codes looked at in one text.
const maxCodes = 50

// pick takes the first code that is a failure, else the first; with a status,
// only of its class.
func pick(found [][]string, status string) string {
	first := ""
	for _, m := range found {
		code := m[1]
		if len(code) == 3 && !isReply(code) || status != "" && code[0] != status[0] {
			continue
		}
		if code[0] != '2' {
			return code
		}
		if first == "" {
			first = code
		}
	}
	return first
}

// isReply tells the reply codes that say how a delivery ended.
func isReply(s string) bool {
	n := number(s)
	switch {
	case n == 211, n == 214, n == 220, n == 221:
		return false
	case n >= 200 && n < 260, n >= 420 && n < 480, n >= 500 && n < 580:
		return true
	}
	return false
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

// vague tells a status that names a class only.
func vague(status string) bool {
	return status == "" || strings.HasSuffix(status, ".0.0")
}

// class returns the first digit that says how it ended: of the status, else of
// the reply; 0 if neither is told.
func class(status string, reply int) byte {
	if status != "" {
		return status[0]
	}
	if reply > 0 {
		return byte('0' + reply/100)
	}
	return 0
}
