package message_test

import (
	"testing"

	"gatewayd/message"
)

func TestWithAlarm(t *testing.T) {
	for _, tt := range []struct{ alarm, owner, text, want string }{
		{"", "case", "", ""},
		{"", "case", "look", "case: look"},
		{"unclear", "case", "look", "unclear | case: look"},
		{"unclear | case: look", "case", "", "unclear"},
		{"unclear | case: look", "receipts", "forged", "unclear | case: look | receipts: forged"},
		{"case: look | receipts: forged", "case", "again", "case: again | receipts: forged"},
		{"case: look | case: twice", "case", "again", "case: again"},
		{"case: look", "case", "one | two", "case: one, two"},
	} {
		got := message.WithAlarm(tt.alarm, tt.owner, tt.text)
		if got != tt.want {
			t.Errorf("WithAlarm(%q, %s, %q) = %q, want %q", tt.alarm, tt.owner, tt.text, got, tt.want)
		}
		if again := message.WithAlarm(got, tt.owner, tt.text); again != got {
			t.Errorf("%q becomes %q", got, again)
		}
	}
}
