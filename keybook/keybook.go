// Package keybook keeps what the gateway learns about keys: partners' keys from
// mail, directories and DNS with their source, trust and use; certificates of
// issuers that wait for approval; what administrators have decided; and which
// mail waits for a key.
//
// The key folder of an administrator is not kept here (crypto/keys), and nobody
// is asked over the network (keysources).
//
// Every file is sealed under a key that the master key wraps, and is named after
// a keyed hash: the folder shows to nobody with whom an authority exchanges mail.
// A change is on disk when its call returns; a file is replaced as a whole, so
// that a crash leaves the old or the new one.
package keybook

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"gatewayd/crypto/seal"
	"gatewayd/message"
)

// The folders in the folder, and the one file beside them.
const (
	partnersDir   = "partners"
	waitingDir    = "waiting"
	decisionsFile = "decisions"
)

// Book is an open folder. It may be used by several goroutines of one process.
type Book struct {
	dir  string
	aead cipher.AEAD
	hash []byte // key of the names

	mu      sync.Mutex
	known   map[string]bool // files in partners: most mail is to people whose keys nobody has
	waiting map[message.ID]Unopened
	state   state
	changes uint64
}

// ErrDamaged: a file was changed, cut, or sealed under another master key.
var ErrDamaged = errors.New("a file of the key book is damaged")

// Open opens the folder and creates it if it is absent. secret has 32 octets
// and lives as long as the installation.
func Open(dir string, secret []byte) (*Book, error) {
	b := &Book{dir: dir, known: map[string]bool{}, waiting: map[message.ID]Unopened{}}
	key, err := hkdf.Key(sha256.New, secret, nil, "gatewayd key book: seal", 32)
	if err == nil {
		b.hash, err = hkdf.Key(sha256.New, secret, nil, "gatewayd key book: names", 32)
	}
	if err != nil {
		return nil, fmt.Errorf("key book: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("key book: %w", err)
	}
	if b.aead, err = cipher.NewGCM(block); err != nil {
		return nil, fmt.Errorf("key book: %w", err)
	}
	for _, sub := range []string{partnersDir, waitingDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("key book: %w", err)
		}
	}
	return b, b.load()
}

// load reads the names of all files, what administrators decided and which mail
// waits.
func (b *Book) load() error {
	for _, sub := range []string{partnersDir, waitingDir} {
		entries, err := os.ReadDir(filepath.Join(b.dir, sub))
		if err != nil {
			return fmt.Errorf("key book: %w", err)
		}
		for _, e := range entries {
			switch {
			case strings.HasPrefix(e.Name(), tempPrefix): // of a crash
				_ = os.Remove(filepath.Join(b.dir, sub, e.Name()))
			case sub == partnersDir:
				b.known[e.Name()] = true
			default:
				var u Unopened
				if err := b.read(filepath.Join(sub, e.Name()), &u); err != nil {
					return err
				}
				b.waiting[u.Message] = u
			}
		}
	}
	if err := b.read(decisionsFile, &b.state); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// name of a file: nobody can tell what it is about.
func (b *Book) name(about string) string {
	mac := hmac.New(sha256.New, b.hash)
	mac.Write([]byte(about))
	return hex.EncodeToString(mac.Sum(nil))
}

// Changes counts the changes of Decisions since Open: whoever derives something
// from them sees that it is stale.
func (b *Book) Changes() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changes
}

// maxFile bounds a file, in octets.
const maxFile = 8 << 20

func (b *Book) read(file string, into any) error {
	info, err := os.Stat(filepath.Join(b.dir, file))
	if err != nil {
		return fmt.Errorf("key book: %w", err)
	}
	if info.Size() > maxFile {
		return ErrDamaged
	}
	sealed, err := os.ReadFile(filepath.Join(b.dir, file))
	if err != nil {
		return fmt.Errorf("key book: %w", err)
	}
	plain, err := seal.OpenRecord(b.aead, sealed, []byte(file))
	if err != nil || json.Unmarshal(plain, into) != nil {
		return ErrDamaged
	}
	return nil
}

const tempPrefix = ".new-"

// write replaces a file as a whole, durably.
func (b *Book) write(file string, v any) error {
	plain, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("key book: %w", err)
	}
	if err := b.replace(file, seal.SealRecord(b.aead, plain, []byte(file))); err != nil {
		return fmt.Errorf("key book: %w", err)
	}
	return nil
}

func (b *Book) replace(file string, sealed []byte) error {
	path := filepath.Join(b.dir, file)
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix+"*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(sealed)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// remove deletes a file, durably; one that is not there is removed.
func (b *Book) remove(file string) error {
	err := os.Remove(filepath.Join(b.dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = syncDir(filepath.Join(b.dir, filepath.Dir(file)))
	}
	if err != nil {
		return fmt.Errorf("key book: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
