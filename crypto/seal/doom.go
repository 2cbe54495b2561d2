package seal

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const doomExt = ".doomed"

// errDoomed is ErrDestroyed for every reader: a doomed key only waits for its end.
var errDoomed = fmt.Errorf("key is doomed: %w", ErrDestroyed)

// Doom makes the key of that family and day refuse from now on (ErrDestroyed),
// durably, without destroying it: that follows when the clock has proven steady,
// and Spare takes it back until then. A key that is doomed keeps its first time.
func (k *Keyring) Doom(f Family, day string, at time.Time) error {
	name, err := keyName(f, day)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, doomed := k.doomed[name]; doomed {
		return nil
	}
	err = k.create(name+doomExt, []byte(at.UTC().Format(time.RFC3339Nano)+"\n"))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("doom key %s: %w", name, err)
	}
	delete(k.aeads, dayKey{f, day})
	k.doomed[name] = at
	return nil
}

// Spare takes a doom back: the clock that had called for it was wrong.
func (k *Keyring) Spare(f Family, day string) error {
	name, err := keyName(f, day)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.spare(name)
}

func (k *Keyring) spare(name string) error {
	delete(k.doomed, name)
	err := os.Remove(filepath.Join(k.dir, name+doomExt))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("spare key %s: %w", name, err)
	}
	return syncDir(k.dir)
}

// Doomed tells since when the key of that family and day refuses; false: it does not.
func (k *Keyring) Doomed(f Family, day string) (time.Time, bool) {
	name, err := keyName(f, day)
	if err != nil {
		return time.Time{}, false
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	at, ok := k.doomed[name]
	return at, ok
}

// Exists reports whether the key of that family and day lies in the folder,
// doomed or not.
func (k *Keyring) Exists(f Family, day string) bool {
	name, err := keyName(f, day)
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(k.dir, name+keyExt))
	return err == nil
}

// readDoomed finds the doomed keys. One whose key was destroyed just before a
// crash loses its mark.
func (k *Keyring) readDoomed() error {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), doomExt)
		if !ok {
			continue
		}
		if _, err := os.Stat(filepath.Join(k.dir, name+keyExt)); errors.Is(err, fs.ErrNotExist) {
			if err := k.spare(name); err != nil {
				return err
			}
			continue
		}
		text, err := os.ReadFile(filepath.Join(k.dir, e.Name()))
		if err != nil {
			return fmt.Errorf("keyring: %w", err)
		}
		at, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(string(text)))
		if err != nil {
			return fmt.Errorf("keyring: mark %s is damaged: remove it if the key shall be used again: %w", e.Name(), ErrCorrupt)
		}
		k.doomed[name] = at
	}
	return nil
}

// SigningKey returns the gateway's own Ed25519 key, with which it signs the seals
// of day files and the protocols of destruction. It is made on first use,
// durably, and wrapped by the master key.
func (k *Keyring) SigningKey() (ed25519.PrivateKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	seed, err := k.load("signing", true)
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// Gone returns the days of that family whose key was destroyed, ascending: their
// tombstones lie in the folder. A tombstone stays for ever.
func (k *Keyring) Gone(f Family) ([]string, error) {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	var days []string
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), goneExt)
		if day, is := strings.CutPrefix(name, string(f)+"-"); ok && is && ValidDay(day) {
			days = append(days, day)
		}
	}
	return days, nil // os.ReadDir sorts
}

// Destroyed reports whether the key of that family and day was destroyed: its
// tombstone lies in the folder.
func (k *Keyring) Destroyed(f Family, day string) bool {
	name, err := keyName(f, day)
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(k.dir, name+goneExt))
	return err == nil
}
