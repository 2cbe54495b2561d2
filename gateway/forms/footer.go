package forms

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"gatewayd/crypto/entity"
	"gatewayd/message"
)

// Source is a message as it is sent: from the vault, or with a footer.
type Source interface {
	io.ReadSeeker
	io.ReaderAt
	Size() int64
}

// ErrNoFooter closes the gate: what was decided names a footer that is gone.
var ErrNoFooter = errors.New("its footer is not configured any more")

// Footed puts the footer that was decided under the text of a message; done gives back
// what it took. What has no text of its own goes as it is. What is stored stays as it
// came.
func (f *Forms) Footed(env message.Envelope, item message.Item, body Source) (content Source, done func(), err error) {
	if item.Decision.Footer == "" {
		return body, func() {}, nil
	}
	foot, ok := f.o.Footers[item.Decision.Footer]
	if !ok {
		return nil, nil, ErrNoFooter
	}
	m, why, err := foot.Add(body, body.Size())
	if err != nil {
		return nil, nil, fmt.Errorf("put footer under message: %w", err)
	}
	if m == nil {
		f.log().Info("no footer was put under a message", "message", env.ID.String(), "reason", why)
		return body, func() {}, nil
	}
	spool := entity.NewSpool(f.o.Data, maxProtected)
	n, err := io.Copy(spool, m.Reader())
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("put footer under message: %w", err), spool.Close())
	}
	return Sealed{SectionReader: io.NewSectionReader(spool, 0, n), Spool: spool}, func() { _ = spool.Close() }, nil
}

func (f *Forms) log() *slog.Logger {
	if f.o.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return f.o.Log
}
