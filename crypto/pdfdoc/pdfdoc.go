// Package pdfdoc reads the objects of PDF documents (ISO 32000-1, 7.2 to 7.5):
// values as they stand in the file, cross-references in tables and streams,
// objects in object streams, and the updates appended to a document. It draws
// nothing and repairs nothing: what it cannot read is an error, because a viewer
// may see something else in it. crypto/pdfsig builds on it.
package pdfdoc

import "errors"

// Errors that callers may branch on.
var (
	ErrNotPDF      = errors.New("not a PDF document")
	ErrUnsupported = errors.New("unsupported PDF document") // encrypted, or of a kind that cannot be read or written to here
	ErrMalformed   = errors.New("malformed PDF document")
)
