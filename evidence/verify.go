package evidence

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"

	"gatewayd/message"
)

// Verdicts on a bundle.
const (
	Accepted       = "accepted"        // complete, unchanged, sealed and stamped under the anchors
	Unstamped      = "unstamped"       // complete, unchanged and sealed under the anchors; nothing proves when
	SelfConsistent = "self_consistent" // complete and unchanged in itself; nobody vouches for who made it, or when
	Refused        = "refused"
)

// Options say whom to trust.
type Options struct {
	Roots  *x509.CertPool // anchors of the seal, the time-stamping authority and the platforms; nil: none
	Signer *regexp.Regexp // what the subject of the seal's certificate must fit; nil: anything
}

// Problem says what speaks against a bundle.
type Problem struct {
	File string `json:"file"`
	Text string `json:"problem"`
}

// Result is what became of the verification of a bundle.
type Result struct {
	Verdict  string       `json:"verdict"`
	Problems []Problem    `json:"problems,omitempty"`
	Files    int          `json:"files"`            // that the manifest covers
	Signer   *Certificate `json:"signer,omitempty"` // of the seal; claimed unless the bundle is accepted
	Stamped  time.Time    `json:"stamped,omitzero"` // by the time-stamping authority
	// Unstamped: there is no time stamp at all, as while the authority could not be
	// reached. The time is the gateway's own word then.
	Unstamped bool         `json:"no_time_proof,omitempty"`
	TSA       *Certificate `json:"time_stamping_authority,omitempty"`
	Content   string       `json:"content,omitempty"` // whether the message itself was there to be checked
	Receipts  []FileReport `json:"receipts,omitempty"`
	Record    *Record      `json:"evidence,omitempty"` // nil if it could not be read

	evidence message.Digest // of evidence.json
}

// Follows reports why a bundle is not the one that was made after another of the
// same delivery case; both are as Verify has judged them.
func (r Result) Follows(before Result) error {
	switch {
	case r.Record == nil || before.Record == nil || r.Verdict == Refused || before.Verdict == Refused:
		return errors.New("one of the two bundles is refused by itself")
	case r.Record.Previous.ID != before.Record.ID:
		return fmt.Errorf("it supersedes bundle %.40q, and the other one is %.40q", r.Record.Previous.ID, before.Record.ID)
	case r.Record.Previous.Evidence != before.evidence:
		return errors.New("the other bundle is not what it was when this one was made: another " + FileEvidence)
	}
	return nil
}

// Verify reads the bundle at path, a folder or a ZIP, offline. An error means
// that it is none; everything else is in the Result.
func Verify(path string, o Options) (Result, error) {
	src, err := openSource(path)
	if err != nil {
		return Result{}, fmt.Errorf("evidence bundle %s: %w", path, err)
	}
	defer src.close()
	v := &verifier{src: src, o: o}
	v.result.Problems = src.problems
	v.run()
	switch {
	case len(v.result.Problems) > 0:
		v.result.Verdict = Refused
	case o.Roots == nil:
		v.result.Verdict = SelfConsistent
	case v.result.Unstamped:
		v.result.Verdict = Unstamped
	default:
		v.result.Verdict = Accepted
	}
	return v.result, nil
}

type verifier struct {
	src    *source
	o      Options
	result Result
}

func (v *verifier) refuse(name, format string, args ...any) {
	v.result.Problems = append(v.result.Problems, Problem{shown(name), fmt.Sprintf(format, args...)})
}

// read returns a file of the gateway's own making; false after a problem.
func (v *verifier) read(name string) ([]byte, bool) {
	var b bytes.Buffer
	err := v.src.copyTo(&b, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.refuse(name, "missing")
	case err != nil:
		v.refuse(name, "cannot be read: %v", err)
	}
	return b.Bytes(), err == nil
}

// maybe is read for a file that need not be there.
func (v *verifier) maybe(name string) (text []byte, here bool) {
	if _, here = v.src.files[name]; !here {
		return nil, false
	}
	return v.read(name)
}

func (v *verifier) run() {
	manifest, ok := v.read(FileManifest)
	signature, okSignature := v.read(FileSeal)
	if ok && okSignature {
		v.seal(manifest, signature)
	}
	if !ok {
		return
	}
	digests, err := parseManifest(manifest)
	if err != nil {
		v.refuse(FileManifest, "%v", err)
		return
	}
	v.result.Files = len(digests)
	v.digests(digests)
	v.record(digests)
}

// digests compares every file with the manifest, both ways.
func (v *verifier) digests(want map[string][32]byte) {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		h := sha256.New()
		switch err := v.src.copyTo(h, name); {
		case errors.Is(err, fs.ErrNotExist):
			v.refuse(name, "missing")
		case err != nil:
			v.refuse(name, "cannot be read: %v", err)
		case [32]byte(h.Sum(nil)) != want[name]:
			v.refuse(name, "was changed: its SHA-256 is not the one in %s", FileManifest)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.src.files)) {
		if _, ok := want[name]; !ok && !slices.Contains(unsealed(), name) {
			v.refuse(name, "is not in %s: it does not belong to the bundle", FileManifest)
		}
	}
}

// record reads evidence.json, compares it with the files, and looks at the
// receipts' own seals.
func (v *verifier) record(digests map[string][32]byte) {
	text, ok := v.read(FileEvidence)
	if !ok {
		return
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil || r.Schema != Schema && r.Schema != firstSchema {
		v.refuse(FileEvidence, "is not in the form %s: %v", Schema, err)
		return
	}
	v.result.Record, v.result.evidence = &r, sha256.Sum256(text)
	switch sum, here := digests[FileMessage]; {
	case here && message.Digest(sum) != r.Content.SHA256:
		v.refuse(FileMessage, "is not the message that %s speaks of", FileEvidence)
	case here:
		v.result.Content = "the message is in the bundle, unchanged"
	case r.Content.Form == FileMessage:
		v.refuse(FileMessage, "missing: %s says that it is here", FileEvidence)
	default:
		v.result.Content = "only the hash of the message is in the bundle: sha256 " + r.Content.SHA256.String()
	}
	named := map[string]bool{}
	for _, e := range r.Chain {
		if _, here := digests[e.File]; e.File != "" && !here {
			v.refuse(e.File, "missing: %s says that it is here", FileEvidence)
		}
	}
	for _, rc := range r.Receipts {
		if rc.File != "" {
			named[rc.File] = true
			for _, s := range rc.Status {
				named[s.File] = true
			}
			v.receipt(rc, digests)
		}
	}
	for _, e := range r.Chain {
		named[e.File] = true
	}
	for _, name := range slices.Sorted(maps.Keys(digests)) {
		if strings.Contains(name, "/") && !named[name] {
			v.refuse(name, "%s does not speak of it", FileEvidence)
		}
	}
}

func (v *verifier) receipt(rc Receipt, digests map[string][32]byte) {
	if message.Digest(digests[rc.File]) != rc.SHA256 {
		v.refuse(rc.File, "is not the document that %s speaks of", FileEvidence)
		return
	}
	doc, ok := v.read(rc.File)
	if !ok {
		return
	}
	var roots []*x509.CertPool
	if v.o.Roots != nil {
		roots = append(roots, v.o.Roots)
	}
	report := examine(rc.File, doc, roots)
	v.result.Receipts = append(v.result.Receipts, report)
	switch {
	case rc.Verdict != message.Verified:
		// It came as one that proves nothing, and is here for the record.
	case report.Verdict == message.Forged:
		v.refuse(rc.File, "the platform's seal is broken: %s", report.Detail)
	case v.o.Roots != nil && report.Verdict != message.Verified:
		v.refuse(rc.File, "the platform's seal cannot be verified with these anchors: %s", report.Detail)
	default:
		for _, s := range rc.Status {
			v.status(s, rc, report.chain)
		}
	}
}

// status checks that an issuer's answer is about a certificate of the receipt's
// seal, by its issuer, of the time when the receipt came, and that it does not
// speak against the receipt. Without anchors there is no chain to look at.
func (v *verifier) status(s Status, rc Receipt, chain []*x509.Certificate) {
	text, ok := v.read(s.File)
	if !ok || v.o.Roots == nil {
		return
	}
	for i := range len(chain) - 1 {
		c, issuer := chain[i], chain[i+1]
		if describe(c).SHA256 != s.Certificate {
			continue
		}
		revoked, err := readStatus(s.Kind, text, c, issuer)
		switch {
		case err != nil:
			v.refuse(s.File, "is no answer of the issuer: %v", err)
		case !revoked.IsZero() && !revoked.After(rc.PlatformAt):
			v.refuse(rc.File, "its seal's certificate was revoked on %s (%s)", revoked.Format(time.RFC3339), s.File)
		}
		return
	}
	v.refuse(s.File, "is about no certificate of the seal of %s", rc.File)
}

// readStatus reads an OCSP answer (RFC 6960) or a list (RFC 5280): since when the
// certificate is revoked, or zero.
func readStatus(kind string, text []byte, c, issuer *x509.Certificate) (time.Time, error) {
	if kind == "ocsp" {
		a, err := ocsp.ParseResponseForCert(text, c, issuer)
		switch {
		case err != nil:
			return time.Time{}, err
		case a.Certificate != nil && !a.Certificate.Equal(issuer) && !slices.Contains(a.Certificate.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
			return time.Time{}, errors.New("signed by somebody who may not")
		case a.Status == ocsp.Revoked:
			return a.RevokedAt, nil
		case a.Status != ocsp.Good:
			return time.Time{}, errors.New("it does not know the certificate")
		}
		return time.Time{}, nil
	}
	list, err := x509.ParseRevocationList(text)
	if err != nil {
		return time.Time{}, err
	}
	if err := list.CheckSignatureFrom(issuer); err != nil {
		return time.Time{}, err
	}
	for _, e := range list.RevokedCertificateEntries {
		if e.SerialNumber.Cmp(c.SerialNumber) == 0 {
			return e.RevocationTime, nil
		}
	}
	return time.Time{}, nil
}
