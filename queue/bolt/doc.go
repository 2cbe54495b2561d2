// Package bolt keeps the ledger (queue.Store) in one bbolt file. It is the
// default store: one process, one file, no server.
//
// One goroutine commits. It gathers every change that waits into one
// transaction and one fsync; each change is checked on its own, and one that
// fails leaves no trace and does not harm its neighbours.
//
// bbolt has no checksums for data. Every value is therefore sealed under the log
// key of its day, bound to its place, or, where it names nobody, authenticated
// by a MAC. Addresses, Message-IDs and references are found by keyed hashes and
// stand nowhere in clear (docs/architecture.md, storage). Message ids, states,
// days and times of the next try do stand in clear.
//
// The file holds no bodies and no keys.
package bolt
