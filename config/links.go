package config

import (
	"crypto/tls"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"gatewayd/calendar"
	"gatewayd/connectors/incamail"
	"gatewayd/connectors/privasphere"
	"gatewayd/connectors/smtpclient"
	"gatewayd/connectors/smtprelay"
	"gatewayd/gateway"
	"gatewayd/message"
	"gatewayd/policy"
)

// links makes the options of the connectors.
func (b *builder) links(c *Config) {
	c.Platforms = map[string]gateway.Platform{}
	if p := b.file.Platform.IncaMail; p != nil {
		o := incamail.Options{Link: b.link("platform.incamail", *p), Tags: incamail.DefaultTags(), Suffix: p.RecipientSuffix, MaxSize: int64(p.MaxSize), Vocabulary: c.Words}
		for class, tag := range p.tags() {
			o.Tags[class] = tag
		}
		b.tryOut("platform.incamail", func() error { _, err := incamail.New(o); return err })
		c.IncaMail = &o
		c.Platforms[incamail.Name] = b.platform("platform.incamail", *p, o.Tags)
	}
	if p := b.file.Platform.PrivaSphere; p != nil {
		o := privasphere.Options{
			Link: b.link("platform.privasphere", *p), RegisteredTag: p.RegisteredTag, ConfidentialTag: p.ConfidentialTag, PersonalTag: p.PersonalTag,
			MaxSize: int64(p.MaxSize), Vocabulary: c.Words,
		}
		b.tryOut("platform.privasphere", func() error { _, err := privasphere.New(o); return err })
		c.PrivaSphere = &o
		c.Platforms[privasphere.Name] = b.platform("platform.privasphere", *p, p.tags())
	}
	c.Relay = b.relay()
	for _, via := range []string{policy.ViaSMIME, policy.ViaOpenPGP} {
		o := c.Relay
		o.As, o.Sealed = via, true
		c.Sealed = append(c.Sealed, o)
	}
	c.Forwards = map[string]smtprelay.Options{}
	for _, a := range c.Authorities {
		if fwd := b.file.Authority[a.ID].Forward; fwd != (Forward{}) {
			c.Forwards[a.ID] = b.forward(joinKey("authority", a.ID)+".forward", a.ID, fwd)
		}
	}
	b.tryOut("smtp", func() error { _, err := smtprelay.New(c.Relay); return err })
}

// tryOut lets a connector check its own options; nothing is dialled.
func (b *builder) tryOut(key string, f func() error) {
	b.note(func(text string) (string, string) { return linkKey(key, text) }, f())
}

// linkKey finds the key that an error of a connector is about.
func linkKey(key, text string) (at, rest string) {
	for _, p := range [][2]string{
		{"smarthost: ", key + ".smarthost"},
		{"hello name: ", "hostname"},
		{"host: ", "hostname"},
		{"suffix: ", key + ".recipient_suffix"},
		{"login: ", key + ".username"},
		{"class registered: ", key + ".registered_tag"},
		{"class confidential: ", key + ".confidential_tag"},
		{"class personal: ", key + ".personal_tag"},
		{"mode ", key + ".tls"},
		{"without a smarthost the mode ", key + ".tls"},
	} {
		if rest, ok := strings.CutPrefix(text, p[0]); ok {
			return p[1], rest
		}
	}
	return key, text
}

// tags are the ones that the file names.
func (p Platform) tags() map[message.Class]string {
	tags := map[message.Class]string{}
	for class, tag := range map[message.Class]string{message.Registered: p.RegisteredTag, message.Confidential: p.ConfidentialTag, message.Personal: p.PersonalTag} {
		if strings.TrimSpace(tag) != "" {
			tags[class] = tag
		}
	}
	return tags
}

func (b *builder) link(key string, p Platform) smtpclient.Options {
	o := smtpclient.Options{Addr: p.Smarthost, ServerName: p.ServerName, Mode: smtpclient.Mode(p.TLS), Hello: b.file.Hostname, TLS: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: b.pool(key+".roots", p.Roots)}}
	if p.TLS != string(smtpclient.StartTLS) && p.TLS != string(smtpclient.ImplicitTLS) {
		b.bad(key+".tls", "%q: write starttls or implicit; a platform is never reached in plain text", p.TLS)
	}
	if pair, ok := b.certificate(key+".client_certificate", p.ClientCertificate); ok {
		o.TLS.Certificates = []tls.Certificate{pair}
	}
	o.Login = b.login(key, p.Username, p.Password)
	return o
}

func (b *builder) login(key, name string, password Secret) *smtpclient.Login {
	switch {
	case name == "" && password != Secret{}:
		b.add(key+".password", "stands without username")
		return nil
	case name == "":
		return nil
	}
	return &smtpclient.Login{Name: name, Password: b.secret(key+".password", password)}
}

// platform is what the flow knows of it. What a registered decision needs and
// the file does not say makes the class unavailable there, never unsafe.
func (b *builder) platform(key string, p Platform, tags map[message.Class]string) gateway.Platform {
	usable := map[message.Class]string{}
	for class, tag := range tags {
		usable[class] = strings.TrimSpace(tag) + " "
	}
	out := gateway.Platform{
		State:       policy.PlatformState{Configured: true, Tags: usable, MaxSize: int64(p.MaxSize)},
		Recognised:  gateway.Recognition{By: p.Recognised.By, Reference: p.Recognised.Reference, From: day(p.Recognised.From), Until: day(p.Recognised.Until)},
		Roots:       b.pool(key+".receipt_anchors", p.ReceiptAnchors),
		ReceiptWait: time.Duration(p.ReceiptWait),
	}
	if tags[message.Registered] == "" {
		b.warn(key+".registered_tag", "is empty: class registered is refused on this platform")
	}
	if p.Recognised.By == "" {
		b.warn(key+".recognised", "is missing: nothing confidential or registered goes over this platform")
	}
	if out.Roots == nil {
		b.warn(key+".receipt_anchors", "is missing: receipts cannot be verified, so class registered is refused on this platform")
		delete(usable, message.Registered)
	}
	b.recognition(key+".recognised", out.Recognised)
	b.atLeast(key+".receipt_wait", p.ReceiptWait, time.Second)
	if p.MaxSize < 1<<10 {
		b.add(key+".max_size", "must be at least 1 KiB")
	}
	return out
}

// recognition warns of a legal basis that does not hold today.
func (b *builder) recognition(key string, r gateway.Recognition) {
	var none calendar.Day
	today := calendar.DayOf(b.now)
	switch {
	case r.Until != none && r.Until.Before(r.From):
		b.add(key+".until", "lies before from")
	case r.From != none && today.Before(r.From):
		b.warn(key+".from", "lies in the future: until then nothing confidential or registered goes over this platform")
	case r.Until != none && r.Until.Before(today):
		b.warn(key+".until", "is over: nothing confidential or registered goes over this platform")
	}
}

func day(d toml.LocalDate) calendar.Day {
	if d == (toml.LocalDate{}) {
		return calendar.Day{}
	}
	return calendar.Date(d.Year, time.Month(d.Month), d.Day)
}

// relay is ordinary SMTP: to a smarthost, or straight to the recipients'
// servers.
func (b *builder) relay() smtprelay.Options {
	r := b.file.SMTP
	o := smtprelay.Options{MaxSize: int64(b.file.Limits.MessageSize)}
	o.Link = smtpclient.Options{
		Addr: r.Smarthost, ServerName: r.ServerName, Mode: smtpclient.Mode(r.TLS), Hello: b.file.Hostname,
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: b.pool("smtp.roots", r.Roots)}, Login: b.login("smtp", r.Username, r.Password),
	}
	switch {
	case r.Smarthost == "" && (r.TLS == "verify" || r.TLS == "starttls"):
		o.Link.Mode = smtpclient.StartTLS
	case r.Smarthost == "" && r.TLS != string(smtpclient.Opportunistic):
		b.bad("smtp.tls", "%q: without a smarthost write verify or opportunistic", r.TLS)
	case r.Smarthost != "" && r.TLS != string(smtpclient.StartTLS) && r.TLS != string(smtpclient.ImplicitTLS):
		b.bad("smtp.tls", "%q: to a smarthost write starttls or implicit", r.TLS)
	}
	return o
}
