package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/message"
)

// TestDiskFull fills a small file system under the running gateway: 452, nothing
// acknowledged is lost, and it takes mail again by itself when there is room
// (quality goal R5).
func TestDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a tmpfs needs root")
	}
	r := newRig(t, func(s string) string { return s + "\n[delivery]\nreserve_disk = \"4 MB\"\nretry_first = \"1s\"\n" })
	data := filepath.Join(r.dir, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs", data).CombinedOutput(); err != nil {
		t.Skipf("no tmpfs can be mounted here: %v %s", err, out)
	}
	t.Cleanup(func() {
		r.kill()
		exec.Command("umount", "-l", data).Run()
	})
	r.start()
	var acknowledged []message.ID
	full := false
	for n := 0; n < 60 && !full; n++ {
		path := filepath.Join(t.TempDir(), "big.eml")
		text := fmt.Sprintf("Subject: [vertraulich] Plan %d\r\n\r\n%s", n, strings.Repeat(strings.Repeat("x", 76)+"\r\n", 12000))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := r.swaks("--to", "niemand@example.net", "--data", "@"+path)
		switch {
		case err == nil:
			acknowledged = append(acknowledged, idIn(t, out))
		case strings.Contains(out, "452 4.3.1"):
			full = true
		default:
			t.Fatalf("message %d: neither 250 nor 452 4.3.1:\n%s", n, tailOf(out, 800))
		}
	}
	if !full {
		t.Fatal("the disk never became full")
	}
	ballast := filepath.Join(data, "ballast")
	for _, id := range acknowledged {
		await(t, "held and told: the reserve is there for the gateway's own records", func() bool {
			s := r.trace(id.String())
			return len(s) == 1 && s[0].Items[0].State == message.Held && !s[0].Items[0].Told.IsZero()
		})
	}
	// Really full, not only down to the reserve: nothing may break.
	exec.Command("dd", "if=/dev/zero", "of="+ballast, "bs=64k").Run()
	if out, err := r.swaks("--to", "niemand@example.net", "--header", "Subject: [vertraulich] klein"); err == nil || !strings.Contains(out, " 45") {
		t.Errorf("on a full disk: %v\n%s", err, tailOf(out, 800))
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "remount,size=64m", data).CombinedOutput(); err != nil {
		t.Fatalf("remount: %v %s", err, out)
	}
	begin := time.Now()
	await(t, "accepting again", func() bool {
		_, err := r.swaks("--to", "niemand@example.net", "--header", "Subject: [vertraulich] klein")
		return err == nil
	})
	t.Logf("%d acknowledged before the disk was full; accepts again after %s", len(acknowledged), time.Since(begin).Round(time.Millisecond))
	r.stop()
	r.start()
	for _, id := range acknowledged {
		if s := r.trace(id.String()); len(s) != 1 || s[0].Items[0].State != message.Held {
			t.Errorf("%s was acknowledged and is lost", id)
		}
	}
	r.stop()
	r.clean(t)
}
