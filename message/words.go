package message

// packedWords are what a packed text may name by a number: kinds of events, names
// of their fields, and what often stands in these. It is part of the stored form:
// new words go to the end, none is ever moved, changed or taken away. A word that
// is missing here costs some octets and nothing else.
var packedWords = []string{
	"accepted", "decided", "duplicate", "attempt", "handed", "retry", "unclear", "held", "released", "refused", "dropped", "expired",
	"notice", "receipt", "case", "receipt_overdue", "receipt_unmatched", "receipt_forged", "bounced", "stated", "task_closed", "alarm",
	"opened", "key", "mailbox", "handed_over", "evidence", "unfiled", "exported", "erased", "doomed", "destroyed", "clock", "paused",
	"resumed", "damaged", "started", "read", "account", "action", "again_as", "anchor", "asked", "at", "basis", "because", "by", "calendar",
	"change", "class", "consent", "count", "covers", "day", "days", "delegate", "delivery", "destination", "detail", "diagnostic", "differs",
	"direction", "disposition", "door", "encrypted_by", "encryption", "erase_by", "expects", "family", "file", "file_ref", "from", "hidden",
	"identified", "identified_checked", "keep", "kind", "mail", "matched_by", "message_id", "mismatch", "missing", "next_try", "octets", "of",
	"offset", "peer", "permanent", "platform", "purpose", "reason", "receipts", "reference", "remote_id", "reply", "route", "segment",
	"service", "sha256", "signature", "signed_by", "signer", "signer_is_from", "since", "size", "source", "state", "status", "task", "text",
	"tls", "to", "until", "verdict", "via", "waits_for", "was", "what", "undescribed", "in", "out", "normal", "private", "confidential",
	"personal", "registered", "bulk", "deliver", "hold", "refuse", "smtp", "smime", "openpgp", "incamail", "privasphere", "waiting",
	"sending", "done", "until_done", "until_handed_over", "window", "abgabequittung", "bereitstellung", "abholquittung",
	"annahmeverweigerung", "verfallquittung", "weitergabe", "blocked", "undelivered", "archive_copy", "unknown", "submitted", "available",
	"collected", "none", "unsigned", "good", "true", "false", "content", "log", "taken", "duty:mailbox",
	"duty:mailbox: laid into the authority's mailbox", "TLS 1.3", "TLS 1.2", "127.0.0.1", "evidence_stamped", "lost", "own_key", "run_released",
}

// packedNumbers is packedWords the other way round.
var packedNumbers = func() map[string]uint64 {
	all := make(map[string]uint64, len(packedWords))
	for i, w := range packedWords {
		all[w] = uint64(i) //nolint:gosec // an index
	}
	return all
}()
