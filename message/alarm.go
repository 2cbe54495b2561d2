package message

import "strings"

// What several parts of the program write into Item.Alarm stands side by side,
// each behind the name of who wrote it; what has no name stands first.
const (
	alarmBetween = " | "
	alarmNamed   = ": "
)

// WithAlarm replaces what one owner has written into an alarm, in its place; an
// empty text takes it back. What others have written stays.
func WithAlarm(alarm, owner, text string) string {
	var parts []string
	if text != "" {
		text = owner + alarmNamed + strings.ReplaceAll(text, alarmBetween, ", ")
	}
	add := func(part string) {
		if part != "" {
			parts = append(parts, part)
		}
	}
	for part := range strings.SplitSeq(alarm, alarmBetween) {
		if strings.HasPrefix(part, owner+alarmNamed) {
			part, text = text, ""
		}
		add(part)
	}
	add(text)
	return strings.Join(parts, alarmBetween)
}
