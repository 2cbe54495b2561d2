package smtp

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"gatewayd/message"
)

// plainSession is the shortest way from go-smtp to an intake: its own DATA
// reader below our strict one, without conn and dataReader. They are measured
// against it, in speed and in answers.
type plainSession struct{ in Intake }

func (plainSession) Reset()                                 {}
func (plainSession) Logout() error                          { return nil }
func (plainSession) Mail(string, *gosmtp.MailOptions) error { return nil }
func (plainSession) Rcpt(string, *gosmtp.RcptOptions) error { return nil }

func (s plainSession) Data(r io.Reader) error {
	body := newBodyReader(r)
	_, err := s.in.Accept(context.Background(), message.Submission{}, body)
	switch {
	case body.err != nil && body.err != io.EOF:
		return reply(body.err)
	case err != nil:
		return reply(err)
	}
	return &gosmtp.SMTPError{Code: 250, EnhancedCode: gosmtp.EnhancedCode{2, 0, 0}, Message: "accepted"}
}

func plainServer(in Intake) *gosmtp.Server {
	s := gosmtp.NewServer(gosmtp.BackendFunc(func(*gosmtp.Conn) (gosmtp.Session, error) { return plainSession{in}, nil }))
	s.Domain = "gateway.example"
	s.MaxLineLength = maxLine
	s.MaxMessageBytes = 50_000_000
	s.MaxRecipients = 100
	s.ReadTimeout, s.WriteTimeout = 5*time.Minute, 5*time.Minute
	s.ErrorLog = libraryLog{slog.New(slog.DiscardHandler)}
	return s
}

// openPlain serves the plain way in memory.
func openPlain(t testing.TB, change func(*gosmtp.Server)) *door {
	t.Helper()
	d := &door{intake: &stubIntake{}, pipe: newPipeListener()}
	s := plainServer(d.intake)
	if change != nil {
		change(s)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(d.pipe) }()
	t.Cleanup(func() {
		s.Close()
		<-served
	})
	return d
}
