package entity

import "time"

// Report is an Opened for people and programs: the verdicts and what they rest
// on, without the content.
type Report struct {
	Encryption Encryption    `json:"encryption"`
	Signature  Signing       `json:"signature"`
	Covers     string        `json:"covers,omitempty"` // by signatures: content, part, cipher_text; nothing is signed: ""
	Opened     bool          `json:"opened"`           // there is content to show
	Detail     string        `json:"detail,omitempty"` // why not
	Layers     []LayerReport `json:"layers"`           // outermost first

	HeaderProtection string           `json:"header_protection,omitempty"` // hp, protected-headers=v1 or wrapped
	Fields           []ProtectedField `json:"fields,omitempty"`            // that it protects
}

// LayerReport is one layer of protection.
type LayerReport struct {
	Technique  Technique         `json:"technique"`
	Kind       string            `json:"kind"`                 // encrypted, signed, compressed, or encrypted+signed
	Form       string            `json:"form,omitempty"`       // of a signature: clear, opaque
	Encryption Encryption        `json:"encryption,omitempty"` // verdict about an encrypted layer by itself
	Algorithms []string          `json:"algorithms,omitempty"` // of encryption: content, then its key
	Key        string            `json:"key,omitempty"`        // fingerprint of the key that opened it
	Signatures []SignatureReport `json:"signatures,omitempty"`
	Detail     string            `json:"detail,omitempty"`
}

// SignatureReport is one signature.
type SignatureReport struct {
	Verdict   Signing   `json:"verdict"`
	Detail    string    `json:"detail,omitempty"`
	Signer    string    `json:"signer,omitempty"`
	Addresses []string  `json:"addresses,omitempty"`
	Algorithm string    `json:"algorithm,omitempty"`
	Key       string    `json:"key,omitempty"` // fingerprint
	Time      time.Time `json:"time,omitzero"` // as the signer claims
	LineEnds  bool      `json:"line_ends_repaired,omitempty"`
}

// Report tells what was found.
func (op *Opened) Report() Report {
	r := Report{Encryption: op.Encryption, Signature: op.Signature, Covers: covers(op.Signature), Opened: op.Content != nil, Detail: op.Detail, Layers: []LayerReport{}}
	r.HeaderProtection, r.Fields = op.Scheme, op.Fields
	for _, l := range op.Layers {
		r.Layers = append(r.Layers, l.report())
	}
	return r
}

// covers says what the signatures of a message with that verdict stand around.
func covers(s Signing) string {
	switch s {
	case NotSigned:
		return ""
	case Outside:
		return "cipher_text"
	case PartlySeen:
		return "part"
	}
	return "content"
}

func (l Layer) report() LayerReport {
	r := LayerReport{Technique: l.Technique, Algorithms: l.Algorithms, Key: l.Key, Detail: l.Detail}
	encrypted, signed := l.Encryption != NotEncrypted, len(l.Signatures) > 0
	switch {
	case l.Compressed:
		r.Kind = "compressed"
	case encrypted && signed:
		r.Kind = "encrypted+signed"
	case encrypted:
		r.Kind = "encrypted"
	default:
		r.Kind = "signed"
	}
	if encrypted {
		r.Encryption = l.Encryption
	}
	if signed && !encrypted {
		r.Form = "opaque"
		if l.Clear {
			r.Form = "clear"
		}
	}
	for _, s := range l.Signatures {
		one := SignatureReport{Verdict: s.Verdict, Detail: s.Detail, Signer: s.Signer, Algorithm: s.Algorithm, Key: s.KeyID, Time: s.Time, LineEnds: s.LineEnds}
		for _, a := range s.Addresses {
			one.Addresses = append(one.Addresses, a.String())
		}
		r.Signatures = append(r.Signatures, one)
	}
	return r
}
