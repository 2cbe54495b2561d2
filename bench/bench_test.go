package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// gatewaydBinary builds the program that is measured.
func gatewaydBinary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gatewayd")
	build := exec.Command("go", "build", "-o", path, "../cmd/gatewayd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// TestShort is the benchmark as CI runs it: that it runs and writes what others
// read. Its figures mean nothing.
func TestShort(t *testing.T) {
	o := defaultOptions()
	o.gatewayd, o.out = gatewaydBinary(t), t.TempDir()
	o.run = openTempDir(t) // Postfix has users of its own
	o.workloads, o.peers, o.sizes, o.sessions = []string{"W1"}, []string{postfixName}, []int{4 << 10}, []int{2}
	o.reps, o.time, o.warm, o.prove = 1, 200*time.Millisecond, 20*time.Millisecond, os.Getenv("GATEWAYD_LONG") != ""
	var out bytes.Buffer
	if err := bench(context.Background(), o, &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	_, err := aboutPostfix(nil)
	peers := []string{gatewaydName, postfixName}
	if err != nil {
		t.Logf("without Postfix: %v", err)
		peers = peers[:1]
	}
	rows := readResults(t, filepath.Join(o.out, "results.json"))
	if len(rows) != 2*len(peers) {
		t.Fatalf("%d rows, want two points of %v\n%s", len(rows), peers, &out)
	}
	for i, row := range rows {
		checkRow(t, row, peers[i%len(peers)], len(peers) == 2)
	}
	for _, want := range append(peers, "W1, 4 KiB, 2 sessions", "ratio to Postfix") {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &out)
		}
	}
	if left, err := os.ReadDir(o.run); err != nil || len(left) != 0 {
		t.Errorf("left behind in the run folder: %v %v", left, err)
	}
	if strays := tree(os.Getpid())[1:]; len(strays) > 0 {
		t.Errorf("processes left behind: %v", strays)
	}
	chart, err := os.ReadFile(filepath.Join(o.out, "results.svg"))
	if err != nil {
		t.Fatal(err)
	}
	wellFormed(t, chart)
}

// openTempDir is a folder that every user can reach.
func openTempDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func readResults(t *testing.T, file string) (rows []map[string]any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &rows)
	}
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// checkRow holds the promise about results.json.
func checkRow(t *testing.T, row map[string]any, peer string, compared bool) {
	t.Helper()
	for _, key := range []string{"workload", "size", "sessions", "delay_ms", "peer", "per_s", "ratio_to_postfix", "spread"} {
		if _, ok := row[key]; !ok {
			t.Errorf("a row without %q: %v", key, row)
		}
	}
	rate, _ := row["per_s"].(float64)
	spread, _ := row["spread"].([]any)
	if row["workload"] != "W1" || row["size"] != 4096.0 || row["sessions"] != 2.0 || row["delay_ms"] != 0.0 || row["peer"] != peer || rate <= 0 || len(spread) != 2 {
		t.Errorf("row %v, want W1 of %s", row, peer)
	}
	if ratio, ok := row["ratio_to_postfix"].(float64); ok != compared || compared && ratio <= 0 {
		t.Errorf("ratio %v, Postfix took part: %v", row["ratio_to_postfix"], compared)
	}
}

func wellFormed(t *testing.T, text []byte) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(text)); ; {
		switch _, err := d.Token(); err {
		case nil:
		case io.EOF:
			return
		default:
			t.Fatalf("the chart is not well-formed: %v", err)
		}
	}
}

func TestOptions(t *testing.T) {
	vars := map[string]string{"PEERS": "postfix", "WORKLOADS": "W1", "SIZES": "4k 10m 77", "SESSIONS": "1 50", "REPS": "2", "T": "300ms", "QUEUED": "5"}
	o, err := optionsFrom(func(k string) string { return vars[k] })
	if err != nil {
		t.Fatal(err)
	}
	want := defaultOptions()
	want.peers, want.workloads, want.sizes, want.sessions = []string{"postfix"}, []string{"W1"}, []int{4096, 10 << 20, 77}, []int{1, 50}
	want.reps, want.time, want.queued = 2, 300*time.Millisecond, 5
	if !reflect.DeepEqual(o, want) {
		t.Errorf("options %+v\nwant %+v", o, want)
	}
	for name, bad := range map[string]string{"PEERS": "sendmail", "WORKLOADS": "W8", "SIZES": "4q", "SESSIONS": "0", "REPS": "many", "T": "2", "BACKLOG": "-1"} {
		if _, err := optionsFrom(func(k string) string { return map[string]string{name: bad}[k] }); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: %v", name, bad, err)
		}
	}
	if o, _ := optionsFrom(func(k string) string { return map[string]string{"GATEWAYD_LONG": "1"}[k] }); o.queued != 1_000_000 || o.expired != 1_000_000 {
		t.Errorf("the long form has %d and %d", o.queued, o.expired)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]string{"4k": "4 KiB", "50k": "50 KiB", "1m": "1 MiB", "10m": "10 MiB", "1024k": "1 MiB", "1000": "1000 B"} {
		n, err := parseSize(text)
		if err != nil || sizeText(n) != want {
			t.Errorf("%s = %d (%s), %v; want %s", text, n, sizeText(n), err, want)
		}
	}
	for _, text := range []string{"", "k", "4kk", "4 k", "-4k", "0"} {
		if n, err := parseSize(text); err == nil {
			t.Errorf("%q = %d", text, n)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"filter"}, {"unpack", "x"}} {
		if err := command(context.Background(), args); err == nil || !strings.Contains(err.Error(), "usage") {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func window(rates map[string]float64) map[string]sample {
	w := map[string]sample{}
	for p, r := range rates {
		w[p] = sample{perS: r, p50: 1, p99: r, detail: map[string]float64{"pss_mib": r / 10}}
	}
	return w
}

// TestSummarise: ratios are taken within a window, never across.
func TestSummarise(t *testing.T) {
	c := cell{workload: "W1", size: 4096, sessions: 10, measure: perS}
	got := summarise(c, []map[string]sample{
		window(map[string]float64{gatewaydName: 300, postfixName: 100, "exim": 50}),
		window(map[string]float64{gatewaydName: 100, postfixName: 50}), // a slow window: the ratio is 2
		window(map[string]float64{gatewaydName: 900, postfixName: 200, "exim": 300}),
	})
	if len(got) != 3 || got[0].Peer != gatewaydName || got[1].Peer != postfixName || got[2].Peer != "exim" {
		t.Fatalf("results %+v", got)
	}
	for i, want := range []struct {
		perS, ratio float64
		spread      [2]float64
		windows     int
	}{
		{300, 3, [2]float64{2, 4.5}, 3}, // the ratio of the medians would be 3, that of the means 3.7
		{100, 1, [2]float64{.5, 2}, 3},
		{175, 1, [2]float64{.5, 1.5}, 2},
	} {
		r := got[i]
		if r.PerS != want.perS || *r.Ratio != want.ratio || r.Spread != want.spread || r.Windows != want.windows {
			t.Errorf("%s: per_s %v, ratio %v, spread %v, windows %d; want %+v", r.Peer, r.PerS, *r.Ratio, r.Spread, r.Windows, want)
		}
	}
}

func TestSummariseOtherMeasures(t *testing.T) {
	c := cell{workload: "W5", measure: "pss_mib", less: true}
	got := summarise(c, []map[string]sample{window(map[string]float64{gatewaydName: 300, postfixName: 600})})
	if *got[0].Ratio != .5 || got[0].Detail["pss_mib"] != 30 || !got[0].Less {
		t.Errorf("memory: %+v", got[0])
	}
	alone := summarise(cell{measure: perS}, []map[string]sample{window(map[string]float64{gatewaydName: 100}), window(map[string]float64{gatewaydName: 300})})
	if alone[0].Ratio != nil || alone[0].PerS != 200 || alone[0].Spread != [2]float64{.5, 1.5} {
		t.Errorf("without Postfix: %+v", alone[0])
	}
	if none := summarise(c, []map[string]sample{{}, {}}); len(none) != 0 {
		t.Errorf("nobody took part: %+v", none)
	}
	zero := summarise(cell{measure: perS}, []map[string]sample{window(map[string]float64{gatewaydName: 5, postfixName: 0})})
	if zero[0].Ratio != nil || zero[1].Spread != [2]float64{} {
		t.Errorf("Postfix did nothing: %+v", zero)
	}
}

func TestRound(t *testing.T) {
	for in, want := range map[float64]string{0: "0", 12345.678: "12346", 987.65: "988", 12.3456: "12.3", 1.23456: "1.23", 0.01234: "0.01"} {
		if got := short(round(in)); got != want {
			t.Errorf("%v is written %s, want %s", in, got, want)
		}
	}
}

// TestTableAndChart: everything that was found can be read in both.
func TestTableAndChart(t *testing.T) {
	no := false
	results := append(summarise(cell{workload: "W1", size: 4096, sessions: 10, measure: perS}, []map[string]sample{window(map[string]float64{gatewaydName: 300, postfixName: 100, "chasquid": 1})}),
		summarise(cell{workload: "W7", variant: "<&>", size: 4096, sessions: 10, delay: 5, measure: perS}, []map[string]sample{window(map[string]float64{gatewaydName: 150, postfixName: 100})})...)
	results[2].Fsync = &no
	results[0].Trouble = "452 busy"
	var table bytes.Buffer
	if err := writeTable(&table, results); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"W1, 4 KiB, 10 sessions", "W7, <&>, 4 KiB, 10 sessions, 5 ms per sync", "chasquid *", "3.00", "0.01", "[1.50 – 1.50]", `"452 busy"`, "pss_mib 30"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &table)
		}
	}
	drawn := drawChart(results)
	wellFormed(t, drawn)
	for _, want := range []string{"gatewayd: 3.00", "chasquid *", "W7, &lt;&amp;&gt;"} {
		if !bytes.Contains(drawn, []byte(want)) {
			t.Errorf("the chart lacks %q", want)
		}
	}
	wellFormed(t, drawChart(nil))
	for _, p := range allPeers() {
		if chartColours()[p.name] == "" {
			t.Errorf("%s has no colour", p.name)
		}
	}
	// A ratio of 1 lies on its line, whatever the range.
	c := &chart{low: -2, high: 1}
	if at := (c.x(1) - chartLeft) / (chartWidth - chartLeft - chartRight); fmt.Sprintf("%.3f", at) != "0.667" {
		t.Errorf("1 lies at %.3f of the width", at)
	}
}
