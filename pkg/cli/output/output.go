// Package output writes results as a table for people, or as JSON or YAML for programs.
//
// It knows nothing of meshes. Its invariants: with -o json or -o yaml, standard output is exactly one
// document; text for people contains nothing that a terminal would interpret.
package output

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"
)

// Format is an output format.
type Format string

// The output formats.
const (
	Table Format = "table"
	JSON  Format = "json"
	YAML  Format = "yaml"
)

// String, Set and Type make a Format a flag.
func (f *Format) String() string { return string(*f) }

// Set takes the value of the flag.
func (f *Format) Set(value string) error {
	if !slices.Contains([]Format{Table, JSON, YAML}, Format(value)) {
		return fmt.Errorf("%q is not a format; use one of table, json, yaml", value)
	}
	*f = Format(value)
	return nil
}

// Type names the flag's values in help texts.
func (f *Format) Type() string { return "table|json|yaml" }

// Grid is a table.
type Grid struct {
	Header []string
	Rows   [][]string
}

// Write writes value as JSON or YAML, or grid as a table.
func Write(out io.Writer, format Format, value any, grid Grid) error {
	switch format {
	case JSON:
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(value)
	case YAML:
		data, err := yaml.Marshal(value)
		if err != nil {
			return fmt.Errorf("write YAML: %w", err)
		}
		_, err = out.Write(data)
		return err
	case Table:
	}
	return grid.Write(out)
}

// Write writes the table with aligned columns.
func (g Grid) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 6, 4, 3, ' ', 0)
	for _, row := range append([][]string{g.Header}, g.Rows...) {
		cells := slices.Clone(row)
		for i, cell := range cells {
			cells[i] = cmp.Or(Line(cell), "-")
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}
