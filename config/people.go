package config

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"gatewayd/crypto/entity"
	"gatewayd/directory"
	"gatewayd/gateway"
	"gatewayd/gateway/forms"
	"gatewayd/mail/border"
	"gatewayd/message"
	"gatewayd/policy"
)

// people reads authorities, accounts and the directory.
func (b *builder) people(c *Config) {
	f := &b.file
	c.Fallback = map[string]*x509.Certificate{}
	for _, id := range slices.Sorted(maps.Keys(f.Authority)) {
		c.Authorities = append(c.Authorities, b.authority(id, f.Authority[id]))
		if name := f.Authority[id].FallbackKey; name != "" {
			c.Fallback[id] = b.fallbackKey(joinKey("authority", id)+".fallback_key", name)
		}
	}
	b.unique(c.Authorities)
	b.accounts(c)
	var problems []directory.Problem
	if b.exists("accounts", f.Accounts, "an empty file will do; gatewayd account hash makes its lines") {
		c.Passwords, problems = directory.LoadAccounts(f.Accounts)
		b.foreign(problems)
		b.private("accounts", f.Accounts)
	}
	if b.exists("directory", f.Directory, "an empty file will do; [[recipient]] tables tell who is on which platform") {
		c.People, problems = directory.Open(f.Directory)
		b.foreign(problems)
		b.delegates(c)
	}
	b.logins(c)
}

// delegates warns of entries that can have no effect: the directory may be
// reloaded without the configuration, so they are no mistakes.
func (b *builder) delegates(c *Config) {
	if c.People == nil {
		return
	}
	for _, d := range c.People.Get().Delegates() {
		home := slices.IndexFunc(c.Authorities, func(a gateway.Authority) bool { return a.ID == d.Authority })
		switch {
		case home < 0:
			b.warn("directory", "a delegate is named for %s, which is no authority of this configuration", d.Authority)
		case d.Account != "" && slices.Contains(c.Authorities[home].Accounts, d.Account):
			b.warn("directory", "account %s is a member of %s already; it need not be its delegate", d.Account, d.Authority)
		case d.Account != "" && c.Passwords != nil && !slices.Contains(c.Passwords.Names(), d.Account) && !slices.Contains(slices.Collect(maps.Values(c.Certificates)), d.Account):
			b.warn("directory", "delegate %s cannot sign in: neither a password nor [account.%s] with a certificate", d.Account, d.Account)
		}
	}
}

// exists says what to do about a file that is not there.
func (b *builder) exists(key, path, advice string) bool {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		b.bad(key, "%s does not exist: %s", path, advice)
	}
	return !errors.Is(err, fs.ErrNotExist)
}

// foreign takes over mistakes in the files that the configuration names.
func (b *builder) foreign(problems []directory.Problem) {
	for _, p := range problems {
		b.problems = append(b.problems, Problem{File: p.File, Line: p.Line, Column: p.Column, Text: p.Text})
	}
}

func (b *builder) authority(id string, a Authority) gateway.Authority {
	key := joinKey("authority", id)
	out := gateway.Authority{ID: id, Name: a.Name, UID: a.UID, Accounts: a.Members, Platforms: map[string]message.Address{}}
	if !bare.MatchString(id) {
		b.add(key, "the name of an authority has letters a to z, digits, - and _ only: it stands in the directory and in the audit log")
	}
	if a.UID != "" && !enterprise.MatchString(a.UID) {
		b.bad(joinKey(key, "uid"), "%q: write CHE-123.456.789", a.UID)
	}
	for i, s := range a.Addresses {
		addr, _ := b.address(key+".addresses"+index(i+1), s)
		out.Addresses = append(out.Addresses, addr) // a bad one keeps its place for unique
	}
	switch a.Headers {
	case "off", "":
	case string(entity.HeadersCopied), string(entity.HeadersHidden):
		out.Headers = entity.Headers(a.Headers)
	default:
		b.bad(joinKey(key, "header_protection"), "%q: write off, copy or hide", a.Headers)
	}
	out.ForwardOpened = a.Forward.Open
	out.Tags = b.subjectTags(joinKey(key, "subject_tags"), a.SubjectTags)
	for _, name := range slices.Sorted(maps.Keys(a.Platforms)) {
		b.platformAddress(key, name, a.Platforms[name], &out)
	}
	return out
}

// enterprise is the number of the federal register of enterprises (UIDG Art. 5).
var enterprise = regexp.MustCompile(`^CHE-\d{3}\.\d{3}\.\d{3}$`)

// subjectTags checks the tags of verdicts. Their form lets what a sender wrote be
// told from them.
func (b *builder) subjectTags(key string, tags map[string]string) map[string]string {
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		if !slices.Contains(forms.TagNames(), name) {
			_, near := suggestion(name, forms.TagNames())
			b.add(joinKey(key, name), "unknown verdict%s", near)
		}
		if !border.GoodTag(tags[name]) {
			b.bad(joinKey(key, name), "%q: write 1 to 40 letters, digits and spaces in square brackets: [signiert]", tags[name])
		}
	}
	return tags
}

func (b *builder) address(key, s string) (message.Address, bool) {
	addr, err := message.ParseAddress(s)
	if err != nil || addr.IsNull() {
		b.bad(key, "is no mail address: write name@domain")
		return message.Address{}, false
	}
	return addr, true
}

// platformAddress takes the authority's address on a platform. Receipts come
// back to it, so it must be one that the inbound door takes.
func (b *builder) platformAddress(authority, name, s string, a *gateway.Authority) {
	key := joinKey(authority+".platforms", name)
	addr, ok := b.address(key, s)
	switch {
	case !slices.Contains(policy.Platforms(), name):
		_, near := suggestion(name, policy.Platforms())
		b.add(key, "unknown platform%s", near)
	case !b.configured(name):
		b.add(key, "%s is not configured: write [platform.%s]", name, name)
	case ok && !b.isWrong(authority+".addresses") && !slices.ContainsFunc(a.Addresses, func(own message.Address) bool { return own.Key() == addr.Key() }):
		b.add(key, "is none of the authority's addresses: receipts come back to it and would be refused")
	}
	a.Platforms[name] = addr
}

// configured reports whether the way exists in this configuration.
func (b *builder) configured(via string) bool {
	switch via {
	case policy.ViaIncaMail:
		return b.file.Platform.IncaMail != nil
	case policy.ViaPrivaSphere:
		return b.file.Platform.PrivaSphere != nil
	}
	return true
}

// unique: an address and an account stand once, in one authority.
func (b *builder) unique(all []gateway.Authority) {
	owner := map[string]string{}
	claim := func(key, what, id string) {
		if other, taken := owner[what]; taken && other == id {
			b.add(key, "stands twice")
		} else if taken {
			b.add(key, "belongs to authority %s already", other)
		}
		owner[what] = id
	}
	for _, a := range all {
		key := joinKey("authority", a.ID)
		for i, addr := range a.Addresses {
			if !addr.IsNull() {
				claim(key+".addresses"+index(i+1), "address "+addr.Key(), a.ID)
			}
		}
		for i, account := range a.Accounts {
			if at := key + ".members" + index(i+1); account == "" {
				b.bad(at, "is empty")
			} else {
				claim(at, "account "+account, a.ID)
			}
		}
	}
}

// accounts reads which certificate signs in as which account.
func (b *builder) accounts(c *Config) {
	c.Certificates = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(b.file.Account)) {
		key := joinKey("account", name)
		if !slices.ContainsFunc(c.Authorities, func(a gateway.Authority) bool { return slices.Contains(a.Accounts, name) }) {
			b.add(key, "is in no authority's members")
		}
		cert := b.file.Account[name].Certificate
		if cert == "" {
			continue
		}
		other, taken := c.Certificates[cert]
		switch key += ".certificate"; {
		case taken:
			b.add(key, "this certificate signs in as %s already", other)
		case !validHost(cert) || cert != strings.ToLower(cert):
			b.add(key, "must be a DNS name in lower case, as it stands in the certificate")
		case b.file.ClientCA == "":
			b.add(key, "cannot be used without client_ca")
		}
		c.Certificates[cert] = name
	}
}

// logins warns of members that have no way to sign in.
func (b *builder) logins(c *Config) {
	if c.Passwords == nil {
		return
	}
	known := map[string]bool{}
	for _, name := range c.Passwords.Names() {
		known[name] = true
	}
	for _, name := range c.Certificates {
		known[name] = true
	}
	for _, a := range c.Authorities {
		for i, account := range a.Accounts {
			if !known[account] {
				b.warn(joinKey("authority", a.ID)+".members"+index(i+1), "cannot sign in: neither a password nor [account.%s] with a certificate", account)
			}
		}
	}
}
