package retention

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/bits"
	"os"
	"runtime"
	"slices"
	"strings"
)

// maxLine bounds a line of a protocol: a folder may be a stranger's.
const maxLine = 1 << 20

// breath is after how many lines whoever waits for the processor gets it: lists are
// long, and mail comes in meanwhile.
const breath = 16

// tally is what a tail says about the lines before it.
type tally struct {
	digest  hash.Hash
	size    int64
	objects int
	bytes   int64
	skipped int
	failed  int
	sums    map[[2]string]*Sum // authority and class
	tree    merkle
}

func newTally() *tally { return &tally{digest: sha256.New(), sums: map[[2]string]*Sum{}} }

// head counts the first line. Lines come with the octet that ends them.
func (y *tally) head(line []byte) {
	y.digest.Write(line)
	y.size += int64(len(line))
}

// add counts the line of a message.
func (y *tally) add(line []byte, d Destroyed) {
	y.head(line)
	y.tree.add(line[:len(line)-1])
	y.objects, y.bytes = y.objects+1, y.bytes+d.Bytes
	if d.Failed != "" {
		y.failed++
	}
	if d.Skipped != "" {
		y.skipped++
	}
	k := [2]string{d.Authority, d.Class}
	s := y.sums[k]
	if s == nil {
		s = &Sum{Authority: d.Authority, Class: d.Class, Oldest: d.Start, Newest: d.Start}
		y.sums[k] = s
	}
	s.Count, s.Bytes, s.Oldest, s.Newest = s.Count+1, s.Bytes+d.Bytes, min(s.Oldest, d.Start), max(s.Newest, d.Start)
	if y.objects%breath == 0 {
		runtime.Gosched()
	}
}

// into writes the sums into a tail.
func (y *tally) into(t *Tail) {
	t.Objects, t.Bytes, t.Skipped, t.Failed, t.Sums = y.objects, y.bytes, y.skipped, y.failed, nil
	for _, s := range y.sums {
		t.Sums = append(t.Sums, *s)
	}
	slices.SortFunc(t.Sums, func(a, b Sum) int { return strings.Compare(a.Authority+"\x00"+a.Class, b.Authority+"\x00"+b.Class) })
	t.Root, t.Digest = y.tree.root(), hex.EncodeToString(y.digest.Sum(nil))
}

// tallyPart counts a part file that an earlier process has written. A last line
// that a crash came behind, or into, is left out: the list was on the disk before.
func tallyPart(path string) (*tally, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	y, first := newTally(), true
	err = eachLine(f, func(line []byte) error {
		if line[len(line)-1] != '\n' || bytes.HasPrefix(line, []byte(`{"finished"`)) {
			return nil
		}
		if first {
			first = false
			y.head(line)
			return checkForm(line)
		}
		var d Destroyed
		if err := json.Unmarshal(line, &d); err != nil || d.Object == "" {
			return errors.New("the list of a protocol is damaged")
		}
		y.add(line, d)
		return nil
	})
	if err == nil && first {
		err = errors.New("the list of a protocol has no head")
	}
	return y, err
}

// checkForm refuses the head of a protocol of another form.
func checkForm(head []byte) error {
	var h Head
	if err := json.Unmarshal(head, &h); err != nil {
		return fmt.Errorf("protocol: %w", err)
	}
	if h.Form != protocolForm {
		return fmt.Errorf("protocol of %s: it has form %d, this program knows form %d; use the program that wrote it", h.Run, max(h.Form, 1), protocolForm)
	}
	return nil
}

// eachLine calls fn with each line, with the octet that ends it; only the last one
// may lack it. fn must not keep the line.
func eachLine(r io.Reader, fn func(line []byte) error) error {
	lines := bufio.NewReaderSize(r, 64<<10)
	var long []byte
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			if long = append(long, line...); len(long) > maxLine {
				return errors.New("protocol: a line is too long")
			}
			continue
		}
		if len(long) > 0 {
			line, long = append(long, line...), long[:0]
		}
		if len(line) > 0 && (err == nil || errors.Is(err, io.EOF)) {
			if err := fn(line); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// merkle computes the tree hash of RFC 9162 section 2.1.1 over leaves that come one
// by one, holding one digest per level.
type merkle struct {
	n     uint64
	stack [][32]byte
}

func (m *merkle) add(leaf []byte) {
	m.stack = append(m.stack, sha256.Sum256(append([]byte{0}, leaf...)))
	m.n++
	for len(m.stack) > bits.OnesCount64(m.n) { // one subtree for each power of two in n
		m.stack = fold(m.stack)
	}
}

func fold(stack [][32]byte) [][32]byte {
	n := len(stack)
	node := append(append([]byte{1}, stack[n-2][:]...), stack[n-1][:]...)
	return append(stack[:n-2], sha256.Sum256(node))
}

// root returns the hash in hexadecimal; empty for no leaf. More may be added.
func (m *merkle) root() string {
	if m.n == 0 {
		return ""
	}
	stack := slices.Clone(m.stack)
	for len(stack) > 1 {
		stack = fold(stack)
	}
	return hex.EncodeToString(stack[0][:])
}
