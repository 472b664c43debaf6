package release

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"

	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/strvals"
)

// Values are chart values as a tree: maps, lists, strings, numbers, booleans and null.
type Values map[string]any

// Layers are the places that values come from. Precedence, strongest first: Flags, FileSets, StringSets and
// Sets (later over earlier), Files (later over earlier), Stored. The chart's defaults come last and are
// never stored, so that an upgrade updates every value that the user has not set.
type Layers struct {
	Stored     Values         // what the user set on earlier occasions
	Files      []string       // paths of YAML files, "-" for standard input
	Sets       []string       // key=value, as helm's --set
	StringSets []string       // the same, where every value is a string
	FileSets   []string       // key=path, where the value is what the file contains
	Flags      map[string]any // dotted key -> value, from flags of the command itself
	// Derive, which may be nil, adds Flags that depend on what was given with the flags and files, and on all that
	// the user has set, merged.
	Derive func(given, merged Values) (map[string]any, error)
}

// Merge returns the user's values of all layers. The layers are not changed.
func (l Layers) Merge() (Values, error) {
	given, err := l.given()
	if err != nil {
		return nil, err
	}
	stored, err := l.Stored.clone()
	if err != nil {
		return nil, err
	}
	flagged, err := given.clone()
	if err != nil {
		return nil, err
	}
	merged := Values(chartutil.MergeTables(flagged, stored))
	derived := map[string]any{}
	if l.Derive != nil {
		if derived, err = l.Derive(given, merged); err != nil {
			return nil, err
		}
	}
	for _, flags := range []map[string]any{l.Flags, derived} {
		for key, value := range flags {
			merged.set(key, value)
		}
	}
	return merged, nil
}

// given are the values of this command line: files first, then what is set on top of them.
func (l Layers) given() (Values, error) {
	given := map[string]any{}
	for _, path := range l.Files {
		table, err := readValues(path)
		if err != nil {
			return nil, err
		}
		given = overlay(given, table)
	}
	for _, flag := range []struct {
		name  string
		sets  []string
		parse func(string, map[string]any) error
	}{
		{"--set", l.Sets, strvals.ParseInto},
		{"--set-string", l.StringSets, strvals.ParseIntoString},
		{"--set-file", l.FileSets, func(set string, into map[string]any) error {
			return strvals.ParseIntoFile(set, into, func(path []rune) (any, error) {
				data, err := os.ReadFile(string(path))
				return string(data), err
			})
		}},
	} {
		for _, set := range flag.sets {
			if strings.HasPrefix(strings.TrimSpace(set), "=") {
				return nil, fmt.Errorf("%s %q names no key; use %s key=value", flag.name, set, flag.name)
			}
			if err := flag.parse(set, given); err != nil {
				return nil, fmt.Errorf("read values: %s %q: %w; use %s key=value", flag.name, set, err, flag.name)
			}
		}
	}
	return given, nil
}

// At returns the value at a dotted key, and whether there is one.
func (v Values) At(key string) (any, bool) {
	var node any = map[string]any(v)
	for part := range strings.SplitSeq(key, ".") {
		found := false
		switch parent := node.(type) {
		case map[string]any:
			node, found = parent[part]
		case []any: // an item is named by its position
			if i, err := strconv.Atoi(part); err == nil && i >= 0 && i < len(parent) {
				node, found = parent[i], true
			}
		}
		if !found {
			return nil, false
		}
	}
	return node, true
}

// String returns the string at a dotted key, "" when there is none.
func (v Values) String(key string) string {
	node, _ := v.At(key)
	s, _ := node.(string)
	return s
}

// Strings returns the strings of the list at a dotted key, none when there is no list.
func (v Values) Strings(key string) []string {
	node, _ := v.At(key)
	list, _ := node.([]any)
	var texts []string
	for _, item := range list {
		if s, ok := item.(string); ok {
			texts = append(texts, s)
		}
	}
	return texts
}

// Bool returns the boolean at a dotted key, false when there is none.
func (v Values) Bool(key string) bool {
	node, _ := v.At(key)
	b, _ := node.(bool)
	return b
}

// Int returns the whole number at a dotted key, and whether there is one.
func (v Values) Int(key string) (int, bool) {
	node, _ := v.At(key)
	switch n := node.(type) {
	case int:
		return n, true
	case int64:
		return int(n), true
	case float64:
		return int(n), n == float64(int(n))
	}
	return 0, false
}

// set sets one value; a scalar on the path is replaced by a table, as with helm's --set.
func (v Values) set(key string, value any) {
	parts := strings.Split(key, ".")
	table := map[string]any(v)
	for _, part := range parts[:len(parts)-1] {
		next, ok := table[part].(map[string]any)
		if !ok {
			next = map[string]any{}
		} else {
			next = maps.Clone(next)
		}
		table[part] = next
		table = next
	}
	table[parts[len(parts)-1]] = value
}

func (v Values) clone() (Values, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("copy stored values: %w", err)
	}
	out := Values{}
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("copy stored values: %w", err)
	}
	if out == nil {
		out = Values{}
	}
	return out, nil
}

// Effective returns the user's values on top of the chart's defaults.
func (c *Chart) Effective(user Values) (Values, error) {
	all, err := chartutil.CoalesceValues(c.chart, user)
	if err != nil {
		return nil, fmt.Errorf("merge values with the chart's defaults: %w", err)
	}
	return Values(all), nil
}
