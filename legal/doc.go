// Package legal computes the delivery case (Zustellung) of one registered item:
// where it stands in law, on which day it counts as served and why, which
// periods that starts, what a person must look at and what she must do.
//
// It is for the gateway, which shows the case and raises its alarms, and for
// the evidence bundle. It is pure: the same item, receipts, statements and clock
// give the same case, whatever the order in which they came.
//
// Three rules carry it (docs/case.md). Legal clocks use the platforms' times
// only; ours stand beside them. Served needs a verified receipt; the fiction of
// the seventh day needs proof that the item was available in an identified
// mailbox, and somebody's word that the party had to expect it. A correction
// never replaces what was shown before: it is a new version.
//
// Everything here is help to the authority: Binding is always false. Package
// legal decides no law and issues no receipt.
package legal
