package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"
)

// lines writes n octets in lines of the given length.
func lines(w io.Writer, n, length int) error {
	line := append(bytes.Repeat([]byte("x"), length-2), '\r', '\n')
	for ; n > 0; n -= length {
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	return nil
}

// nested writes a message of n multiparts, one in the other.
func nested(w io.Writer, n int) error {
	b := bufio.NewWriter(w)
	b.WriteString("Subject: Matrjoschka\r\nMIME-Version: 1.0\r\n")
	for i := range n {
		fmt.Fprintf(b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	b.WriteString("\r\ninnen\r\n")
	for i := n - 1; i >= 0; i-- {
		fmt.Fprintf(b, "--b%d--\r\n", i)
	}
	return b.Flush()
}

// TestBadInput: a clear answer to each, no crash, bounded memory, and the next
// good mail is taken.
func TestBadInput(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	conf, err := r.clientTLS()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		body func(io.Writer) error
		want string // "" : taken
	}{
		{"NUL in the body", func(w io.Writer) error { _, err := io.WriteString(w, "Subject: x\r\n\r\na\x00b\r\n"); return err }, "5.6.0"},
		{"NUL in the header", func(w io.Writer) error { _, err := io.WriteString(w, "Subject: a\x00b\r\n\r\nx\r\n"); return err }, "5.6.0"},
		{"a header of one megabyte", func(w io.Writer) error {
			_, err := io.WriteString(w, "X-Long: ")
			return joined(err, lines(w, 1<<20, 1000))
		}, "5.3.4"},
		{"a message over the limit", func(w io.Writer) error {
			_, err := io.WriteString(w, "Subject: x\r\n\r\n")
			return joined(err, lines(w, 60_000_000, 1000))
		}, "5.3.4"},
		{"malformed MIME", func(w io.Writer) error {
			_, err := io.WriteString(w, "Content-Type: multipart/mixed; boundary=\r\nContent-Type: text/html; charset=\"\r\n=?utf-8?q?=00?=: x\r\n no colon\r\n\r\n--\r\n--x\r\n")
			return err
		}, ""},
		{"a wrong charset", func(w io.Writer) error {
			_, err := io.WriteString(w, "Subject: =?utf-9?q?=FF=FE?= =?iso-2022-xx?b?AAAA?=\r\nContent-Type: text/plain; charset=klingonisch\r\n\r\n\xff\xfe\r\n")
			return err
		}, ""},
		{"10,000 nested parts: transport does not look inside", func(w io.Writer) error { return nested(w, 10_000) }, ""},
		{"1,000 nested parts", func(w io.Writer) error { return nested(w, 1000) }, ""},
		{"no header at all", func(w io.Writer) error { _, err := io.WriteString(w, "\r\nnur Text\r\n"); return err }, ""},
		{"60 Received fields", func(w io.Writer) error {
			_, err := io.WriteString(w, strings.Repeat("Received: from a by b\r\n", 60)+"\r\nx\r\n")
			return err
		}, "5.4.6"},
	}
	for _, tt := range tests {
		c, err := gosmtp.DialStartTLS(r.ports.Submission, conf)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		err = submitBy(c, "kunde@example.org", tt.body)
		c.Close()
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v, want it taken", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(reply(err), tt.want)):
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	r.manyRecipients(t)
	r.announced(t)
	if hwm := peakMemory(t, r.process.Process.Pid); hwm > 256<<20 {
		t.Errorf("peak memory %d MiB, want at most 256", hwm>>20)
	} else {
		t.Logf("peak memory %d MiB", hwm>>20)
	}
	if out, err := r.swaks("--to", "kunde@example.org"); err != nil {
		t.Errorf("the next good mail: %v\n%s", err, out)
	}
	await(t, "what was taken leaves", func() bool { return len(r.sink.all()) == 6 })
	r.stop()
	r.clean(t)
}

func joined(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func reply(err error) string {
	if se, ok := err.(*gosmtp.SMTPError); ok { //nolint:errorlint // the client returns it as it is
		return fmt.Sprintf("%d %d.%d.%d %s", se.Code, se.EnhancedCode[0], se.EnhancedCode[1], se.EnhancedCode[2], se.Message)
	}
	return err.Error()
}

func submitBy(c *gosmtp.Client, to string, body func(io.Writer) error) error {
	if err := c.Mail("bauinspektorat@bl.example", nil); err != nil {
		return err
	}
	if err := c.Rcpt(to, nil); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if err := body(w); err != nil {
		return err
	}
	return w.Close()
}

// manyRecipients: the 101st is put off, the hundred are kept.
func (r *rig) manyRecipients(t *testing.T) {
	t.Helper()
	conf, err := r.clientTLS()
	if err != nil {
		t.Fatal(err)
	}
	c, err := gosmtp.DialStartTLS(r.ports.Submission, conf)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail("bauinspektorat@bl.example", nil); err != nil {
		t.Fatal(err)
	}
	taken, late := 0, ""
	for i := range 10_000 {
		if err := c.Rcpt(fmt.Sprintf("k%d@example.org", i), nil); err == nil {
			taken++
		} else if late = reply(err); !strings.HasPrefix(late, "452") {
			break
		}
	}
	if taken != 100 || !strings.HasPrefix(late, "452") && !strings.HasPrefix(late, "421") {
		t.Errorf("10,000 recipients: %d taken, then %q; want 100, then 452", taken, late)
	}
}

// announced: two gigabytes are refused before a byte of them is sent.
func (r *rig) announced(t *testing.T) {
	t.Helper()
	conf, err := r.clientTLS()
	if err != nil {
		t.Fatal(err)
	}
	c, err := gosmtp.DialStartTLS(r.ports.Submission, conf)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail("bauinspektorat@bl.example", &gosmtp.MailOptions{Size: 2 << 30}); err == nil || !strings.HasPrefix(reply(err), "552") {
		t.Errorf("2 GB announced: %v, want 552", err)
	}
}

// peakMemory reads the high-water mark of a process, in octets.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(string(text), "\n") {
		if rest, ok := strings.CutPrefix(l, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}
