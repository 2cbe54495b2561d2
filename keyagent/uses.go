package keyagent

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gatewayd/message"
)

// Use is one use of a private key: who, which, for what. Nothing in it is about a
// person or a message; whether something came out of a decryption is not in it
// either.
type Use struct {
	At        time.Time `json:"at"`
	Op        string    `json:"op"`             // start: of the agent
	Key       string    `json:"key,omitempty"`  // fingerprint; "master" for the gateway's master key
	Part      string    `json:"part,omitempty"` // of an OpenPGP key
	Authority string    `json:"authority,omitempty"`
	UID       int       `json:"uid"` // of the process that asked
	PID       int       `json:"pid"`
	Refused   bool      `json:"refused,omitempty"` // the quota was used up
	Prev      string    `json:"prev"`              // SHA-256 of the line before; empty: there was none
}

// UseFields declares every field of a line of the log of uses.
func UseFields() []message.Field {
	return []message.Field{
		{Name: "at", Purpose: "when it happened"},
		{Name: "op", Purpose: "what a private key was used for, or that the key agent started"},
		{Name: "key", Purpose: "fingerprint of a key", Personal: true},
		{Name: "part", Purpose: "part of an OpenPGP key"},
		{Name: "authority", Purpose: "whose it is"},
		{Name: "uid", Purpose: "user of a process that asks the key agent"},
		{Name: "pid", Purpose: "process that asks the key agent"},
		{Name: "refused", Purpose: "whether the quota of the key was used up"},
		{Name: "prev", Purpose: "hash of the line before: order"},
	}
}

// maxLine bounds a line of the log of uses, in octets.
const maxLine = 4 << 10

// Uses is the log of uses: a folder with a file for each day, one line of JSON for
// each use. Lines are appended, each with the hash of the one before; a changed,
// missing or inserted line shows. Each is written before the key is used; it reaches
// the disk when the system sees fit, so that a power cut may take the last seconds.
type Uses struct {
	dir   string
	until func(at time.Time) time.Time // when a line of that instant goes

	mu   sync.Mutex
	day  string
	file *os.File
	prev string
}

// ErrUses is returned by VerifyUses for a log that somebody has changed.
var ErrUses = errors.New("the log of uses is not as it was written")

// OpenUses opens the log of uses in a folder, and makes it if there is none. until
// says how long a line is kept. A last line that a crash has torn is cut off.
func OpenUses(dir string, until func(at time.Time) time.Time) (*Uses, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("log of uses: %w", err)
	}
	u := &Uses{dir: dir, until: until}
	files, err := useFiles(dir)
	if err != nil {
		return nil, fmt.Errorf("log of uses: %w", err)
	}
	for i := len(files) - 1; i >= 0 && u.prev == ""; i-- {
		u.day = max(u.day, dayOf(files[i]))
		if u.prev, err = lastLine(files[i]); err != nil {
			return nil, fmt.Errorf("log of uses: %w", err)
		}
	}
	return u, nil
}

func dayOf(path string) string { return strings.TrimSuffix(filepath.Base(path), ".log") }

func useFiles(dir string) ([]string, error) {
	return filepath.Glob(filepath.Join(dir, "????-??-??.log")) // sorted
}

// lastLine returns the hash of a file's last line, and cuts off one without an end.
func lastLine(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	tail := make([]byte, min(size, 2*maxLine))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil {
		return "", err
	}
	end := bytes.LastIndexByte(tail, '\n') + 1
	if torn := len(tail) - end; torn > 0 {
		if err := f.Truncate(size - int64(torn)); err != nil {
			return "", err
		}
	}
	if end == 0 {
		return "", nil
	}
	begin := bytes.LastIndexByte(tail[:end-1], '\n') + 1
	return hashOf(tail[begin : end-1]), nil
}

func hashOf(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// Record writes a use down.
func (u *Uses) Record(use Use) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	use.At = use.At.UTC()
	if day := max(use.At.Format(time.DateOnly), u.day); day > u.day || u.file == nil { // a clock that goes back does not mix the days
		if err := u.turn(day); err != nil {
			return fmt.Errorf("log of uses: %w", err)
		}
	}
	use.Prev = u.prev
	line, err := json.Marshal(use)
	if err != nil {
		return fmt.Errorf("log of uses: %w", err)
	}
	if n, err := u.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("log of uses: %w", errors.Join(err, u.undo(n)))
	}
	u.prev = hashOf(line)
	return nil
}

// undo takes back what was written of a line.
func (u *Uses) undo(n int) error {
	at, err := u.file.Seek(0, io.SeekEnd)
	if err == nil && n > 0 {
		err = u.file.Truncate(at - int64(n))
	}
	return err
}

// turn begins the file of a day.
func (u *Uses) turn(day string) error {
	f, err := os.OpenFile(filepath.Join(u.dir, day+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if u.file != nil {
		err = errors.Join(u.file.Sync(), u.file.Close())
	}
	u.file, u.day = f, day
	return err
}

// Sweep removes the files of which no line is to be kept any longer.
func (u *Uses) Sweep(now time.Time) error {
	files, err := useFiles(u.dir)
	for _, name := range files {
		day, bad := time.Parse(time.DateOnly, dayOf(name))
		if bad == nil && now.After(u.until(day.Add(24*time.Hour-1))) {
			err = errors.Join(err, os.Remove(name))
		}
	}
	return err
}

// Close writes what is open to the disk.
func (u *Uses) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.file == nil {
		return nil
	}
	err := errors.Join(u.file.Sync(), u.file.Close())
	u.file = nil
	return err
}

// VerifyUses reads a log of uses and gives each use to see, which may be nil. It
// returns how many there are; ErrUses names the first line that does not follow from the one
// before. What was cut off at the end nobody can see in it: the last line's hash, kept
// elsewhere, shows that.
func VerifyUses(dir string, see func(Use)) (n int, last string, err error) {
	files, err := useFiles(dir)
	if err == nil && len(files) == 0 {
		_, err = os.Stat(dir)
	}
	if err != nil {
		return 0, "", fmt.Errorf("log of uses: %w", err)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // its time was over meanwhile
		}
		if err != nil {
			return n, last, fmt.Errorf("log of uses: %w", err)
		}
		last, err = verifyFile(f, &n, last, see)
		f.Close()
		if err != nil {
			return n, last, fmt.Errorf("%s: %w", name, err)
		}
	}
	return n, last, nil
}

func verifyFile(f io.Reader, n *int, last string, see func(Use)) (string, error) {
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxLine)
	for at := 1; lines.Scan(); at++ {
		var u Use
		if err := json.Unmarshal(lines.Bytes(), &u); err != nil {
			return last, fmt.Errorf("line %d: %w: no use", at, ErrUses)
		}
		if *n > 0 && u.Prev != last { // before the first one are those whose time is over
			return last, fmt.Errorf("line %d: %w: it does not follow from the one before", at, ErrUses)
		}
		*n++
		if last = hashOf(lines.Bytes()); see != nil {
			see(u)
		}
	}
	if err := lines.Err(); err != nil {
		return last, fmt.Errorf("%w: %w", ErrUses, err)
	}
	return last, nil
}
