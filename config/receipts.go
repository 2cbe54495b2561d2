package config

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"gatewayd/calendar"
	"gatewayd/legal"
	"gatewayd/message"
	"gatewayd/receipts"
)

// legal reads the choices for the delivery case.
func (b *builder) legal(c *Config) {
	f := b.file.Legal
	c.Legal = legal.DefaultRules()
	c.Legal.Calendar, c.Legal.Profile, c.Legal.RefusalServes, c.Legal.DeadlineNear = f.Calendar, calendar.Profile(f.Profile), f.RefusalServes, f.DeadlineNear
	if _, err := calendar.For(f.Calendar); err != nil {
		b.add("legal.calendar", "%s", err)
	}
	if _, err := calendar.RuleOf(c.Legal.Profile); err != nil {
		b.add("legal.profile", "%s", err)
	}
	if f.DeadlineNear < 0 || f.DeadlineNear > 60 {
		b.add("legal.deadline_near", "%d: write a number of days from 0 to 60", f.DeadlineNear)
	}
}

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
	if len(b.problems) > 0 {
		return // the patterns were checked one by one
	}
	var errs []error
	c.Recogniser, errs = receipts.New(o)
	for _, err := range errs {
		b.add("platform", "%s", strings.TrimPrefix(err.Error(), "receipts: "))
	}
}

func (b *builder) calibrate(p *receipts.Platform, from *Platform) {
	if from == nil {
		return
	}
	key := "platform." + p.Name
	for i, domain := range from.ReceiptSenders {
		if !validHost(domain) {
			b.add(key+".receipt_senders"+index(i+1), "%q is no domain", domain)
		}
	}
	b.patterns(key+".receipt_signers", from.ReceiptSigners)
	b.patterns(key+".receipt_mail_signers", from.ReceiptMailSigners)
	p.MailSigners = from.ReceiptMailSigners
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
		p.Subjects = b.kinds(key+".receipt_subjects", from.ReceiptSubject)
	}
	if len(from.ReceiptText) > 0 {
		p.Texts = b.kinds(key+".receipt_texts", from.ReceiptText)
	}
}

// kinds reads patterns by the kind of receipt.
func (b *builder) kinds(key string, m map[string][]string) map[message.ReceiptKind][]string {
	out := map[message.ReceiptKind][]string{}
	for _, kind := range slices.Sorted(maps.Keys(m)) {
		at := joinKey(key, kind)
		if !slices.Contains(receiptKinds(), kind) {
			_, near := suggestion(kind, receiptKinds())
			b.add(at, "unknown kind of receipt%s", near)
		}
		b.patterns(at, m[kind])
		out[message.ReceiptKind(kind)] = m[kind]
	}
	return out
}

func (b *builder) patterns(key string, list []string) {
	for i, p := range list {
		if _, err := regexp.Compile(p); err != nil {
			b.add(key+index(i+1), "%s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		} else if p == "" {
			b.add(key+index(i+1), "is empty: it would fit everything")
		}
	}
}

// receiptKinds are the kinds that package receipts knows.
func receiptKinds() []string {
	return []string{
		string(message.Abgabequittung), string(message.Bereitstellung), string(message.Abholquittung), string(message.Annahmeverweigerung), string(message.Verfallquittung), string(message.Weitergabe),
		string(message.NoticeBlocked), string(message.NoticeUndelivered), string(message.ArchiveCopy), string(message.UnknownReceipt),
	}
}
