// Package archive writes what an archive takes over: the submission information
// package (SIP) of eCH-0160 version 1.2, type FILES, from messages with their
// receipts, opened forms and evidence bundles (docs/archive.md).
//
// A SIP is a folder: header/metadata.xml with the checksum of every other file,
// header/xsd with the schemas, which come from a folder of the operator, and
// content with one folder per message. Names are short ASCII; the real ones stand
// in the metadata. Nothing in a SIP is encrypted: it must reach the archive by a
// way that is.
package archive
