package evidence

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gatewayd/calendar"
	"gatewayd/legal"
	"gatewayd/mail/parts"
	"gatewayd/message"
)

// Input is everything that a bundle is made of.
type Input struct {
	Now      time.Time
	Maker    Maker
	Name     string // of the authority, for people
	UID      string // of the authority; may be empty
	Clock    Clock
	Envelope message.Envelope
	Item     message.Item
	Case     legal.Case
	Events   []message.Event   // of the message; only seq, time and kind are taken
	Version  int               // counts the bundles of this case; the first is 1
	Previous Previous          // the one before; zero: there is none
	TLSOut   string            // of the connection over which it left
	Receipts []message.Receipt // of the item
	// Document returns a receipt's original.
	Document func(message.Receipt) ([]byte, error)
	// Status returns what an issuer said when a receipt came.
	Status func(message.Status) ([]byte, error)
	// Proof proves that a line stands in the audit log; nil octets: it cannot, its
	// day is not sealed yet or gone. nil: nobody proves.
	Proof func(seq uint64) ([]byte, error)
	// Message opens the content as it was accepted; nil: it was erased.
	Message func() (Body, error)
	// Roots are the anchors of the platforms' seals, for the signature report.
	Roots []*x509.CertPool
}

// Body is a message that can be read at any place.
type Body interface {
	io.ReaderAt
	Size() int64
	Close() error
}

// Bundle is a bundle that is complete, sealed and stamped, and not written yet.
// It holds what the gateway itself says; receipts and message are read once more
// when it is written.
type Bundle struct {
	Record   Record
	Manifest message.Digest // SHA-256 of the manifest
	Evidence message.Digest // SHA-256 of evidence.json: the next bundle of the case names it
	// Pending is why there is no time stamp yet; nil: there is one. Unstamped is the
	// seal that waits for it: Sealer.Stamped, and Complete afterwards.
	Pending   error
	Unstamped []byte
	now       time.Time
	files     []content
}

// content is one file of a bundle.
type content struct {
	name   string
	digest [32]byte
	text   []byte                        // what the gateway says itself, or …
	open   func() (io.ReadCloser, error) // … where it is read from
}

// Prepare makes the bundle of one delivery case. It reads everything once and
// asks the time-stamping authority once.
func Prepare(ctx context.Context, in Input, s Sealer) (*Bundle, error) {
	if s.Signer.Cert == nil || s.Stamp == nil {
		return nil, ErrNoSeal
	}
	b := &builder{now: in.Now.UTC().Truncate(time.Second), in: in, record: newRecord(in, s), seen: map[string][32]byte{}}
	for _, step := range []func() error{b.readme, b.receipts, b.message, b.proofs, b.documents, func() error { return b.seal(ctx, s) }} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("evidence of %s: %w", in.Item.Key, err)
		}
	}
	return &Bundle{Record: b.record, Manifest: b.manifest, Evidence: b.seen[FileEvidence], Pending: b.pending, Unstamped: b.unstamped, now: b.now, files: b.files}, nil
}

// Write writes the bundle as a ZIP; the same one gives the same octets each
// time. After an error what was written is worth nothing.
func (b *Bundle) Write(w io.Writer) error {
	z := zip.NewWriter(w)
	for _, c := range b.files {
		f, err := z.CreateHeader(&zip.FileHeader{Name: c.name, Method: zip.Deflate, Modified: b.now})
		if err == nil {
			err = c.copyTo(f)
		}
		if err != nil {
			return fmt.Errorf("evidence %s: %s: %w", b.Record.ID, c.name, err)
		}
	}
	return z.Close()
}

func (c content) copyTo(w io.Writer) error {
	if c.open == nil {
		_, err := w.Write(c.text)
		return err
	}
	r, err := c.open()
	if err != nil {
		return err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, h), r); err != nil {
		return err
	}
	return mismatch([32]byte(h.Sum(nil)) != c.digest, c.name)
}

func newRecord(in Input, s Sealer) Record {
	env, item, c := in.Envelope, in.Item, in.Case
	r := Record{
		Schema: Schema, Version: max(in.Version, 1), ID: newID(in.Now), Policy: PolicyID, Previous: in.Previous, Created: in.Now.UTC(), Gateway: in.Maker, Profile: string(c.Profile), Case: c, Note: noteGerman,
		Subject: Subject{
			Message: env.ID, Recipient: item.Key.N, Reference: item.Reference, MessageIDDigest: hexOf(env.MessageID), SentAsDigest: hexOf(item.SentAs),
			Platform: item.Decision.Via, Tracking: item.RemoteID, IdempotencyKey: hexOf(env.IdemKey),
		},
		Sender:    Sender{Authority: env.Authority, UID: in.UID, Name: in.Name, Address: env.From.String(), Account: env.Account},
		Recipient: Addressee{Address: item.Recipient.Address.String(), Addressee: c.Addressee},
		Content:   Content{Form: "hash only", SHA256: env.Content.Digest, Size: env.Content.Size, Body: env.Content.Body, Erased: item.Erased},
		Times:     Times{Zone: calendar.ZoneName, Accepted: env.Received, Handed: item.HandedAt, Platform: item.CaseAt, Clock: in.Clock},
		Route: Route{
			Class: item.Decision.Class, Name: item.Decision.Route, Via: item.Decision.Via, Mode: strings.TrimSpace(item.Decision.Tag),
			Came: env.Protocol, TLS: env.TLS, TLSOut: in.TLSOut, Reply: item.Reply, Because: item.Decision.Because,
		},
		Receipts: []Receipt{}, Seal: Seal{Certificate: describe(s.Signer.Cert), Quality: qualityOf(s.Signer.Cert, ownQuality)},
	}
	if !item.CaseAt.IsZero() {
		r.Times.Source = "Quittung der Plattform"
	}
	var last time.Time
	for _, e := range c.Trail {
		if e.Receipt != "" && e.Code != legal.CodeUnverified && e.Code != legal.CodeInvalid && !e.Platform.Before(last) {
			r.Event, last = e.Code, e.Platform
		}
	}
	for _, e := range in.Events {
		if e.Seq > 0 && (e.Item == 0 || e.Item == item.Key.N) {
			r.Chain = append(r.Chain, AuditEntry{Seq: e.Seq, At: e.At, Kind: e.Kind, Item: e.Item})
		}
	}
	return r
}

// builder is a bundle in the making.
type builder struct {
	now      time.Time
	in       Input
	record   Record
	report   SealReport
	files    []content
	seen     map[string][32]byte // for the manifest
	manifest message.Digest

	unstamped []byte // seal without a time stamp; nil: there is one
	pending   error  // why
}

// add takes in what the gateway says itself.
func (b *builder) add(name string, text []byte) {
	b.seen[name] = sha256.Sum256(text)
	b.files = append(b.files, content{name: name, digest: b.seen[name], text: text})
}

// keep takes in what is read again when the bundle is written.
func (b *builder) keep(name string, digest message.Digest, open func() (io.ReadCloser, error)) {
	b.seen[name] = digest
	b.files = append(b.files, content{name: name, digest: digest, open: open})
}

func (b *builder) addJSON(name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	b.add(name, append(text, '\n'))
	return nil
}

func (b *builder) readme() error {
	b.add(FileReadme, []byte(readmeText(b.record)))
	return nil
}

// receipts copies the originals, one at a time, and looks at their seals again.
func (b *builder) receipts() error {
	list := slices.Clone(b.in.Receipts)
	slices.SortStableFunc(list, func(x, y message.Receipt) int { return x.Received.Compare(y.Received) })
	for i, r := range list {
		out := Receipt{
			ID: r.ID, Kind: r.Kind, Code: b.codeOf(r), Platform: r.Platform, SHA256: r.Digest, MediaType: r.MediaType, PlatformAt: r.At, GatewayAt: r.Received,
			Verdict: r.Verdict, Detail: r.Detail, MatchedBy: r.MatchedBy, PlatformDT: r.Code, Fits: r.Fits, Mismatch: r.Mismatch,
			HashMatch: hashMatch(r),
		}
		if !r.Document.IsZero() {
			doc, err := b.in.Document(r)
			if err != nil {
				return fmt.Errorf("receipt %s: %w", r.ID, err)
			}
			out.File = fmt.Sprintf("%s%02d-%s%s", folderReceipts, i+1, r.Kind, extension(r))
			if sha256.Sum256(doc) != r.Digest {
				return mismatch(true, out.File)
			}
			b.keep(out.File, r.Digest, func() (io.ReadCloser, error) {
				doc, err := b.in.Document(r)
				return io.NopCloser(bytes.NewReader(doc)), err
			})
			report := examine(out.File, doc, b.in.Roots)
			out.takeSeal(report)
			if out.Status, err = b.statuses(r.Status, i+1, &report); err != nil {
				return fmt.Errorf("receipt %s: %w", r.ID, err)
			}
			b.report.Files = append(b.report.Files, report)
		}
		b.record.Receipts = append(b.record.Receipts, out)
	}
	return nil
}

// takeSeal says what the seal of a receipt is worth now.
func (r *Receipt) takeSeal(report FileReport) {
	for _, s := range report.Signatures {
		if !s.Whole || !s.Fits || s.Document || len(s.Chain) == 0 {
			continue
		}
		r.Certificate, r.Chain, r.SignatureOK = &s.Chain[0], s.Chain[1:], report.Verdict != message.Forged
		if s.StampedBy != nil || s.StampTrust != "" {
			ok := s.StampTrust == ""
			r.StampOK = &ok
		}
		if report.sealedBy != nil {
			r.SealQuality = qualityOf(report.sealedBy, noQuality)
		}
		return
	}
}

func hashMatch(r message.Receipt) string {
	switch {
	case r.Mismatch != "":
		return "no"
	case r.Fits != "":
		return "yes"
	}
	return "not_stated"
}

// statuses copies what issuers said of a receipt's certificates when it came.
func (b *builder) statuses(list []message.Status, n int, report *FileReport) ([]Status, error) {
	var out []Status
	for i, s := range list {
		text, err := b.in.Status(s)
		if err != nil {
			return nil, fmt.Errorf("what an issuer said: %w", err)
		}
		name := fmt.Sprintf("%s%02d-%d.%s", folderRevocation, n, i+1, s.Kind)
		b.add(name, text)
		report.Revocation = append(report.Revocation, name)
		out = append(out, Status{Kind: s.Kind, File: name, Certificate: s.Of.String(), Captured: s.At, Revoked: s.Revoked})
	}
	return out, nil
}

func mismatch(bad bool, name string) error {
	if !bad {
		return nil
	}
	return fmt.Errorf("%s is not what was received", name)
}

// codeOf is what the case says a receipt is evidence of.
func (b *builder) codeOf(r message.Receipt) legal.Code {
	for _, e := range b.in.Case.Trail {
		if e.Receipt == r.ID.String() {
			return e.Code
		}
	}
	return ""
}

// extension is that of the original's name, if it is a plain one.
func extension(r message.Receipt) string {
	ext := strings.ToLower(filepath.Ext(r.FileName))
	if len(ext) < 2 || len(ext) > 5 || strings.Trim(ext[1:], "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return ".bin"
	}
	return ext
}

// message copies the content, if it is still here.
func (b *builder) message() error {
	if b.in.Message == nil {
		return nil
	}
	body, err := b.in.Message()
	if err != nil {
		return err
	}
	defer body.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(body, 0, body.Size())); err != nil {
		return fmt.Errorf("%s: %w", FileMessage, err)
	}
	if message.Digest(h.Sum(nil)) != b.record.Content.SHA256 {
		return mismatch(true, FileMessage)
	}
	b.keep(FileMessage, b.record.Content.SHA256, func() (io.ReadCloser, error) {
		body, err := b.in.Message()
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.NewSectionReader(body, 0, body.Size()), body}, nil
	})
	b.record.Content.Form = FileMessage
	b.record.Content.Parts, err = Parts(body, body.Size())
	return err
}

// maxProofs bounds the proofs of one bundle: each reads a day of the log.
const maxProofs = 40

// proofs adds what proves the lines of the log that count.
func (b *builder) proofs() error {
	n := 0
	for i := range b.record.Chain {
		e := &b.record.Chain[i]
		switch e.Kind {
		case message.EventAccepted, message.EventDecided, message.EventHanded, message.EventReceipt, message.EventErased, message.EventHandedOver:
		default:
			continue
		}
		if b.in.Proof == nil || n == maxProofs {
			break
		}
		text, err := b.in.Proof(e.Seq)
		if err != nil {
			return fmt.Errorf("proof of line %d of the log: %w", e.Seq, err)
		}
		if text != nil {
			n++
			e.File = fmt.Sprintf("%s%d.json", folderAudit, e.Seq)
			b.add(e.File, text)
		}
	}
	return nil
}

// maxParts bounds the list of parts.
const maxParts = 1000

// Parts lists the leaves of a message with the digests of their decoded octets.
func Parts(r io.ReaderAt, size int64) ([]Part, error) {
	tree, err := parts.Read(r, size, parts.Limits{})
	if err != nil {
		return nil, err
	}
	var list []Part
	main := false
	for i := range tree.Parts {
		p := &tree.Parts[i]
		branch := i+1 < len(tree.Parts) && tree.Parts[i+1].Parent == i
		if branch || len(list) == maxParts {
			continue
		}
		h, h5 := sha256.New(), sha512.New()
		n, err := io.Copy(io.MultiWriter(h, h5), p.Decode(r))
		if err != nil {
			continue // what cannot be decoded has no digest of its own; the whole has
		}
		first := !main && p.Type == "application/pdf"
		main = main || first
		list = append(list, Part{N: i, Main: first, Name: p.FileName, Type: p.Type, Size: n, SHA256: hex.EncodeToString(h.Sum(nil)), SHA512: hex.EncodeToString(h5.Sum(nil))})
	}
	return list, nil
}

// documents writes what the gateway itself says.
func (b *builder) documents() error {
	if err := b.addJSON(FileEvidence, b.record); err != nil {
		return err
	}
	if err := b.addJSON(FileReports, b.report); err != nil {
		return err
	}
	pdf, err := timelinePDF(b.record, b.now)
	if err != nil {
		return err
	}
	b.add(FileTimeline, pdf)
	return nil
}

// seal writes the manifest, its signature, and the stamp into the signature. An
// authority that does not answer leaves the bundle without a stamp; only a caller
// who has gone is an error.
func (b *builder) seal(ctx context.Context, s Sealer) error {
	manifest := formatManifest(b.seen)
	seal, err := s.sign(manifest, b.now)
	if err != nil {
		return err
	}
	b.manifest = sha256.Sum256(manifest)
	b.add(FileManifest, manifest)
	stamped, err := s.Stamped(ctx, seal)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("time stamp: %w", ctx.Err())
	case err != nil:
		b.unstamped, b.pending = seal, err
		b.add(FileSeal, seal)
		return nil
	}
	beside, err := copyOf(stamped)
	if err != nil {
		return err
	}
	b.add(FileSeal, stamped)
	b.add(FileStamp, beside)
	return nil
}
