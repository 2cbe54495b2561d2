package directory

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Limits of the password check.
const (
	maxName     = 128  // octets
	maxPassword = 1024 // octets; longer ones are refused like wrong ones
	maxCached   = 1024 // successes remembered
)

// Accounts is the password file: one "name:hash" per line, the hash a PHC string
// of argon2id (RFC 9106); blank lines and lines that begin with # are skipped.
// What an account may do stands in the configuration, not here.
type Accounts struct {
	path   string
	hashes atomic.Pointer[hashFile]
	secret [32]byte      // keys the cache and the choice of a decoy
	slots  chan struct{} // bounds memory: each check needs its own
	mu     sync.Mutex
	cached map[[32]byte]struct{}
}

// hashFile is one state of the file.
type hashFile struct {
	byName map[string]phc
	decoys []phc // the hashes in the order of the file
}

// LoadAccounts reads the password file. It returns Accounts only if there is
// no mistake; otherwise all of them. An empty file is no mistake: then nobody
// can log in by password.
func LoadAccounts(path string) (*Accounts, []Problem) {
	f, problems := loadHashes(path)
	if len(problems) > 0 {
		return nil, problems
	}
	a := &Accounts{path: path, slots: make(chan struct{}, min(4, runtime.GOMAXPROCS(0))), cached: map[[32]byte]struct{}{}}
	rand.Read(a.secret[:])
	a.hashes.Store(f)
	return a, nil
}

// Reload reads the file again. With any mistake the old state stays, and the
// error lists them all. A password that is no longer in the file is refused at
// once.
func (a *Accounts) Reload() error {
	f, problems := loadHashes(a.path)
	if len(problems) > 0 {
		return fmt.Errorf("reload accounts, the old ones stay: %w", problemsError(problems))
	}
	a.hashes.Store(f) // what is remembered is bound to the hash it was checked against
	return nil
}

func loadHashes(path string) (*hashFile, []Problem) {
	text, problem := readFile(path)
	if problem != nil {
		return nil, []Problem{*problem}
	}
	f := &hashFile{byName: map[string]phc{}}
	lines := map[string]int{}
	var problems []Problem
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		if column, mistake := f.add(line, n, lines); mistake != "" {
			problems = append(problems, Problem{File: path, Line: n, Column: column, Text: mistake})
		}
	}
	if len(f.decoys) == 0 {
		f.decoys = []phc{decoy()}
	}
	return f, problems
}

// add takes one line; it never quotes it, because it may hold a password that
// somebody wrote in the clear.
func (f *hashFile) add(line string, n int, lines map[string]int) (column int, mistake string) {
	name, hash, ok := strings.Cut(line, ":")
	if !ok {
		return 1, "must be name:hash; gatewayd account hash writes such a line"
	}
	if first, twice := lines[name]; twice {
		return 1, fmt.Sprintf("the account stands on line %d already", first)
	}
	lines[name] = n
	if !isName(name) {
		return 1, fmt.Sprintf("an account name has 1 to %d printable characters and no space", maxName)
	}
	h, err := parsePHC(hash)
	if err != nil {
		return len(name) + 2, err.Error()
	}
	f.byName[name] = h
	f.decoys = append(f.decoys, h)
	return 0, ""
}

func isName(s string) bool {
	return s != "" && len(s) <= maxName && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == 0xfffd })
}

// Names lists the accounts, sorted.
func (a *Accounts) Names() []string {
	names := make([]string, 0, len(a.hashes.Load().byName))
	for name := range a.hashes.Load().byName {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Check reports whether the password is right. An unknown name costs the same
// work as a known one: it is checked against the hash of another account, the
// same one each time. At most four checks run at once; others wait. A success
// is remembered (as a keyed hash) until the file is read again, so that a mail
// system that logs in for every message does not pay each time.
func (a *Accounts) Check(name, password string) bool {
	f := a.hashes.Load()
	h, known := f.byName[name]
	if !known {
		h = a.decoyFor(f, name)
	}
	if len(password) > maxPassword {
		known, password = false, password[:maxPassword]
	}
	id := a.mac("cache", name, password, string(h.salt), string(h.sum))
	if known && a.remembered(id) {
		return true
	}
	a.slots <- struct{}{}
	right := h.matches(password)
	<-a.slots
	if !right || !known {
		return false
	}
	a.remember(id)
	return true
}

func (a *Accounts) decoyFor(f *hashFile, name string) phc {
	m := a.mac("decoy", name)
	return f.decoys[binary.BigEndian.Uint64(m[:8])%uint64(len(f.decoys))]
}

// mac hashes its parts, each with its length, under the secret of this process.
func (a *Accounts) mac(parts ...string) [32]byte {
	h := hmac.New(sha256.New, a.secret[:])
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p)))) //nolint:gosec // names and passwords are bounded
		h.Write([]byte(p))
	}
	return [32]byte(h.Sum(nil))
}

func (a *Accounts) remembered(id [32]byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.cached[id]
	return ok
}

func (a *Accounts) remember(id [32]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for old := range a.cached {
		if len(a.cached) < maxCached {
			break
		}
		delete(a.cached, old)
	}
	a.cached[id] = struct{}{}
}
