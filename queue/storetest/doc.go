// Package storetest is the contract of queue.Store as tests: every store runs
// the same suite. It is imported by tests only.
//
// It does not test what a single store promises beyond the contract (sealing,
// crashes, files).
package storetest
