package release

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/osm-edge/osm/pkg/cli/suggest"
)

// Problem is one value that the chart refuses.
type Problem struct {
	Key     string // dotted key of the value at fault
	Message string // a full sentence that names the key and says what to use instead
}

// InvalidValuesError lists every refused value, sorted by key.
type InvalidValuesError struct {
	Problems []Problem
}

func (e *InvalidValuesError) Error() string {
	lines := make([]string, 0, len(e.Problems))
	for _, problem := range e.Problems {
		lines = append(lines, problem.Message)
	}
	return strings.Join(lines, "\n")
}

// Validate checks the user's values against the chart's schema. The error is an
// *InvalidValuesError if values are wrong. The user's own values are checked first and alone: Helm
// drops a scalar where the chart has a table, so the merged tree would hide that mistake.
func (c *Chart) Validate(user Values) error {
	if len(c.chart.Schema) == 0 {
		return nil
	}
	v, err := newValidator(c.chart.Schema)
	if err != nil {
		return err
	}
	if problems := v.check(user, false); len(problems) > 0 {
		return &InvalidValuesError{problems}
	}
	all, err := c.Effective(user)
	if err != nil {
		return err
	}
	if problems := v.check(all, true); len(problems) > 0 {
		return &InvalidValuesError{problems}
	}
	return nil
}

type validator struct {
	schema   schema
	compiled *jsonschema.Schema
	printer  *message.Printer
}

func newValidator(data []byte) (*validator, error) {
	parsed, err := parseSchema(data)
	if err != nil {
		return nil, err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read values.schema.json: %w", err)
	}
	const name = "file:///values.schema.json"
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(name, document); err != nil {
		return nil, fmt.Errorf("read values.schema.json: %w", err)
	}
	compiled, err := compiler.Compile(name)
	if err != nil {
		return nil, fmt.Errorf("read values.schema.json: %w", err)
	}
	return &validator{parsed, compiled, message.NewPrinter(language.English)}, nil
}

// check returns the problems of a tree, one per key. Rules about required values apply to the complete
// tree only.
func (v *validator) check(tree Values, complete bool) []Problem {
	err := v.compiled.Validate(map[string]any(tree))
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return nil
	}
	var found []Problem
	for _, leaf := range leaves(invalid) {
		if !complete && aboutAbsence(tree, leaf) {
			continue
		}
		found = append(found, v.problems(tree, leaf)...)
	}
	slices.SortStableFunc(found, func(a, b Problem) int { return strings.Compare(a.Key, b.Key) })
	return slices.CompactFunc(found, func(a, b Problem) bool { return a.Key == b.Key })
}

// leaves are the errors that name a cause. Alternatives are not split, since it is unknown which one the
// user meant.
func leaves(err *jsonschema.ValidationError) []*jsonschema.ValidationError {
	switch err.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf, *kind.Not:
		return []*jsonschema.ValidationError{err}
	}
	if len(err.Causes) == 0 {
		return []*jsonschema.ValidationError{err}
	}
	var out []*jsonschema.ValidationError
	for _, cause := range err.Causes {
		out = append(out, leaves(cause)...)
	}
	return out
}

// aboutAbsence reports whether an error may only be due to missing defaults. A null in the user's values
// deletes a default, so its type is not checked either.
func aboutAbsence(tree Values, err *jsonschema.ValidationError) bool {
	value, _ := tree.At(strings.Join(err.InstanceLocation, "."))
	_, isTable := value.(map[string]any)
	switch k := err.ErrorKind.(type) {
	case *kind.Required, *kind.DependentRequired, *kind.Dependency, *kind.MinProperties:
		return true
	case *kind.AnyOf, *kind.OneOf, *kind.Not:
		return isTable || len(err.InstanceLocation) == 0
	case *kind.Type:
		return k.Got == "null"
	}
	return false
}

func (v *validator) problems(tree Values, leaf *jsonschema.ValidationError) []Problem {
	key := strings.Join(leaf.InstanceLocation, ".")
	switch k := leaf.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		var out []Problem
		for _, name := range k.Properties {
			out = append(out, v.unknown(tree, leaf.InstanceLocation, name))
		}
		return out
	case *kind.Required:
		var out []Problem
		for _, name := range k.Missing {
			missing := join(key, name)
			out = append(out, Problem{missing, missing + " is required but was removed; " + v.use(append(slices.Clone(leaf.InstanceLocation), name))})
		}
		return out
	}
	return []Problem{{key, v.refusal(tree, leaf)}}
}

// refusal is the message for a value that is not allowed. For a rule about several keys it is the rule's
// description in the schema.
func (v *validator) refusal(tree Values, leaf *jsonschema.ValidationError) string {
	key := strings.Join(leaf.InstanceLocation, ".")
	value, _ := tree.At(key)
	_, isTable := value.(map[string]any)
	if node, ok := v.schema.pointer(leaf.SchemaURL); ok && isTable {
		if text, ok := node["description"].(string); ok {
			return fmt.Sprintf("%s: %s", key, text)
		}
	}
	if node, ok := v.schema.at(leaf.InstanceLocation); ok && node.secret() {
		return fmt.Sprintf("%s must be %s", key, node.allowed())
	}
	if use := v.use(leaf.InstanceLocation); use != "" && (!isTable || !v.expectsTable(leaf.InstanceLocation)) {
		return fmt.Sprintf("%s: %s is not allowed; %s%s", key, show(value), use, v.asText(leaf.InstanceLocation, value))
	}
	return fmt.Sprintf("%s: %s", key, leaf.ErrorKind.LocalizedString(v.printer))
}

// asText says how to pass a string that --set and YAML take for a number or a boolean.
func (v *validator) asText(path []string, value any) string {
	node, ok := v.schema.at(path)
	if !ok || node.resolve().kind() != "string" {
		return ""
	}
	switch value.(type) {
	case bool, int, int64, float64:
		return fmt.Sprintf("; it was read as a number or a boolean: pass it with --set-string %s=%v, or in quotes in a values file", strings.Join(path, "."), value)
	}
	return ""
}

func (v *validator) expectsTable(path []string) bool {
	node, ok := v.schema.at(path)
	return ok && node.resolve().kind() == "object"
}

func (v *validator) use(path []string) string {
	node, ok := v.schema.at(path)
	if !ok {
		return ""
	}
	if allowed := node.allowed(); allowed != "" {
		return "use " + allowed
	}
	return ""
}

// unknown is the message for a key that the chart does not have. It names the complete key and the most
// similar valid one.
func (v *validator) unknown(tree Values, parent []string, name string) Problem {
	key := join(strings.Join(parent, "."), name)
	full := firstLeaf(tree, key)
	nearest := v.nearest(key, full)
	if nearest == "" {
		return Problem{key, fmt.Sprintf("%s: unknown key; %s", full, v.siblings(parent))}
	}
	sentence := fmt.Sprintf("%s: unknown key; did you mean %s", full, nearest)
	if node, ok := v.schema.at(strings.Split(nearest, ".")); ok && node.allowed() != "" {
		sentence += " (" + node.allowed() + ")"
	}
	return Problem{key, sentence + "?"}
}

// firstLeaf follows a table down its first key, so that a typo in the middle of a long key is
// compared as the whole key that the user wrote.
func firstLeaf(tree Values, key string) string {
	value, _ := tree.At(key)
	table, ok := value.(map[string]any)
	if !ok || len(table) == 0 {
		return key
	}
	return firstLeaf(tree, join(key, slices.Sorted(maps.Keys(table))[0]))
}

// nearest returns the valid key with the smallest edit distance to what the user wrote, or "" if none is near. Unless
// one is only a letter away, a key with the same last part wins over a shorter distance: it is the right word in the
// wrong place. A key that lacks only its beginning is near, however long that is.
func (v *validator) nearest(key, full string) string {
	keys := v.schema.keys()
	if found, distance := suggest.Closest(full, keys); distance == 1 {
		return found
	}
	end := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return !strings.HasSuffix(strings.ToLower(k), "."+strings.ToLower(full)) })
	if found, _ := suggest.Closest(full, end); found != "" {
		return found
	}
	same := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return lastPart(k) != lastPart(full) })
	if found, distance := suggest.Closest(full, same); distance <= suggest.Limit(full) {
		return found
	}
	found, distance := suggest.Closest(full, keys)
	if other, d := suggest.Closest(key, keys); d < distance {
		found, distance = other, d
	}
	if distance > suggest.Limit(full) {
		return ""
	}
	return found
}

// siblings names the keys that exist where an unknown one was found.
func (v *validator) siblings(parent []string) string {
	node, ok := v.schema.at(parent)
	properties, _ := node.resolve().node["properties"].(map[string]any)
	if !ok || len(properties) == 0 {
		return "the chart's values.yaml lists the keys that exist"
	}
	return "use one of " + strings.Join(slices.Sorted(maps.Keys(properties)), ", ")
}

func lastPart(key string) string { return strings.ToLower(key[strings.LastIndex(key, ".")+1:]) }
