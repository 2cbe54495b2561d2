package bounce_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatewayd/mail/bounce"
)

// verdicts gives a report in the words of testdata/systems/want.tsv: per
// recipient address, action, and what kind of cause.
func verdicts(rep bounce.Report, ok bool) string {
	if !ok {
		return "none"
	}
	var list []string
	for _, r := range rep.Recipients {
		kind := "temporary"
		switch {
		case r.Status[0] == '2':
			kind = "success"
		case r.Permanent:
			kind = "permanent"
		}
		list = append(list, r.Address.String()+" "+r.Action+" "+kind)
	}
	return strings.Join(list, "; ")
}

// 70 reports in the forms of 36 widespread mail systems, composed after their
// public documentation and sources, and 12 mails that only resemble reports.
func TestSystems(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("testdata", "systems", "want.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	right := 0
	for _, line := range lines {
		name, want, _ := strings.Cut(line, "\t")
		rep, ok := readFile(t, filepath.Join("testdata", "systems", name+".eml"))
		if got := verdicts(rep, ok); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
			continue
		}
		right++
	}
	t.Logf("%d of %d right", right, len(lines))
}
