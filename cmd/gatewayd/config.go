package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"gatewayd/config"
)

type configCmd struct {
	Check    configCheckCmd    `cmd:"" help:"Read the configuration and all it names, and run its [[test]] entries. Exit code 1 if something is wrong."`
	Describe configDescribeCmd `cmd:"" help:"Print the commented reference of every key."`
}

type configCheckCmd struct {
	configFlag
	jsonFlag
}

// Help shows examples.
func (configCheckCmd) Help() string {
	return "Examples:\n  gatewayd config check -c gatewayd.toml\n  gatewayd config check --json"
}

// Run checks.
func (f configCheckCmd) Run(c console) error {
	cfg, problems := config.Load(f.Config, time.Now())
	var warnings []config.Problem
	tests := 0
	if cfg != nil {
		warnings, tests = cfg.Warnings, len(cfg.File.Test)
	}
	if f.JSON {
		err := printJSON(c.out, map[string]any{
			"ok": len(problems) == 0, "problems": append([]config.Problem{}, problems...), "warnings": append([]config.Problem{}, warnings...), "tests": tests,
		})
		if err == nil && len(problems) > 0 {
			err = errNo
		}
		return err
	}
	for _, p := range problems {
		fmt.Fprintln(c.out, p)
	}
	for _, w := range warnings {
		fmt.Fprintln(c.out, "warning:", w)
	}
	if len(problems) > 0 {
		fmt.Fprintf(c.out, "%d mistakes\n", len(problems))
		return errNo
	}
	fmt.Fprintf(c.out, "%s: good; %d tests hold\n", f.Config, tests)
	return nil
}

type configDescribeCmd struct{}

// Run prints the reference.
func (configDescribeCmd) Run(c console) error {
	_, err := io.WriteString(c.out, config.Describe())
	return err
}

type initCmd struct {
	Dir  string `required:"" help:"New folder."`
	Port int    `default:"12000" help:"Base of the loopback ports: submission +87, with TLS +65, inbound +25, simulators +26 to +28."`
}

// Help shows examples.
func (initCmd) Help() string { return "Example:\n  gatewayd init --dir /tmp/gw" }

// Run writes the development configuration.
func (i initCmd) Run(c console) error {
	dir, err := filepath.Abs(i.Dir)
	if err != nil {
		return err
	}
	if err := config.WriteDevelopment(dir, config.LoopbackPorts(i.Port)); err != nil {
		return err
	}
	password, err := os.ReadFile(filepath.Join(dir, config.DevelopmentPassword))
	if err != nil {
		return err
	}
	p, file := config.LoopbackPorts(i.Port), filepath.Join(dir, "gatewayd.toml")
	_, err = fmt.Fprintf(c.out, `wrote %[1]s and what it names

next:
  gatewayd config check -c %[1]s
  gatewayd simulate -c %[1]s &
  gatewayd serve -c %[1]s &
  swaks --server %[2]s --tls --auth PLAIN --auth-user sachbearbeitung --auth-password %[3]s \
    --from bauinspektorat@bl.example --to buerger@example.ch --header 'Subject: [einschreiben] Baubewilligung'
`, file, p.Submission, password[:len(password)-1])
	return err
}
