package config

import (
	"gatewayd/message"
	"gatewayd/receipts"
)

// receipts makes the recogniser: the built-in examples, with what the file says
// in their place.
func (b *builder) receipts(c *Config) {
	o := receipts.Options{Platforms: receipts.DefaultPlatforms()}
	for i := range o.Platforms {
		switch p := &o.Platforms[i]; p.Name {
		case "incamail":
			b.calibrate(p, b.file.Platform.IncaMail)
		case "privasphere":
			b.calibrate(p, b.file.Platform.PrivaSphere)
		}
	}
	var errs []error
	c.Recogniser, errs = receipts.New(o)
	for _, err := range errs {
		b.add("platform", "%v", err)
	}
}

func (b *builder) calibrate(p *receipts.Platform, from *Platform) {
	if from == nil {
		return
	}
	if len(from.ReceiptSenders) > 0 {
		p.Senders = from.ReceiptSenders
	}
	if from.RecipientSuffix != "" {
		p.Suffixes = []string{from.RecipientSuffix}
	}
	if len(from.ReceiptSigners) > 0 {
		p.Signers = from.ReceiptSigners
	}
	if len(from.ReceiptSubject) > 0 {
		p.Subjects = kinds(from.ReceiptSubject)
	}
	if len(from.ReceiptText) > 0 {
		p.Texts = kinds(from.ReceiptText)
	}
}

func kinds(m map[string][]string) map[message.ReceiptKind][]string {
	out := map[message.ReceiptKind][]string{}
	for k, patterns := range m {
		out[message.ReceiptKind(k)] = patterns
	}
	return out
}
