package simulator

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/pdfsig"
)

// signPDF seals a receipt (VEUE Art. 2 lit. b asks for a regulated electronic
// seal; here it is one of the test authority).
func signPDF(pdf []byte, c Certificate, name string, at time.Time) ([]byte, error) {
	s := pdfsig.Signer{Cert: c.Leaf, Chain: []*x509.Certificate{c.Issuer}, Key: c.Key}
	return pdfsig.Sign(pdf, s, pdfsig.Options{Name: name, Reason: "Quittung (Simulation)", Location: "CH", Time: at})
}

// foreignSeal is a seal that looks like the platform's under an authority that
// nobody knows.
func foreignSeal(b brand) (Certificate, error) {
	ca, err := NewCA("Foreign CA")
	if err != nil {
		return Certificate{}, err
	}
	return ca.Seal(b.name, b.address)
}

// archiveCopy is the mail as it was submitted, inside a message that the
// platform has signed by S/MIME (RFC 8551 section 3.5.3).
func archiveCopy(h []field, raw []byte, c Certificate, at time.Time) ([]byte, error) {
	entity := append([]byte("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"), raw...)
	s := cms.Signer{Cert: c.Leaf, Chain: []*x509.Certificate{c.Issuer}, Key: c.Key}
	sig, err := cms.Sign(bytes.NewReader(entity), s, cms.SignOptions{Time: at})
	if err != nil {
		return nil, err
	}
	boundary := newToken()
	var b bytes.Buffer
	writeFields(&b, h)
	fmt.Fprintf(&b, "MIME-Version: 1.0\r\nContent-Type: multipart/signed; protocol=\"application/pkcs7-signature\";"+
		" micalg=sha-256; boundary=%[1]s\r\n\r\n--%[1]s\r\n%[2]s\r\n--%[1]s\r\n"+
		"Content-Type: application/pkcs7-signature; name=smime.p7s\r\nContent-Transfer-Encoding: base64\r\n\r\n",
		boundary, entity)
	writeBase64(&b, sig)
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return b.Bytes(), nil
}

// encryptForPlatform seals a mail to the platform itself, in BER with
// indefinite lengths: base64 of it begins "MIAG", as in IncaMail.html.
func encryptForPlatform(raw []byte, c Certificate) ([]byte, error) {
	var b bytes.Buffer
	err := cms.Encrypt(&b, bytes.NewReader(raw), -1, cms.EncryptOptions{Recipients: []*x509.Certificate{c.Leaf}})
	return b.Bytes(), err
}
