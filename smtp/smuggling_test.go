package smtp

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gatewayd/message"
)

// payloads reads A1–A13 (Wang et al., USENIX Security 2025, table 1) from the
// shared corpus.
func payloads(t *testing.T) map[string]string {
	t.Helper()
	file := filepath.Join("..", "..", "shared", "corpora", "smtp-smuggling", "payloads", "payloads.yaml")
	text, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		t.Skipf("shared corpus not here: %s", file)
	}
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	entry := regexp.MustCompile(`(?m)^- id: (\S+)\n  bytes_b64: "([^"]+)"`)
	for _, m := range entry.FindAllStringSubmatch(string(text), -1) {
		raw, err := base64.StdEncoding.DecodeString(m[2])
		if err != nil {
			t.Fatal(err)
		}
		found[m[1]] = string(raw)
	}
	if len(found) != 13 {
		t.Fatalf("%d payloads in %s, want 13", len(found), file)
	}
	return found
}

const smuggled = "MAIL FROM:<evil@evil.example>\r\nRCPT TO:<b@bl.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n"

// carrier is the body that an attacker submits elsewhere: the payload, and a
// dialogue for the server that takes the payload for the end of the mail.
func carrier(payload string) string {
	return "Subject: x\r\n\r\ntext" + payload + smuggled
}

// stuffed is what a conforming sender makes of a body: dots at the beginning
// of a line doubled (RFC 5321 section 4.5.2).
func stuffed(body string) string {
	return strings.ReplaceAll(body, "\r\n.", "\r\n..") + ".\r\n"
}

// transfer is one way to send a body, with the number of octets before it.
type transfer struct {
	name string
	text func(body string) (before, rest string)
}

func transfers() []transfer {
	return []transfer{
		{"DATA, dots left alone", func(body string) (string, string) { return "DATA\r\n", body + ".\r\n" }},
		{"DATA, dots doubled", func(body string) (string, string) { return "DATA\r\n", stuffed(body) }},
		{"BDAT", func(body string) (string, string) { return fmt.Sprintf("BDAT %d LAST\r\n", len(body)), body }},
	}
}

// TestSmuggling sends each payload by DATA and BDAT, cut in two segments at
// every position, and looks for a second mail.
func TestSmuggling(t *testing.T) {
	all := payloads(t)
	d := open(t, message.Inbound, func(o *Options) { o.Limits.Errors = 1000 })
	for id, payload := range all {
		for _, way := range transfers() {
			ends := strings.Contains(payload, "\r\n.\r\n") && way.name == "DATA, dots left alone"
			if ends {
				continue // the standard end of a mail: what follows are commands, for everybody
			}
			before, rest := way.text(carrier(payload))
			for cut := range len(rest) {
				if testing.Short() && cut%7 != 0 {
					continue
				}
				d.smuggle(t, id+" "+way.name, before, rest, cut)
			}
		}
	}
}

func (d *door) smuggle(t *testing.T, name, before, rest string, cut int) {
	t.Helper()
	c := d.client(t)
	defer c.conn.Close()
	c.begin()
	earlier := len(d.intake.all())
	c.send(before)
	if before == "DATA\r\n" {
		c.want("354 ")
	}
	c.send(rest[:cut])
	c.send(rest[cut:])
	answer, err := c.reply()
	if err != nil {
		t.Fatalf("%s, cut %d: %v", name, cut, err)
	}
	c.do("NOOP", "250 ") // the very next reply: nothing of the body was executed
	mails := d.intake.all()[earlier:]
	if len(mails) != 0 || !strings.HasPrefix(answer, "550 5.6.0 ") {
		t.Errorf("%s, cut %d: %d mails, answer %q; want none and 550 5.6.0", name, cut, len(mails), answer)
	}
}

// TestSmugglingStandardEnd: where the payload is the standard end of a mail,
// the first mail is refused for its NUL (A7, A10), and what follows is an
// ordinary dialogue with all its checks.
func TestSmugglingStandardEnd(t *testing.T) {
	d := open(t, message.Outbound, nil)
	c := d.client(t)
	c.login(d)
	c.do("MAIL FROM:<amt@bl.example>", "250 ")
	c.do("RCPT TO:<b@example.ch>", "250 ")
	c.do("DATA", "354 ")
	c.send(carrier("\x00\r\n.\r\n") + ".\r\n")
	c.want("550 5.6.0 ")
	c.want("550 5.7.1 ") // MAIL FROM:<evil@evil.example>
	c.want("502 ")
	if n := len(d.intake.all()); n != 0 {
		t.Errorf("%d mails", n)
	}
}

// TestStall: a client that falls silent in the middle of a body cannot make
// the rest of it count as commands.
func TestStall(t *testing.T) {
	for _, way := range transfers()[1:] {
		t.Run(way.name, func(t *testing.T) {
			inBubble(t, message.Inbound, nil, func(t *testing.T, d *door) {
				c := d.client(t)
				c.begin()
				before, rest := way.text(carrier("\r\n"))
				c.send(before)
				if before == "DATA\r\n" {
					c.want("354 ")
				}
				c.send(rest[:20])
				c.want("421 4.4.2 ")
				c.conn.Write([]byte(rest[20:]))
				for {
					got, err := c.reply()
					if err != nil {
						break
					}
					if !strings.HasPrefix(got, "421 ") {
						t.Errorf("after the stall the server says %q", got)
					}
				}
				if n := len(d.intake.all()); n != 0 {
					t.Errorf("%d mails", n)
				}
			})
		})
	}
}
