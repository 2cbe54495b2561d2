package connectortest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"gatewayd/connectors"
	"gatewayd/message"
)

// Secrets that are planted in every letter and login. None of them may stand in
// an error.
const (
	PlantedSubject   = "Zauberwort-Betreff"
	PlantedBody      = "Zauberwort-Inhalt"
	PlantedRecipient = "zauberwort-empfaenger"
	PlantedSender    = "zauberwort-absender"
	PlantedPassword  = "Zauberwort-Passwort"
	PlantedAccount   = "zauberwort-konto"
)

// BodyPart is what stands behind the header in a Letter: dots at the start of
// lines, an 8-bit letter, blank lines, white space at line ends.
const BodyPart = "Sehr geehrte Frau M\u00fcller\r\n\r\n.\r\n..\r\n.zwei\r\n" + PlantedBody + " \t\r\n\r\n"

// Letter returns a hand-over of that class.
func Letter(class message.Class) connectors.Handover {
	return With(class, Header("Verf\u00fcgung "+PlantedSubject)+BodyPart)
}

// Header returns the header of a letter, with its blank line; the subject is
// written as UTF-8 in encoded words where it must be.
func Header(subject string) string {
	for _, r := range subject {
		if r > '~' {
			subject = fmt.Sprintf("=?UTF-8?Q?%s?=", quoted(subject))
			break
		}
	}
	return "Return-Path: <x@bl.example>\r\n" +
		"From: Bauinspektorat <" + PlantedSender + "@bl.example>\r\n" +
		"To: <" + PlantedRecipient + "@example.ch>\r\n" +
		"Bcc: heimlich@example.ch\r\n" +
		"Subject: " + subject + "\r\n" +
		"Message-ID: <abc.1@client.bl.example>\r\n" +
		"X-Odd:   kept   exactly \r\n\tas it is\r\n" +
		"Date: Mon, 23 Nov 2026 14:05:06 +0100\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
}

func quoted(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == ' ':
			b.WriteByte('_')
		case c > '~' || c == '=' || c == '?' || c == '_':
			fmt.Fprintf(&b, "=%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// With returns a hand-over of that class with the given message.
func With(class message.Class, msg string) connectors.Handover {
	id := message.NewID(time.Date(2026, 11, 23, 13, 5, 6, 0, time.UTC))
	from := message.Address{Local: PlantedSender, Domain: "bl.example"}
	to := message.Address{Local: PlantedRecipient, Domain: "example.ch"}
	return connectors.Handover{
		Item: message.Item{
			Key:       message.ItemKey{Message: id, N: 1},
			Recipient: message.Recipient{Address: to},
			Decision:  message.Decision{Verdict: message.Deliver, Class: class},
			State:     message.Sending,
			Reference: "BL-7F3K9Q2M",
			Attempts:  1,
		},
		Envelope: message.Envelope{
			ID: id, Direction: message.Outbound, Authority: "bauinspektorat", From: from,
			Content:   message.Content{Digest: sha256.Sum256([]byte(msg)), Size: int64(len(msg))},
			MessageID: "<abc.1@client.bl.example>", EightBit: true,
		},
		From: from, To: to,
		Received: "Received: from pc by gateway.bl.example with ESMTPSA id " + id.String() + ";\r\n\tMon, 23 Nov 2026 14:05:06 +0100",
		Body:     strings.NewReader(msg),
	}
}

// lines is a message of many equal lines, made while it is read.
type lines struct {
	head string
	size int64
	at   int64
	fail int64 // reading fails from here on; 0: never
}

func (b *lines) Read(p []byte) (int, error) {
	const line = "0123456789012345678901234567890123456789012345678901234567890123456789abcdef\r\n"
	if b.at >= b.size {
		return 0, io.EOF
	}
	if b.fail > 0 && b.at >= b.fail {
		return 0, io.ErrUnexpectedEOF
	}
	n := 0
	for n < len(p) && b.at < b.size {
		var piece string
		if b.at < int64(len(b.head)) {
			piece = b.head[b.at:]
		} else {
			piece = line[(b.at-int64(len(b.head)))%int64(len(line)):]
		}
		piece = piece[:min(int64(len(piece)), b.size-b.at)]
		c := copy(p[n:], piece)
		n += c
		b.at += int64(c)
	}
	return n, nil
}

func (b *lines) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
		b.at = offset
	case io.SeekCurrent:
		b.at += offset
	default:
		b.at = b.size + offset
	}
	return b.at, nil
}

// bigLetter is a letter of about that size.
func bigLetter(class message.Class, size int64) connectors.Handover {
	h := Letter(class)
	head := Header("Verfuegung " + PlantedSubject)
	size += (78 - (size-int64(len(head)))%78) % 78 // whole lines
	h.Body = &lines{head: head, size: size}
	h.Envelope.Content.Size = size
	return h
}

// BodyOf returns what stands behind the first blank line.
func BodyOf(t testing.TB, msg []byte) []byte {
	t.Helper()
	_, body, ok := bytes.Cut(msg, []byte("\r\n\r\n"))
	if !ok {
		t.Fatal("the message has no blank line")
	}
	return body
}

// bodyOfBig is the body part of a bigLetter.
func bodyOfBig(h connectors.Handover) string {
	b := *h.Body.(*lines)
	b.at = int64(len(b.head))
	all, _ := io.ReadAll(&b) // it can't fail
	return string(all)
}
