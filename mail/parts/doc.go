// Package parts cuts a message into its MIME parts (RFC 2045–2049), each an
// exact range of the original, decodes them, and reads delivery status
// notifications (RFC 3464).
//
// It is for whoever must look inside: receipts, mailboxes, later signatures.
// Routing never depends on it. It takes hostile input in linear time, and
// changes and re-writes nothing.
package parts
