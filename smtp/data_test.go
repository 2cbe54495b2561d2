package smtp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	gosmtp "github.com/emersion/go-smtp"

	"gatewayd/message"
)

// unstuffed is the reference: what follows DATA, octet by octet, as go-smtp
// finds the end (FuzzAgainstPlain shows it). cut is where the first octet stands
// that go-smtp would drop although it belongs to the message: a CR behind a dot
// that begins a line, unless it is the end; -1 if there is none.
func unstuffed(raw []byte) (body, rest []byte, cut int, ended bool) {
	cut = -1
	state := "start"
	for i, c := range raw {
		switch {
		case state == "start" && c == '.':
			state = "dot"
			continue
		case state == "dot" && c == '\r':
			state = "dot CR"
			continue
		case state == "dot CR" && c == '\n':
			return body, raw[i+1:], cut, true
		case state == "dot CR":
			if cut < 0 {
				cut = len(body)
			}
			state = "line"
		case state == "CR" && c == '\n':
			state = "start"
		case (state == "line" || state == "start") && c == '\r':
			state = "CR"
		default:
			state = "line"
		}
		body = append(body, c)
	}
	return body, nil, cut, false
}

// dataConn is a connection on which only raw is to come.
func dataConn(raw io.Reader) *conn {
	return &conn{wire: &wire{}, in: raw, space: make([]byte, maxCommand)}
}

// checkUnstuff compares dataReader with the reference.
func checkUnstuff(t *testing.T, raw []byte, in io.Reader, step int) {
	t.Helper()
	want, rest, cut, ended := unstuffed(raw)
	c := dataConn(in)
	r := c.body(1 << 30)
	var got []byte
	var err error
	for buf := make([]byte, step); err == nil; {
		var n int
		n, err = r.Read(buf)
		got = append(got, buf[:n]...)
	}
	var refusal *message.Refusal
	switch {
	case cut >= 0:
		if !errors.As(err, &refusal) || refusal.Error() != irregular("carriage return without line feed (bare CR)", int64(cut)).Error() || !bytes.HasPrefix(want, got) {
			t.Fatalf("%q in steps of %d: %q, %v, want a bare CR at octet %d", raw, step, got, err, cut+1)
		}
	case (err == io.EOF) != ended || !bytes.Equal(got, want):
		t.Fatalf("%q in steps of %d: %q, %v; want %q, ended %v", raw, step, got, err, want, ended)
	}
	if err := c.data.skip(); (err == nil) != ended {
		t.Fatalf("%q in steps of %d: skip: %v, want ended %v", raw, step, err, ended)
	}
	left, _ := io.ReadAll(c.in)
	if left = append(bytes.Clone(c.unread), left...); ended && !bytes.Equal(left, rest) {
		t.Fatalf("%q in steps of %d: left behind the end %q, want %q", raw, step, left, rest)
	}
}

// texts calls fn with every text of up to so many of the octets.
func texts(octets string, length int, fn func([]byte)) {
	raw := make([]byte, 0, length)
	var longer func()
	longer = func() {
		fn(raw)
		if len(raw) == length {
			return
		}
		for i := range len(octets) {
			raw = append(raw, octets[i])
			longer()
			raw = raw[:len(raw)-1]
		}
	}
	longer()
}

// TestUnstuffAll tries every text of up to 7 of the octets that matter, cut
// everywhere, read in steps of several sizes.
func TestUnstuffAll(t *testing.T) {
	length := 7
	if testing.Short() || raceEnabled {
		length = 5
	}
	texts(".\r\na", length, func(raw []byte) {
		for _, step := range []int{1, 2, 64} {
			checkUnstuff(t, raw, bytes.NewReader(raw), step)
		}
		for cut := 1; cut < len(raw); cut++ {
			checkUnstuff(t, raw, io.MultiReader(bytes.NewReader(raw[:cut]), bytes.NewReader(raw[cut:])), 64)
		}
	})
}

func FuzzUnstuff(f *testing.F) {
	f.Add([]byte("Subject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n"), uint16(3))
	f.Add([]byte(".\rx\r\r\n.\r\r\r\n.\r\n"), uint16(1))
	f.Add([]byte(".\r\r\n.\r\n.\r\n"), uint16(20))
	f.Add([]byte(strings.Repeat("..\r\n", 40)+".\r\n.\r\n"), uint16(7))
	f.Fuzz(func(t *testing.T, raw []byte, step uint16) {
		checkUnstuff(t, raw, bytes.NewReader(raw), int(step)+1)
		checkUnstuff(t, raw, iotest.HalfReader(bytes.NewReader(raw)), int(step)+1)
	})
}

// TestDataLimit: what is beyond the limit is not handed on, and is skipped.
func TestDataLimit(t *testing.T) {
	for limit := int64(0); limit < 12; limit++ {
		c := dataConn(strings.NewReader("..345\r\n89\r\n.\r\nNOOP\r\n"))
		got, err := io.ReadAll(iotest.OneByteReader(c.body(limit)))
		const body = ".345\r\n89\r\n"
		if limit >= int64(len(body)) {
			if string(got) != body || err != nil {
				t.Errorf("limit %d: %q, %v", limit, got, err)
			}
		} else if string(got) != body[:limit] || err != gosmtp.ErrDataTooLarge {
			t.Errorf("limit %d: %q, %v", limit, got, err)
		}
		if _, again := c.data.Read(make([]byte, 4)); again == nil || (again == io.EOF) != (err == nil) {
			t.Errorf("limit %d: afterwards %v", limit, again)
		}
		if err := c.data.skip(); err != nil {
			t.Errorf("limit %d: skip: %v", limit, err)
		}
		if line, err := c.line(); string(line) != "NOOP\r\n" || err != nil {
			t.Errorf("limit %d: then %q, %v", limit, line, err)
		}
	}
}

// exchange sends DATA and raw in pieces; it returns the codes of all replies,
// up to the end of the connection.
func (d *door) exchange(t *testing.T, raw []byte, step int) []string {
	t.Helper()
	c := d.client(t)
	defer c.conn.Close()
	c.begin()
	c.do("DATA", "354 ")
	go func() {
		for p := raw; len(p) > 0; p = p[min(step, len(p)):] {
			if _, err := c.conn.Write(p[:min(step, len(p))]); err != nil {
				return // it was closed early
			}
		}
	}()
	var codes []string
	for {
		got, err := c.reply()
		if err != nil {
			return codes
		}
		codes = append(codes, got[:min(3, len(got))])
	}
}

// comparable reports whether what follows the body is answered alike by a
// session of ours and by plainSession, which has no rules of its own.
func comparable(rest []byte) bool {
	for line := range bytes.Lines(rest) {
		text, regular := bytes.CutSuffix(line, []byte("\r\n"))
		if !regular || bytes.ContainsAny(text, "\r\x00") || len(text) > 1000 {
			return false
		}
		for _, verb := range []string{"MAIL", "EHLO", "HELO", "LHLO", "AUTH", "BDAT", "STARTTLS", "DATA"} {
			if bytes.HasPrefix(bytes.ToUpper(text), []byte(verb)) {
				return false
			}
		}
	}
	return true
}

// againstPlain sends the same octets to the door and to go-smtp's own DATA
// reader: the same bodies, the same replies, the same end. Where go-smtp drops a
// CR, or closes the connection for a long line, the door refuses and goes on.
func againstPlain(t *testing.T, d, plain *door, raw []byte, step int) {
	t.Helper()
	raw = append(bytes.Clone(raw), "x\r\n.\r\n"...) // an end that no text can swallow
	body, rest, cut, _ := unstuffed(raw)
	if !comparable(rest) {
		raw = raw[:len(raw)-len(rest)]
	}
	raw = append(raw, "NOOP\r\nQUIT\r\n"...)
	step = max(step, len(raw)/100) // a write of one octet costs much
	before, plainBefore := len(d.intake.all()), len(plain.intake.all())
	got, want := d.exchange(t, raw, step), plain.exchange(t, raw, step)
	mails, plainMails := d.intake.all()[before:], plain.intake.all()[plainBefore:]
	switch {
	case cut >= 0 || longLine(body):
		if len(mails) != 0 || got[0] != "550" && got[0] != "554" {
			t.Errorf("%q: %q, %d mails; want a refusal", raw, got, len(mails))
		}
		want[0] = got[0]
	case len(mails) != len(plainMails) || len(mails) == 1 && mails[0].body != plainMails[0].body:
		t.Errorf("%q: mails %+v, go-smtp took %+v", raw, mails, plainMails)
	}
	if longLine(body) {
		got, want = got[:1], want[:1]
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q: replies %q, go-smtp's %q", raw, got, want)
	}
}

// openPair opens a door and the plain way for againstPlain.
func openPair(t testing.TB) (d, plain *door) {
	d = open(t, message.Inbound, func(o *Options) { o.TLS = nil; o.Limits.Errors = 1 << 30 })
	return d, openPlain(t, nil)
}

// TestAgainstPlain: every text of up to 4 of the octets that matter.
func TestAgainstPlain(t *testing.T) {
	length := 4
	if testing.Short() || raceEnabled {
		length = 3
	}
	d, plain := openPair(t)
	texts(".\r\na", length, func(raw []byte) { againstPlain(t, d, plain, raw, 64) })
}

// FuzzAgainstPlain is best run with -fuzzminimizetime=1x: several goroutines
// make its coverage restless.
func FuzzAgainstPlain(f *testing.F) {
	for _, s := range []string{
		"Subject: x\r\n\r\n..dot\r\n.\r\n", "a\r\n.\r\nVRFY x\r\nNOPE\r\n\r\n", "a\nb\r\n", "a\r\r\n.\r\n", "a\r\r\r\n.\r\nNOOP\r\n", "\x00\r\n.\r\n",
		".\rfoo\r\n", ".\r\r\n.\r\nNOOP\r\n.\r\n", "\r\n\r.\r\n", "\r\x00\n.\r\n", "\r\n\x00.\r\n", "\r\n.\x00\r\n",
		strings.Repeat("Received: x\r\n", 31), strings.Repeat("0123456789abcde\r\n", 5000), strings.Repeat("y", maxLine) + "\r\n",
	} {
		f.Add([]byte(s), uint16(len(s)))
		f.Add([]byte(s), uint16(len(s)/3))
	}
	d, plain := openPair(f)
	f.Fuzz(func(t *testing.T, raw []byte, step uint16) { againstPlain(t, d, plain, raw, int(step)+1) })
}
