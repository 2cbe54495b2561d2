// Package audit writes the hash-chained events of the ledger into day files and
// reads them back: one line of JSON per link (message.Link), in the file of the
// day, in Europe/Zurich, on which the event happened. The chain runs through all
// files in the order of Seq.
//
// It is for gateway (Drain, Trace) and for operators (Verify). The events are
// sealed; the files name nobody in clear. Whether a chain is whole can be seen
// without any key and after the keys were destroyed.
//
// Ended days are sealed: compressed, with a signed Seal beside them. It makes no
// events and decides nothing about windows: the ledger makes the chain, and
// retention calls Rotate and Erase; the seals of erased days stay, so that Verify
// still proves order and completeness. The hash alone does not stop somebody who rewrites every
// file to the end; the seal does, and what was exported before.
package audit
