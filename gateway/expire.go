package gateway

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatewayd/calendar"
	"gatewayd/crypto/cms"
	"gatewayd/gateway/cases"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/retention"
)

// Batches of the sweep.
const (
	releaseBatch = 256
	dueBatch     = 200 // a millisecond or two of work
)

// sweepMessages is what the sweep does to messages.
type sweepMessages struct{ r *Retention }

// Release overwrites the keys of bodies whose items have all let go of them, and
// then notes it. A crash in between repeats the first step.
func (m sweepMessages) Release(ctx context.Context, now time.Time) (int, error) {
	released := 0
	for after := (message.ID{}); ; {
		ids, next, err := m.r.o.Ledger.LetGo(ctx, after, releaseBatch)
		if err != nil {
			return released, err
		}
		n, err := m.release(ctx, ids, now, message.Item.LetsGo)
		released += n
		if err != nil || next.IsZero() {
			return released, err
		}
		after = next
	}
}

func (m sweepMessages) release(ctx context.Context, ids []message.ID, now time.Time, may func(message.Item) bool) (int, error) {
	var wipe, drop []message.Ref
	var change queue.Change
	for _, id := range ids {
		env, items, err := m.r.g.o.Store.Message(ctx, id)
		if err != nil {
			return 0, err
		}
		if slices.ContainsFunc(items, func(i message.Item) bool { return !may(i) }) {
			continue
		}
		switch {
		case env.Body.IsZero():
		case slices.ContainsFunc(items, provable):
			wipe = append(wipe, env.Body)
		default:
			drop = append(drop, env.Body)
		}
		for _, item := range items {
			item.Erased = now
			change.Items = append(change.Items, item)
		}
		change.Events = append(change.Events, message.Event{
			At: now, Kind: message.EventErased, Authority: env.Authority, Message: id,
			Data: map[string]string{"keep": string(items[0].Decision.Keep), "sha256": env.Content.Digest.String(), "size": strconv.FormatInt(env.Content.Size, 10)},
		})
	}
	if len(change.Events) == 0 {
		return 0, nil
	}
	_, err := m.r.g.o.Vault.Wipe(wipe)
	if err == nil {
		_, err = m.r.g.o.Vault.Drop(drop)
	}
	if err != nil {
		return 0, err
	}
	err = m.r.g.o.Store.Apply(ctx, change)
	if errors.Is(err, queue.ErrConflict) {
		return 0, nil // a receipt came in between; the next sweep notes it
	}
	return len(change.Events), err
}

// provable reports whether something must be proven of an item: then its record
// stays in the vault for its day, so that a damaged row of the ledger can be
// made from it (Salvage). Of all else the record goes with the body.
func provable(i message.Item) bool {
	return i.Decision.Class == message.Registered || len(i.Decision.Owed) > 0
}

// LetGo implements retention.Messages.
func (m sweepMessages) LetGo(ctx context.Context, list []retention.Object, now time.Time) (int, error) {
	released := 0
	for batch := range slices.Chunk(list, releaseBatch) {
		ids := make([]message.ID, len(batch))
		for i, o := range batch {
			var err error
			if ids[i], err = message.ParseID(o.ID); err != nil {
				return released, err
			}
		}
		n, err := m.release(ctx, ids, now, func(i message.Item) bool { return i.State.Final() && i.Erased.IsZero() })
		if released += n; err != nil {
			return released, err
		}
	}
	return released, nil
}

// Ended implements retention.Messages: the events tell when each item came into
// its last state. What they do not tell counts from the last of them.
func (m sweepMessages) Ended(ctx context.Context, o retention.Object) (time.Time, error) {
	id, err := message.ParseID(o.ID)
	if err != nil {
		return time.Time{}, err
	}
	_, items, err := m.r.g.o.Store.Message(ctx, id)
	if err != nil {
		return time.Time{}, err
	}
	events, err := m.r.g.o.Store.Events(ctx, id)
	if err != nil {
		return time.Time{}, err
	}
	ended := o.Start
	for _, i := range items {
		at := time.Time{}
		for _, e := range events {
			if e.Item != i.Key.N && e.Item != 0 {
				continue
			}
			ends := e.Kind == message.EventMailbox || e.Kind == message.EventExpired || message.State(e.Data["state"]).Final()
			if ends && e.Kind != message.EventAlarm && e.Kind != message.EventOverdue && e.Kind != message.EventTaskClosed && e.Kind != message.EventStated {
				at = e.At
				break
			}
		}
		if at.IsZero() && len(events) > 0 {
			at = events[len(events)-1].At
		}
		if at.After(ended) {
			ended = at
		}
	}
	return ended, nil
}

// Due implements retention.Messages.
func (m sweepMessages) Due(ctx context.Context, day calendar.Day, left bool, fn func(retention.Object) error) error {
	exported, err := m.r.exportedOn(day)
	if err != nil {
		return err
	}
	pace := pace{g: m.r.g}
	for after := ""; ; {
		due, next, err := m.r.o.Ledger.DueBetween(ctx, day.Start(), day.End(), left, after, dueBatch)
		if err != nil {
			return err
		}
		for _, d := range due {
			if err := fn(m.r.g.object(d.Envelope, d.Items, exported[d.Envelope.ID])); err != nil {
				return err
			}
		}
		if next == "" {
			return ctx.Err()
		}
		pace.rest()
		after = next
	}
}

// How long the sweep works while mail comes in, and how long it rests then.
const (
	workFor = 2 * time.Millisecond
	restFor = time.Millisecond
)

// pace lets mail go before: whoever accepts it needs a processor at once, several
// times, and gets one when the sweep rests. While none comes in the sweep does not.
type pace struct {
	g     *Gateway
	begun time.Time
	seen  uint64 // messages that had come in
}

// rest is called between two small pieces of work.
func (p *pace) rest() {
	if !p.begun.IsZero() && time.Since(p.begun) < workFor {
		return
	}
	if came := p.g.came.Load(); came != p.seen {
		p.seen = came
		time.Sleep(restFor)
	}
	p.begun = time.Now()
}

// exportedOn lists what was exported of an erase-by day.
func (r *Retention) exportedOn(day calendar.Day) (map[message.ID]bool, error) {
	names, err := filepath.Glob(filepath.Join(r.g.o.Data, "export", "*", day.String(), "*.p7m"))
	if err != nil {
		return nil, err
	}
	all := make(map[message.ID]bool, len(names))
	for _, name := range names {
		if id, err := message.ParseID(strings.TrimSuffix(filepath.Base(name), ".p7m")); err == nil {
			all[id] = true
		}
	}
	return all, nil
}

func (g *Gateway) object(env message.Envelope, items []message.Item, exported bool) retention.Object {
	o := retention.Object{
		ID: env.ID.String(), Authority: env.Authority, Size: env.Content.Size, Start: env.Received, SHA256: env.Content.Digest.String(),
		Confirmed: true, NoRecord: true, Exported: exported,
	}
	for _, i := range items {
		o.Class = string(i.Decision.Class)
		o.Open = o.Open || !i.State.Final()
		o.Confirmed = o.Confirmed && !i.HandedOver.IsZero()
		o.NoRecord = o.NoRecord && i.Decision.Keep == message.KeepUntilDone && i.State.Final()
		o.Erased = i.Erased
		o.Filed, o.FiledRef = string(i.Filed.Disposition), i.Filed.Ref
	}
	if reminds(env) {
		o.NoRecord = true
	}
	if !o.Open {
		o.Agreement = g.agreement(env, items)
	}
	return o
}

// errBusyItem is returned for an item whose attempt is open: it ends by itself.
var errBusyItem = errors.New("an attempt is open")

// Expire ends every item of a message that is not final and tells the sender,
// before the content goes. The notice quotes nothing.
func (m sweepMessages) Expire(ctx context.Context, o retention.Object, now time.Time) error {
	id, err := message.ParseID(o.ID)
	if err != nil {
		return err
	}
	_, items, err := m.r.g.o.Store.Message(ctx, id)
	if err != nil {
		return err
	}
	var errs []error
	for _, item := range items {
		if !item.State.Final() {
			errs = append(errs, m.expire(ctx, item.Key, now))
		}
	}
	return errors.Join(errs...)
}

func (m sweepMessages) expire(ctx context.Context, key message.ItemKey, now time.Time) error {
	g := m.r.g
	for conflicts := 0; ; conflicts++ {
		err := g.once(ctx, key, func(ctx context.Context, item *message.Item) (queue.Change, error) {
			switch {
			case item.State.Final():
				return queue.Change{}, errRecorded
			case !item.State.MayBecome(message.Expired):
				return queue.Change{}, errBusyItem
			}
			env, _, err := g.o.Store.Message(ctx, key.Message)
			if err != nil {
				return queue.Change{}, err
			}
			was := item.State
			item.State, item.NextTry = message.Expired, time.Time{}
			if cases.Watched(*item) {
				item.NextTry = now // the delivery case goes on
			}
			change := queue.Change{Events: []message.Event{{
				At: now, Kind: message.EventExpired, Authority: env.Authority, Message: env.ID, Item: key.N,
				Data: map[string]string{"was": string(was), "erase_by": item.EraseBy.UTC().Format(time.RFC3339)},
			}}}
			notice, err := g.notices.Expired(ctx, env, *item, now)
			if err == nil && notice != nil {
				change.New = append(change.New, *notice)
				change.Events = append(change.Events, noticeEvent(env, *item, notice.Envelope.ID, now))
			}
			return change, err
		})
		switch {
		case err == nil, errors.Is(err, errRecorded):
			return nil
		case !errors.Is(err, queue.ErrConflict) || conflicts == maxConflicts:
			return fmt.Errorf("item %s: %w", key, err)
		}
	}
}

// folderName is what the name of an authority must look like to be a folder.
var folderName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*$`)

func (g *Gateway) exportPath(env message.Envelope) string {
	return filepath.Join(g.o.Data, "export", env.Authority, env.EraseDay, env.ID.String()+".p7m")
}

// Export writes the whole message and its receipts, encrypted to the fallback
// certificate of its authority, and notes it; the file gets its name last, so
// that one that is there was noted. The form is CMS EnvelopedData (RFC 5652)
// over a multipart/mixed: export.json, message.eml, the receipts' documents.
func (m sweepMessages) Export(ctx context.Context, o retention.Object, now time.Time) error {
	id, err := message.ParseID(o.ID)
	if err != nil {
		return err
	}
	env, items, err := m.r.g.o.Store.Message(ctx, id)
	if err != nil {
		return err
	}
	to := m.r.o.Fallback[env.Authority]
	if to == nil || !folderName.MatchString(env.Authority) {
		return errors.New("the authority has no fallback certificate")
	}
	path := m.r.g.exportPath(env)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := m.seal(ctx, path+".part", to, env, items); err != nil {
		os.Remove(path + ".part")
		return err
	}
	err = m.r.g.o.Store.Apply(ctx, queue.Change{Events: []message.Event{{
		At: now, Kind: message.EventExported, Authority: env.Authority, Message: env.ID,
		Data: map[string]string{"sha256": env.Content.Digest.String(), "day": env.EraseDay},
	}}})
	if err == nil {
		err = os.Rename(path+".part", path)
	}
	if err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func (m sweepMessages) seal(ctx context.Context, path string, to *x509.Certificate, env message.Envelope, items []message.Item) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	read, write := io.Pipe()
	go func() { write.CloseWithError(m.bundle(ctx, write, env, items)) }()
	err = cms.Encrypt(f, read, -1, cms.EncryptOptions{Recipients: []*x509.Certificate{to}})
	read.CloseWithError(err)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// bundle writes what is exported, as it is before encryption.
func (m sweepMessages) bundle(ctx context.Context, w io.Writer, env message.Envelope, items []message.Item) error {
	rs, err := m.r.g.o.Store.Receipts(ctx, env.ID)
	if err != nil {
		return err
	}
	about, err := json.MarshalIndent(message.Story{Envelope: env, Items: items, Receipts: rs}, "", "  ")
	if err != nil {
		return err
	}
	parts := multipart.NewWriter(w)
	if _, err := fmt.Fprintf(w, "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=%q\r\n\r\n", parts.Boundary()); err != nil {
		return err
	}
	body, err := m.r.g.o.Vault.OpenBody(env.Body)
	if err != nil {
		return err
	}
	defer body.Close()
	err = errors.Join(
		part(parts, "application/json", "export.json", func(w io.Writer) error { _, err := w.Write(about); return err }),
		part(parts, "message/rfc822", "message.eml", func(w io.Writer) error { _, err := io.Copy(w, body); return err }),
	)
	for i, r := range rs {
		if err == nil && !r.Document.IsZero() {
			err = part(parts, "application/octet-stream", fmt.Sprintf("receipt-%d-%s", i+1, r.Kind), func(w io.Writer) error { return m.document(w, r) })
		}
	}
	if err != nil {
		return err
	}
	return parts.Close()
}

func (m sweepMessages) document(w io.Writer, r message.Receipt) error {
	doc, err := m.r.g.o.Vault.OpenBody(r.Document)
	if err != nil {
		return err
	}
	defer doc.Close()
	_, err = io.Copy(w, doc)
	return err
}

func part(parts *multipart.Writer, typ, name string, fill func(io.Writer) error) error {
	h := textproto.MIMEHeader{}
	h.Set("Content-Type", typ)
	h.Set("Content-Transfer-Encoding", "binary")
	h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name))
	w, err := parts.CreatePart(h)
	if err != nil {
		return err
	}
	return fill(w)
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
