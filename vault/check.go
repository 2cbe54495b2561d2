package vault

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"gatewayd/crypto/seal"
)

// Check reads everything and reports each problem as a line for a person, with
// its place and without content: bad stretches, changed records, bodies that do
// not open, body files that no record names. What was erased is no problem. The
// error is for Check itself. It may run while the vault is in use.
func (v *Vault) Check(fn func(problem string)) error {
	files, err := v.files(bodyExt) // first: what is there now was named before
	if err != nil {
		return fmt.Errorf("check vault: %w", err)
	}
	all, err := v.segments()
	if err != nil {
		return fmt.Errorf("check vault: %w", err)
	}
	c := &checker{v: v, limits: v.limits(), named: map[dayFile]bool{}, fn: fn}
	for _, s := range all {
		if err := c.segment(s); err != nil {
			return fmt.Errorf("check segment %s/%x: %w", s.day, s.num, err)
		}
	}
	for _, f := range files {
		if !c.named[f] {
			fn(fmt.Sprintf("vault %s: body file %s is named by no record", f.day, f.name))
		}
	}
	return nil
}

type checker struct {
	v      *Vault
	limits map[uint64]int64
	named  map[dayFile]bool
	fn     func(string)
}

func (c *checker) segment(s segFile) error {
	c.v.dropping.RLock()
	defer c.v.dropping.RUnlock()
	file, err := os.Open(c.v.path(s))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // erased meanwhile
	}
	if err != nil {
		return err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return err
	}
	size := st.Size()
	if limit, ok := c.limits[s.num]; ok {
		size = min(size, limit)
	}
	end, err := scan(file, s.num, 0, size, func(x found) error {
		if x.bad {
			c.problem(s, x.from, fmt.Sprintf("%d octets are no record", x.to-x.from))
			return nil
		}
		return c.frame(file, s, &x)
	})
	if err == nil && end < size {
		c.problem(s, end, fmt.Sprintf("%d octets at the end are no record", size-end))
	}
	return err
}

func (c *checker) problem(s segFile, off int64, text string) {
	c.fn(fmt.Sprintf("vault %s: segment %x at %d: %s", s.day, s.num, off, text))
}

func (c *checker) frame(file *os.File, s segFile, x *found) error {
	f := &x.frame
	if f.kind == kindGone && f.inFile { // the file goes as well
		c.named[dayFile{s.day, f.id.String() + bodyExt}] = true
	}
	if f.kind != kindAccept && f.kind != kindBlob {
		return nil
	}
	if f.kind == kindAccept {
		if _, err := c.v.openMeta(x); err != nil && !errors.Is(err, seal.ErrDestroyed) {
			c.problem(s, f.offset, "record: "+err.Error())
		}
	}
	if f.inFile {
		c.named[dayFile{s.day, f.id.String() + bodyExt}] = true
	}
	if err := c.body(file, s, f); err != nil && !errors.Is(err, ErrGone) {
		c.problem(s, f.offset, "body: "+err.Error())
	}
	return nil
}

func (c *checker) body(file *os.File, s segFile, f *frame) error {
	r, err := c.v.openFrame(file, s.day, f)
	if err != nil {
		return err
	}
	if f.inFile {
		defer r.Close()
	}
	_, err = io.Copy(io.Discard, r.Reader)
	return err
}
