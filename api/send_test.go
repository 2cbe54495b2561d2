package api_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http"
	netmail "net/mail"
	"net/textproto"
	"runtime"
	"strings"
	"testing"

	"gatewayd/api"
	"gatewayd/mail"
	"gatewayd/message"
)

func (d *door) raw(text string, header ...string) (int, string) {
	d.t.Helper()
	status, _, answer := d.ask("send", "POST", "/v1/messages", text, append([]string{"Content-Type", "message/rfc822"}, header...)...)
	return status, answer
}

func TestSendRaw(t *testing.T) {
	d := newDoor(t, nil)
	from, to := []string{"Gatewayd-From", "a@bau.example"}, []string{"Gatewayd-To", "x@example.org, y@example.org"}
	both := append(append([]string{}, from...), to...)
	tests := map[string]struct {
		text   string
		header []string
		want   int
	}{
		"good":                 {someRaw, both, 202},
		"with class":           {someRaw, append([]string{"Gatewayd-Class", "confidential"}, both...), 202},
		"unknown class":        {someRaw, append([]string{"Gatewayd-Class", "secret"}, both...), 422},
		"no sender":            {someRaw, to, 422},
		"no recipient":         {someRaw, from, 422},
		"foreign sender":       {someRaw, append([]string{"Gatewayd-From", "a@steuer.example"}, to...), 403},
		"two senders":          {someRaw, append([]string{"Gatewayd-From", "a@bau.example,b@bau.example"}, to...), 422},
		"null sender":          {someRaw, append([]string{"Gatewayd-From", "<>"}, to...), 422},
		"brackets":             {someRaw, append([]string{"Gatewayd-To", "<x@example.org>"}, from...), 422},
		"display name":         {someRaw, append([]string{"Gatewayd-To", "X <x@example.org>"}, from...), 422},
		"encoded word":         {someRaw, append([]string{"Gatewayd-To", "=?utf-8?q?x?=@example.org"}, from...), 422},
		"empty recipient":      {someRaw, append([]string{"Gatewayd-To", "x@example.org,"}, from...), 422},
		"empty message":        {"", both, 422},
		"bare LF":              {"Subject: x\n\nText\n", both, 422},
		"bare CR":              {"Subject: x\r\r\n\r\nText\r\n", both, 422},
		"CR at the end":        {"Subject: x\r\n\r\nText\r", both, 422},
		"no CRLF at the end":   {"Subject: x\r\n\r\nText", both, 422},
		"NUL":                  {"Subject: x\r\n\r\nText\x00\r\n", both, 422},
		"a line of 64 KiB":     {"Subject: x\r\n\r\n" + strings.Repeat("a", 64<<10-1) + "\r\n", both, 202},
		"a line of more":       {"Subject: x\r\n\r\n" + strings.Repeat("a", 64<<10+1) + "\r\n", both, 422},
		"1 MiB":                {"Subject: x\r\n\r\n" + strings.Repeat("a\r\n", 1<<20/3-10), both, 202},
		"more than 1 MiB":      {"Subject: x\r\n\r\n" + strings.Repeat("a\r\n", 1<<20/3+10), both, 413},
		"key that is no key":   {someRaw, append([]string{"Idempotency-Key", "a b"}, both...), 422},
		"key that is too long": {someRaw, append([]string{"Idempotency-Key", strings.Repeat("a", 129)}, both...), 422},
		"query and header":     {someRaw, append([]string{"?", "?from=a@bau.example&to=x@example.org"}, both...), 422},
		"query":                {someRaw, []string{"?", "?from=a@bau.example&to=x@example.org&to=y@example.org"}, 202},
		"LF in the query":      {someRaw, []string{"?", "?from=a@bau.example&to=x@example.org%0AX-Evil:%201"}, 422},
		"CR LF in the query":   {someRaw, []string{"?", "?from=a@bau.example%0D%0ARCPT&to=x@example.org"}, 422},
		"NUL in the query":     {someRaw, []string{"?", "?from=a@bau.example&to=x%00@example.org"}, 422},
		"unknown query":        {someRaw, []string{"?", "?from=a@bau.example&to=x@example.org&bcc=y@example.org"}, 422},
		"1,001 recipients":     {someRaw, append([]string{"Gatewayd-To", strings.Repeat("x@e.ch,", 1000) + "x@e.ch"}, from...), 422},
	}
	for name, tt := range tests {
		before, path, header := len(d.flow.got), "/v1/messages", tt.header
		if header[0] == "?" {
			path, header = path+header[1], header[2:]
		}
		status, h, answer := d.ask("send", "POST", path, tt.text, append([]string{"Content-Type", "message/rfc822"}, header...)...)
		if status != tt.want || (len(d.flow.got) > before) != (status == 202) {
			t.Errorf("%s: %d %s, want %d", name, status, answer, tt.want)
			continue
		}
		if status == 202 {
			if got := d.flow.texts[before]; got != tt.text || !strings.HasPrefix(h.Get("Location"), "/v1/messages/") {
				t.Errorf("%s: the flow got %d octets of %d", name, len(got), len(tt.text))
			}
			if s := d.flow.got[before]; s.Door != message.Outbound || s.Authority != "bau" || s.Account != "send" || s.From.String() != "a@bau.example" || len(s.To) != 2 && name != "x" {
				t.Errorf("%s: submission %+v", name, s)
			}
		}
	}
}

func TestUnsupportedMedia(t *testing.T) {
	d := newDoor(t, nil)
	for _, kind := range []string{"", "text/plain", "application/json", "x;;", "multipart/mixed; boundary=a"} {
		if status, _, text := d.ask("send", "POST", "/v1/messages", someRaw, "Content-Type", kind); status != http.StatusUnsupportedMediaType {
			t.Errorf("%q: %d %s", kind, status, text)
		}
	}
}

// TestTwoGigabytesAnnounced: refused before the first octet; and a body of
// unknown length is cut off at the limit, with memory bounded.
func TestTwoGigabytesAnnounced(t *testing.T) {
	d := newDoor(t, nil)
	c, err := net.Dial("tcp", strings.TrimPrefix(d.server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: message/rfc822\r\nGatewayd-From: a@bau.example\r\nGatewayd-To: x@example.org\r\nContent-Length: 2147483648\r\n\r\n", d.secrets["send"])
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("%v %v", res, err)
	}
	if err == nil {
		res.Body.Close()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	req, err := http.NewRequest("POST", d.server.URL+"/v1/messages", io.LimitReader(repeat("a\r\n"), 1<<31))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"Authorization": "Bearer " + d.secrets["send"], "Content-Type": "message/rfc822", "Gatewayd-From": "a@bau.example", "Gatewayd-To": "x@example.org"} {
		req.Header.Set(k, v)
	}
	if res, err := http.DefaultClient.Do(req); err == nil {
		if res.Body.Close(); res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("without length: %d", res.StatusCode)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 16<<20 {
		t.Errorf("%d octets were allocated", grown)
	}
}

type repeat string

// Read implements io.Reader.
func (r repeat) Read(p []byte) (int, error) {
	n := 0
	for n+len(r) <= len(p) {
		n += copy(p[n:], r)
	}
	return n, nil
}

type file struct{ name, kind, text string }

// form writes a multipart/form-data body.
func form(envelope string, files ...file) (body, contentType string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	_ = w.WriteField("envelope", envelope)
	for _, f := range files {
		h := textproto.MIMEHeader{}
		h["Content-Disposition"] = []string{mime.FormatMediaType("form-data", map[string]string{"name": "attachment", "filename": f.name})}
		if f.kind != "" {
			h["Content-Type"] = []string{f.kind}
		}
		p, err := w.CreatePart(h)
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(p, f.text)
	}
	w.Close()
	return b.String(), w.FormDataContentType()
}

func (d *door) form(envelope string, files ...file) (int, string) {
	d.t.Helper()
	body, kind := form(envelope, files...)
	status, _, answer := d.ask("send", "POST", "/v1/messages", body, "Content-Type", kind)
	return status, answer
}

func TestSendForm(t *testing.T) {
	d := newDoor(t, nil)
	good := `{"from":"a@bau.example","to":["x@example.org"],"subject":"Hallo","text":"Text"}`
	tests := map[string]struct {
		envelope string
		files    []file
		want     int
	}{
		"good":                      {good, nil, 202},
		"nothing but the needful":   {`{"from":"a@bau.example","to":["x@example.org"]}`, nil, 202},
		"no JSON":                   {`from=a`, nil, 422},
		"unknown key":               {`{"from":"a@bau.example","to":["x@example.org"],"bcc":["y@example.org"]}`, nil, 422},
		"foreign sender":            {strings.Replace(good, "a@bau", "a@steuer", 1), nil, 403},
		"CR LF in the subject":      {strings.Replace(good, "Hallo", `Hallo\r\nBcc: y@example.org`, 1), nil, 422},
		"LF in the subject":         {strings.Replace(good, "Hallo", `Hallo\nBcc: y@example.org`, 1), nil, 422},
		"NUL in the subject":        {strings.Replace(good, "Hallo", `Hallo\u0000`, 1), nil, 422},
		"line separator":            {strings.Replace(good, "Hallo", `Hallo\u2028Bcc: y`, 1), nil, 422},
		"NEL in the subject":        {strings.Replace(good, "Hallo", `Hallo\u0085Bcc: y`, 1), nil, 422},
		"text from right to left":   {strings.Replace(good, "Hallo", `Hallo\u202e`, 1), nil, 422},
		"encoded word":              {strings.Replace(good, "Hallo", `=?UTF-8?Q?=0D=0ABcc:_y?=`, 1), nil, 422},
		"CR LF in a recipient":      {strings.Replace(good, "x@example.org", `x@example.org>\r\nBcc: <y@example.org`, 1), nil, 422},
		"quoted CR LF in one":       {strings.Replace(good, "x@example.org", `\"x\r\nBcc: y\"@example.org`, 1), nil, 422},
		"encoded word as address":   {strings.Replace(good, "x@example.org", `=?utf-8?b?eA==?=@example.org`, 1), nil, 422},
		"control character in text": {strings.Replace(good, "Text", `Text\u0007`, 1), nil, 422},
		"file":                      {good, []file{{"a.pdf", "application/pdf", "x"}}, 202},
		"file without type":         {good, []file{{"a.pdf", "", "x"}}, 202},
		"empty file":                {good, []file{{"a.pdf", "", ""}}, 202},
		"file without name":         {good, []file{{"", "", "x"}}, 422},
		"type multipart":            {good, []file{{"a.pdf", "multipart/mixed; boundary=x", "x"}}, 422},
		"type message":              {good, []file{{"a.eml", "message/rfc822", "x"}}, 422},
		"file name with direction":  {good, []file{{"a\u202efdp.exe", "", "x"}}, 422},
		"file name as encoded word": {good, []file{{"=?utf-8?q?a?=.pdf", "", "x"}}, 422},
		"path as file name":         {good, []file{{"../../etc/passwd", "", "x"}}, 202},
		"too large with its base64": {good, []file{{"a.bin", "", strings.Repeat("x", 800<<10)}}, 413},
		"too large altogether":      {good, []file{{"a.bin", "", strings.Repeat("x", 2<<20)}}, 413},
		"more than 100 attachments": {good, make101(), 422},
	}
	for name, tt := range tests {
		before := len(d.flow.got)
		status, answer := d.form(tt.envelope, tt.files...)
		if status != tt.want || (len(d.flow.got) > before) != (status == 202) {
			t.Errorf("%s: %d %s, want %d", name, status, answer, tt.want)
		}
		if len(d.flow.got) > before {
			checkComposed(t, d.flow.texts[before], tt.envelope, tt.files)
		}
	}
}

func make101() []file {
	var all []file
	for i := range 101 {
		all = append(all, file{fmt.Sprint(i), "", "x"})
	}
	return all
}

func TestBrokenForm(t *testing.T) {
	d := newDoor(t, nil)
	body, kind := form(`{"from":"a@bau.example","to":["x@example.org"]}`, file{"a.pdf", "", strings.Repeat("x", 100)})
	for _, n := range []int{0, 10, 100, len(body) - 100, len(body) - 30, len(body) - 5} {
		if status, _, answer := d.ask("send", "POST", "/v1/messages", body[:n], "Content-Type", kind); status != 400 && status != 422 {
			t.Errorf("cut at %d of %d: %d %s", n, len(body), status, answer)
		}
	}
	for _, kind := range []string{"multipart/form-data", "multipart/form-data; boundary=other"} {
		if status, _, answer := d.ask("send", "POST", "/v1/messages", body, "Content-Type", kind); status != 400 {
			t.Errorf("%s: %d %s", kind, status, answer)
		}
	}
	if len(d.flow.got) > 0 {
		t.Error("something was accepted")
	}
}

// checkComposed reads a composed message with the standard library and compares
// it with what was asked for: these header fields and no other, these parts and
// no other.
func checkComposed(t testing.TB, text, envelope string, files []file) {
	t.Helper()
	var wish api.Wish
	if err := json.Unmarshal([]byte(envelope), &wish); err != nil {
		t.Fatal(err)
	}
	m, err := netmail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	allowed := map[string]bool{"From": true, "To": true, "Subject": true, "Date": true, "Message-Id": true, "Mime-Version": true, "Content-Type": true, "Content-Transfer-Encoding": true}
	for name, values := range m.Header {
		if !allowed[name] || len(values) != 1 {
			t.Fatalf("header field %s: %q\n%s", name, values, text)
		}
	}
	// The standard library makes one space of several at a fold: read it as we do.
	h, err := mail.ReadHeader(bufio.NewReader(strings.NewReader(text)), 1<<20)
	if err != nil || h.Text("Subject") != strings.Trim(wish.Subject, " ") {
		t.Fatalf("subject %q, %v, want %q", h.Text("Subject"), err, wish.Subject)
	}
	to, err := m.Header.AddressList("To")
	if err != nil || len(to) != len(wish.To) {
		t.Fatalf("To: %v %v", to, err)
	}
	if from, err := m.Header.AddressList("From"); err != nil || len(from) != 1 {
		t.Fatalf("From: %v %v", from, err)
	}
	for _, line := range strings.Split(strings.TrimSuffix(text, "\r\n"), "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n\x00") {
			t.Fatalf("a line of %d octets, or with a bare line end", len(line))
		}
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		checkText(t, m.Body, wish.Text)
		return
	}
	if kind != "multipart/mixed" {
		t.Fatalf("type %s", kind)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for i := -1; i < len(files); i++ {
		p, err := parts.NextRawPart()
		if err != nil {
			t.Fatalf("part %d: %v", i, err)
		}
		if i < 0 {
			checkText(t, p, wish.Text)
			continue
		}
		if got, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, p)); err != nil || string(got) != files[i].text {
			t.Fatalf("attachment %d: %d octets, %v", i, len(got), err)
		}
		if len(p.Header) != 3 || p.FileName() == "" {
			t.Fatalf("attachment %d: %v", i, p.Header)
		}
	}
	if _, err := parts.NextRawPart(); err != io.EOF {
		t.Fatalf("a further part: %v", err)
	}
}

func checkText(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got, err := io.ReadAll(quotedprintable.NewReader(r))
	want = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(want)
	if err != nil || strings.TrimSuffix(strings.ReplaceAll(string(got), "\r\n", "\n"), "\n") != want && strings.ReplaceAll(string(got), "\r\n", "\n") != want {
		t.Fatalf("text %q, %v, want %q", got, err, want)
	}
}

// FuzzCompose puts anything into every field: either it is refused, or the
// message has exactly the fields and parts that were asked for.
func FuzzCompose(f *testing.F) {
	f.Add("x@example.org", "Hallo", "Text", "a.pdf", "application/pdf", "inhalt")
	f.Add("x@example.org>\r\nBcc: <y@z", "a\r\nBcc: y@z", "--=_\r\n", "a\r\n\"; x", "text/html\r\nX: y", "--=_00000000000000000000000000--\r\n")
	f.Add("=?utf-8?q?a?=@b.ch", "=?utf-8?q?=0d=0aBcc:_x?=", "=0D=0A.\r\n.", "=?utf-8?q?a?=", "text/plain; name=\"=?\"", "\x00")
	f.Add("\"a b\"@b.ch", strings.Repeat("ä", 300), "\tx \r\r\n", "ä.pdf", "a/b", "\r\n")
	f.Add("x@b.ch", strings.Repeat("a", 500)+"     "+strings.Repeat("a", 170), "x", "x", "", "")
	f.Add("müller@bücher.ch", strings.Repeat("a", 1500), strings.Repeat("a", 2000), strings.Repeat("a", 250), "x", "")
	d := newDoor(f, func(o *api.HTTPOptions) { o.Log = quiet() })
	f.Fuzz(func(t *testing.T, to, subject, text, name, kind, content string) {
		envelope, err := json.Marshal(api.Wish{From: "a@bau.example", To: []string{to, "other@example.org"}, Subject: subject, Text: text})
		if err != nil {
			t.Skip()
		}
		if strings.ContainsAny(kind, "\r\n") { // would be another form
			kind = ""
		}
		d.flow.texts = nil
		d.t = t
		files := []file{{name, kind, content}}
		if status, answer := d.form(string(envelope), files...); status != 202 {
			if status >= 500 {
				t.Fatalf("%d %s", status, answer)
			}
			return
		}
		checkComposed(t, d.flow.texts[0], string(envelope), files)
	})
}

// FuzzStrict: what passes has only regular lines, and passes unchanged however
// it is cut into pieces.
func FuzzStrict(f *testing.F) {
	for _, s := range []string{"a\r\n", "a\n", "\r\r\n", "\r", "", "a\r\n\x00", "\n\r\n", ".\r\n\r\n"} {
		f.Add(s)
	}
	d := newDoor(f, func(o *api.HTTPOptions) { o.Log = quiet() })
	f.Fuzz(func(t *testing.T, s string) {
		d.flow.texts = nil
		d.t = t
		status, _ := d.raw(s, "Gatewayd-From", "a@bau.example", "Gatewayd-To", "x@example.org")
		regular := s != "" && strings.HasSuffix(s, "\r\n") && !strings.ContainsAny(strings.ReplaceAll(s, "\r\n", ""), "\r\n\x00")
		for _, line := range strings.Split(s, "\r\n") {
			regular = regular && len(line) <= 64<<10
		}
		if (status == 202) != regular || regular && d.flow.texts[0] != s {
			t.Fatalf("%q: %d", s, status)
		}
	})
}
