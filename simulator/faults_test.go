package simulator

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

const day = 24 * time.Hour

// story submits one registered mail that is accepted a minute later.
func (w *world) story(p *Platform, tag string) {
	w.t.Helper()
	w.profile(p, citizen, "native accepts-after:1m")
	w.mustSubmit(p, citizen, tag+"[BL-1] x")
	w.advance(time.Minute)
}

func TestReceiptFaults(t *testing.T) {
	const ab, abhol = "Abgabequittung: [BL-1] x", "Abholquittung: [BL-1] x"
	tests := []struct {
		fault string
		want  []string
		later []string // after a day more
	}{
		{"drop-receipt", nil, nil},
		{"dup-receipt", []string{ab, ab, abhol, abhol}, nil},
		{"reorder", []string{abhol, ab}, nil},
		{"late:1d", nil, []string{ab, abhol}},
		{"foreign-receipt", []string{"Archivkopie: [BL-1] x", "Lesebestätigung: [BL-1] x"}, nil},
		{"strip-tag", nil, nil},
		{"bad-seal", []string{ab, abhol}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.fault, func(t *testing.T) {
			w := newWorld(t)
			w.fault(w.inca, tt.fault)
			w.story(w.inca, "<r> ")
			if got := w.subjects(); !slices.Equal(got, tt.want) {
				t.Errorf("subjects %q, want %q", got, tt.want)
			}
			w.advance(day)
			if got := w.subjects(); !slices.Equal(got, append(tt.want, tt.later...)) {
				t.Errorf("a day later %q, want %q", got, append(tt.want, tt.later...))
			}
		})
	}
}

func TestDuplicatesCarryTheSameDocument(t *testing.T) {
	w := newWorld(t)
	w.fault(w.inca, "dup-receipt")
	w.story(w.inca, "<r> ")
	docs := w.documents()
	if len(docs) != 4 || !bytes.Equal(docs[0], docs[1]) || bytes.Equal(docs[1], docs[2]) {
		t.Errorf("%d documents, or not two pairs", len(docs))
	}
	first, second := parse(t, w.sink.all()[0].raw), parse(t, w.sink.all()[1].raw)
	if first.header.Get("Message-ID") == second.header.Get("Message-ID") {
		t.Error("both mails have one Message-ID")
	}
}

func TestSealFaults(t *testing.T) {
	tests := []struct{ fault, says, not string }{
		{"bad-seal", "Digest Mismatch", "Signature is Valid"},
		{"tamper", "Not total document signed", "\n  - Total document signed"},
		{"wrong-seal", "Signature is Valid", "Mismatch"},
	}
	for _, tt := range tests {
		t.Run(tt.fault, func(t *testing.T) {
			w := newWorld(t)
			w.fault(w.inca, tt.fault)
			w.story(w.inca, "<r> ")
			for _, doc := range w.documents() {
				says := pdfsigSays(t, doc)
				has(t, "pdfsig", says, tt.says)
				if strings.Contains(says, tt.not) {
					t.Errorf("pdfsig says %q:\n%s", tt.not, says)
				}
			}
			if n := len(w.documents()); n != 2 {
				t.Errorf("%d documents, want 2", n)
			}
		})
	}
}

func TestForeignSealIsOfAnotherCA(t *testing.T) {
	c, err := foreignSeal(brandOf(IncaMail))
	if err != nil {
		t.Fatal(err)
	}
	p, err := testPKI()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Leaf.CheckSignatureFrom(p.ca.Cert()); err == nil {
		t.Error("the platform's CA signed the foreign seal")
	}
	if err := c.Leaf.CheckSignatureFrom(c.Issuer); err != nil {
		t.Error(err)
	}
}

func TestForeignReceiptCarriesTheOtherSeal(t *testing.T) {
	w := newWorld(t)
	w.fault(w.psph, "foreign-receipt")
	w.story(w.psph, "<egov> ")
	for _, doc := range w.documents() {
		has(t, "text", pdfText(t, doc), "IncaMail Ab")
		has(t, "pdfsig", pdfsigSays(t, doc), "IncaMail Siegel", "Signature is Valid", "Total document signed")
	}
	lonely := w.platform(Options{Kind: IncaMail, Seal: w.pki.inca})
	if err := lonely.SetFaults(Faults{ForeignReceipt: true}); err == nil {
		t.Error("foreign receipts without a peer")
	}
}

func TestRefusalFaults(t *testing.T) {
	w := newWorld(t)
	w.profile(w.inca, citizen, "auto-accept")
	w.fault(w.inca, "4xx:2")
	for i, want := range []int{451, 451, 0} {
		err := w.submit(w.inca, citizen, "<r> x")
		if got := replyCode(err); got != want {
			t.Errorf("submission %d: reply %d (%v), want %d", i, got, err, want)
		}
	}
	if n := w.inca.Faults().Temporary; n != 0 {
		t.Errorf("%d temporary failures left", n)
	}
	w.fault(w.inca, "5xx")
	for range 2 {
		if got := replyCode(w.submit(w.inca, citizen, "<r> x")); got != 554 {
			t.Errorf("reply %d, want 554", got)
		}
	}
	w.fault(w.inca)
	if err := w.submit(w.inca, citizen, "<r> x"); err != nil {
		t.Error(err)
	}
	if n := len(w.inca.Received()); n != 2 {
		t.Errorf("%d mails taken, want 2", n)
	}
}

func replyCode(err error) int {
	if r, ok := errors.AsType[*gosmtp.SMTPError](err); ok {
		return r.Code
	}
	if err != nil {
		return -1
	}
	return 0
}

// TestHangAfterData: the client never learns that the platform has the mail,
// but its receipts come.
func TestHangAfterData(t *testing.T) {
	w := newWorld(t)
	w.profile(w.inca, citizen, "auto-accept")
	w.fault(w.inca, "hang-after-data")
	result := make(chan error, 1)
	go func() { result <- w.submit(w.inca, citizen, "<r> [BL-1] x") }()
	for len(w.inca.Received()) == 0 {
		time.Sleep(time.Millisecond)
	}
	w.flush()
	if n := len(w.documents()); n != 2 {
		t.Errorf("%d receipts, want 2", n)
	}
	select {
	case err := <-result:
		t.Fatalf("the client got an answer: %v", err)
	default:
	}
	w.fault(w.inca)
	if err := <-result; err == nil || replyCode(err) > 0 {
		t.Errorf("the client got %v, want a broken connection", err)
	}
}

func TestCloseEndsHangingSessions(t *testing.T) {
	w := newWorld(t)
	w.fault(w.inca, "hang-after-data")
	result := make(chan error, 1)
	go func() { result <- w.submit(w.inca, citizen, "x") }()
	for len(w.inca.Received()) == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := w.inca.Close(); err != nil {
		t.Error(err)
	}
	if err := <-result; err == nil {
		t.Error("the client got a good answer")
	}
}

func TestGatewayAnswers(t *testing.T) {
	w := newWorld(t)
	w.profile(w.inca, citizen, "auto-accept")
	w.sink.refuse = []error{reply(451, 4, 3, 0, "later"), reply(421, 4, 3, 2, "later"), reply(550, 5, 7, 1, "never")}
	w.mustSubmit(w.inca, citizen, "<r> x")
	var done, failed int
	for _, s := range w.inca.Sent() {
		switch {
		case s.Local && s.Done:
			done++
		case s.Local && strings.Contains(s.Failed, "never"):
			failed++
		}
	}
	if done != 1 || failed != 1 || len(w.sink.all()) != 1 {
		t.Errorf("%d delivered, %d failed, %d arrived; want 1 each", done, failed, len(w.sink.all()))
	}
}

// TestGatewayDown: receipts wait for the gateway, in their order.
func TestGatewayDown(t *testing.T) {
	w := newWorld(t)
	w.profile(w.inca, citizen, "auto-accept")
	_ = w.sink.server.Close()
	_ = w.sink.listener.Close() // the server may not have known it yet
	if err := w.submit(w.inca, citizen, "<r> [BL-1] x"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := w.inca.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("flush without a gateway: %v", err)
	}
	l, err := net.Listen("tcp", w.sink.addr)
	if err != nil {
		t.Fatal(err)
	}
	w.sink.serve(l)
	w.flush()
	want := []string{"Abgabequittung: [BL-1] x", "Abholquittung: [BL-1] x"}
	got := w.subjects()
	slices.Sort(got) // each was tried again in its own time
	if !slices.Equal(got, want) {
		t.Errorf("subjects %q, want %q", got, want)
	}
}

func TestGatewayWithoutTLSGetsNothing(t *testing.T) {
	w := newWorld(t)
	w.profile(w.inca, citizen, "auto-accept")
	w.sink.server.TLSConfig = nil
	if err := w.submit(w.inca, citizen, "<r> [BL-1] x"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := w.inca.Flush(ctx); err == nil || len(w.sink.all()) != 0 {
		t.Errorf("flush %v, %d mails delivered in clear", err, len(w.sink.all()))
	}
}

func TestParseFaults(t *testing.T) {
	all := []string{
		"5xx", "bad-seal", "drop-receipt", "dup-receipt", "foreign-receipt", "hang-after-data",
		"reorder", "strip-tag", "tamper", "wrong-seal", "late:48h0m0s", "4xx:3",
	}
	f, err := ParseFaults(all)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Names(); !slices.Equal(got, all) {
		t.Errorf("names %q, want %q", got, all)
	}
	for _, bad := range []string{"", "drop", "drop-receipt:1", "late", "late:x", "late:-1h", "4xx", "4xx:0", "4xx:x"} {
		if _, err := ParseFaults([]string{bad}); err == nil {
			t.Errorf("fault %q was taken", bad)
		}
	}
}
