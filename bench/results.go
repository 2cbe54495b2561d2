package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// perS is the measure of most workloads.
const perS = "per_s"

// cell is one point of a workload.
type cell struct {
	workload, variant string
	size, sessions    int
	delay             int    // ms per sync
	measure           string // what the ratio is of: per_s, or a detail
	less              bool   // less of it is better
}

// String names the point for people.
func (c cell) String() string {
	words := []string{c.workload}
	if c.variant != "" {
		words = append(words, c.variant)
	}
	if c.size > 0 {
		words = append(words, sizeText(c.size))
	}
	switch {
	case c.sessions == 1:
		words = append(words, "1 session")
	case c.sessions > 1:
		words = append(words, fmt.Sprintf("%d sessions", c.sessions))
	}
	if c.delay > 0 {
		words = append(words, fmt.Sprintf("%d ms per sync", c.delay))
	}
	return strings.Join(words, ", ")
}

// sample is what one peer did in one window.
type sample struct {
	perS     float64
	p50, p99 float64 // ms
	detail   map[string]float64
	trouble  string
}

func (s sample) value(measure string) float64 {
	if measure == perS {
		return s.perS
	}
	return s.detail[measure]
}

// Result is one line of results.json: medians over the windows.
type Result struct {
	Workload string  `json:"workload"`
	Variant  string  `json:"variant,omitempty"`
	Size     int     `json:"size"` // octets of a body
	Sessions int     `json:"sessions"`
	DelayMS  int     `json:"delay_ms"` // per sync
	Peer     string  `json:"peer"`
	PerS     float64 `json:"per_s"`   // messages, or what the workload counts
	Measure  string  `json:"measure"` // what the ratio is of: per_s, or a key of detail
	Less     bool    `json:"less_is_better,omitempty"`
	// Ratio is the median over the windows of peer / Postfix in the same window;
	// null where Postfix did not take part.
	Ratio *float64 `json:"ratio_to_postfix"`
	// Spread is the least and the largest of these ratios; for Postfix itself,
	// and without it, of the value over its own median.
	Spread  [2]float64         `json:"spread"`
	Windows int                `json:"windows"`
	P50     float64            `json:"p50_ms,omitempty"`
	P99     float64            `json:"p99_ms,omitempty"`
	Fsync   *bool              `json:"fsync,omitempty"` // it truly waits for the disk before 250
	Detail  map[string]float64 `json:"detail,omitempty"`
	Trouble string             `json:"trouble,omitempty"`
	cell    cell
}

// summarise makes the results of one point from its windows.
func summarise(c cell, windows []map[string]sample) []Result {
	var results []Result
	for _, p := range order(windows) {
		var own, ratios []float64
		var samples []sample
		for _, w := range windows {
			s, ok := w[p]
			if !ok {
				continue
			}
			samples, own = append(samples, s), append(own, s.value(c.measure))
			if base, ok := w[postfixName]; ok && base.value(c.measure) > 0 {
				ratios = append(ratios, s.value(c.measure)/base.value(c.measure))
			}
		}
		r := Result{
			Workload: c.workload, Variant: c.variant, Size: c.size, Sessions: c.sessions, DelayMS: c.delay, Peer: p, Measure: c.measure, Less: c.less,
			Windows: len(samples), cell: c, Detail: middle(samples),
			PerS: round(median(samples, func(s sample) float64 { return s.perS })),
			P50:  round(median(samples, func(s sample) float64 { return s.p50 })), P99: round(median(samples, func(s sample) float64 { return s.p99 })),
		}
		for _, s := range samples {
			if s.trouble != "" {
				r.Trouble = s.trouble
			}
		}
		r.Ratio, r.Spread = spread(p, own, ratios)
		results = append(results, r)
	}
	return results
}

// spread returns the median ratio and its least and largest value.
func spread(p string, own, ratios []float64) (*float64, [2]float64) {
	var ratio *float64
	if len(ratios) > 0 {
		m := round(middleOf(ratios))
		ratio = &m
	}
	if p == postfixName || ratio == nil {
		m := middleOf(own)
		if m == 0 {
			return ratio, [2]float64{}
		}
		return ratio, [2]float64{round(own[0] / m), round(own[len(own)-1] / m)}
	}
	return ratio, [2]float64{round(ratios[0]), round(ratios[len(ratios)-1])}
}

// order lists who has a sample, in the order of allPeers.
func order(windows []map[string]sample) (names []string) {
	for _, p := range append(allPeers(), peer{name: limitName}) {
		for _, w := range windows {
			if _, ok := w[p.name]; ok {
				names = append(names, p.name)
				break
			}
		}
	}
	return names
}

func median(samples []sample, of func(sample) float64) float64 {
	var all []float64
	for _, s := range samples {
		all = append(all, of(s))
	}
	return middleOf(all)
}

// middleOf is the median of the values, which are sorted thereby; 0 of none.
func middleOf(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	if n == 0 {
		return 0
	}
	return (values[(n-1)/2] + values[n/2]) / 2
}

// middle takes the median of every detail.
func middle(samples []sample) map[string]float64 {
	all := map[string]float64{}
	for _, s := range samples {
		for k := range s.detail {
			all[k] = round(median(samples, func(s sample) float64 { return s.detail[k] }))
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// round keeps five digits: more would be noise.
func round(f float64) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(f, 'g', 5, 64), 64)
	if err != nil {
		return f
	}
	return r
}

func writeJSON(file string, results []Result) error {
	text, err := json.MarshalIndent(append([]Result{}, results...), "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// writeTable prints one block per point.
func writeTable(out io.Writer, results []Result) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	last := cell{}
	for _, r := range results {
		if r.cell != last {
			last = r.cell
			fmt.Fprintf(w, "%s\t%s\tratio to Postfix\t[least – largest]\tp50 / p99 ms\t\n", last, r.column())
		}
		ratio := "–"
		if r.Ratio != nil {
			ratio = fmt.Sprintf("%.2f", *r.Ratio)
		}
		fmt.Fprintf(w, "  %s%s\t%s\t%s\t[%.2f – %.2f]\t%s\t%s\n", r.Peer, r.mark(), short(r.value()), ratio, r.Spread[0], r.Spread[1], r.times(), r.notes())
	}
	return w.Flush()
}

func (r Result) value() float64 {
	if r.Measure == perS {
		return r.PerS
	}
	return r.Detail[r.Measure]
}

func (r Result) column() string {
	switch r.Measure {
	case perS:
		return "per second"
	case "pss_mib":
		return "MiB PSS (less is better)"
	}
	return r.Measure
}

// mark is a star at who does not wait for the disk.
func (r Result) mark() string {
	if r.Fsync != nil && !*r.Fsync {
		return " *"
	}
	return ""
}

func (r Result) times() string {
	if r.P99 == 0 {
		return ""
	}
	return short(r.P50) + " / " + short(r.P99)
}

// notes lists the details.
func (r Result) notes() string {
	var words []string
	for _, k := range slices.Sorted(maps.Keys(r.Detail)) {
		if k != r.Measure {
			words = append(words, k+" "+short(r.Detail[k]))
		}
	}
	if r.Trouble != "" {
		words = append(words, fmt.Sprintf("%q", r.Trouble))
	}
	return strings.Join(words, ", ")
}

// short writes a number with as many digits as it is worth.
func short(f float64) string {
	switch {
	case f >= 100 || f == float64(int64(f)):
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}
