package config

import (
	"slices"

	"gatewayd/archive"
	"gatewayd/message"
	"gatewayd/retention"
)

// maxRemind bounds how early, in days, an authority is reminded; the export comes
// at five.
const (
	minRemind = 6
	maxRemind = 55
)

// archive checks the folder of the schemas where one is named.
func (b *builder) archive() {
	if dir := b.file.Archive.Schemas; dir != "" {
		if err := archive.CheckSchemas(dir); err != nil {
			b.add("archive.schemas", "%s", err)
		}
	}
}

// agreements reads the standing agreements and the days of reminders.
func (b *builder) agreements(c *Config) {
	f := b.file.Retention
	for i, days := range f.Remind {
		if days < minRemind || days > maxRemind {
			b.add("retention.remind"+index(i+1), "%d: write a number of days from %d to %d; five days before the limit is the export", days, minRemind, maxRemind)
		}
	}
	for i, a := range f.Agreements {
		key := "retention.agreement" + index(i+1)
		if err := (message.Filing{Disposition: message.NoRecord, Ref: a.ID}).Check(); err != nil && a.ID != "" {
			b.add(key+".id", "%s", err)
		}
		for n, id := range a.Authorities {
			if _, ok := b.file.Authority[id]; !ok {
				b.add(key+".authorities"+index(n+1), "%q is no authority of this configuration", id)
			}
		}
		for n, class := range a.Classes {
			if _, err := message.ParseClass(class); err != nil {
				b.add(key+".classes"+index(n+1), "%s", err)
			}
		}
		for n, d := range a.Directions {
			if !slices.Contains([]message.Direction{message.Inbound, message.Outbound, message.Notice}, message.Direction(d)) {
				b.add(key+".directions"+index(n+1), "%q: write in, out or notice", d)
			}
		}
		c.Agreements = append(c.Agreements, retention.Agreement(a))
	}
}
