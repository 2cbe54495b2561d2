package entity

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"gatewayd/mail"
	"gatewayd/message"
)

var now = time.Date(2026, 11, 23, 13, 5, 6, 0, time.UTC)

func TestSpool(t *testing.T) {
	for _, size := range []int{0, 1, 15, 16, 17, 1000, spoolMemory - 1, spoolMemory, spoolMemory + 1, 3*spoolMemory + 7} {
		dir := t.TempDir()
		s := NewSpool(dir, int64(size))
		data := bytes.Repeat([]byte("0123456789abcdefg"), size/17+1)[:size]
		for rest := data; len(rest) > 0; {
			n := min(len(rest), 997)
			if _, err := s.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := iotest.TestReader(io.NewSectionReader(s, 0, int64(size)), data); err != nil {
			t.Errorf("%d octets: %v", size, err)
		}
		for _, off := range []int64{0, 1, 17, int64(size) - 5, spoolMemory - 3, spoolMemory + 5, 2*spoolMemory + 1} {
			p := make([]byte, 33)
			n, err := s.ReadAt(p, off)
			if off < 0 || off >= int64(size) {
				if n != 0 || !errors.Is(err, io.EOF) {
					t.Errorf("%d octets, at %d: %d, %v", size, off, n, err)
				}
				continue
			}
			want := data[off:min(int64(size), off+33)]
			if !bytes.Equal(p[:n], want) || (err == nil) != (len(want) == 33) {
				t.Errorf("%d octets, at %d: %q, %v; want %q", size, off, p[:n], err, want)
			}
		}
		if _, err := s.Write([]byte("x")); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%d octets: one more: %v", size, err)
		}
		if names, _ := os.ReadDir(dir); len(names) > 0 {
			t.Errorf("%d octets: the file has a name", size)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	s := NewSpool("/nowhere/at/all", 1<<20)
	if _, err := s.Write(make([]byte, spoolMemory+1)); err == nil {
		t.Error("no folder")
	}
}

// TestSpoolOnDisk: what reaches the disk is not what was written.
func TestSpoolOnDisk(t *testing.T) {
	s := NewSpool(t.TempDir(), 1<<20).(*spool)
	if _, err := s.Write(bytes.Repeat([]byte("secret "), 60000)); err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, s.inFile())
	if _, err := s.file.ReadAt(raw, 0); err != nil || len(raw) == 0 || bytes.Contains(raw, []byte("secret")) {
		t.Errorf("%d octets in the file, %v", len(raw), err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestWriters(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""}, {"a", "a"}, {"\n", "\r\n"}, {"a\nb\r\nc\n\n", "a\r\nb\r\nc\r\n\r\n"}, {"\r\r\n\r", "\r\r\n\r"},
	} {
		for _, step := range []int{1, 2, 100} {
			var b bytes.Buffer
			w := CRLF(&b)
			for rest := c.in; rest != ""; {
				n := min(step, len(rest))
				if _, err := io.WriteString(w, rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if b.String() != c.want {
				t.Errorf("CRLF(%q) = %q, want %q", c.in, b.String(), c.want)
			}
		}
		got, err := io.ReadAll(iotest.OneByteReader(CRLFReader(strings.NewReader(c.in))))
		if err != nil || string(got) != c.want {
			t.Errorf("CRLFReader(%q) = %q, %v", c.in, got, err)
		}
	}
	for _, n := range []int{0, 1, 56, 57, 58, 113, 114, 1000, 57 * 256, 57*256 + 1} {
		var b bytes.Buffer
		w := NewBase64(&b)
		_, _ = w.Write(make([]byte, n))
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if Base64Size(int64(n)) != int64(b.Len()) {
			t.Errorf("%d octets: size %d, is %d", n, Base64Size(int64(n)), b.Len())
		}
		if got, err := io.ReadAll(Base64Reader(iotest.HalfReader(bytes.NewReader(make([]byte, n))))); err != nil || string(got) != b.String() {
			t.Errorf("%d octets: reader %q, %v", n, got, err)
		}
		lines := strings.SplitAfter(b.String(), "\r\n")
		if len(lines) != (n+56)/57+1 || lines[len(lines)-1] != "" || n > 57 && len(lines[0]) != 78 {
			t.Errorf("%d octets: %q", n, lines)
		}
	}
}

// TestBase64Broken: a source that breaks off is not one that ended.
func TestBase64Broken(t *testing.T) {
	boom := errors.New("boom")
	if _, err := io.ReadAll(Base64Reader(io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(boom)))); !errors.Is(err, boom) {
		t.Errorf("%v", err)
	}
}

// fake is an opener for a language of its own: "Content-Type: x/<signature>"
// or "x/<encryption>", and the inner entity in the body.
type fake struct{}

func (fake) Open(e *Entity, w Work) *Layer {
	word, ok := strings.CutPrefix(e.Root.Type, "x/")
	if !ok {
		return nil
	}
	word, clear := strings.CutPrefix(word, "clear+")
	l := &Layer{Encryption: NotEncrypted, Detail: "because", Clear: clear}
	switch v := Encryption(word); v {
	case "weak_cipher":
		l.Encryption = WeakCipher
	case Decrypted, Malleable:
		l.Encryption = v
	case NotForUs, Damaged:
		l.Encryption = v
		return l
	default:
		var s Signature
		if word, ok := strings.CutSuffix(word, "+now"); ok {
			s.Verdict, s.Time = Signing(word), now
		} else {
			s.Verdict = Signing(word)
		}
		if word == "other" {
			s.Verdict = Good
		} else {
			s.Addresses = []message.Address{{Local: "A", Domain: "b.example"}}
		}
		l.Signatures = []Signature{s}
	}
	out := w.Out()
	_, _ = io.Copy(out, e.Decoded(e.Root))
	l.Inner = out.Whole()
	return l
}

func TestConclusions(t *testing.T) {
	for _, c := range []struct {
		layers     string
		encryption Encryption
		signature  Signing
		content    bool
	}{
		{"", NotEncrypted, NotSigned, true},
		{"good", NotEncrypted, Good, true},
		{"broken", NotEncrypted, Broken, true},
		{"other", NotEncrypted, WrongSender, true},
		{"good good", NotEncrypted, Good, true},
		{"good other", NotEncrypted, Good, true},
		{"other good", NotEncrypted, WrongSender, true},
		{"good broken", NotEncrypted, Broken, true},
		{"weak revoked", NotEncrypted, Revoked, true},
		{"untrusted good", NotEncrypted, Untrusted, true},
		{"partial good", NotEncrypted, PartlySeen, true},
		{"malleable", Malleable, NotSigned, true},
		{"malleable good", Decrypted, Good, true},
		{"malleable expired", Decrypted, Expired, true},
		{"malleable untrusted", Decrypted, Untrusted, true},
		{"malleable other", Decrypted, WrongSender, true},
		{"malleable unknown_key", Malleable, UnknownKey, true},
		{"malleable weak", Malleable, Weak, true},
		{"malleable broken", Malleable, Broken, false},
		{"malleable good broken", Malleable, Broken, false},
		{"decrypted broken", Decrypted, Broken, true},
		{"good malleable", Malleable, Outside, true},
		{"good decrypted", Decrypted, Outside, true},
		{"good malleable good", Decrypted, Good, true},
		{"good other malleable", PartlyHidden, Good, true},
		{"good good malleable good", PartlyHidden, Good, true},
		{"malleable good good malleable", PartlyHidden, Good, true},
		{"broken good malleable", PartlyHidden, Broken, true},
		{"weak_cipher", WeakCipher, NotSigned, true},
		{"weak_cipher good", WeakCipher, Good, true},
		{"weak_cipher broken", WeakCipher, Broken, false},
		{"clear+good good", NotEncrypted, Good, true},
		{"clear+good other", NotEncrypted, WrongSender, true},
		{"good clear+other", NotEncrypted, WrongSender, true},
		{"broken malleable good", Decrypted, Good, true},
		{"good malleable broken", Malleable, Broken, false},
		{"malleable malleable good", Decrypted, Good, true},
		{"malleable good malleable", Malleable, Outside, true},
		{"not_for_us", NotForUs, NotSigned, false},
		{"good damaged", Damaged, Outside, false},
		{"decrypted not_for_us", NotForUs, NotSigned, false},
	} {
		words := strings.Fields(c.layers)
		raw := "From: a@b.example\r\n"
		for _, word := range words {
			raw += fmt.Sprintf("Content-Type: x/%s\r\n\r\n", word)
		}
		raw += "Content-Type: text/plain\r\n\r\nend"
		op, err := Open(strings.NewReader(raw), int64(len(raw)), Options{At: now, Openers: []Opener{fake{}}})
		if err != nil {
			t.Fatal(err)
		}
		if op.Encryption != c.encryption || op.Signature != c.signature || (op.Content != nil) != c.content || (op.Detail == "") != c.content {
			t.Errorf("%q: %q, %q, %q, content %v", c.layers, op.Encryption, op.Signature, op.Detail, op.Content != nil)
		}
		var b bytes.Buffer
		_, err = op.WriteMessage(&b)
		want := "From: a@b.example\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nend"
		if op.Encryption == PartlyHidden {
			want = "From: a@b.example\r\nMIME-Version: 1.0\r\n" + raw[strings.LastIndex(raw, "Content-Type: x/malleable"):]
		}
		if (err == nil) != c.content || c.content && b.String() != want {
			t.Errorf("%q: %v, %q", c.layers, err, b.String())
		}
		if err := op.Close(); err != nil || op.Content != nil {
			t.Errorf("close: %v", err)
		}
	}
}

// TestSeverity: every verdict that a layer can have stands in the order.
func TestSeverity(t *testing.T) {
	for _, v := range []Signing{Good, Redated, WrongSender, Untrusted, UnknownKey, PartlySeen, Expired, Unchecked, Weak, Revoked, Broken} {
		if severity(v) < 0 {
			t.Errorf("%q has no place", v)
		}
	}
	two := Layer{Signatures: []Signature{{Verdict: Unchecked}, {Verdict: Good}, {Verdict: Weak}}}
	if got := two.signing(); got != Good {
		t.Errorf("several signers: %q", got)
	}
	two.Signatures = append(two.Signatures, Signature{Verdict: Broken})
	if got := two.signing(); got != Broken {
		t.Errorf("several signers, one of another content: %q", got)
	}
}

func TestWriteMessage(t *testing.T) {
	raw := "From: a@b.example\r\nContent-Type: x/decrypted\r\n\r\nContent-Type: text/plain\nSubject: inside\n\nx\r\ny\n"
	op, err := Open(strings.NewReader(raw), int64(len(raw)), Options{At: now, Openers: []Opener{fake{}}})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	want := "X-A: 1\r\nX-B: 2\r\nFrom: a@b.example\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nx\r\ny\r\n"
	if _, err := op.WriteMessage(&b, func(h *mail.Header) error { return h.Prepend("X-B: 2") }, func(h *mail.Header) error { return h.Prepend("X-A: 1") }); err != nil || b.String() != want {
		t.Errorf("%v, %q", err, b.String())
	}
	if err := op.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Open(strings.NewReader(raw), int64(len(raw)), Options{}); !errors.Is(err, ErrNoTime) {
		t.Errorf("no time: %v", err)
	}
}

// TestReport: every layer is told by what it is.
func TestReport(t *testing.T) {
	op := &Opened{Encryption: Decrypted, Signature: Good, Layers: []Layer{
		{Technique: SMIME, Encryption: NotEncrypted, Clear: true, Signatures: []Signature{{Verdict: Good, Signer: "CN=x", Addresses: []message.Address{{Local: "a", Domain: "b.example"}}}}},
		{Technique: SMIME, Encryption: Malleable, Algorithms: []string{"AES-256-CBC", "RSA"}, Key: "ff"},
		{Technique: SMIME, Encryption: NotEncrypted, Compressed: true},
		{Technique: OpenPGP, Encryption: Decrypted, Signatures: []Signature{{Verdict: UnknownKey}}},
		{Technique: SMIME, Encryption: NotEncrypted, Signatures: []Signature{{Verdict: Broken, Detail: "d"}}},
	}}
	r := op.Report()
	var got []string
	for _, l := range r.Layers {
		got = append(got, string(l.Technique)+" "+l.Kind+" "+l.Form+" "+string(l.Encryption))
	}
	want := "smime signed clear |smime encrypted  malleable|smime compressed  |openpgp encrypted+signed  decrypted|smime signed opaque "
	if strings.Join(got, "|") != want || r.Covers != "content" || r.Opened || r.Layers[0].Signatures[0].Addresses[0] != "a@b.example" {
		t.Errorf("%q, %+v", got, r)
	}
	for s, want := range map[Signing]string{NotSigned: "", Outside: "cipher_text", PartlySeen: "part", Broken: "content"} {
		if got := (&Opened{Signature: s}).Report().Covers; got != want {
			t.Errorf("%s covers %q", s, got)
		}
	}
}
