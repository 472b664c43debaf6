package release

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"
)

// readValues reads a values file; "-" is standard input. Helm takes the last of two equal keys and the first
// of several documents without a word: here both are an error, because what is dropped was meant.
func readValues(path string) (map[string]any, error) {
	name, data, err := path, []byte(nil), error(nil)
	if path == "-" {
		name = "standard input"
		data, err = io.ReadAll(os.Stdin)
	} else {
		data, err = os.ReadFile(path) //nolint:gosec // the user names it
	}
	if err != nil {
		return nil, fmt.Errorf("read values: %w", err)
	}
	if err := oneDocument(name, data); err != nil {
		return nil, fmt.Errorf("read values: %w", err)
	}
	table := map[string]any{}
	if err := sigsyaml.Unmarshal(data, &table); err != nil {
		return nil, fmt.Errorf("read values: %s: %w; use YAML with a table of values", name, err)
	}
	return table, nil
}

func oneDocument(name string, data []byte) error {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	found := false
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w; use YAML with a table of values", name, err)
		}
		if empty(&document) {
			continue
		}
		if found {
			return fmt.Errorf("%s, line %d: a second document begins here; a values file is one document: merge them, or pass two files", name, document.Line)
		}
		found = true
		if err := uniqueKeys(name, "", &document); err != nil {
			return err
		}
	}
}

// empty reports whether a document has only comments.
func empty(document *yaml.Node) bool {
	return len(document.Content) == 0 || (len(document.Content) == 1 && document.Content[0].Tag == "!!null")
}

// uniqueKeys refuses a key that a table has twice. An alias repeats a node that was looked at.
func uniqueKeys(name, path string, node *yaml.Node) error {
	if node.Kind != yaml.MappingNode {
		for _, child := range node.Content {
			if err := uniqueKeys(name, path, child); err != nil {
				return err
			}
		}
		return nil
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		full := join(path, key.Value)
		if line, twice := lines[key.Value]; twice {
			return fmt.Errorf("%s, line %d: %s is set a second time; the first is in line %d: remove one of them", name, key.Line, full, line)
		}
		lines[key.Value] = key.Line
		if err := uniqueKeys(name, full, value); err != nil {
			return err
		}
	}
	return nil
}

// overlay returns lower with the values of upper on top, table by table.
func overlay(lower, upper map[string]any) map[string]any {
	merged := maps.Clone(lower)
	for key, value := range upper {
		above, isTable := value.(map[string]any)
		below, wasTable := merged[key].(map[string]any)
		if isTable && wasTable {
			merged[key] = overlay(below, above)
			continue
		}
		merged[key] = value
	}
	return merged
}
