package main

import (
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

const someMaps = `00400000-00f95000 r-xp 00000000 fe:00 10133970                           /opt/gate way/gatewayd
Rss:               10196 kB
Pss:               10196 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me sd 
00f95000-01af1000 r--p 00b95000 fe:00 10133970                           /opt/gate way/gatewayd
Rss:                9264 kB
Anonymous:             4 kB
Swap:                  0 kB
01af1000-01b00000 r--p 016f1000 fe:00 10133970                           /opt/gate way/gatewayd
Anonymous:             0 kB
Swap:                  8 kB
01b00000-01c36000 rw-p 016f1000 fe:00 10133970                           /opt/gate way/gatewayd
Anonymous:             0 kB
Swap:                  0 kB
01c36000-03c7d000 r--p 00000000 00:00 0 
Anonymous:             0 kB
12dbd8800000-12dbd9800000 r--s 00000000 fe:00 99                         /opt/gate way/gatewayd
Anonymous:             0 kB
7fc8c190b000-7fc8c1a5b000 r--p 00000000 fe:00 7                          /usr/lib/gatewayd
Anonymous:             0 kB
7fc8c1a5b000-7fc8c1a5c000 r--p 00000000 fe:00 10133970                   /opt/gate way/gatewayd
Rss:                   4 kB
`

// TestCleanStretches: only what is the program's own file, unchanged and not to
// be written; where the kernel does not tell, nothing.
func TestCleanStretches(t *testing.T) {
	got, err := cleanStretches(strings.NewReader(someMaps), "/opt/gate way/gatewayd")
	if want := []stretch{{0x400000, 0xf95000}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%x, %v, want %x", got, err, want)
	}
	if got, err := cleanStretches(strings.NewReader(""), "/x"); err != nil || got != nil {
		t.Errorf("of nothing: %x, %v", got, err)
	}
}

// TestShrink: the program's pages go, and it works on.
func TestShrink(t *testing.T) {
	before := fileMemory(t)
	if err := shrink(); err != nil {
		t.Fatal(err)
	}
	if after := fileMemory(t); after > before*3/4 {
		t.Errorf("%d KiB of files in memory, before %d", after, before)
	}
}

func fileMemory(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "RssFile:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
