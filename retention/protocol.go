package retention

import (
	"bufio"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The protocol of destruction (Vernichtungsprotokoll, law.md section 6): one file
// per destroyed day key, JSON lines: a Head, one Destroyed per message, a Tail with
// the sums, the evidence, the hash of all lines before it, and the signature over
// itself. It holds no content, subject or address. Each names the hash of the one
// before. Whoever writes or reads one holds a line of it, however long its list is.

// protocolForm is the version of that form. In form 1, which had no number, the
// signature was over all the lines, which had to be in memory for it.
const protocolForm = 2

// protocolLabel keeps the signature of a protocol apart from every other one of
// that key: it stands before the last line, without the signature.
const protocolLabel = "gatewayd protocol of destruction 2\x00"

// Head opens a protocol.
type Head struct {
	Form       int       `json:"form"` // protocolForm
	Run        string    `json:"run"`
	Profile    string    `json:"profile"` // "bl-egov"
	Family     Family    `json:"family"`
	Day        string    `json:"day"`
	Rule       string    `json:"rule"`
	LegalBasis string    `json:"legal_basis"`
	CutOff     time.Time `json:"cut_off"`
	Started    time.Time `json:"started"`
	Local      string    `json:"started_local"` // Europe/Zurich
	Software   string    `json:"software,omitempty"`
	Config     string    `json:"config,omitempty"`      // hash of the configuration
	RunKeyDay  string    `json:"run_key_day,omitempty"` // the run key is sealed under this log day's key and dies with it
	RunKey     []byte    `json:"run_key,omitempty"`
	Rows       Rows      `json:"rows,omitzero"` // log: what the ledger held
	Residual   []string  `json:"residual_risks"`
}

// Destroyed is one message in a protocol.
type Destroyed struct {
	Object      string `json:"object"` // HMAC-SHA-256 under the run key
	Authority   string `json:"authority,omitempty"`
	Class       string `json:"class,omitempty"`
	Bytes       int64  `json:"bytes"`
	Start       string `json:"start"` // day
	SHA256      string `json:"sha256"`
	Disposition string `json:"disposition"`
	// DispositionRef is the reference of the file, accession or agreement: a code
	// that names nobody (message.Filing.Check).
	DispositionRef string `json:"disposition_ref,omitempty"`
	Method         string `json:"method"`
	Failed         string `json:"failed,omitempty"`  // what could not be done before, e.g. the export
	Skipped        string `json:"skipped,omitempty"` // why no disposition was needed
}

// Sum is the total of one authority and class.
type Sum struct {
	Authority string `json:"authority"`
	Class     string `json:"class"`
	Count     int    `json:"count"`
	Bytes     int64  `json:"bytes"`
	Oldest    string `json:"oldest"`
	Newest    string `json:"newest"`
}

// Tail closes a protocol.
type Tail struct {
	Finished  time.Time `json:"finished"`
	Late      *Late     `json:"late,omitempty"` // it went after its limit, and why
	Objects   int       `json:"objects"`
	Bytes     int64     `json:"bytes"`
	Sums      []Sum     `json:"sums,omitempty"`
	Skipped   int       `json:"skipped"`
	Failed    int       `json:"failed"`
	Key       Evidence  `json:"key"`
	Folder    Folder    `json:"folder"`
	Audit     []string  `json:"audit_days,omitempty"`      // log: day files erased; their seals stay
	Compacted bool      `json:"ledger_rewritten"`          // log: without the pages freed; else they hold only what destroyed keys sealed, until half of the file is free
	Backups   string    `json:"backups"`                   // which copies are affected
	Released  string    `json:"released_by"`               // "automatic"; a half-yearly run of profile bs-bwpv: both persons
	Root      string    `json:"merkle_root,omitempty"`     // over the lines of the list (RFC 9162 section 2.1.1); empty list: left out
	Previous  string    `json:"previous,omitempty"`        // file name of the protocol before
	PrevHash  string    `json:"previous_sha256,omitempty"` // of its bytes
	Digest    string    `json:"sha256"`                    // of all lines before
	PublicKey []byte    `json:"public_key"`                // Ed25519
	Signature []byte    `json:"signature,omitempty"`       // over protocolLabel and this line without it

	list *tally // of the lines before, while the protocol is made; nil: not known
}

// Evidence tells how the key was destroyed.
type Evidence struct {
	Method   string    `json:"method"`
	DoomedAt time.Time `json:"doomed_at,omitzero"` // reads refused from here on
	Gone     bool      `json:"gone"`               // asked for again afterwards: it answers that it was destroyed
}

// Folder tells what was unlinked.
type Folder struct {
	Records  int   `json:"records"`
	Segments int   `json:"segments"`
	Kept     int   `json:"kept_for_the_other_family"`
	Bytes    int64 `json:"bytes"`
}

// Rows is what the ledger held under one log day.
type Rows struct {
	Messages int `json:"messages"`
	Items    int `json:"items"`
	Receipts int `json:"receipts"`
}

const (
	protocolExt = ".jsonl"
	partExt     = ".part"
	backupsHit  = "every copy of vault and ledger made before: they are sealed under keys that are destroyed, where the keys folder is mirrored as it is now"
	keyMethod   = "key file overwritten in place, forced to the disk, renamed to a tombstone"
)

// residualRisks are named in every protocol: what software cannot rule out.
func residualRisks() []string {
	return []string{
		"blocks of the key file that an SSD or a copy-on-write file system has moved may survive until the medium overwrites them",
		"a snapshot or backup of the keys folder made before, together with the master key and a backup of the data folder, would still open it: keys must be mirrored as they are now, never kept as a history",
		"unlinked data remain on the medium as ciphertext without a key",
		"what was exported is encrypted to the authority's own key and is the authority's",
		"only a key that never leaves an HSM supports a stronger claim",
	}
}

// protocol is one under construction: the part file.
type protocol struct {
	path string // without extension
	key  hash.Hash
	file *os.File
	buf  *bufio.Writer
	list *tally
}

// create starts a part file with its head.
func createProtocol(dir string, h Head, runKey []byte) (*protocol, error) {
	path := filepath.Join(dir, partName(h.Family, h.Day))
	f, err := os.OpenFile(path+partExt, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	p := &protocol{path: path, key: hmac.New(sha256.New, runKey), file: f, buf: bufio.NewWriterSize(f, 64<<10), list: newTally()}
	h.Form = protocolForm
	line, err := p.line(h)
	p.list.head(line)
	return p, err
}

func (p *protocol) line(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	text = append(text, '\n')
	_, err = p.buf.Write(text)
	return text, err
}

// add writes one message.
func (p *protocol) add(o Object, d Destroyed) error {
	p.key.Reset()
	p.key.Write([]byte(o.ID))
	d.Object = hex.EncodeToString(p.key.Sum(nil))
	line, err := p.line(d)
	if err == nil {
		p.list.add(line, d)
	}
	return err
}

// sync ends the list: it is on the disk before anything is destroyed.
func (p *protocol) sync() error {
	err := p.buf.Flush()
	if err == nil {
		err = p.file.Sync()
	}
	if e := p.file.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = syncDir(filepath.Dir(p.path))
	}
	return err
}

// sealProtocol appends the tail to a part file, signs it, and gives it its name.
func sealProtocol(path string, t Tail, key ed25519.PrivateKey) (err error) {
	if t.list == nil {
		if t.list, err = tallyPart(path + partExt); err != nil {
			return err
		}
	}
	t.list.into(&t)
	dir := filepath.Dir(path)
	n := 0
	if t.Previous, t.PrevHash, n, err = lastProtocol(dir); err != nil {
		return err
	}
	t.PublicKey = key.Public().(ed25519.PublicKey)
	bare, err := t.signed()
	if err != nil {
		return err
	}
	t.Signature = ed25519.Sign(key, bare)
	line, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := endPart(path+partExt, t.list.size, append(line, '\n')); err != nil {
		return err
	}
	if err := os.Rename(path+partExt, filepath.Join(dir, fmt.Sprintf("%08d-%s%s", n+1, filepath.Base(path), protocolExt))); err != nil {
		return err
	}
	return syncDir(dir)
}

// signed returns what the signature is over.
func (t Tail) signed() ([]byte, error) {
	t.Signature = nil
	bare, err := json.Marshal(t)
	return append([]byte(protocolLabel), bare...), err
}

// endPart writes the last line behind the list, whatever a crash has left there.
func endPart(path string, size int64, tail []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return err
	}
	if _, err := f.WriteAt(tail, size); err != nil {
		return err
	}
	return f.Sync()
}

// protocols lists the files with that extension, oldest first, without it.
func protocols(dir, ext string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ext); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

// lastProtocol returns name, hash and number of the newest one.
func lastProtocol(dir string) (name, hash string, n int, err error) {
	all, err := protocols(dir, protocolExt)
	if err != nil || len(all) == 0 {
		return "", "", 0, err
	}
	name = all[len(all)-1]
	number, _, _ := strings.Cut(name, "-")
	if n, err = strconv.Atoi(number); err != nil {
		return "", "", 0, fmt.Errorf("protocol %s: its name has no number", name)
	}
	f, err := os.Open(filepath.Join(dir, name+protocolExt))
	if err != nil {
		return "", "", 0, err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", "", 0, err
	}
	return name + protocolExt, hex.EncodeToString(sum.Sum(nil)), n, nil
}

func newRunKey() []byte {
	key := make([]byte, 32)
	rand.Read(key)
	return key
}

func partName(f Family, day string) string { return string(f) + "-" + day }
