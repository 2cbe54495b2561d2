package smtpclient_test

import (
	"context"
	"io"
	"log"
	"net"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"

	"gatewayd/connectors/smtpclient"
)

// lenient is a next mail server on go-smtp, which takes the end of the
// connection for the end of a chunk.
type lenient struct {
	gosmtp.Session
	got chan string // what each Data was given; "" after an error
}

func (l lenient) NewSession(*gosmtp.Conn) (gosmtp.Session, error) { return l, nil }
func (l lenient) Reset()                                          {}
func (l lenient) Logout() error                                   { return nil }
func (l lenient) Mail(string, *gosmtp.MailOptions) error          { return nil }
func (l lenient) Rcpt(string, *gosmtp.RcptOptions) error          { return nil }

// Data implements gosmtp.Session.
func (l lenient) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		text = nil
	}
	l.got <- string(text)
	return err
}

// TestCutIsNotTaken: whatever part of a long message has left when the
// connection ends, a peer that is not strict has the whole of it or nothing.
func TestCutIsNotTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	s := gosmtp.NewServer(lenient{got: got})
	s.Domain, s.ErrorLog = "peer.example", log.New(io.Discard, "", 0)
	go s.Serve(l)
	defer s.Close()
	long := "Subject: x\r\n\r\n" + strings.Repeat("Inhalt\r\n", 20_000)
	const before = len("EHLO gateway.bl.example\r\nMAIL FROM:<a@bl.example> SIZE=160014\r\nRCPT TO:<b@example.ch>\r\nBDAT 1\r\nS")
	for _, octets := range []int{before + 50, before + 1000, before + 65_000, before + 100_000, before + 160_013, before + 160_030} {
		o := smtpclient.Options{
			Addr: l.Addr().String(), Hello: "gateway.bl.example", Mode: smtpclient.PlainLoopback,
			Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, addr)
				return &failing{conn, octets}, err
			},
		}
		c, err := smtpclient.New(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Send(t.Context(), note(t, "a@bl.example", "b@example.ch", long)); err == nil {
			t.Fatalf("cut after %d octets: no error", octets)
		}
		if text := <-got; text != "" && text != long {
			t.Errorf("cut after %d octets: the peer took %d of %d", octets, len(text), len(long))
		}
	}
}
