// Command gatewayd is a secure messaging gateway for public authorities.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"gatewayd/api"
	"gatewayd/crypto/hsm"

	_ "time/tzdata" // legal days are counted in Europe/Zurich, also where no zone files are
)

// version is set by the linker.
var version = "development"

// Exit codes.
const (
	exitFailed = 1 // the command ran and the answer is no, or it failed
	exitUsage  = 2 // the command line is wrong
)

// errNo ends a command with exit code 1 without a further word: what is wrong
// has been printed.
var errNo = errors.New("no")

type commands struct {
	Serve      serveCmd      `cmd:"" help:"Run the gateway."`
	Init       initCmd       `cmd:"" help:"Write a working development configuration with its own test CA, certificates and keys."`
	Config     configCmd     `cmd:"" help:"Check or describe the configuration."`
	Route      routeCmd      `cmd:"" help:"Explain how a message would travel."`
	Queue      queueCmd      `cmd:"" help:"Look at the queue and check it."`
	Message    messageCmd    `cmd:"" help:"Follow a message."`
	Case       caseCmd       `cmd:"" help:"Show delivery cases with their dates; close their tasks."`
	Mailbox    mailboxCmd    `cmd:"" help:"Look into an authority's mailbox."`
	Handover   handoverCmd   `cmd:"" help:"Hand-over to the authority's own file, before content is erased."`
	Archive    archiveCmd    `cmd:"" help:"Deliver messages to the archive (eCH-0160)."`
	Receipts   receiptsCmd   `cmd:"" help:"Look at receipts."`
	Evidence   evidenceCmd   `cmd:"" help:"Export and verify evidence bundles (Nachweisdossier)."`
	Crypto     cryptoCmd     `cmd:"" help:"Look at S/MIME and OpenPGP."`
	Keys       keysCmd       `cmd:"" help:"Keys and certificates: which there are, which would be used, renewal."`
	KeyAgent   keyAgentCmd   `cmd:"" name:"keyagent" help:"Run the process that has the private keys; look at it and at what it did."`
	Audit      auditCmd      `cmd:"" help:"Verify, read and prove the audit log."`
	Person     personCmd     `cmd:"" help:"What is held about one person."`
	Logging    loggingCmd    `cmd:"" help:"Describe what is logged, what for, and for how long."`
	MasterKey  masterKeyCmd  `cmd:"" name:"masterkey" help:"The key that wraps every key in the data folder."`
	Retention  retentionCmd  `cmd:"" help:"What is erased when."`
	Account    accountCmd    `cmd:"" help:"Make entries for the password file."`
	Token      tokenCmd      `cmd:"" help:"Make tokens for the HTTP API."`
	Demo       demoCmd       `cmd:"" help:"Run gateway and both simulated platforms, and show the whole story."`
	Simulate   simulateCmd   `cmd:"" help:"Run both simulated platforms for a development configuration."`
	Health     healthCmd     `cmd:"" help:"Ask the running gateway whether it works. Exit code 1 if not."`
	Completion completionCmd `cmd:"" help:"Print what makes a shell complete the commands."`
	Complete   completeCmd   `cmd:"" hidden:"" help:"List what could stand in place of the last word."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
}

// console is where a command writes; tests put buffers there.
type console struct {
	out, err io.Writer
}

func main() { os.Exit(run(os.Args[1:], console{os.Stdout, os.Stderr})) }

// run is main without the process: arguments in, exit code out.
func run(args []string, c console) int {
	var cmds commands
	code := -1
	parser, err := kong.New(&cmds,
		kong.Name("gatewayd"),
		kong.Description("A secure messaging gateway for public authorities."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(c.out, c.err),
		kong.Bind(c),
		kong.Exit(func(n int) { code = n }),
	)
	if err != nil {
		fmt.Fprintln(c.err, "gatewayd: error:", err)
		return exitFailed
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	ctx, err := parser.Parse(args)
	if code >= 0 {
		return code // --help
	}
	if err != nil {
		fmt.Fprintln(c.err, "gatewayd: error:", err)
		fmt.Fprintln(c.err, "gatewayd: hint: gatewayd --help lists the commands; gatewayd COMMAND --help shows examples")
		return exitUsage
	}
	if err := ctx.Run(); err != nil {
		if !errors.Is(err, errNo) {
			fmt.Fprintln(c.err, "gatewayd: error:", err)
		}
		if errors.Is(err, hsm.ErrPIN) {
			return exitUsage // not to be repeated: a service manager would lock the token
		}
		return exitFailed
	}
	return 0
}

type healthCmd struct {
	configFlag
}

// Run asks the running gateway; it opens nothing itself.
func (h healthCmd) Run(c console) error {
	cfg, err := loadConfig(h.Config, c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	counts, err := api.NewClient(socketPath(cfg.Data)).Counts(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.out, "works; items:", counts)
	return err
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(c console) error {
	_, err := fmt.Fprintln(c.out, "gatewayd", version)
	return err
}
