package keyagent

import (
	stdcrypto "crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"slices"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/keys"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/smime"
)

// work answers a question about one key. It looks at nothing but the question.
func work(own keys.Own, q request) answer {
	switch {
	case own.SMIME != nil && q.Op == opSign:
		return sign(own.SMIME.Key, q)
	case own.SMIME != nil && q.Op == opDecrypt:
		return decrypt(*own.SMIME, q)
	case own.SMIME != nil && q.Op == opAgree:
		return agree(*own.SMIME, q)
	case own.OpenPGP != nil && q.Op == opOpen:
		return openSession(*own.OpenPGP, q)
	case own.OpenPGP != nil && q.Op == opSignature:
		return signature(*own.OpenPGP, q)
	}
	return answer{Fault: faultBad, Text: "not a work of this kind of key"}
}

// sign signs a digest of the right length by a hash of our profile, or with Ed25519
// the message.
func sign(key stdcrypto.Signer, q request) answer {
	if key == nil {
		return answer{Fault: faultBad, Text: "the key does not sign"}
	}
	h := hashes()[q.Hash]
	var opts stdcrypto.SignerOpts = h
	switch _, ed := key.Public().(ed25519.PublicKey); {
	case ed && (q.Hash != "" || q.PSS):
		return answer{Fault: faultBad, Text: "Ed25519 signs messages"}
	case ed:
		opts = stdcrypto.Hash(0)
	case h == 0 || h == stdcrypto.SHA1 || len(q.Data) != h.Size():
		return answer{Fault: faultBad, Text: "not a digest of our profile"}
	case q.PSS:
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: h}
	}
	if _, ok := key.Public().(*rsa.PublicKey); q.PSS && !ok {
		return answer{Fault: faultBad, Text: "PSS is for RSA"}
	}
	signed, err := key.Sign(rand.Reader, q.Data, opts)
	if err != nil {
		return answer{Fault: faultTrouble, Text: "signing failed: " + err.Error()}
	}
	return answer{Data: signed}
}

// decrypt opens a content key by RSA. What does not come out looks alike, whatever
// the reason; with PKCS #1 v1.5 it comes out as a random key (RFC 3218), which
// crypto/rsa does, and a token's driver.
func decrypt(id smime.Identity, q request) answer {
	r, ok := id.Recipient()
	if !ok || r.Key == nil {
		return answer{Fault: faultBad, Text: "the key does not decrypt"}
	}
	var how stdcrypto.DecrypterOpts
	switch {
	case q.Size < 0 || q.Size > maxSession:
		return answer{Fault: faultBad, Text: "not the size of a session key"}
	case q.Size > 0:
		//lint:ignore SA1019 needed for peers without OAEP; there is no padding oracle with a given length
		how = &rsa.PKCS1v15DecryptOptions{SessionKeyLen: q.Size}
	case hashes()[q.Hash] == 0 || hashes()[q.Mask] == 0:
		return answer{Fault: faultBad, Text: "not a digest of our profile"}
	default:
		how = &rsa.OAEPOptions{Hash: hashes()[q.Hash], MGFHash: hashes()[q.Mask], Label: q.Label}
	}
	key, err := r.Key.Decrypt(rand.Reader, q.Data, how)
	return opened(key, maxSession, err)
}

// agree returns the shared secret with another's public key.
func agree(id smime.Identity, q request) answer {
	r, ok := id.Recipient()
	if !ok || r.Agree == nil {
		return answer{Fault: faultBad, Text: "the key does not agree"}
	}
	theirs, err := r.Agree.Curve().NewPublicKey(q.Data) // checks that the point lies on the curve
	if err != nil {
		return answer{Fault: faultUnopened}
	}
	secret, err := r.Agree.ECDH(theirs)
	return opened(secret, maxSecret, err)
}

// opened makes the answer of a secret that came out, or did not.
func opened(secret []byte, limit int, err error) answer {
	switch {
	case errors.Is(err, cms.ErrKeyAway):
		return answer{Fault: faultTrouble, Text: err.Error()}
	case err != nil, len(secret) > limit:
		return answer{Fault: faultUnopened}
	}
	return answer{Data: secret}
}

func openSession(k openpgp.Key, q request) answer {
	if !slices.Contains(k.Parts(), q.Part) {
		return answer{Fault: faultUnknown, Text: "no such part of the key"}
	}
	session, err := k.OpenSessionKey(q.Part, q.Data)
	switch {
	case errors.Is(err, openpgp.ErrSessionKey), err == nil && len(session.Key) > maxSession:
		return answer{Fault: faultUnopened}
	case err != nil:
		return answer{Fault: faultTrouble, Text: err.Error()}
	}
	return answer{Data: session.Key, Cipher: session.Cipher}
}

func signature(k openpgp.Key, q request) answer {
	if !slices.Contains(k.Parts(), q.Part) {
		return answer{Fault: faultUnknown, Text: "no such part of the key"}
	}
	u := openpgp.Unsigned{Hash: hashes()[q.Hash], State: q.Data, Salt: q.Salt, Time: q.Time}
	for _, r := range q.Recipients {
		u.Recipients = append(u.Recipients, openpgp.Recipient{Version: r.Version, Fingerprint: r.Fingerprint})
	}
	packet, err := k.Sign(q.Part, u)
	if err != nil {
		return answer{Fault: faultBad, Text: err.Error()}
	}
	return answer{Data: packet}
}

// publicOf returns the public half of a key.
func publicOf(own keys.Own) (listed, error) {
	l := listed{Authority: own.Authority, File: own.File}
	if own.OpenPGP != nil {
		var err error
		l.OpenPGP, err = own.OpenPGP.Packets()
		l.Parts = own.OpenPGP.Parts()
		return l, err
	}
	id := own.SMIME
	l.Chain = [][]byte{id.Cert.Raw}
	for _, c := range id.Chain {
		l.Chain = append(l.Chain, c.Raw)
	}
	r, ok := id.Recipient()
	l.Signs, l.Agrees, l.Decrypts = id.Key != nil, ok && r.Agree != nil, ok && r.Key != nil
	return l, nil
}
