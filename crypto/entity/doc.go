// Package entity is what S/MIME and OpenPGP have in common: the MIME entity
// that is protected, the message around it, and the words in which a verdict
// about a protected message is given.
//
// Outgoing, a stored message is cut into the header fields that stay outside
// and the entity that goes inside, which keeps every octet. Incoming, Open
// takes off layer after layer, whatever technique made it, and says what each
// was worth. Verdicts are words, not booleans: "signed" alone says nothing.
//
// Only the root of a message counts: what is encrypted or signed somewhere
// inside of other parts is never opened, so that nobody can put foreign text
// around it (the EFAIL attacks). Nothing here knows a key or an algorithm.
package entity
