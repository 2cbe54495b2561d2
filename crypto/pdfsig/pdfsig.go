// Package pdfsig signs PDF documents and says what a signature in a PDF is
// worth. It is written for the receipts of the Zustellplattformen: signed PDF
// documents that arrive by mail, on which legal deadlines hang.
//
// Signing appends an incremental update (ISO 32000-1, 7.5.6) with an invisible
// signature field and a detached CMS signature in the CAdES profile of PAdES
// (ETSI EN 319 142-1, level B-B). Documents with a classic cross-reference
// table can be signed.
//
// Verifying is stricter than a PDF viewer. A document is Verified only if its
// last signature covers every octet of the file except its own value, nothing
// precedes, follows or hides in between, and its signer stands under an anchor
// of the caller. One thing may follow: data for long term validation and time
// stamps over the document (PAdES-LT, PAdES-LTA), where it is proven, object by
// object and reference by reference, that they change nothing that the document
// shows. Revocation is not checked here.
package pdfsig

import (
	"errors"

	"gatewayd/crypto/pdfdoc"
)

// Errors that callers may branch on.
var (
	ErrNotPDF      = pdfdoc.ErrNotPDF
	ErrTooLarge    = errors.New("PDF document too large")
	ErrUnsupported = pdfdoc.ErrUnsupported // cannot be signed: encrypted, or without classic cross-reference table
	ErrMalformed   = pdfdoc.ErrMalformed
)

// DefaultMaxSize is the largest document taken, in octets, where the options
// name no other.
const DefaultMaxSize = 32 << 20

// Values of /SubFilter (ISO 32000-1 table 252; ETSI EN 319 142-1, 6.3).
const (
	subFilterCAdES = "ETSI.CAdES.detached"
	subFilterPKCS7 = "adbe.pkcs7.detached"
	subFilterStamp = "ETSI.RFC3161" // a time stamp over the document: nobody's signature
)

func checkSize(pdf []byte, limit int64) error {
	if limit <= 0 {
		limit = DefaultMaxSize
	}
	if int64(len(pdf)) > limit {
		return ErrTooLarge
	}
	return nil
}
