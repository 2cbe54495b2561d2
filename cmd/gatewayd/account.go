package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"gatewayd/directory"
)

type accountCmd struct {
	Hash accountHashCmd `cmd:"" help:"Read a password from standard input and print the line for the password file."`
}

type accountHashCmd struct {
	Name string `arg:"" help:"Account name, as in members."`
}

// Help shows examples.
func (accountHashCmd) Help() string {
	return "Example:\n  gatewayd account hash sachbearbeitung < password.txt >> accounts"
}

// Run hashes with argon2id.
func (a accountHashCmd) Run(c console) error {
	if strings.ContainsAny(a.Name, ": \t\r\n") || a.Name == "" {
		return fmt.Errorf("an account name has no spaces and no colon: %q", a.Name)
	}
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	password := strings.TrimRight(line, "\r\n")
	if password == "" {
		return fmt.Errorf("read password: empty (%v)", err)
	}
	hash, err := directory.HashPassword(password)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "%s:%s\n", a.Name, hash)
	return err
}
