package charts_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/osm-edge/osm/charts"
)

// schema is the part of a node of values.schema.json that these tests read.
type schema struct {
	Ref                  string             `json:"$ref"`
	Type                 any                `json:"type"`
	Properties           map[string]*schema `json:"properties"`
	AdditionalProperties any                `json:"additionalProperties"`
	Items                *schema            `json:"items"`
	Minimum, Maximum     *float64
	Defs                 map[string]*schema `json:"$defs"`
}

func readSchema(t *testing.T) *schema {
	t.Helper()
	data, err := fs.ReadFile(charts.Files(), "values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	root := new(schema)
	if err := json.Unmarshal(data, root); err != nil {
		t.Fatalf("decoding values.schema.json: %v", err)
	}
	return root
}

// resolve follows references to the definition.
func (s *schema) resolve(root *schema) *schema {
	for s.Ref != "" {
		s = root.Defs[strings.TrimPrefix(s.Ref, "#/$defs/")]
	}
	return s
}

// leaves lists the dotted paths where an object with fixed keys ends. Where values.yaml has an empty map, its path is
// the leaf: what may be put there is Kubernetes' own vocabulary.
func (s *schema) leaves(root *schema, path string, given any) []string {
	s = s.resolve(root)
	inner, isMap := given.(values)
	if len(s.Properties) == 0 || (isMap && len(inner) == 0) {
		return []string{path}
	}
	var found []string
	for key, property := range s.Properties {
		found = append(found, property.leaves(root, strings.TrimPrefix(path+"."+key, "."), inner[key])...)
	}
	return found
}

func leaves(given values, path string) []string {
	var found []string
	for key, value := range given {
		at := strings.TrimPrefix(path+"."+key, ".")
		if inner, ok := value.(values); ok && len(inner) > 0 {
			found = append(found, leaves(inner, at)...)
			continue
		}
		found = append(found, at)
	}
	return found
}

// Each key of values.yaml is in the schema and vice versa. Only "global" is not ours: Helm passes it to every
// chart that is a dependency of another.
func TestSchemaAndValuesHaveTheSameKeys(t *testing.T) {
	root, defaults := readSchema(t), load(t).Values
	delete(root.Properties, "global")
	inSchema, inValues := root.leaves(root, "", defaults), leaves(defaults, "")
	slices.Sort(inSchema)
	slices.Sort(inValues)
	if diff := cmp.Diff(inValues, inSchema); diff != "" {
		t.Errorf("values.yaml (-) and values.schema.json (+) differ:\n%s", diff)
	}
	if len(inValues) < 50 {
		t.Errorf("only %d keys found", len(inValues))
	}
}

// An object is either closed, or a map whose values have a type (labels, node selectors).
func TestSchemaIsStrict(t *testing.T) {
	root := readSchema(t)
	delete(root.Properties, "global")
	var walk func(path string, node *schema)
	walk = func(path string, node *schema) {
		if node == nil {
			return
		}
		if node.Type == "object" {
			typed, isMap := node.AdditionalProperties.(map[string]any)
			if node.AdditionalProperties != false && (!isMap || typed["type"] == nil) {
				t.Errorf("%s accepts any key", path)
			}
		}
		walk(path+"[]", node.Items)
		for key, property := range node.Properties {
			walk(path+"."+key, property)
		}
	}
	walk("values", root)
	for name, definition := range root.Defs {
		walk("$defs/"+name, definition)
	}
}

// The schema itself holds the ranges from docs/ha.md, where editors and other tools read them.
func TestSchemaHoldsTheRanges(t *testing.T) {
	root := readSchema(t)
	for _, component := range components() {
		for path, want := range map[string][2]float64{
			"replicaCount":                              {1, 10},
			"autoScale.minReplicas":                     {1, 10},
			"autoScale.maxReplicas":                     {1, 10},
			"autoScale.cpu.targetAverageUtilization":    {0, 100},
			"autoScale.memory.targetAverageUtilization": {0, 100},
		} {
			node := root
			for _, key := range strings.Split("osm."+component.key+"."+path, ".") {
				node = node.resolve(root).Properties[key]
			}
			node = node.resolve(root)
			if node.Minimum == nil || node.Maximum == nil || *node.Minimum != want[0] || *node.Maximum != want[1] {
				t.Errorf("%s.%s: schema has %v to %v, want %v", component.key, path, node.Minimum, node.Maximum, want)
			}
		}
	}
}

// A typo in any segment of any key is refused, and the message shows the typo.
func TestTyposAreRefused(t *testing.T) {
	tried := map[string]bool{}
	for _, leaf := range leaves(load(t).Values, "") {
		keys := strings.Split(leaf, ".")
		for i := range keys {
			wrong := keys[i] + "x"
			path := strings.Join(append(slices.Clone(keys[:i]), wrong), ".")
			if tried[path] {
				continue
			}
			tried[path] = true
			_, err := render(t, nest(path, 1))
			if err == nil || !strings.Contains(err.Error(), "'"+wrong+"' not allowed") {
				t.Errorf("%s: got %v, want an error that names %s", path, err, wrong)
			}
		}
	}
	if len(tried) < 90 {
		t.Errorf("only %d typos were tried", len(tried))
	}
}

// The README is generated from values.yaml: it is up to date if each key has a row with a description.
func TestEveryValueIsDocumented(t *testing.T) {
	readme, err := fs.ReadFile(charts.Files(), "README.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| (osm\.\S+) \| \w+ \| .*? \|(.*)\|$`)
	documented := map[string]string{}
	for _, match := range row.FindAllStringSubmatch(string(readme), -1) {
		documented[match[1]] = strings.TrimSpace(match[2])
	}
	for _, leaf := range leaves(load(t).Values, "") {
		if documented[leaf] == "" {
			t.Errorf("%s has no description in README.md; comment it with '# --' in values.yaml and generate the README", leaf)
		}
		delete(documented, leaf)
	}
	for key := range maps.Keys(documented) {
		t.Errorf("README.md describes %s, which values.yaml does not have", key)
	}
}
