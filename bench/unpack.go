package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
)

// spoolMark tells that a spool folder was made for the benchmark.
const spoolMark = ".made-for-gatewayd-bench"

// foreign is a mail system of Debian that cannot be installed beside another
// one: its files are unpacked, and only its libraries installed.
type foreign struct {
	name, pkg string
	libraries []string
	users     []string
}

func foreigners() []foreign {
	return []foreign{
		{"exim", "exim4-daemon-light", []string{"libgnutls-dane0", "libidn12", "libnsl2", "libdb5.3"}, []string{"Debian-exim"}},
		{"opensmtpd", "opensmtpd", []string{"libevent-2.1-7", "libdb5.3"}, []string{"opensmtpd", "opensmtpq"}},
		{"chasquid", "chasquid", nil, nil},
	}
}

// unpack brings the peers of Debian below dir. It needs root: for the
// libraries, and for the users that the programs change to.
func unpack(ctx context.Context, dir string, say io.Writer) error {
	if os.Getuid() != 0 {
		return errors.New("unpack: run as root: libraries are installed and users made")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for _, f := range foreigners() {
		if err := f.fetch(ctx, dir); err != nil {
			return fmt.Errorf("unpack %s: %w", f.name, err)
		}
		fmt.Fprintf(say, "%s lies in %s\n", f.name, filepath.Join(dir, f.name))
	}
	return errors.Join(openSpool(), controlGroup(dir))
}

func (f foreign) fetch(ctx context.Context, dir string) error {
	to := filepath.Join(dir, f.name)
	if err := errors.Join(os.RemoveAll(to), os.MkdirAll(to, 0o755)); err != nil {
		return err
	}
	if len(f.libraries) > 0 {
		if err := silently(ctx, to, "apt-get", append([]string{"install", "-y", "--no-install-recommends"}, f.libraries...)...); err != nil {
			return err
		}
	}
	if err := silently(ctx, to, "apt-get", "download", f.pkg); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(to, "*.deb"))
	if err != nil || len(files) != 1 {
		return fmt.Errorf("%d packages came: %w", len(files), err)
	}
	if err := silently(ctx, to, "dpkg", "-x", files[0], to); err != nil {
		return err
	}
	for _, name := range f.users {
		if _, err := user.Lookup(name); err != nil {
			if err := silently(ctx, "", "useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", name); err != nil {
				return err
			}
		}
	}
	return nil
}

func silently(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out[max(0, len(out)-1000):])
	}
	return nil
}

// opensmtpdCage is compiled in: its processes lock themselves into it.
const opensmtpdCage = "/var/lib/opensmtpd/empty"

// openSpool makes the folders that are compiled into OpenSMTPD, if nobody has
// them.
func openSpool() error {
	if err := os.MkdirAll(opensmtpdCage, 0o755); err != nil {
		return err
	}
	if _, err := os.Stat(opensmtpdSpool); err == nil {
		return nil
	}
	queue, err := user.Lookup("opensmtpq")
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(queue.Uid)
	if err != nil {
		return err
	}
	for name, mode := range map[string]os.FileMode{"": 0o711, "purge": 0o700, "queue": 0o700, "corrupt": 0o700, "incoming": 0o700, "temporary": 0o700} {
		path := filepath.Join(opensmtpdSpool, name)
		owner := uid
		if name == "" {
			owner = 0
		}
		if err := errors.Join(os.MkdirAll(path, mode), os.Chmod(path, mode), os.Chown(path, owner, -1)); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(opensmtpdSpool, spoolMark), nil, 0o644)
}

// controlGroup lets smtpctl reach the daemon: it insists on its group, also for
// root.
func controlGroup(dir string) error {
	group, err := user.LookupGroup("opensmtpq")
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(group.Gid)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "opensmtpd", "usr/sbin/smtpctl")
	return errors.Join(os.Chown(path, 0, gid), os.Chmod(path, 0o755|os.ModeSetgid))
}
