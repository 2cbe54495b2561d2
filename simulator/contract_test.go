package simulator

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"testing"
	"time"

	"gatewayd/crypto/pdfsig"
	"gatewayd/message"
	"gatewayd/receipts"
)

// recognise reads everything that the gateway got with the gateway's own
// default patterns.
func (w *world) recognise() []receipts.Finding {
	w.t.Helper()
	verify := func(pdf []byte, roots *x509.CertPool) receipts.Verification {
		r, err := pdfsig.Verify(pdf, pdfsig.VerifyOptions{Roots: roots})
		if err != nil {
			return receipts.Verification{Verdict: message.Forged, Detail: err.Error()}
		}
		return receipts.Verification{Verdict: r.Verdict, Detail: r.Detail, Signer: r.Signer, SigningTime: r.SigningTime}
	}
	r, errs := receipts.New(receipts.Options{Platforms: receipts.DefaultPlatforms(), Verify: verify})
	if len(errs) > 0 {
		w.t.Fatal(errs)
	}
	roots := map[string]*x509.CertPool{"incamail": w.pki.ca.Pool(), "privasphere": w.pki.ca.Pool()}
	var all []receipts.Finding
	for _, d := range w.sink.all() {
		from, err := message.ParseAddress(d.from)
		if err != nil {
			w.t.Fatal(err)
		}
		found, claimed, err := r.Recognise(receipts.Input{
			Envelope: message.Envelope{From: from}, Body: bytes.NewReader(d.raw), Size: int64(len(d.raw)), Now: w.clock.Now(), Roots: roots,
		})
		if err != nil || !claimed {
			w.t.Errorf("recognise: %v, claimed %v", err, claimed)
		}
		all = append(all, found...)
	}
	return all
}

// TestGatewayUnderstands: what is written here is what package receipts reads.
func TestGatewayUnderstands(t *testing.T) {
	ends := []struct {
		profile    string
		kind       message.ReceiptKind
		code       string
		documented bool // by a sealed document; else by a plain notice
	}{
		{"native accepts-after:2d", message.Abholquittung, "0", true},
		{"native refuses-after:2d", message.Annahmeverweigerung, "11", true},
		{"native", message.Verfallquittung, "12", true},
		{"blocks-registered", message.NoticeBlocked, "", false},
		{"unregistered", message.NoticeUndelivered, "", false},
	}
	for _, tt := range ends {
		t.Run(tt.profile, func(t *testing.T) {
			w := newWorld(t)
			for p, tag := range map[*Platform]string{w.inca: "<r> ", w.psph: "<egov> "} {
				w.profile(p, citizen, tt.profile)
				w.mustSubmit(p, citizen, tag+subject)
			}
			w.advance(8 * day)
			var first, last int
			for _, f := range w.recognise() {
				switch {
				case f.Kind == message.Abgabequittung && f.Verdict == message.Verified && f.At.Equal(start):
					first++
					w.checkFinding(f)
				case f.Kind == tt.kind && tt.documented && f.Verdict == message.Verified && f.Code == map[string]string{"privasphere": tt.code}[f.Platform]:
					last++
					w.checkFinding(f)
				case f.Kind == tt.kind && !tt.documented && f.Verdict == message.Unsigned:
					last++
				case f.Kind != message.ArchiveCopy:
					t.Errorf("%s: %s %s at %s, code %q: %s", f.Platform, f.Kind, f.Verdict, f.At, f.Code, f.Detail)
				}
			}
			if first != 2 || last != 2 {
				t.Errorf("%d verified receipts of submission and %d of the end, want 2 and 2", first, last)
			}
		})
	}
}

func (w *world) checkFinding(f receipts.Finding) {
	w.t.Helper()
	if f.Reference != "BL-7F3K9Q2M" || f.Sender.String() != authority || f.Recipient.String() != citizen ||
		f.BodyDigest != message.Digest(sha256.Sum256([]byte(body))) {
		w.t.Errorf("%s of %s: reference %q, from %s to %s, body %s", f.Kind, f.Platform, f.Reference, f.Sender, f.Recipient, f.BodyDigest)
	}
}

func TestGatewaySeesThroughFaults(t *testing.T) {
	tests := map[string]message.Authenticity{
		"bad-seal": message.Forged, "tamper": message.Forged, "wrong-seal": message.Untrusted, "foreign-receipt": message.Verified,
	}
	for fault, want := range tests {
		t.Run(fault, func(t *testing.T) {
			w := newWorld(t)
			w.fault(w.inca, fault)
			w.profile(w.inca, citizen, "native accepts-after:1h")
			w.mustSubmit(w.inca, citizen, "<r> "+subject)
			w.advance(2 * time.Hour)
			n := 0
			for _, f := range w.recognise() {
				if f.Kind == message.ArchiveCopy {
					continue
				}
				n++
				if f.Verdict != want {
					t.Errorf("%s: %s (%s), want %s", f.Kind, f.Verdict, f.Detail, want)
				}
				if fault == "foreign-receipt" && f.Platform != "privasphere" {
					t.Errorf("%s issued by %s", f.Kind, f.Platform)
				}
			}
			if n != 2 {
				t.Errorf("%d findings, want 2", n)
			}
		})
	}
}
