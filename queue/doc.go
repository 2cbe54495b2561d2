// Package queue is the ledger: what became of everything that was accepted.
// It holds the contract (Store) and the pure rules that every store obeys; the
// stores are queue/bolt and, for clusters, queue/postgres. queue/storetest is
// one suite for all of them.
//
// The ledger is for package gateway. It keeps envelopes, items, receipts, the
// chain of events and the indexes over them. It holds no bodies and no keys:
// those are in the vault. It decides nothing: policy decides, gateway acts, the
// ledger refuses what the table of states does not allow.
package queue
