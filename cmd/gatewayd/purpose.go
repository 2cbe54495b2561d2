package main

import (
	"cmp"
	"os"
	"os/user"
	"strconv"

	"gatewayd/message"
)

// purposeFlag is needed wherever log data, or mail of others, are read. There is
// no default: it would say nothing.
type purposeFlag struct {
	Purpose message.Purpose `required:"" placeholder:"security|operation|protection|audit|access" help:"What it is read for: data security, orderly operation, data-protection control, audit of information technology (Benutzungsreglement BL § 22), or because the person concerned asks. It stands in the audit log beside your name."`
}

func (p purposeFlag) reading() message.Reading {
	return message.Reading{By: reader(), Purpose: p.Purpose}
}

// reader is who sits at the keyboard, as far as the system knows.
func reader() string {
	name := os.Getenv("SUDO_USER")
	if u, err := user.Current(); name == "" && err == nil {
		name = u.Username
	}
	return administratorPrefix + cmp.Or(name, "uid "+strconv.Itoa(os.Getuid()))
}

const administratorPrefix = "administrator "
