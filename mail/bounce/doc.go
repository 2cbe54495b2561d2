// Package bounce reads what mail systems report about the delivery of a
// message: delivery status notifications (RFC 3464) and the free text of the
// many systems that write none. Per recipient it gives action, status, reply
// code, reason, and whether the cause is permanent.
//
// It is for whoever must know what became of a message that was sent. A report
// comes from strangers and proves nothing. Receipts of platforms, read
// receipts, auto-replies and complaints are no bounces and not read here. The
// package works on text in memory; cutting a message into sections is the work
// of mail/parts.
package bounce
