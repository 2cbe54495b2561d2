// Package retention holds the legal windows and enforces them: by which day
// content must be gone, on which day log data ends, how long a hand-over may be
// tried so that proof and erasure never collide (Vo E-GovG BL § 11), and the
// sweep, the only code that decides to delete (docs/retention.md).
//
// It reads no clock itself and knows no store: Keys, Messages, Logs and Folders
// are what it needs of them, and gateway adapts. Months are calendar months: 60
// days would be too late for some start days and 180 days too early for all.
// LogFile and Masked serve the operational log.
package retention

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"gatewayd/calendar"
)

// The windows of Vo E-GovG BL § 11 para. 1.
const (
	DefaultContentMonths = 2 // lit. a: at most two months
	DefaultLogMonths     = 6 // lit. b: six months, unless special law says otherwise
)

// registeredTail is what must remain of the content window when a registered
// hand-over is given up: seven days to collect, one day of grace, five days
// for the hand-over to the authority's file.
const registeredTail = (7 + 1 + 5) * 24 * time.Hour

// maxLogMonths bounds an override: nobody keeps protocol data for life.
const maxLogMonths = 120

// Windows says how long data may stay.
type Windows struct {
	Profile       string // ProfileBL or ProfileBS; empty: ProfileBL. With ProfileBS the months below do not count
	ContentMonths int    // bodies, subjects, file names: a ceiling
	LogMonths     int    // addresses, states, receipts, audit lines: a fixed span
	LegalBasis    string // the special law that allows another LogMonths than 6; else empty
}

// Default returns the windows of the ordinance.
func Default() Windows {
	return Windows{ContentMonths: DefaultContentMonths, LogMonths: DefaultLogMonths}
}

// Validate reports every way in which the windows break Vo E-GovG BL § 11:
// content may be shortened to one month, never lengthened; log data has exactly
// six months unless a legal basis is named.
func (w Windows) Validate() error {
	switch w.Profile {
	case "", ProfileBL:
	case ProfileBS:
		return nil // its windows are fixed
	default:
		return fmt.Errorf("profile = %q: use %s or %s", w.Profile, ProfileBL, ProfileBS)
	}
	var errs []error
	if w.ContentMonths < 1 || w.ContentMonths > DefaultContentMonths {
		errs = append(errs, fmt.Errorf("content_months = %d: use 1 or 2 (Vo E-GovG BL § 11 para. 1 lit. a)", w.ContentMonths))
	}
	switch {
	case w.LogMonths < 1 || w.LogMonths > maxLogMonths:
		errs = append(errs, fmt.Errorf("log_months = %d: use 6, or 1 to %d with a legal basis", w.LogMonths, maxLogMonths))
	case w.LogMonths != DefaultLogMonths && strings.TrimSpace(w.LegalBasis) == "":
		errs = append(errs, fmt.Errorf("log_months = %d: only 6 without a named legal basis (Vo E-GovG BL § 11 para. 1 lit. b)", w.LogMonths))
	}
	return errors.Join(errs...)
}

// ContentDay returns the erase-by day of content first stored at start: it must
// be gone before that day's End.
func (w Windows) ContentDay(start time.Time) calendar.Day {
	if w.BS() {
		return bwpvDay(start)
	}
	return calendar.DayOf(start).AddMonths(w.ContentMonths)
}

// LogDay returns the last day of log data about something that happened at that
// instant: it is kept until that day's End and then goes.
func (w Windows) LogDay(at time.Time) calendar.Day {
	if w.BS() {
		return bwpvDay(at)
	}
	return calendar.DayOf(at).AddMonths(w.LogMonths)
}

// EraseBy returns the instant before which content first stored at start must
// be gone.
func (w Windows) EraseBy(start time.Time) time.Time { return w.ContentDay(start).End() }

// MaxGiveUp returns how long the hand-over of a registered message accepted at
// start may be tried: to the limit minus 13 days.
func (w Windows) MaxGiveUp(start time.Time) time.Duration {
	return w.EraseBy(start).Sub(start) - registeredTail
}

// GiveUpLimit returns the least MaxGiveUp over all start instants. A
// configured give-up time must not exceed it.
func (w Windows) GiveUpLimit() time.Duration {
	days := 28 // 28 February to 28 March
	if w.ContentMonths == 2 || w.BS() {
		days = 59 // 31 December to 28 February
	}
	return time.Duration(days)*24*time.Hour - time.Hour - registeredTail // the night of 23 hours may lie between
}
