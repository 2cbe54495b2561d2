// Package message holds the nouns of gatewayd: what somebody asked us to
// transport (Envelope), what becomes of it for each recipient (Item), what was
// proven about it (Receipt) and what is written down about it (Event).
//
// Values only: no clock, no disk, no network, standard library only. Every
// other package speaks in these types; none of them adds behaviour to them.
package message
