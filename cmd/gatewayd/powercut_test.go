//go:build faults

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPowerCut cuts the power of the whole data folder under load: an ext4 file
// system of its own stops without flushing its journal (EXT4_IOC_SHUTDOWN), what
// lies on its platter at that moment is copied, and the gateway starts on the
// copy. Everything that was acknowledged before is delivered whole, nothing
// registered twice, and the start needs nobody (quality goal R2). What is
// acknowledged while the call runs does not count: vault's TestPowerCut says why.
func TestPowerCut(t *testing.T) {
	cuts := times("GATEWAYD_POWERCUTS", 3, 1)
	r := newRig(t, tormentable)
	d := newPlatter(t, r.cfg.Data)
	ack, stop := r.underLoad(20)
	defer stop()
	longest := time.Duration(0)
	for range cuts {
		longest = max(longest, r.startsIn())
		ack.acknowledges(t, 25)
		time.Sleep(rand.N(700 * time.Millisecond))
		ack.counts(false)
		d.cut(r.kill)
		ack.counts(true)
	}
	stop()
	longest = max(longest, r.startsIn())
	r.settled()
	r.account(ack, fmt.Sprintf("%d power cuts, the longest start took %s", cuts, longest.Round(time.Millisecond)))
	if strings.Contains(r.log.String(), "do not belong together") {
		t.Error("a power cut was taken for a restored backup")
	}
	if longest > time.Minute { // the goal is ten seconds, on a machine that is not busy
		t.Errorf("a start took %s", longest)
	}
	r.sound("after all power cuts")
	r.kill()
}

// counts says whether what is acknowledged from now on counts, and returns what
// did not until now.
func (ack *acknowledged) counts(do bool) (late int) {
	ack.mu.Lock()
	defer ack.mu.Unlock()
	ack.over = !do
	return ack.late
}

// startsIn starts the gateway and returns after what time it was ready.
func (r *rig) startsIn() time.Duration {
	r.t.Helper()
	ready := func() int { return strings.Count(r.log.String(), `"msg":"ready"`) }
	before, begin := ready(), time.Now()
	r.start()
	await(r.t, "readiness", func() bool { return ready() > before })
	return time.Since(begin)
}

// diskImage is an ext4 file system in a file, mounted at a folder.
type diskImage struct {
	t     *testing.T
	at    string
	image string
	n     int
}

// newPlatter makes one and mounts it.
func newPlatter(t *testing.T, at string) *diskImage {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a file system of its own")
	}
	need(t, "mkfs.ext4", "e2fsprogs")
	d := &diskImage{t: t, at: at, image: filepath.Join(t.TempDir(), "platter-0")}
	if err := os.MkdirAll(at, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.WriteFile(d.image, nil, 0o600), os.Truncate(d.image, 512<<20)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	d.run("mkfs.ext4", "-q", "-F", d.image)
	t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
	d.mount()
	return d
}

func (d *diskImage) run(name string, args ...string) {
	d.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

func (d *diskImage) mount() {
	d.t.Helper()
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.at).CombinedOutput(); err != nil {
		d.t.Skipf("needs loop devices: %s", out)
	}
	if err := os.Chmod(d.at, 0o700); err != nil {
		d.t.Fatal(err)
	}
}

// cut stops the file system, copies its platter, ends the program by kill and
// mounts the copy; the journal is replayed as after a power cut.
func (d *diskImage) cut(kill func()) {
	d.t.Helper()
	f, err := os.Open(d.at)
	if err != nil {
		d.t.Fatal(err)
	}
	const ext4Shutdown, noLogFlush = 0x8004587d, 2
	err = unix.IoctlSetPointerInt(int(f.Fd()), ext4Shutdown, noLogFlush)
	f.Close()
	if err != nil {
		d.t.Fatal(err)
	}
	d.n++
	next := filepath.Join(filepath.Dir(d.image), fmt.Sprintf("platter-%d", d.n))
	d.run("cp", "--sparse=always", d.image, next)
	time.Sleep(rand.N(300 * time.Millisecond)) // clients hear what a broken disk answers
	kill()
	d.run("umount", d.at)
	if err := os.Remove(d.image); err != nil {
		d.t.Fatal(err)
	}
	d.image = next
	d.mount()
}

// TestTurnsReadOnly: a file system that finds an error and turns read-only under
// the running gateway: 4xx, nothing acknowledged is lost, and the next start on
// the repaired file system goes on.
func TestTurnsReadOnly(t *testing.T) {
	r := newRig(t, tormentable)
	d := newPlatter(t, r.cfg.Data)
	ack, stop := r.underLoad(10)
	defer stop()
	r.start()
	ack.acknowledges(t, 25)
	ack.counts(false) // as in TestPowerCut
	d.run("mount", "-o", "remount,abort", d.at)
	time.Sleep(500 * time.Millisecond)
	late := ack.counts(false)
	time.Sleep(2 * time.Second)
	if more := ack.counts(false) - late; more > 0 {
		t.Errorf("%d messages were acknowledged on a read-only file system", more)
	}
	r.kill()
	d.run("umount", d.at)
	if out, err := exec.Command("e2fsck", "-p", d.image).CombinedOutput(); err != nil && exitCode(err) != 1 {
		t.Fatalf("e2fsck: %v %s", err, out)
	}
	d.mount()
	ack.counts(true)
	stop()
	r.start()
	r.settled()
	r.account(ack, "turned read-only once")
	r.sound("afterwards")
	r.kill()
}

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
