package vault

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash"
	"os"
	"path/filepath"

	"gatewayd/crypto/seal"
	"gatewayd/message"
)

// Body is a message body on its way into the vault. It is sealed while it is
// written; it waits in memory up to Options.LargeBody, as long as all bodies
// together stay within Options.Memory, and in a file of its own beyond. One
// goroutine at a time may use it.
type Body struct {
	v       *Vault
	day     string
	family  seal.Family
	wrap    cipher.AEAD
	id      frameID
	key     [32]byte
	hash    hash.Hash
	sealer  *seal.Writer
	mem     []byte   // sealed octets, while there is no file
	file    *os.File // open for writing
	path    string   // of the file, without extension; "" while there is none
	sealed  int64    // sealed octets
	content message.Content
	state   bodyState
	err     error // sticky
}

type bodyState int

const (
	bodyOpen bodyState = iota
	bodyFinished
	bodyStored
	bodyAborted
)

// NewBody starts a body that must be gone by the end of eraseDay ("2027-01-23").
// It fails with seal.ErrDestroyed when that day's content key is gone already.
func (v *Vault) NewBody(eraseDay string) (*Body, error) { return v.newBody(seal.Content, eraseDay) }

func (v *Vault) newBody(family seal.Family, day string) (*Body, error) {
	v.mu.Lock()
	closed := v.closed
	v.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	wrap, err := v.o.Keys.AEAD(family, day)
	if err != nil {
		return nil, diskError("new body", err)
	}
	b := &Body{v: v, day: day, family: family, wrap: wrap, hash: sha256.New()}
	rand.Read(b.id[:])
	rand.Read(b.key[:])
	b.sealer, err = seal.NewWriter(sink{b}, b.key)
	return b, err
}

// Write implements io.Writer. After an error the body is lost: ErrFull, or
// another error of the disk.
func (b *Body) Write(p []byte) (int, error) {
	if b.state != bodyOpen {
		return 0, ErrUsed
	}
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.sealer.Write(p)
	b.hash.Write(p[:n])
	b.content.Size += int64(n)
	b.err = err
	return n, err
}

// sink takes the sealed octets of a body.
type sink struct{ b *Body }

// Write implements io.Writer.
func (s sink) Write(p []byte) (int, error) {
	b := s.b
	if b.file == nil && int64(len(b.mem)+len(p)) < b.v.o.LargeBody && b.v.reserve(len(p)) {
		b.mem = append(b.mem, p...)
		b.sealed += int64(len(p))
		return len(p), nil
	}
	if b.file == nil {
		if err := b.spill(); err != nil {
			return 0, diskError("body file", err)
		}
	}
	if err := b.v.disk.writeAt(b.file, p, b.sealed); err != nil {
		return 0, diskError("body file", err)
	}
	b.sealed += int64(len(p))
	return len(p), nil
}

// reserve takes octets of the memory that all bodies share, if there are any
// left.
func (v *Vault) reserve(n int) bool {
	if v.inMemory.Add(int64(n)) <= v.o.Memory {
		return true
	}
	v.inMemory.Add(-int64(n))
	return false
}

// release gives the body's memory back.
func (b *Body) release() {
	b.v.inMemory.Add(-int64(len(b.mem)))
	b.mem = nil
}

// spill opens the body's own file and moves there what is in memory.
func (b *Body) spill() error {
	dir, err := b.v.dayDir(b.day)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, b.id.String())
	f, err := b.v.disk.create(path + partExt)
	if err != nil {
		return err
	}
	b.file, b.path = f, path
	if len(b.mem) > 0 {
		if err := b.v.disk.writeAt(f, b.mem, 0); err != nil {
			return err
		}
	}
	b.release()
	return nil
}

// Finish ends the body and returns what came in. A body in its own file is
// durable then; every body is unreachable until a record names it.
func (b *Body) Finish() (message.Content, error) {
	if b.state == bodyFinished {
		return b.content, nil
	}
	if b.state != bodyOpen {
		return message.Content{}, ErrUsed
	}
	if b.err == nil {
		b.err = b.sealer.Close()
	}
	if b.err == nil && b.file != nil {
		b.err = b.syncFile()
	}
	if b.err != nil {
		return message.Content{}, b.err
	}
	b.hash.Sum(b.content.Digest[:0])
	b.sealer, b.state = nil, bodyFinished
	return b.content, nil
}

// syncFile forces the body file and its name to the disk.
func (b *Body) syncFile() error {
	err := b.v.disk.sync(b.file)
	if e := b.file.Close(); err == nil {
		err = e
	}
	b.file = nil
	if err == nil {
		err = b.v.disk.syncDir(filepath.Dir(b.path))
	}
	if err != nil {
		return diskError("body file", err)
	}
	return nil
}

// Abort drops a body that no record named. After a successful Accept it does
// nothing, so that `defer body.Abort()` is right everywhere.
func (b *Body) Abort() {
	if b.state == bodyStored || b.state == bodyAborted {
		return
	}
	if b.file != nil {
		b.file.Close()
		b.file = nil
	}
	if b.path != "" {
		os.Remove(b.path + partExt)
	}
	b.release()
	b.state, b.sealer = bodyAborted, nil
}

// Record is one accepted message.
type Record struct {
	Meta   []byte // what Replay gives back; sealed under the log key of LogDay
	LogDay string // "2027-05-23"
	Body   *Body  // finished

	// Committed, if not nil, is called in the order of its segment, when the
	// record is durable and before Accept returns. It must not block.
	Committed func(message.Ref)
}

// Accept writes one record into the journal, together with everybody else who
// waits, and returns when it is durable. An error means that nothing was stored,
// ErrFull that there is no room. ctx is heeded until the record is handed to the
// writer; after that its outcome is awaited.
func (v *Vault) Accept(ctx context.Context, rec Record) (message.Ref, error) {
	if err := ctx.Err(); err != nil {
		return message.Ref{}, err
	}
	b := rec.Body
	if b == nil || b.v != v || b.state != bodyFinished {
		return message.Ref{}, fmt.Errorf("accept: %w", ErrUsed)
	}
	if len(rec.Meta) > maxMeta-seal.Overhead {
		return message.Ref{}, fmt.Errorf("accept: meta of %d octets is too large", len(rec.Meta))
	}
	log, err := v.o.Keys.AEAD(seal.Log, rec.LogDay)
	if err != nil {
		return message.Ref{}, diskError("accept", err)
	}
	r := b.request(kindAccept)
	r.committed = rec.Committed
	r.meta = seal.SealRecord(log, rec.Meta, metaAAD(b.id))
	r.frame.metaLen, r.frame.logDay = int64(len(r.meta)), rec.LogDay
	return b.store(r)
}

// PutBlob stores a body that a ledger commit will name: a receipt's document, a
// notice. It is durable when PutBlob returns, and never replayed. The day is the
// erase-by day, the family says under which of its keys.
func (v *Vault) PutBlob(ctx context.Context, fam seal.Family, day string, data []byte) (message.Ref, error) {
	if err := ctx.Err(); err != nil {
		return message.Ref{}, err
	}
	b, err := v.newBody(fam, day)
	if err != nil {
		return message.Ref{}, err
	}
	defer b.Abort()
	if _, err := b.Write(data); err != nil {
		return message.Ref{}, err
	}
	if _, err := b.Finish(); err != nil {
		return message.Ref{}, err
	}
	return b.store(b.request(kindBlob))
}

// request makes the frame that names the body.
func (b *Body) request(k kind) *request {
	return &request{
		day: b.day, body: b.mem, part: b.path,
		frame: frame{
			kind: k, family: b.family, inFile: b.path != "", bodyLen: b.sealed, bodySum: sum(b.mem),
			slot: wrapKey(b.wrap, b.key, b.id), id: b.id,
		},
	}
}

func (b *Body) store(r *request) (message.Ref, error) {
	r.frame.sumMeta(r.meta)
	if err := b.v.submit(r); err != nil {
		return message.Ref{}, err
	}
	b.release()
	b.state = bodyStored
	return r.ref, nil
}
