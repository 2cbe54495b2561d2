package entity

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"gatewayd/mail/parts"
	"gatewayd/mail/tnef"
)

// Packed is what a winmail.dat of a message holds.
type Packed struct {
	Part string `json:"part"` // id of the part that is one
	*tnef.Message
	Error string `json:"error,omitempty"` // why not all of it, or nothing, was read
}

// maxPacked bounds how many winmail.dat of one message are looked into.
const maxPacked = 20

// Unpack looks into every winmail.dat among the parts of the message that r
// holds. What cannot be read is told in the result; an error is one of r or of
// the spool.
func Unpack(r io.ReaderAt, found []parts.Entry, spool func(limit int64) Spool) ([]Packed, error) {
	var all []Packed
	for _, e := range found {
		if e.Children || !tnef.Is(e.Type, e.FileName) {
			continue
		}
		if len(all) == maxPacked {
			break
		}
		p := Packed{Part: e.ID}
		err := Unpacked(r, e, spool, func(m *tnef.Message, _ io.ReaderAt) error {
			p.Message = m
			return nil
		})
		switch {
		case errors.Is(err, tnef.ErrLimits), errors.Is(err, tnef.ErrNotTNEF):
			p.Error = err.Error()
		case err != nil:
			return nil, fmt.Errorf("look into winmail.dat: %w", err)
		}
		all = append(all, p)
	}
	return all, nil
}

// Unpacked reads one winmail.dat and calls use with what it holds and with the
// stream in which that lies; also beside tnef.ErrLimits, with what was read
// before.
func Unpacked(r io.ReaderAt, e parts.Entry, spool func(limit int64) Spool, use func(*tnef.Message, io.ReaderAt) error) error {
	s := spool(e.Size)
	defer s.Close()
	size, err := io.Copy(s, e.Decode(r))
	if err != nil {
		return err
	}
	m, err := tnef.Read(s, size, tnef.Limits{})
	if m == nil {
		return err
	}
	return errors.Join(err, use(m, s))
}

// Item is one thing that lies in a message, for people.
type Item struct {
	ID       string `json:"id"` // of the part; what lies in a winmail.dat has its number behind a slash: "1.2/1"
	Type     string `json:"type,omitempty"`
	FileName string `json:"file_name,omitempty"`
	Size     int64  `json:"size"` // octets, decoded
	SHA256   string `json:"sha256,omitempty"`
}

// Contents is an opened message for a person who wants to know what is in it.
type Contents struct {
	Verdict Summary          `json:"verdict"`
	Scheme  string           `json:"header_protection,omitempty"`
	Fields  []ProtectedField `json:"fields,omitempty"` // header fields that were protected
	Message parts.Inspection `json:"message"`          // as it is delivered
	Packed  []Packed         `json:"tnef,omitempty"`
	Items   []Item           `json:"items"` // all that lies in it, also in a winmail.dat
}

// Look tells what lies in the message of size octets that r holds, in its opened
// form.
func (op *Opened) Look(r io.ReaderAt, size int64, spool func(limit int64) Spool) (Contents, error) {
	c := Contents{Verdict: op.Summary(), Scheme: op.Scheme, Fields: op.Fields}
	var err error
	if c.Message, err = parts.Inspect(r, size, parts.Limits{}); err != nil && !errors.Is(err, parts.ErrLimits) {
		return c, err
	}
	if c.Packed, err = Unpack(r, c.Message.Parts, spool); err != nil {
		return c, err
	}
	c.Items = Items(c.Message.Parts, c.Packed)
	return c, nil
}

// Items lists parts that are not cut further, each with what lies in it.
func Items(found []parts.Entry, packed []Packed) []Item {
	items := []Item{}
	for _, e := range found {
		if e.Children {
			continue
		}
		items = append(items, Item{ID: e.ID, Type: e.Type, FileName: e.FileName, Size: e.Size, SHA256: e.SHA256.String()})
		for _, p := range packed {
			if p.Part == e.ID && p.Message != nil {
				items = inside(items, e.ID, p.Message)
			}
		}
	}
	return items
}

func inside(items []Item, id string, m *tnef.Message) []Item {
	for n, a := range m.Attachments {
		item := Item{ID: id + "/" + strconv.Itoa(n+1), Type: a.Type, FileName: a.Name, Size: a.Size}
		items = append(items, item)
		if a.Message != nil {
			items = inside(items, item.ID, a.Message)
		}
	}
	return items
}
