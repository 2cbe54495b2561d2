package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCompletions(t *testing.T) {
	for _, tt := range []struct {
		words string // the last one is unfinished
		want  []string
	}{
		{"mess", []string{"message"}},
		{"message ", []string{"inspect", "trace"}},
		{"queue list --sta", []string{"--state"}},
		{"-c x.toml message tr", []string{"trace"}},
		{"mailbox list --direction o", []string{"out"}},
		{"mailbox list --direction ", []string{"in", "notice", "out"}},
		{"mailbox show --config ", nil}, // a file
		{"completion ", []string{"bash", "fish", "zsh"}},
		{"comple", []string{"completion"}},
		{"nonsense ", nil},
	} {
		var out bytes.Buffer
		if code := run(append([]string{"complete", "--"}, strings.Split(tt.words, " ")...), console{&out, &out}); code != 0 {
			t.Fatalf("%q: exit %d\n%s", tt.words, code, out.String())
		}
		got := strings.Fields(out.String())
		if tt.words == "nonsense " {
			if !slices.Contains(got, "message") { // as after nothing: the shell shows what there is
				t.Errorf("%q: %q", tt.words, got)
			}
			continue
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.words, got, tt.want)
		}
	}
}

// TestCompletionInBash lets a real shell complete.
func TestCompletionInBash(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(dir, "gatewayd")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-c", `source <(gatewayd completion bash); COMP_WORDS=(gatewayd retention s); COMP_CWORD=2; _gatewayd; echo "${COMPREPLY[@]}"`)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "simulate" {
		t.Errorf("%v: %s", err, out)
	}
}
