package bolt

// Unsynced turns the fsync of every commit off: for tests that make thousands.
func Unsynced(o Options) Options {
	o.noSync = true
	return o
}

// Protect returns a value about the ledger itself as its file has it.
func Protect(o Options, bucket, key string, value []byte) ([]byte, error) {
	h := newHashes(o.Keys)
	return h.protect(bucket, []byte(key), value)
}
