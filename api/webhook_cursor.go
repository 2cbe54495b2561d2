package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
)

// cursorState is what a cursor file says.
type cursorState struct {
	After uint64 `json:"after"` // the last event that the receiver has
}

func cursorFile(dir, authority string) string {
	return filepath.Join(dir, url.PathEscape(authority)+".cursor")
}

// readCursor returns how far a receiver is; without a file: at the beginning.
func readCursor(path string) (uint64, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var s cursorState
	if err := json.Unmarshal(text, &s); err != nil {
		return 0, fmt.Errorf("%s cannot be read; without it every event is sent again", path)
	}
	return s.After, nil
}

// writeCursor replaces the file; it is durable when it returns.
func writeCursor(path string, after uint64) (err error) {
	text, err := json.Marshal(cursorState{after})
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".cursor-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
