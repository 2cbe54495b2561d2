// Package vault is the journal of accepted messages and the store of their
// sealed bodies: what Accept returned for is on disk and survives SIGKILL, power
// cut and full disk.
//
// It is for package gateway, which puts envelope, items and events into the
// record's meta and fills the ledger behind it, and which has package retention
// decide when Wipe and EraseDay are called. It does not look into meta or body,
// holds no state of a message, reads no clock and deletes nothing by itself that
// was acknowledged.
//
// # Layout
//
//	vault/lock                          held by the one process that writes
//	vault/next                          segment numbers up to here may be in use
//	vault/<day>/<number>.seg            frames, append only
//	vault/<day>/<id>.body               a sealed body too large for the segment
//	vault/<day>/<id>.part               the same before its frame is known to be durable
//	vault/<day>/corrupt/<number>-<offset>.bad   damage that was set aside
//
// The day is the one on whose end everything in the folder must be gone. Segment
// numbers grow over the whole life of the vault and are never used twice.
//
// # Frame
//
// Frames start at multiples of 64 octets, so that header and key slot each lie
// in one sector. Numbers are big-endian.
//
//	  0  header   magic 8, version 1, kind 1, family 1, flags 1, length of sealed meta 4,
//	              length of sealed body 8, synced 8, segment 8, offset 8,
//	              CRC-32C of info and meta 4, CRC-32C of an inline body 4, zero 4, CRC-32C of the header so far 4
//	 64  slot     the body's key wrapped by the day key (nonce 12, key 32, tag 16), CRC-32C 4;
//	              in no other checksum: overwritten with zeros it means that the body was erased
//	128  info     id 16, log day 10, zero 6, two numbers 16 (end and cut frames), zero 16
//	192  meta     sealed under the log day key, bound to the id
//	     body     sealed in chunks under its own key, unless it has a file
//	     zeros    up to the next multiple of 64
//
// Records that have nothing left to tell become gone frames, neighbours one for
// all of them, and their inside is given back to the file system (Drop).
//
// Synced is the offset up to which the segment was durable when the frame was
// written: damage before the highest such mark hit something acknowledged.
//
// # Recovery
//
// A segment that was closed in order ends with an end frame and is not read at
// start. Any other is read through: it is cut behind its last good frame; bad
// stretches between good frames are copied to corrupt/ and stepped over; a frame
// whose body did not arrive whole is voided when it lies beyond the mark (nobody
// got an answer) and kept, with the damage reported, when it lies before. A
// part file that no good frame names is removed.
//
// After a failed write or fsync the kernel may drop dirty pages and report
// success the next time. So the segment is truncated to its mark and never
// written again, everybody who waited gets the error, and the next segment
// starts with a cut frame that says where the failed one ends, in case the
// truncation itself was lost.
package vault
