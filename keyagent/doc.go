// Package keyagent keeps the authorities' private keys in a process of their own,
// and works with them for the process that reads strangers' mail. Both ends are
// here: the Server of the process that has the keys, and the Client of the one
// that has not.
//
// They speak over a Unix socket. Each frame is a length of four octets, big-endian,
// and one JSON object of that length; for each question of the client there is one
// answer, or, for the list of keys, one for each key and one behind them. Who may ask is
// decided by what the kernel says of the peer (SO_PEERCRED), before anything is
// read.
//
// The agent signs digests, opens session keys, and agrees on shared secrets. It
// gives out no private key, and opens nothing longer than a session key. Each use is
// written down before it happens, and counts against the quota of its key: somebody
// who has taken over the other process can use keys as long as he holds it, and
// leaves a trace there that he cannot reach; he cannot take them away.
//
// The one secret that it hands out is the gateway's master key, where that is derived
// from a key on a token: the gateway seals by it all the time.
//
// A client that gets no answer says so with cms.ErrKeyAway: nothing is decided about
// the mail, and nothing is sent.
package keyagent
