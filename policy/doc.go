// Package policy turns facts about one message and one recipient into a
// decision: deliver by which route and connector, hold, or refuse, with every
// reason. It is for gateway (before accept), for config (checking routes) and
// for "route explain".
//
// Pure: no clock, no disk, no network; the same facts give the same decision.
// Built-in duties stand above the configured routes and cannot be configured
// away. In doubt it holds: a lost or misspelt mark never sends a message on a
// weaker way.
//
// It also knows how users say what they want (Vocabulary) and which words in
// their text would command a platform (Hygiene).
package policy
