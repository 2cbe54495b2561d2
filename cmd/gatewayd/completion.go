package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help shows examples.
func (completionCmd) Help() string {
	return "Examples:\n  gatewayd completion bash > /etc/bash_completion.d/gatewayd\n  source <(gatewayd completion zsh)\n  gatewayd completion fish > ~/.config/fish/completions/gatewayd.fish"
}

// Run prints the script of a shell. It asks gatewayd itself what fits, so that
// it never goes out of date.
func (m completionCmd) Run(c console) error {
	_, err := fmt.Fprintln(c.out, strings.TrimSpace(scripts()[m.Shell]))
	return err
}

func scripts() map[string]string {
	return map[string]string{
		"bash": `
_gatewayd() {
	local IFS=$'\n'
	COMPREPLY=($(compgen -W "$(gatewayd complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _gatewayd gatewayd`,
		"zsh": `
#compdef gatewayd
_gatewayd() {
	local -a fit
	fit=("${(@f)$(gatewayd complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	if [[ -n "$fit" ]]; then compadd -a fit; else _files; fi
}
compdef _gatewayd gatewayd`,
		"fish": `
function __gatewayd_complete
	set -l words (commandline -opc) (commandline -ct)
	gatewayd complete -- $words[2..-1] 2>/dev/null
end
complete -c gatewayd -a '(__gatewayd_complete)'`,
	}
}

type completeCmd struct {
	Words []string `arg:"" optional:"" passthrough:"" help:"What stands on the line behind gatewayd, the last one unfinished."`
}

// Run prints what could stand in place of the last word, one in a line; nothing
// where a file or a free text belongs.
func (m completeCmd) Run(c console, app *kong.Kong) error {
	words := m.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	for _, fit := range completions(app.Model.Node, words) {
		if _, err := fmt.Fprintln(c.out, fit); err != nil {
			return err
		}
	}
	return nil
}

// completions walks down the commands that stand there and lists what may follow.
func completions(node *kong.Node, words []string) (fit []string) {
	last := ""
	if n := len(words); n > 0 {
		words, last = words[:n-1], words[n-1]
	}
	var open *kong.Flag // waits for its value
	for _, w := range words {
		switch {
		case open != nil:
			open = nil
		case strings.HasPrefix(w, "-"):
			open = flagNamed(node, w)
		default:
			if child := childNamed(node, w); child != nil {
				node = child
			}
		}
	}
	switch {
	case open != nil:
		fit = values(open.Value)
	case strings.HasPrefix(last, "-"):
		for _, group := range node.AllFlags(true) {
			for _, f := range group {
				fit = append(fit, "--"+f.Name)
			}
		}
	case len(node.Positional) > 0:
		fit = values(node.Positional[0])
	default:
		for _, child := range node.Children {
			if !child.Hidden {
				fit = append(fit, child.Name)
			}
		}
	}
	fit = slices.DeleteFunc(fit, func(s string) bool { return s == "" || !strings.HasPrefix(s, last) })
	slices.Sort(fit)
	return slices.Compact(fit)
}

func values(v *kong.Value) []string {
	if v.Enum == "" {
		return nil
	}
	return v.EnumSlice()
}

func childNamed(node *kong.Node, name string) *kong.Node {
	for _, child := range node.Children {
		if child.Name == name {
			return child
		}
	}
	return nil
}

// flagNamed finds a flag whose value is the next word.
func flagNamed(node *kong.Node, word string) *kong.Flag {
	for _, group := range node.AllFlags(false) {
		for _, f := range group {
			if !f.IsBool() && (word == "--"+f.Name || f.Short != 0 && word == "-"+string(f.Short)) {
				return f
			}
		}
	}
	return nil
}
