package release

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// schema is one node of a JSON schema together with the document that its references point into.
type schema struct {
	root map[string]any
	node map[string]any
}

func parseSchema(data []byte) (schema, error) {
	var root map[string]any
	if err := json.Unmarshal(data, &root); err != nil {
		return schema{}, fmt.Errorf("read values.schema.json: %w", err)
	}
	return schema{root, root}, nil
}

// resolve follows local references to the node that defines a value.
func (s schema) resolve() schema {
	chain := s.chain()
	return chain[len(chain)-1]
}

// chain is the node and every node that its references lead to, in order. The limit stops at a schema
// that refers to itself.
func (s schema) chain() []schema {
	chain := []schema{s}
	for range 10 {
		ref, ok := s.node["$ref"].(string)
		if !ok {
			break
		}
		target, found := s.pointer(ref)
		if !found {
			break
		}
		s.node = target
		chain = append(chain, s)
	}
	return chain
}

// pointer finds the node that a URL with a JSON pointer as its fragment names.
func (s schema) pointer(ref string) (map[string]any, bool) {
	_, fragment, ok := strings.Cut(ref, "#")
	if !ok {
		return nil, false
	}
	var node any = s.root
	for part := range strings.SplitSeq(strings.TrimPrefix(fragment, "/"), "/") {
		if part == "" {
			continue
		}
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		switch parent := node.(type) {
		case map[string]any:
			node = parent[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(parent) {
				return nil, false
			}
			node = parent[i]
		}
	}
	found, ok := node.(map[string]any)
	return found, ok
}

// child returns the schema of a property or a list item.
func (s schema) child(name string) (schema, bool) {
	s = s.resolve()
	if properties, ok := s.node["properties"].(map[string]any); ok {
		if node, ok := properties[name].(map[string]any); ok {
			return schema{s.root, node}, true
		}
	}
	for _, key := range []string{"additionalProperties", "items"} {
		if node, ok := s.node[key].(map[string]any); ok {
			return schema{s.root, node}, true
		}
	}
	for _, branch := range s.branches() {
		if found, ok := branch.child(name); ok {
			return found, true
		}
	}
	return schema{}, false
}

func (s schema) at(path []string) (schema, bool) {
	for _, name := range path {
		var ok bool
		if s, ok = s.child(name); !ok {
			return s, false
		}
	}
	return s, true
}

// branches are the alternatives of a node.
func (s schema) branches() []schema {
	var out []schema
	for _, key := range []string{"allOf", "anyOf", "oneOf"} {
		list, _ := s.node[key].([]any)
		for _, item := range list {
			if node, ok := item.(map[string]any); ok {
				out = append(out, schema{s.root, node}.resolve())
			}
		}
	}
	return out
}

// keys returns every dotted key that the schema knows, tables included, sorted.
func (s schema) keys() []string {
	found := map[string]bool{}
	s.collect("", found, 0)
	return slices.Sorted(maps.Keys(found))
}

func (s schema) collect(prefix string, found map[string]bool, depth int) {
	s = s.resolve()
	properties, _ := s.node["properties"].(map[string]any)
	if depth > 12 { // a schema that contains itself has no end
		return
	}
	for name, value := range properties {
		node, ok := value.(map[string]any)
		if !ok {
			continue
		}
		key := join(prefix, name)
		found[key] = true
		schema{s.root, node}.collect(key, found, depth+1)
	}
	for _, branch := range s.branches() {
		branch.collect(prefix, found, depth+1)
	}
}

// allowed describes the values that this schema allows, or is "" if the schema does not say.
func (s schema) allowed() string {
	for _, hop := range s.chain() {
		// The chart's way of saying in words what a pattern or range means.
		otherwise, _ := hop.node["else"].(map[string]any)
		if prose, ok := otherwise["const"].(string); ok {
			return prose
		}
	}
	s = s.resolve()
	if enum, ok := s.node["enum"].([]any); ok {
		return "one of " + list(enum)
	}
	if constant, ok := s.node["const"]; ok {
		return show(constant)
	}
	switch kind := s.kind(); kind {
	case "integer", "number":
		return s.number(kind)
	case "boolean":
		return "true or false"
	case "array":
		return "a list"
	case "object":
		return "a table of further keys"
	case "string":
		return s.text()
	}
	for _, branch := range s.branches() {
		if text := branch.allowed(); text != "" {
			return text
		}
	}
	return ""
}

// secret reports whether values of this schema must never be shown.
func (s schema) secret() bool {
	for _, hop := range s.chain() {
		if hop.node["writeOnly"] == true {
			return true
		}
	}
	return false
}

// kind is the type of the schema's values; null as an alternative is not mentioned.
func (s schema) kind() string {
	switch kind := s.node["type"].(type) {
	case string:
		return kind
	case []any:
		for _, k := range kind {
			if k != "null" {
				name, _ := k.(string)
				return name
			}
		}
	}
	return ""
}

func (s schema) number(kind string) string {
	name := "a number"
	if kind == "integer" {
		name = "an integer"
	}
	low, hasLow := s.node["minimum"]
	high, hasHigh := s.node["maximum"]
	switch {
	case hasLow && hasHigh:
		return fmt.Sprintf("%s from %s to %s", name, show(low), show(high))
	case hasLow:
		return fmt.Sprintf("%s of at least %s", name, show(low))
	case hasHigh:
		return fmt.Sprintf("%s of at most %s", name, show(high))
	}
	return name
}

func (s schema) text() string {
	if pattern, ok := s.node["pattern"].(string); ok {
		return "a string that matches " + pattern
	}
	high, hasHigh := s.node["maxLength"]
	if hasHigh {
		return fmt.Sprintf("a string of at most %s characters", show(high))
	}
	return "a string"
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}

// show prints a value as a user would write it; strings are quoted, so that "1.5" and 1.5 differ.
func show(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(data)
}

func list(items []any) string {
	var words []string
	for _, item := range items {
		if text, ok := item.(string); ok && text != "" {
			words = append(words, text)
			continue
		}
		words = append(words, show(item))
	}
	return strings.Join(words, ", ")
}
