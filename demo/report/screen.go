package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/osm-edge/osm/demo/bookstore"
)

// style is the style of a text; the zero value is plain.
type style int

const (
	plain style = iota
	title
	dim
	good
	bad
)

// span is a piece of text of one style; a line is its spans one after the other.
type (
	span struct {
		text  string
		style style
	}
	line []span
)

const cellSpace = "   "

// screen lays out the report.
func (r *Report) screen() []line {
	var lines []line
	for _, section := range [][]line{r.head(), r.clusterTable(), r.componentTable(), r.bookTable(), r.peerTable(), r.certificateTable()} {
		if len(lines) > 0 && len(section) > 0 {
			lines = append(lines, nil)
		}
		lines = append(lines, section...)
	}
	for i, m := range r.Missing() {
		if i == 0 {
			lines = append(lines, nil)
		}
		lines = append(lines, line{{"missing: " + m, bad}})
	}
	return lines
}

func (r *Report) head() []line {
	mesh := fmt.Sprintf("mesh %s in namespace %s", cmp.Or(r.Mesh.Name, "(none)"), r.Mesh.Namespace)
	if r.Mesh.Version != "" {
		mesh += ", version " + r.Mesh.Version
	}
	lines := []line{{{mesh, title}, {"  " + r.Time.Format(time.DateTime) + " UTC", dim}}}
	if r.Mesh.Provider != "" {
		lines = append(lines, line{{"certificates signed by ", plain}, {r.Mesh.Provider, title}, {", root ", plain}, r.rootSpan()})
	}
	return lines
}

// rootDigits is how much of the root's fingerprint osm mesh list shows, too.
const rootDigits = 8

func (r *Report) rootSpan() span {
	if r.Mesh.Root == "" {
		return span{"?", bad}
	}
	return span{r.Mesh.Root[:min(rootDigits, len(r.Mesh.Root))] + "...", good}
}

func (r *Report) clusterTable() []line {
	rows := [][]span{header("NODE", "STATUS", "ADDRESS", "KUBERNETES")}
	for _, n := range r.Nodes {
		rows = append(rows, []span{{n.Name, plain}, readiness(n.Ready), {n.Address, plain}, {n.Version, plain}})
	}
	return table(rows)
}

func readiness(ok bool) span {
	if ok {
		return span{"Ready", good}
	}
	return span{"NotReady", bad}
}

func (r *Report) componentTable() []line {
	rows := [][]span{header("CONTROL PLANE", "READY", "ON NODES", "CPU NOW/TARGET", "MEMORY NOW/TARGET", "REPLICAS MIN-MAX", "DISRUPTIONS ALLOWED")}
	for _, c := range r.Components {
		row := []span{{c.Name, plain}, fraction(c.Ready(), int(c.Desired)), {c.nodes(), plain}}
		if a := c.Autoscaler; a != nil {
			row = append(row, usage(a.CPU), usage(a.Memory), span{fmt.Sprintf("%d-%d", a.Min, a.Max), plain})
		} else {
			row = append(row, span{"no HPA", bad}, span{"no HPA", bad}, span{"no HPA", bad})
		}
		if b := c.Budget; b != nil {
			row = append(row, span{fmt.Sprintf("%d of %d", b.Allowed, b.Healthy), mark(b.Allowed > 0)})
		} else {
			row = append(row, span{"no PDB", bad})
		}
		rows = append(rows, row)
	}
	return table(rows)
}

// nodes lists where the replicas run, with their number if it is more than one.
func (c Component) nodes() string {
	per := map[string]int{}
	for _, r := range c.Replicas {
		per[r.Node]++
	}
	var parts []string
	for _, node := range slices.Sorted(maps.Keys(per)) {
		part := node
		if node == "" {
			part = "(unscheduled)"
		}
		if per[node] > 1 {
			part += fmt.Sprintf(" x%d", per[node])
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

func mark(ok bool) style {
	if ok {
		return good
	}
	return bad
}

func fraction(have, want int) span {
	return span{fmt.Sprintf("%d/%d", have, want), mark(have >= want && want > 0)}
}

func usage(u Utilization) span { return span{u.String(), mark(u.Current != nil)} }

func (r *Report) bookTable() []line {
	rows := [][]span{header("BOOKSTORE", "BOOKS", "", "REFUSED", "FAILED")}
	for _, a := range r.Apps {
		if a.Counts == nil {
			rows = append(rows, []span{{a.Name, plain}, {"?", bad}, {}, {}, {}, {a.Fault, bad}})
			continue
		}
		rows = append(rows, []span{
			{a.Name, plain},
			{fmt.Sprintf("%d %s", a.Counts.Total(), outcome(a.Counts.Role)), plain},
			{breakdown(a.Counts), plain},
			{fmt.Sprint(a.Counts.Refused), plain},
			{fmt.Sprint(a.Counts.Failed), plain},
		})
	}
	return table(rows)
}

func outcome(r bookstore.Role) string {
	switch r {
	case bookstore.Buyer:
		return "bought"
	case bookstore.Thief:
		return "stolen"
	case bookstore.Warehouse:
		return "restocked"
	case bookstore.Store:
		return "sold"
	}
	return "counted"
}

// breakdown lists the books by the other side, unless that is the app itself.
func breakdown(c *bookstore.Counts) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(c.Books)) {
		if name != c.Identity {
			parts = append(parts, fmt.Sprintf("%s %d", name, c.Books[name]))
		}
	}
	return strings.Join(parts, ", ")
}

func (r *Report) peerTable() []line {
	rows := [][]span{header("MUTUAL TLS: SERVER", "PEER THAT ITS ENVOY VERIFIED", "REQUESTS")}
	for _, a := range r.Apps {
		for _, p := range a.verified() {
			rows = append(rows, []span{{a.Name, plain}, {p.id, good}, {fmt.Sprint(p.requests), plain}})
		}
	}
	return table(rows)
}

// serialDigits is how much of a serial number fits on the screen; JSON has all of it.
const serialDigits = 16

func (r *Report) certificateTable() []line {
	rows := [][]span{header("CERTIFICATE OF", "IDENTITY", "SERIAL", "EXPIRES IN")}
	for _, a := range r.Apps {
		if c := a.Certificate; c != nil {
			serial := c.Serial
			if len(serial) > serialDigits {
				serial = serial[:serialDigits] + "..."
			}
			rows = append(rows, []span{{a.Name, plain}, {c.SPIFFEID, plain}, {serial, plain}, {c.Expires.Sub(r.Time).Truncate(time.Minute).String(), plain}})
		}
	}
	return table(rows)
}

func header(names ...string) []span {
	row := make([]span, len(names))
	for i, name := range names {
		row[i] = span{name, title}
	}
	return row
}

// table aligns rows in columns; a table with only a header is omitted.
func table(rows [][]span) []line {
	if len(rows) < 2 {
		return nil
	}
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell.text))
		}
	}
	lines := make([]line, 0, len(rows))
	for _, row := range rows {
		var l line
		for i, cell := range row {
			l = append(l, cell)
			if i < len(row)-1 {
				l = append(l, span{strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell.text)) + cellSpace, plain})
			}
		}
		lines = append(lines, l)
	}
	return lines
}
