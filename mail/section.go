package mail

// Section is one leaf of a message as readers of reports want it: decoded, as
// text, and bounded. A message is a list of them, in order.
type Section struct {
	Type   string  // media type in lower case, "text/plain"
	Header *Header // of the part; of the message itself for the first section
	Text   string  // UTF-8; of a returned message its header section
	Inside bool    // stands inside a returned message
}
