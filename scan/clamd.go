// Package scan asks a scanner for malware about content: clamd of ClamAV, by its
// protocol INSTREAM. Nothing is written to a disk that the scanner would have to
// reach, and content without an answer is never taken for clean.
package scan

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Errors of Scan.
var (
	// ErrAway: the scanner did not answer, or in words that are not known. Ask
	// again later.
	ErrAway = errors.New("the scanner for malware is away")
	// ErrTooLarge: more than the scanner takes. Asking again does not help.
	ErrTooLarge = errors.New("larger than the scanner for malware takes")
)

// Clamd is a clamd that listens on a socket.
type Clamd struct {
	Network string        // unix or tcp
	Address string        // of the socket, or host:port
	Timeout time.Duration // of one scan; 0: a minute
	MaxSize int64         // octets; 0: what clamd says itself (StreamMaxLength)
}

// Parse reads "unix:/run/clamav/clamd.ctl" or "tcp:127.0.0.1:3310".
func Parse(s string) (Clamd, error) {
	network, address, ok := strings.Cut(s, ":")
	switch {
	case ok && network == "unix" && strings.HasPrefix(address, "/"):
	case ok && network == "tcp":
		if _, _, err := net.SplitHostPort(address); err != nil {
			return Clamd{}, fmt.Errorf("%q: write tcp:host:port", s)
		}
	default:
		return Clamd{}, fmt.Errorf("%q: write unix:/path or tcp:host:port", s)
	}
	return Clamd{Network: network, Address: address}, nil
}

// chunk is how much goes in one piece, in octets.
const chunk = 64 << 10

// maxReply bounds the scanner's answer, in octets.
const maxReply = 4 << 10

// Scan sends all that r holds, and returns the name of what was found, "" for
// clean content. Errors of r are returned as they are; all others are ErrAway or
// ErrTooLarge.
func (c Clamd) Scan(ctx context.Context, r io.Reader) (found string, err error) {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, c.Network, c.Address)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrAway, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	sent := c.send(conn, r)
	var mine *readError
	switch {
	case errors.As(sent, &mine):
		return "", mine.err
	case errors.Is(sent, ErrTooLarge):
		return "", sent
	}
	// A scanner that has had enough closes its ear, and says why.
	reply, err := bufio.NewReader(io.LimitReader(conn, maxReply)).ReadString(0)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrAway, errors.Join(sent, err))
	}
	return verdict(strings.TrimRight(reply, "\x00\n"), sent)
}

type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }

// send writes the content in chunks; an empty one ends it.
func (c Clamd) send(w io.Writer, r io.Reader) error {
	if _, err := io.WriteString(w, "zINSTREAM\x00"); err != nil {
		return err
	}
	buf := make([]byte, 4+chunk)
	for total := int64(0); ; {
		n, err := io.ReadFull(r, buf[4:])
		if total += int64(n); c.MaxSize > 0 && total > c.MaxSize {
			return ErrTooLarge
		}
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return &readError{err}
		}
		if n > 0 {
			binary.BigEndian.PutUint32(buf, uint32(n)) //nolint:gosec // at most chunk
			if _, err := w.Write(buf[:4+n]); err != nil {
				return err
			}
		}
		if last {
			_, err := w.Write(make([]byte, 4))
			return err
		}
	}
}

// verdict reads an answer: "stream: OK", "stream: Name FOUND", "… ERROR". Content
// that did not go out whole is not clean, whatever is said.
func verdict(reply string, sent error) (string, error) {
	name, ok := strings.CutSuffix(reply, " FOUND")
	switch {
	case ok:
		return plain(strings.TrimPrefix(name, "stream: ")), nil
	case strings.Contains(reply, "size limit exceeded"):
		return "", ErrTooLarge
	case reply == "stream: OK" && sent == nil:
		return "", nil
	}
	return "", fmt.Errorf("%w: %q", ErrAway, plain(reply))
}

// plain keeps what can stand in a log and in a notice.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	if s == "" {
		s = "unnamed"
	}
	return s[:min(len(s), 100)]
}
