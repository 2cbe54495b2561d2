package parts

import (
	"bytes"
	"regexp"
)

// maxMessages bounds the messages of a mailbox file.
const maxMessages = 10_000

// separator is the line before a message of a mailbox file, told from prose by
// its time of day and its year.
var separator = regexp.MustCompile(`^From \S{1,320} .{0,40}\d:\d\d.{0,40}\r?\n?$`)

// fieldStart begins a field of a header section.
var fieldStart = regexp.MustCompile(`^[!-9;-~]{1,100}[ \t]*:`)

// Messages cuts a mailbox file (RFC 4155) into its messages, each with its
// separator line, which Read and Sections skip. What does not begin with such a
// line is one message; so is a line within it that only resembles one, because
// no field follows. Messages beyond the 10,000th stay with that one.
func Messages(file []byte) [][]byte {
	eol := byte('\n')
	if onlyCR(file[:min(len(file), 4096)]) {
		eol = '\r'
	}
	var list [][]byte
	start := 0
	for at := 0; at < len(file); {
		line, next := lineAt(file, at, eol)
		if separator.Match(line) {
			if after, _ := lineAt(file, next, eol); at > 0 && fieldStart.Match(after) && len(list) < maxMessages-1 {
				list = append(list, file[start:at])
				start = at
			}
		} else if at == 0 {
			break // no mailbox file
		}
		at = next
	}
	return append(list, file[start:])
}

// lineAt returns the line at an offset, at most 1,000 octets of it, and the
// offset of the next.
func lineAt(file []byte, at int, eol byte) (line []byte, next int) {
	next = len(file)
	if i := bytes.IndexByte(file[at:], eol); i >= 0 {
		next = at + i + 1
	}
	return file[at:min(next, at+1000)], next
}
