package bolt

// Unsynced turns the fsync of every commit off: for tests that make thousands.
func Unsynced(o Options) Options {
	o.noSync = true
	return o
}
