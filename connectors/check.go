package connectors

import (
	"bytes"
	"strings"

	"gatewayd/mail"
	"gatewayd/policy"
)

// expected is what the header of a marked message must carry.
type expected struct {
	tags         []string // of the platform: none may stand behind the opening
	opening      string   // of the subject: "<r> [BL-7F3K9Q2M]"
	field, value string   // the mark's header field; empty: none may stand there
	messageID    string   // empty: any one
}

// checkHeader reads the octets that are about to leave, with a reader of its
// own that shares nothing with the writer, and refuses what is not exactly as
// expected. It is stricter than RFC 5322: a platform whose parser stumbles
// over an odd line could miss the tag behind it, and a lost tag silently
// destroys the proof of service (IncaMail sends such a message as confidential,
// without receipts).
func checkHeader(raw []byte, want expected) error {
	fields, problem := splitHeader(raw)
	if problem != "" {
		return Refuse(StepForm, "5.6.0", problem)
	}
	if problem = checkFields(fields, want); problem == "" {
		problem = checkSubject(fields["subject"][0], want)
	}
	if problem != "" {
		return Refuse(StepForm, "5.7.1", problem)
	}
	return nil
}

// splitHeader returns each field's raw values (continuation lines included,
// without the last CRLF) by lower-case name.
func splitHeader(raw []byte) (fields map[string][]string, problem string) {
	block, ok := bytes.CutSuffix(raw, []byte("\r\n\r\n"))
	if !ok {
		return nil, "the header has no end"
	}
	fields = map[string][]string{}
	last := ""
	for line := range strings.SplitSeq(string(block), "\r\n") {
		switch {
		case line == "" || strings.ContainsAny(line, "\r\n\x00") || len(line) > 998:
			return nil, "the header holds an irregular or overlong line"
		case line[0] == ' ' || line[0] == '\t':
			if last == "" || strings.Trim(line, " \t") == "" {
				return nil, "the header holds a line that continues nothing"
			}
			values := fields[last]
			values[len(values)-1] += "\r\n" + line
		default:
			name, value, ok := strings.Cut(line, ":")
			name = strings.TrimRight(name, " \t")
			if !ok || name == "" || !plainWord(name) {
				return nil, "the header holds a line that is no field"
			}
			last = strings.ToLower(name)
			fields[last] = append(fields[last], value)
		}
	}
	return fields, ""
}

func checkFields(fields map[string][]string, want expected) (problem string) {
	for _, name := range []string{"from", "message-id", "subject"} {
		if len(fields[name]) != 1 {
			return "the header must have exactly one field " + name
		}
	}
	if len(fields["bcc"]) != 0 {
		return "the header still has a Bcc field"
	}
	if want.messageID != "" && strings.TrimSpace(fields["message-id"][0]) != want.messageID {
		return "the Message-ID is not ours"
	}
	for name, values := range fields {
		if !commands(name) && !strings.EqualFold(name, want.field) {
			continue
		}
		if !strings.EqualFold(name, want.field) || len(values) != 1 || strings.TrimSpace(values[0]) != want.value {
			return "a header field would command the platform"
		}
	}
	if want.field != "" && len(fields[strings.ToLower(want.field)]) != 1 {
		return "the header field that tells the class is missing"
	}
	return ""
}

// checkSubject wants one space, the opening in one piece on the first line, and
// behind it nothing that a platform reads as a command, decoded or not.
func checkSubject(value string, want expected) (problem string) {
	rest, ok := strings.CutPrefix(value, " "+want.opening)
	if !ok {
		return "the subject does not begin with the expected tag and reference"
	}
	if rest != "" && !strings.HasPrefix(rest, " ") && !strings.HasPrefix(rest, "\r\n ") {
		return "the subject's tag and reference do not stand alone"
	}
	flat := strings.ReplaceAll(rest, "\r\n", "")
	undecoded := strings.ReplaceAll(flat, "=?", "= ?") // our own encoded words are no control strings
	for _, text := range []string{undecoded, mail.DecodeText(flat)} {
		if _, found, reject := policy.Hygiene(text, want.tags...); reject || len(found) > 0 {
			return "the subject holds a platform's control string that is not ours"
		}
	}
	return ""
}
