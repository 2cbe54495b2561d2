package message

import "time"

// KeyInfo is what is known of one key, for people. Fingerprints are hexadecimal:
// SHA-256 of a certificate, or of the OpenPGP key.
type KeyInfo struct {
	Kind        string    `json:"kind"`                // own, partner, anchor
	Authority   string    `json:"authority,omitempty"` // of an own key
	Address     string    `json:"address,omitempty"`   // for whom a partner's key is kept; "@domain" for all of one
	Set         string    `json:"set,omitempty"`       // of an anchor
	Technique   string    `json:"technique"`           // smime, openpgp
	Fingerprint string    `json:"fingerprint"`
	Source      string    `json:"source"`           // manual, mail, ldap, wkd, hkps, dane
	Trust       string    `json:"trust"`            // direct, anchored, approved, waiting
	State       string    `json:"state"`            // usable, or why it is not
	Why         string    `json:"why,omitempty"`    // it waits
	Chosen      bool      `json:"chosen,omitempty"` // in an answer to find: this one would be used
	File        string    `json:"file,omitempty"`   // in the key folder
	Names       []string  `json:"names,omitempty"`  // addresses for which it stands
	Subject     string    `json:"subject,omitempty"`
	Issuer      string    `json:"issuer,omitempty"`
	Algorithm   string    `json:"algorithm,omitempty"`
	From        time.Time `json:"from,omitzero"`
	Until       time.Time `json:"until,omitzero"` // expiry; zero: never
	Found       time.Time `json:"found,omitzero"`
	FirstUsed   time.Time `json:"first_used,omitzero"`
	LastUsed    time.Time `json:"last_used,omitzero"`
	SignEnd     time.Time `json:"sign_end,omitzero"`    // an own key signs nothing from then on
	DecryptEnd  time.Time `json:"decrypt_end,omitzero"` // … and opens nothing
}

// KeyAttempt is what one source said when it was asked for an address.
type KeyAttempt struct {
	Source  string   `json:"source"`
	Found   int      `json:"found"`
	Learned []string `json:"learned,omitempty"` // what became of them
	Error   string   `json:"error,omitempty"`
}

// KeyAnswer says with which key mail to an address would be encrypted, and why.
type KeyAnswer struct {
	Address string       `json:"address"`
	Ways    []string     `json:"ways"`             // smime, openpgp: for which a key would be used
	Method  string       `json:"method,omitempty"` // how S/MIME would encrypt
	Keys    []KeyInfo    `json:"keys"`             // every key that was looked at
	Asked   []KeyAttempt `json:"asked,omitempty"`  // sources, if they were asked now
}
