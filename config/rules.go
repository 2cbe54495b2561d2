package config

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatewayd/gateway"
	"gatewayd/mail/footer"
	"gatewayd/message"
	"gatewayd/policy"
)

// doors checks host name, keys and addresses of the SMTP doors.
func (b *builder) doors(c *Config) {
	f := &b.file
	if f.Hostname != "" && !validHost(f.Hostname) {
		b.bad("hostname", "%q is no host name: write gateway.example.ch, a name outside ASCII as xn--…", f.Hostname)
	}
	c.Master, c.Certificate = b.master(), b.serverCertificate()
	c.ClientCAs = b.pool("client_ca", f.ClientCA)
	seen := map[string]string{}
	for _, door := range []struct{ key, addr string }{
		{"listen.submission", f.Listen.Submission.Addr},
		{"listen.submission_tls", f.Listen.SubmissionTLS.Addr},
		{"listen.inbound", f.Listen.Inbound.Addr},
	} {
		if door.addr == "" {
			continue
		}
		if _, port, err := net.SplitHostPort(door.addr); err != nil || !isPort(port) {
			b.bad(door.key, "%q: write host:port or :port", door.addr)
		} else if other, taken := seen[door.addr]; taken && port != "0" {
			b.bad(door.key, "%s is the address of %s already", door.addr, other)
		}
		seen[door.addr] = door.key
	}
	if len(seen) == 0 {
		b.add("listen", "no door is open")
	}
	if info, err := os.Stat(f.Data); err == nil && !info.IsDir() {
		b.bad("data", "%s is not a folder", f.Data)
	} else if err == nil && info.Mode().Perm()&0o077 != 0 {
		b.warn("data", "%s is open to others: chmod 700", f.Data)
	}
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// label is one part of a host name (RFC 1123 section 2.1).
var label = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// validHost reports whether s is a full host name.
func validHost(s string) bool {
	labels := strings.Split(s, ".")
	return len(s) <= 253 && len(labels) > 1 && !slices.ContainsFunc(labels, func(l string) bool { return !label.MatchString(l) })
}

// rules compiles vocabulary and routes.
func (b *builder) rules(c *Config) {
	f := &b.file
	c.Words = b.words()
	b.least("policy.bulk_limit", f.Policy.BulkLimit)
	o := policy.Options{
		Vocabulary: c.Words, BulkLimit: max(f.Policy.BulkLimit, 0), IgnoreAHV: !f.Policy.AHV,
		HoldFor: time.Duration(f.Delivery.HoldReturn), GiveUpLimit: c.Windows.GiveUpLimit(),
	}
	for _, r := range f.Route {
		o.Routes = append(o.Routes, policy.Route{Name: r.Name, When: r.When, Via: r.Via, Keep: message.Keep(r.Keep), GiveUp: time.Duration(r.GiveUp), Footer: r.Footer})
	}
	c.Footers = b.footers()
	var errs []error
	c.Rules, errs = policy.Compile(o)
	for _, err := range errs {
		b.note(b.ruleKey, err)
	}
	for i, r := range f.Route {
		b.ways("route"+index(i+1)+".via", r.Via)
	}
	if !prefix.MatchString(f.Policy.ReferencePrefix) {
		b.add("policy.reference_prefix", "%q: write 1 to 12 capital letters or digits", f.Policy.ReferencePrefix)
	}
}

// footers checks the footers and that routes name those that there are.
func (b *builder) footers() map[string]footer.Footer {
	all := map[string]footer.Footer{}
	for name, f := range b.file.Footer {
		all[name] = footer.Footer{German: f.German, English: f.English, GermanHTML: f.GermanHTML, EnglishHTML: f.EnglishHTML}
		if err := all[name].Check(); err != nil {
			b.bad(joinKey("footer", name), "%v", err)
		}
	}
	for i, r := range b.file.Route {
		if _, ok := all[r.Footer]; !ok && r.Footer != "" {
			b.add("route"+index(i+1)+".footer", "there is no %q: write [footer.%s]", r.Footer, r.Footer)
		}
	}
	return all
}

// prefix is what receipts.DefaultReference finds again.
var prefix = regexp.MustCompile(`^[A-Z0-9]{1,12}$`)

func (b *builder) words() policy.Vocabulary {
	f, words := b.file.Vocabulary, policy.DefaultVocabulary()
	if len(f.Tags) > 0 {
		words.Tags = map[string]message.Class{}
		for tag, class := range f.Tags {
			words.Tags[tag] = message.Class(class)
		}
	}
	if len(f.Suffixes) > 0 {
		words.Suffixes = f.Suffixes
	}
	if words.Header = f.Header; strings.Trim(f.Header, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
		b.add("vocabulary.header", "%q is no name of a header field: letters, digits and - only", f.Header)
	}
	return words
}

// ways checks what a route names.
func (b *builder) ways(key string, vias []string) {
	for i, via := range vias {
		if at := key + index(i+1); !b.configured(via) {
			b.add(at, "%s is not configured: write [platform.%s]", via, via)
		}
	}
}

// ruleKey finds the key that an error of policy.Compile is about.
func (b *builder) ruleKey(text string) (key, rest string) {
	for i, r := range slices.Backward(b.file.Route) {
		if rest, ok := cutAny(text, fmt.Sprintf("route %q: ", r.Name), fmt.Sprintf("route %d: ", i+1)); ok {
			return routeKey("route"+index(i+1), rest)
		}
	}
	for tag := range b.file.Vocabulary.Tags {
		if rest, ok := cutAny(text, fmt.Sprintf("tag %q: ", tag)); ok {
			return joinKey("vocabulary.tags", tag), rest
		}
	}
	for suffix := range b.file.Vocabulary.Suffixes {
		if rest, ok := cutAny(text, fmt.Sprintf("suffix %q: ", suffix)); ok {
			return joinKey("vocabulary.suffixes", suffix), rest
		}
	}
	return "route", text
}

// routeKey finds the key by the word with which the error begins.
func routeKey(key, text string) (string, string) {
	for _, field := range []string{"when", "via", "keep", "give_up"} {
		if rest, ok := strings.CutPrefix(text, field); ok {
			return key + "." + field, strings.TrimLeft(rest, ":, ")
		}
	}
	if strings.Contains(text, "name") {
		return key + ".name", text
	}
	return key, text
}

func cutAny(text string, prefixes ...string) (string, bool) {
	for _, p := range prefixes {
		if rest, ok := strings.CutPrefix(text, p); ok {
			return rest, true
		}
	}
	return text, false
}

// least refuses a limit that would let nothing through.
func (b *builder) least(key string, n int) {
	if n < 1 {
		b.add(key, "must be at least 1")
	}
}

// delivery checks times and limits.
func (b *builder) delivery(c *Config) {
	d, l := b.file.Delivery, b.file.Limits
	c.Delivery = gateway.Delivery{
		RetryFirst: time.Duration(d.RetryFirst), RetryMax: time.Duration(d.RetryMax), HoldReturn: time.Duration(d.HoldReturn),
		Concurrency: d.Concurrency, PerTarget: d.PerTarget, ReserveDisk: int64(d.ReserveDisk),
	}
	b.least("delivery.concurrency", d.Concurrency)
	b.least("delivery.per_target", d.PerTarget)
	b.least("limits.recipients", l.Recipients)
	b.least("limits.connections", l.Connections)
	b.least("limits.connections_per_ip", l.ConnectionsPerIP)
	b.atLeast("delivery.retry_first", d.RetryFirst, 10*time.Millisecond)
	b.atLeast("delivery.hold_return", d.HoldReturn, time.Second)
	b.atLeast("limits.idle", l.Idle, time.Second)
	b.atLeast("limits.data", l.Data, time.Second)
	if l.MessageSize < 1<<10 {
		b.add("limits.message_size", "must be at least 1 KiB")
	}
	if d.RetryFirst > d.RetryMax {
		b.add("delivery.retry_first", "is longer than retry_max")
	}
	if limit := c.Windows.GiveUpLimit(); time.Duration(d.HoldReturn) > limit {
		b.add("delivery.hold_return", "must not be longer than %s, so that return and erasure do not collide", limit)
	}
}

func (b *builder) atLeast(key string, d Duration, least time.Duration) {
	if time.Duration(d) < least {
		b.add(key, "must be at least %s", least)
	}
}
