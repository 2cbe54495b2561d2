package smtp

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"gatewayd/message"
)

// TestDialogue plays the scripts of testdata/dialogue:
//
//	door: out|in [key=value …]   first line: kind and limits
//	C: text                      send text and CRLF; {plain:id,name,password} is a PLAIN response
//	R: "go string"               send exactly these octets
//	S: pattern                   one whole reply, its lines joined by |; * stands for anything
//	T:                           TLS handshake, server verified
//	E:                           the server has closed the connection
//	A: n                         n messages accepted so far
//	B: "go string"               body of the last message accepted
//	F: from > to to …            envelope of the last message accepted
func TestDialogue(t *testing.T) {
	files, err := filepath.Glob("testdata/dialogue/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogues: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			play(t, file, strings.Split(strings.TrimRight(string(text), "\n"), "\n"))
		})
	}
}

func play(t *testing.T, file string, lines []string) {
	var d *door
	var c *client
	for i, line := range lines {
		if line == "" || line[0] == '#' {
			continue
		}
		verb, arg, _ := strings.Cut(line, ":")
		arg = strings.TrimPrefix(arg, " ")
		where := fmt.Sprintf("%s:%d", file, i+1)
		if verb == "door" {
			d = open(t, direction(arg), doorOptions(arg))
			c = d.client(t)
			continue
		}
		if err := step(d, c, verb, arg); err != nil {
			t.Fatalf("%s: %s: %v", where, line, err)
		}
	}
}

func direction(arg string) message.Direction {
	return message.Direction(strings.Fields(arg)[0])
}

func doorOptions(arg string) func(*Options) {
	return func(o *Options) {
		for _, f := range strings.Fields(arg)[1:] {
			key, value, _ := strings.Cut(f, "=")
			n, err := strconv.Atoi(value)
			if err != nil {
				panic(err)
			}
			switch key {
			case "size":
				o.Limits.MessageSize = int64(n)
			case "recipients":
				o.Limits.Recipients = n
			case "errors":
				o.Limits.Errors = n
			case "tls":
				o.TLS = map[bool]*tls.Config{true: o.TLS}[n == 1]
			default:
				panic("unknown key " + key)
			}
		}
	}
}

var plainWord = regexp.MustCompile(`\{plain:([^,]*),([^,]*),([^}]*)\}`)

func plainResponse(id, name, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(id + "\x00" + name + "\x00" + password))
}

func step(d *door, c *client, verb, arg string) error {
	switch verb {
	case "C":
		arg = plainWord.ReplaceAllStringFunc(arg, func(s string) string {
			m := plainWord.FindStringSubmatch(s)
			return plainResponse(m[1], m[2], m[3])
		})
		_, err := fmt.Fprintf(c.conn, "%s\r\n", arg)
		return err
	case "R":
		s, err := strconv.Unquote(arg)
		if err != nil {
			return err
		}
		_, err = c.conn.Write([]byte(s))
		return err
	case "S":
		got, err := c.reply()
		if err != nil || !matches(arg, got) {
			return fmt.Errorf("got %q, %v", got, err)
		}
	case "T":
		c.startTLS(d.trust())
	case "E":
		if got, err := c.reply(); err == nil {
			return fmt.Errorf("still open, says %q", got)
		}
	case "A", "B", "F":
		return accepted(d.intake.all(), verb, arg)
	default:
		return fmt.Errorf("unknown verb %q", verb)
	}
	return nil
}

func accepted(mails []mail, verb, arg string) error {
	if verb == "A" {
		if arg != strconv.Itoa(len(mails)) {
			return fmt.Errorf("%d messages were accepted", len(mails))
		}
		return nil
	}
	if len(mails) == 0 {
		return fmt.Errorf("no message was accepted")
	}
	last := mails[len(mails)-1]
	if verb == "B" {
		if want, err := strconv.Unquote(arg); err != nil || last.body != want {
			return fmt.Errorf("body is %q (%v)", last.body, err)
		}
		return nil
	}
	got := last.sub.From.String() + " >"
	for _, r := range last.sub.To {
		got += " " + r.Address.String()
	}
	if got != arg {
		return fmt.Errorf("envelope is %q", got)
	}
	return nil
}

func matches(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile("^" + strings.Join(parts, ".*") + "$").MatchString(s)
}
