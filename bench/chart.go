package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"os"
)

// The chart: one row per point and one mark per peer, at its ratio to Postfix on
// a logarithmic scale, with a line from the least to the largest window.
const (
	chartWidth  = 1000
	chartLeft   = 330 // names of the points
	chartRight  = 20
	chartTop    = 90
	rowHeight   = 16 // of one peer in a point
	rowPadding  = 10
	chartBottom = 40
)

// chartColours tell the peers apart, also for the colour-blind.
func chartColours() map[string]string {
	return map[string]string{
		gatewaydName: "#0072b2", postfixName: "#555555", "exim": "#e69f00", "opensmtpd": "#009e73",
		"chasquid": "#cc79a7", "maddy": "#d55e00", "mox": "#56b4e9", limitName: "#bbbbbb",
	}
}

// chart is what is drawn.
type chart struct {
	bytes.Buffer
	low, high float64 // decades
}

func writeChart(file string, results []Result) error {
	return os.WriteFile(file, drawChart(results), 0o644)
}

func drawChart(results []Result) []byte {
	var shown []Result
	c := &chart{low: -1, high: 1}
	for _, r := range results {
		if r.Ratio == nil || *r.Ratio <= 0 {
			continue
		}
		shown = append(shown, r)
		c.low = min(c.low, math.Floor(math.Log10(max(r.Spread[0], 1e-4))))
		c.high = max(c.high, math.Ceil(math.Log10(max(r.Spread[1], 1e-4))))
	}
	height := chartTop + chartBottom
	last := cell{}
	for _, r := range shown {
		height += rowHeight
		if r.cell != last {
			height, last = height+rowPadding, r.cell
		}
	}
	fmt.Fprintf(c, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", chartWidth, height, chartWidth, height)
	fmt.Fprintf(c, `<rect width="%d" height="%d" fill="white"/>`+"\n", chartWidth, height)
	c.text(10, 22, "start", "black", "Ratio to Postfix in the same window (median; line: least to largest). Memory: less is better.")
	c.legend(shown)
	c.grid(height)
	c.rows(shown)
	c.WriteString("</svg>\n")
	return c.Bytes()
}

func (c *chart) x(ratio float64) float64 {
	at := (math.Log10(max(ratio, 1e-4)) - c.low) / (c.high - c.low)
	return chartLeft + min(max(at, 0), 1)*(chartWidth-chartLeft-chartRight)
}

func (c *chart) text(x, y float64, anchor, colour, s string) {
	fmt.Fprintf(c, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, anchor, colour, html.EscapeString(s))
}

func (c *chart) line(x1, y1, x2, y2, width float64, colour string) {
	fmt.Fprintf(c, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%.1f"/>`+"\n", x1, y1, x2, y2, colour, width)
}

// legend names the peers that are shown.
func (c *chart) legend(shown []Result) {
	x, seen := float64(chartLeft), map[string]bool{}
	for _, r := range shown {
		if seen[r.Peer] {
			continue
		}
		seen[r.Peer] = true
		name := r.Peer + r.mark()
		fmt.Fprintf(c, `<circle cx="%.1f" cy="46" r="5" fill="%s"/>`+"\n", x+5, chartColours()[r.Peer])
		c.text(x+14, 50, "start", "black", name)
		x += 30 + 8*float64(len(name))
	}
}

// grid draws the decades, and 2 and 5 in each.
func (c *chart) grid(height int) {
	for d := c.low; d <= c.high; d++ {
		for _, n := range []float64{1, 2, 5} {
			ratio := n * math.Pow(10, d)
			if d == c.high && n > 1 {
				break
			}
			colour, width := "#dddddd", 1.0
			if ratio == 1 {
				colour, width = "#555555", 2
			}
			c.line(c.x(ratio), chartTop-10, c.x(ratio), float64(height-chartBottom), width, colour)
			c.text(c.x(ratio), chartTop-16, "middle", "#555555", fmt.Sprintf("%g", ratio))
		}
	}
}

func (c *chart) rows(shown []Result) {
	y, last := float64(chartTop), cell{}
	for _, r := range shown {
		if r.cell != last {
			y, last = y+rowPadding, r.cell
			c.text(10, y+12, "start", "black", last.String())
		}
		colour := chartColours()[r.Peer]
		c.line(c.x(r.Spread[0]), y+8, c.x(r.Spread[1]), y+8, 3, colour)
		fmt.Fprintf(c, `<circle cx="%.1f" cy="%.1f" r="5" fill="%s"><title>%s: %.2f</title></circle>`+"\n", c.x(*r.Ratio), y+8, colour, html.EscapeString(r.Peer), *r.Ratio)
		y += rowHeight
	}
}
