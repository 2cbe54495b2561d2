package keysources

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"golang.org/x/net/idna"

	"gatewayd/crypto/keys"
	"gatewayd/crypto/openpgp"
	"gatewayd/keybook"
	"gatewayd/message"
)

// WKD asks the Web Key Directory of the address's own domain
// (draft-koch-openpgp-webkey-service): first by the advanced, then, if there is
// no such host, by the direct method.
type WKD struct{ Fetcher *Fetcher }

// Name implements Source.
func (WKD) Name() keys.Source { return keys.WKD }

// Find implements Source.
func (w WKD) Find(ctx context.Context, a message.Address) ([]keybook.Entry, error) {
	domain, err := idna.Lookup.ToASCII(a.Domain)
	if err != nil {
		return nil, nil // no host can have that name
	}
	tail := "hu/" + wkdHash(a.Local) + "?l=" + url.QueryEscape(a.Local)
	text, err := w.Fetcher.Get(ctx, "https://openpgpkey."+domain+"/.well-known/openpgpkey/"+domain+"/"+tail)
	if lookup, ok := errors.AsType[*net.DNSError](err); ok && lookup.IsNotFound {
		text, err = w.Fetcher.Get(ctx, "https://"+domain+"/.well-known/openpgpkey/"+tail)
	}
	return openPGP(text, err)
}

// wkdHash is the SHA-1 of the local part in lower case (ASCII only), in z-base32
// (RFC 6189 section 5.1.6).
func wkdHash(local string) string {
	lower := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, local)
	sum := sha1.Sum([]byte(lower)) //nolint:gosec // a name, not a signature
	const alphabet = "ybndrfg8ejkmcpqxot1uwisza345h769"
	var b strings.Builder
	bits, n := uint(0), 0
	for _, octet := range sum {
		bits, n = bits<<8|uint(octet), n+8
		for ; n >= 5; n -= 5 {
			b.WriteByte(alphabet[bits>>(n-5)&31])
		}
	}
	return b.String() // 160 bits: nothing is left
}

// HKPS asks a key server (draft-gallagher-openpgp-hkp).
type HKPS struct {
	Fetcher *Fetcher
	Server  string // "https://keys.openpgp.org"
}

// Name implements Source.
func (HKPS) Name() keys.Source { return keys.HKPS }

// Find implements Source.
func (h HKPS) Find(ctx context.Context, a message.Address) ([]keybook.Entry, error) {
	text, err := h.Fetcher.Get(ctx, strings.TrimSuffix(h.Server, "/")+"/pks/lookup?op=get&options=mr&exact=on&search="+url.QueryEscape(a.String()))
	return openPGP(text, err)
}

// openPGP reads an answer with OpenPGP keys, armored or binary.
func openPGP(text []byte, err error) ([]keybook.Entry, error) {
	switch {
	case errors.Is(err, ErrNoAnswer), err == nil && len(text) == 0:
		return nil, nil
	case err != nil:
		return nil, err
	}
	list, err := openpgp.ParsePublic(text)
	if err != nil {
		return nil, fmt.Errorf("the answer is no key: %w", err)
	}
	var found []keybook.Entry
	for _, k := range list[:min(len(list), maxFound)] {
		if k.Private {
			continue // somebody's accident; nothing that one may keep
		}
		packets, err := k.Packets()
		if err != nil {
			return nil, err
		}
		found = append(found, keybook.Entry{OpenPGP: packets})
	}
	return found, nil
}

// maxFound bounds how many keys of one answer are looked at.
const maxFound = 8
