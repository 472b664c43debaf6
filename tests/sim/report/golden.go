package report

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// Count is one effect of one step of the gate.
type Count struct {
	// Step and What, such as "endpoint unready" and "delta eds", name it.
	Step, What string
	N          int64
	// Unit is "messages", "bytes" or "resources".
	Unit string
}

// tolerance is how much the bytes of secrets may differ: the DER forms of a certificate's serial
// number and ECDSA signature are a few bytes longer or shorter by chance. Nothing else is random.
const tolerance = 0.02

// same reports whether two counts of the same thing are equal, except for randomness.
func (c Count) same(o Count) bool {
	if strings.HasSuffix(c.What, " sds") && c.Unit == "bytes" && c.N > 0 {
		return math.Abs(float64(o.N)/float64(c.N)-1) <= tolerance
	}
	return c.N == o.N
}

func (c Count) key() string { return c.Step + " | " + c.What + " | " + c.Unit }

// String is the count as a line of the golden file.
func (c Count) String() string {
	return fmt.Sprintf("%-42s | %-9s | %9d %s", c.Step, c.What, c.N, c.Unit)
}

// WriteCounts writes the golden file. It omits zeros: what is not in the file is zero.
func WriteCounts(w io.Writer, counts []Count) error {
	var errs []error
	step := ""
	for _, c := range counts {
		if c.N == 0 {
			continue
		}
		if step != "" && step != c.Step {
			_, err := fmt.Fprintln(w)
			errs = append(errs, err)
		}
		step = c.Step
		_, err := fmt.Fprintln(w, c)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// ReadCounts reads the golden file. Empty lines and those that begin with # are skipped.
func ReadCounts(text string) ([]Count, error) {
	var counts []Count
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		parts := strings.Split(line, "|")
		if len(parts) != 3 {
			return nil, fmt.Errorf("golden file, line %d: %q does not have three parts", number, line)
		}
		value, unit, _ := strings.Cut(strings.TrimSpace(parts[2]), " ")
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("golden file, line %d: %w", number, err)
		}
		counts = append(counts, Count{strings.TrimSpace(parts[0]), strings.TrimSpace(parts[1]), n, unit})
	}
	return counts, nil
}

// Differences lists the differences from the golden counts, in their order.
func Differences(got, want []Count) []string {
	index := map[string]Count{}
	for _, c := range got {
		index[c.key()] = c
	}
	var found []string
	known := map[string]bool{}
	for _, w := range want {
		known[w.key()] = true
		if g := index[w.key()]; !w.same(g) {
			found = append(found, fmt.Sprintf("%s, %s: %d %s, want %d", w.Step, w.What, g.N, w.Unit, w.N))
		}
	}
	for _, g := range got {
		if g.N != 0 && !known[g.key()] {
			found = append(found, fmt.Sprintf("%s, %s: %d %s, want none", g.Step, g.What, g.N, g.Unit))
		}
	}
	return found
}
