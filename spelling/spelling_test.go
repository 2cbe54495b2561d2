package spelling

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	known := []string{"hostname", "data", "listen", "grösse", "date", "ab"}
	for word, want := range map[string]string{
		"hostnme": "hostname", "Data": "data", "lisen": "listen", "grosse": "grösse", "dat": "data", "dato": "data", "ac": "ab", "a": "ab",
		"x": "", "": "", "completely": "", "cd": "", "hostnabcdx": "", strings.Repeat("a", 1<<20): "",
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("%.20q: %q, want %q", word, got, want)
		}
	}
	if got := Nearest("data", nil); got != "" {
		t.Errorf("of nothing: %q", got)
	}
}

// TestDistance: it is 0 for the same word only, the same both ways, and never more
// than the longer word has characters.
func TestDistance(t *testing.T) {
	words := []string{"", "a", "ab", "ba", "abc", "äbc", "kitten", "sitting", "abcdef"}
	for _, a := range words {
		for _, b := range words {
			d := Distance(a, b)
			if (d == 0) != (a == b) || d != Distance(b, a) || d > max(len([]rune(a)), len([]rune(b))) {
				t.Errorf("%q, %q: %d", a, b, d)
			}
		}
	}
	if d := Distance("kitten", "sitting"); d != 3 {
		t.Errorf("kitten, sitting: %d", d)
	}
}
