package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gatewayd/config"
	"gatewayd/crypto/hsm"
	"gatewayd/crypto/keys"
	"gatewayd/keyagent"
	"gatewayd/retention"
)

type keyAgentCmd struct {
	Run    keyAgentRunCmd    `cmd:"" default:"withargs" help:"Run the key agent, as a user of its own."`
	Status keyAgentStatusCmd `cmd:"" help:"Ask the running agent for its keys. Exit code 1 if it does not answer."`
	Verify keyAgentVerifyCmd `cmd:"" help:"Verify the log of uses. Exit code 1 if somebody has changed it."`
}

type keyAgentRunCmd struct {
	configFlag
}

// Help shows examples.
func (keyAgentRunCmd) Help() string {
	return "It reads keys.agent, keyring, [keyagent] and [retention] of the configuration, and the keys below keyring/own, which must be its own (mode 0700).\n\nExamples:\n  gatewayd keyagent\n  gatewayd keyagent -c /etc/gatewayd/gatewayd.toml\n\nSIGHUP reads the keys again; SIGTERM answers what was asked and ends."
}

// Run answers until SIGTERM or SIGINT.
func (k keyAgentRunCmd) Run(c console) error {
	a, err := loadAgent(k.Config, c)
	if err != nil {
		return err
	}
	// No core file, and no debugger of the same user, may have what is in memory.
	if err := errors.Join(unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}), unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)); err != nil {
		return fmt.Errorf("protect memory: %w", err)
	}
	log := slog.New(retention.Masked(slog.NewJSONHandler(c.err, nil)))
	uses, err := keyagent.OpenUses(a.Uses, a.Until)
	if err != nil {
		return err
	}
	defer uses.Close()
	o := keyagent.Options{
		Load:  func() ([]keys.Own, []keys.Problem) { return keys.LoadOwn(a.Keyring, nil) },
		Users: append(a.Users, 0, os.Getuid()), Groups: a.Groups, Quota: a.Quota, Record: uses.Record, Now: time.Now, Log: log,
	}
	if a.Token != nil {
		tokens, err := hsm.Open(*a.Token)
		if err != nil {
			return err
		}
		defer tokens.Close()
		o.Load = func() ([]keys.Own, []keys.Problem) { return keys.LoadOwn(a.Keyring, tokens.Identity) }
		if a.Master != "" {
			o.Master = func() ([]byte, error) { return tokens.Derive(a.Master, masterLabel) }
		}
	}
	s, err := keyagent.New(o)
	if err != nil {
		return err
	}
	if err := uses.Record(keyagent.Use{At: time.Now(), Op: "start", UID: os.Getuid(), PID: os.Getpid()}); err != nil {
		return err // better now than with the first mail
	}
	l, err := listenAgent(a.Socket)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go attendAgent(ctx, s, uses, log)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	log.Info("ready", "version", version, "socket", a.Socket)
	select {
	case <-ctx.Done():
	case err = <-done:
		return err
	}
	drain, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	s.Shutdown(drain)
	err = <-done
	log.Info("drained")
	return err
}

// masterLabel is of what the master key is the HMAC, under the token's secret key.
const masterLabel = "gatewayd master key 1"

func loadAgent(path string, c console) (config.Agent, error) {
	a, problems := config.LoadAgent(path)
	for _, p := range problems {
		fmt.Fprintln(c.err, p)
	}
	if len(problems) > 0 {
		return a, fmt.Errorf("%d mistakes in the configuration; gatewayd config describe explains every key", len(problems))
	}
	return a, nil
}

// listenAgent opens the socket. Who may ask is decided at the other end of each
// connection, so that everybody may connect.
func listenAgent(path string) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("socket %s: in use by another process", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// attendAgent reads the keys again on each SIGHUP, and every hour lets go what the
// log of uses need not keep.
func attendAgent(ctx context.Context, s *keyagent.Server, uses *keyagent.Uses, log *slog.Logger) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	hour := time.NewTicker(time.Hour)
	defer hour.Stop()
	for {
		if err := uses.Sweep(time.Now()); err != nil {
			log.Error("the log of uses cannot be swept", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-hour.C:
		case <-hup:
			n, err := s.Reload()
			if err != nil {
				log.Error("not reloaded, the old keys stay", "error", err)
				continue
			}
			log.Info("reloaded", "keys", n)
		}
	}
}

type keyAgentStatusCmd struct {
	configFlag
	jsonFlag
}

// agentStatus is what the status verb prints.
type agentStatus struct {
	Socket string     `json:"socket"`
	Keys   []agentKey `json:"keys"`
}

type agentKey struct {
	Authority   string `json:"authority"`
	Technique   string `json:"technique"`
	Fingerprint string `json:"fingerprint"`
	File        string `json:"file"`
}

// Help shows examples.
func (keyAgentStatusCmd) Help() string {
	return "Example:\n  gatewayd keyagent status --json"
}

// Run asks.
func (k keyAgentStatusCmd) Run(c console) error {
	a, err := loadAgent(k.Config, c)
	if err != nil {
		return err
	}
	client := keyagent.NewClient(a.Socket)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	own, _, err := client.Keys(ctx)
	if err != nil {
		return err
	}
	s := agentStatus{Socket: a.Socket, Keys: []agentKey{}}
	for _, o := range own {
		technique := "smime"
		if o.OpenPGP != nil {
			technique = "openpgp"
		}
		s.Keys = append(s.Keys, agentKey{o.Authority, technique, o.Fingerprint(), o.File})
	}
	if k.JSON {
		return printJSON(c.out, s)
	}
	fmt.Fprintf(c.out, "%s: works; %d keys\n", s.Socket, len(s.Keys))
	for _, one := range s.Keys {
		fmt.Fprintf(c.out, "%s %s %s %s\n", one.Authority, one.Technique, one.Fingerprint, one.File)
	}
	return nil
}

type keyAgentVerifyCmd struct {
	configFlag
	jsonFlag
}

// Help shows examples.
func (keyAgentVerifyCmd) Help() string {
	return "The hash of the last line, kept elsewhere, shows later that nothing was cut off at the end.\n\nExample:\n  gatewayd keyagent verify --json"
}

// Run verifies.
func (k keyAgentVerifyCmd) Run(c console) error {
	a, err := loadAgent(k.Config, c)
	if err != nil {
		return err
	}
	by := map[string]int{}
	n, last, err := keyagent.VerifyUses(a.Uses, func(u keyagent.Use) {
		if u.Refused {
			by["refused"]++
		} else {
			by[u.Op]++
		}
	})
	if err != nil {
		return err
	}
	if k.JSON {
		return printJSON(c.out, map[string]any{"uses": n, "by": by, "last": last})
	}
	_, err = fmt.Fprintf(c.out, "%s: whole; %d uses %v\nlast line: %s\n", a.Uses, n, by, last)
	return err
}
