package simulator

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Faults is what goes wrong from now on. The zero value is a healthy platform.
type Faults struct {
	DropReceipt    bool          // receipts are never sent
	DupReceipt     bool          // each receipt is sent twice: same document, two mails
	Reorder        bool          // receipts of a message wait for its end and go out last first
	Late           time.Duration // receipts are sent that much later
	Temporary      int           // the next n mails are answered 451 to the final dot, not stored
	Permanent      bool          // every mail is answered 554 to the final dot, not stored
	HangAfterData  bool          // mail is taken, but the reply never comes: cut at the next change of faults
	BadSeal        bool          // receipts are changed after signing: digest mismatch
	WrongSeal      bool          // receipts are signed under a foreign CA
	ForeignReceipt bool          // receipts come from the other platform, in its form
	StripTag       bool          // the tag is lost before the platform reads it
	Tamper         bool          // octets follow the signed part of receipts
}

// flags names the faults that are on or off.
func (f *Faults) flags() map[string]*bool {
	return map[string]*bool{
		"drop-receipt": &f.DropReceipt, "dup-receipt": &f.DupReceipt, "reorder": &f.Reorder,
		"5xx": &f.Permanent, "hang-after-data": &f.HangAfterData, "strip-tag": &f.StripTag,
		"bad-seal": &f.BadSeal, "wrong-seal": &f.WrongSeal, "tamper": &f.Tamper, "foreign-receipt": &f.ForeignReceipt,
	}
}

// ParseFaults reads the names of the control interface, with "late:2h", "late:3d"
// and "4xx:5" (the next five mails). An empty list heals everything.
func ParseFaults(names []string) (Faults, error) {
	var f Faults
	for _, n := range names {
		if err := f.set(n); err != nil {
			return Faults{}, err
		}
	}
	return f, nil
}

func (f *Faults) set(s string) error {
	name, arg, _ := strings.Cut(s, ":")
	var err error
	switch name {
	case "late":
		f.Late, err = parseDuration(arg)
		return err
	case "4xx":
		if f.Temporary, err = strconv.Atoi(arg); err != nil || f.Temporary < 1 {
			return fmt.Errorf("fault %q: want 4xx:n", s)
		}
		return nil
	}
	on, ok := f.flags()[s]
	if !ok {
		return fmt.Errorf("unknown fault %q", s)
	}
	*on = true
	return nil
}

// Names lists what is wrong, in the words of ParseFaults.
func (f Faults) Names() []string {
	names := []string{}
	for name, on := range f.flags() {
		if *on {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if f.Late > 0 {
		names = append(names, "late:"+f.Late.String())
	}
	if f.Temporary > 0 {
		names = append(names, "4xx:"+strconv.Itoa(f.Temporary))
	}
	return names
}
