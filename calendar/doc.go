// Package calendar counts legal days: months that clamp to the last day of the
// month, the public holidays of cantons, the standstill of federal procedure,
// the seven days after which an identified mailbox counts as served, and the
// end of a party's period.
//
// It is for retention (the windows of Vo E-GovG BL § 11) and for the legal
// clock of a delivery. It computes and shows; what it says binds nobody. It
// does not know whether a party had to expect mail, in which canton it lives,
// or restored periods.
//
// Legal days are days in Europe/Zurich. No clock is read here.
package calendar
