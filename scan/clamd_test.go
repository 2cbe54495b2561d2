package scan

import (
	"bufio"
	"bytes"
	"context"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// eicar is the harmless file that every scanner takes for malware (eicar.org).
// It stands in two pieces, so that no scanner of the machine takes this file for
// it.
const eicar = `X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-` + `ANTIVIRUS-TEST-FILE!$H+H*`

// fake is a clamd that does as its test says.
func fake(t *testing.T, serve func(net.Conn)) Clamd {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "clamd"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c)
			c.Close()
		}
	}()
	return Clamd{Network: "unix", Address: l.Addr().String()}
}

// stream reads what INSTREAM brings.
func stream(c net.Conn) ([]byte, error) {
	r := bufio.NewReader(c)
	if cmd, err := r.ReadString(0); err != nil || cmd != "zINSTREAM\x00" {
		return nil, fmt.Errorf("command %q: %w", cmd, err)
	}
	var all []byte
	for {
		var n uint32
		if err := binary.Read(r, binary.BigEndian, &n); err != nil || n == 0 {
			return all, err
		}
		piece := make([]byte, n)
		if _, err := io.ReadFull(r, piece); err != nil {
			return all, err
		}
		all = append(all, piece...)
	}
}

// TestScan: each answer, and that all octets have gone over.
func TestScan(t *testing.T) {
	for _, size := range []int{0, 1, chunk - 1, chunk, chunk + 1, 5*chunk + 7} {
		text := bytes.Repeat([]byte("ab\x00\n"), size/4+1)[:size]
		var got []byte
		c := fake(t, func(conn net.Conn) {
			got, _ = stream(conn)
			_, _ = io.WriteString(conn, "stream: OK\x00")
		})
		if found, err := c.Scan(t.Context(), bytes.NewReader(text)); found != "" || err != nil || !bytes.Equal(got, text) {
			t.Errorf("%d octets: %q, %v, %d went over", size, found, err, len(got))
		}
	}
	for reply, want := range map[string]struct {
		found string
		err   error
	}{
		"stream: Win.Test.EICAR_HDB-1 FOUND\x00":  {"Win.Test.EICAR_HDB-1", nil},
		"stream: a\r\nb\xff FOUND\x00":            {"a??b?", nil},
		"INSTREAM size limit exceeded. ERROR\x00": {"", ErrTooLarge},
		"stream: Can't allocate memory ERROR\x00": {"", ErrAway},
		"UNKNOWN COMMAND\x00":                     {"", ErrAway},
		"stream: OK":                              {"", ErrAway}, // cut off
		"":                                        {"", ErrAway},
		"\x00":                                    {"", ErrAway},
		"stream: OK OK\x00":                       {"", ErrAway},
		"other: OK\x00":                           {"", ErrAway},
		strings.Repeat("x", 2*maxReply) + " FOUND\x00": {"", ErrAway},
	} {
		c := fake(t, func(conn net.Conn) {
			_, _ = stream(conn)
			_, _ = io.WriteString(conn, reply)
		})
		if found, err := c.Scan(t.Context(), strings.NewReader("x")); found != want.found || !errors.Is(err, want.err) || (err == nil) != (want.err == nil) {
			t.Errorf("%q: %q, %v", reply, found, err)
		}
	}
}

// TestAway: without a whole answer about the whole content nothing is clean.
func TestAway(t *testing.T) {
	wrong := errors.New("disk")
	ok := func(conn net.Conn) {
		_, _ = stream(conn)
		_, _ = io.WriteString(conn, "stream: OK\x00")
	}
	if _, err := fake(t, ok).Scan(t.Context(), iotest.ErrReader(wrong)); !errors.Is(err, wrong) || errors.Is(err, ErrAway) {
		t.Errorf("trouble of ours: %v", err)
	}
	early := func(conn net.Conn) { // says OK after the first octets and goes
		_, _ = io.ReadFull(conn, make([]byte, 20))
		_, _ = io.WriteString(conn, "stream: OK\x00")
	}
	if found, err := fake(t, early).Scan(t.Context(), io.LimitReader(zeros{}, 64<<20)); found != "" || !errors.Is(err, ErrAway) {
		t.Errorf("said too early: %q %v", found, err)
	}
	c := Clamd{Network: "unix", Address: filepath.Join(t.TempDir(), "nobody")}
	if _, err := c.Scan(t.Context(), strings.NewReader("x")); !errors.Is(err, ErrAway) {
		t.Errorf("nobody there: %v", err)
	}
	silent := fake(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	silent.Timeout = 20 * time.Millisecond
	if _, err := silent.Scan(t.Context(), strings.NewReader("x")); !errors.Is(err, ErrAway) {
		t.Errorf("silent: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := fake(t, ok).Scan(ctx, strings.NewReader("x")); !errors.Is(err, ErrAway) {
		t.Errorf("cancelled: %v", err)
	}
	small := fake(t, ok)
	small.MaxSize = 10
	if _, err := small.Scan(t.Context(), strings.NewReader("01234567890")); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	if found, err := small.Scan(t.Context(), strings.NewReader("0123456789")); found != "" || err != nil {
		t.Errorf("just not too large: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestParse(t *testing.T) {
	for s, want := range map[string]Clamd{
		"unix:/run/clamav/clamd.ctl": {Network: "unix", Address: "/run/clamav/clamd.ctl"},
		"tcp:127.0.0.1:3310":         {Network: "tcp", Address: "127.0.0.1:3310"},
	} {
		if got, err := Parse(s); got != want || err != nil {
			t.Errorf("%s: %+v %v", s, got, err)
		}
	}
	for _, s := range []string{"", "unix", "unix:relative", "/run/x", "tcp:host", "http://x", "udp:127.0.0.1:1"} {
		if _, err := Parse(s); err == nil {
			t.Errorf("%q: taken", s)
		}
	}
}

// TestClamAV asks a real clamd with two signatures of our own: the hash of the
// EICAR file, and its first octets wherever they stand.
func TestClamAV(t *testing.T) {
	daemon := "/usr/sbin/clamd"
	if _, err := os.Stat(daemon); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("needs clamd: apt-get install clamav-daemon")
		}
		t.Skip("needs clamd: apt-get install clamav-daemon")
	}
	dir, err := os.MkdirTemp("", "clam") // short: a socket has a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	for name, text := range map[string]string{
		"db/test.hdb": fmt.Sprintf("%x:%d:Test.Eicar.Hash\n", md5.Sum([]byte(eicar)), len(eicar)), //nolint:gosec // the form of the file
		"db/test.ndb": fmt.Sprintf("Test.Eicar.Octets:0:*:%x\n", eicar[:20]),
		"conf": "LocalSocket " + socket + "\nForeground yes\nDatabaseDirectory " + filepath.Join(dir, "db") +
			"\nStreamMaxLength 2M\nMaxThreads 2\nLogFile " + filepath.Join(dir, "log") + "\n",
	} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil { //nolint:gosec // clamd reads it as another user
			t.Fatal(err)
		}
	}
	cmd := exec.Command(daemon, "--config-file="+filepath.Join(dir, "conf"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			break
		}
		select {
		case err := <-ended:
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Fatalf("clamd: %v\n%s%s", err, out.String(), log)
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("clamd does not start\n%s", out.String())
		}
	}
	c := Clamd{Network: "unix", Address: socket}
	attached := "From: a@b.example\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/octet-stream; name=a.com\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" +
		strings.ReplaceAll(eicar, "=", "=3D")[:30] + "=\r\n" + eicar[30:] + "\r\n--b--\r\n"
	for name, tt := range map[string]struct {
		text, found string
		err         error
	}{
		"clean":      {"Guten Tag\r\n", "", nil},
		"empty":      {"", "", nil},
		"the file":   {eicar, "Test.Eicar", nil},
		"in a mail":  {attached, "Test.Eicar", nil},
		"at its end": {strings.Repeat("x\r\n", 100_000) + eicar, "Test.Eicar", nil},
		"too long":   {strings.Repeat("x", 3<<20), "", ErrTooLarge},
	} {
		found, err := c.Scan(t.Context(), strings.NewReader(tt.text))
		if !strings.HasPrefix(found, tt.found) || (found == "") != (tt.found == "") || !errors.Is(err, tt.err) {
			t.Errorf("%s: %q, %v", name, found, err)
		}
	}
}
