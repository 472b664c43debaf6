package release_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/osm-edge/osm/charts"
	"github.com/osm-edge/osm/pkg/cli/release"
	"github.com/osm-edge/osm/tests/reach"
)

// load makes a chart of a few files.
func load(t *testing.T, files map[string]string) *release.Chart {
	t.Helper()
	fsys := fstest.MapFS{"Chart.yaml": {Data: []byte("apiVersion: v2\nname: test\nversion: 1.0.0\n")}}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	chart, err := release.Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return chart
}

// builtIn is the built-in chart with a registry as a default.
func builtIn(t *testing.T) *release.Chart {
	t.Helper()
	files := fstest.MapFS{}
	err := fs.WalkDir(charts.Files(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(charts.Files(), path)
		if path == "values.yaml" {
			data = bytes.Replace(data, []byte(`registry: ""`), []byte("registry: registry.example/team"), 1)
		}
		files[path] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	chart, err := release.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	return chart
}

func TestMessages(t *testing.T) {
	chart := load(t, map[string]string{
		"values.yaml": "\"n\": 1\nlist: [1]\nnested: {word: a}\n",
		"values.schema.json": `{"type": "object", "additionalProperties": false, "properties": {
			"n": {"$ref": "#/$defs/n"},
			"least": {"type": "integer", "minimum": 2},
			"most": {"type": "number", "maximum": 9},
			"flag": {"type": "boolean"},
			"word": {"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]},
			"pattern": {"type": "string", "pattern": "^x"},
			"prose": {"type": "string", "pattern": "^x", "if": {"pattern": "^x"}, "else": {"const": "a word with x"}},
			"list": {"type": "array", "items": {"$ref": "#/$defs/n"}},
			"nested": {"type": "object", "additionalProperties": false, "required": ["word"], "properties": {"word": {"type": "string"}, "other": {"type": "string"}}}
		}, "$defs": {"n": {"type": ["integer", "null"], "minimum": 1, "maximum": 10}}}`,
	})
	tests := []struct {
		set  string
		want string // "" when it is allowed
	}{
		{"n=10", ""},
		{"n=null", ""},
		{"n=11", "n: 11 is not allowed; use an integer from 1 to 10"},
		{"n=1.5", `n: "1.5" is not allowed; use an integer from 1 to 10`},
		{"least=1", "least: 1 is not allowed; use an integer of at least 2"},
		{"most=10", "most: 10 is not allowed; use a number of at most 9"},
		{"flag=maybe", `flag: "maybe" is not allowed; use true or false`},
		{"word=b", ""},
		{"word=c", `word: "c" is not allowed; use one of a, b`},
		{"pattern=y", `pattern: "y" is not allowed; use a string that matches ^x`},
		{"prose=y", `prose: "y" is not allowed; use a word with x`},
		{"list={1,0}", "list.1: 0 is not allowed; use an integer from 1 to 10"},
		{"list=1", "list: 1 is not allowed; use a list"},
		{"nested=1", "nested: 1 is not allowed; use a table of further keys"},
		{"nested.word=null", "nested.word is required but was removed; use a string"},
		{"nested.othr=1", "nested.othr: unknown key; did you mean nested.other (a string)?"},
		{"nsted.other=1", "nsted.other: unknown key; did you mean nested.other (a string)?"},
		{"other=1", "other: unknown key; did you mean nested.other (a string)?"},
		{"zzzzzz.other=1", "zzzzzz.other: unknown key; use one of flag, least, list, most, n, nested, pattern, prose, word"},
		{"zzz=1", "zzz: unknown key; use one of flag, least, list, most, n, nested, pattern, prose, word"},
	}
	for _, tt := range tests {
		t.Run(tt.set, func(t *testing.T) {
			user, err := release.Layers{Sets: []string{tt.set}}.Merge()
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := chart.Validate(user); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	user, err := release.Layers{Sets: []string{"osm.enableEgress=1,osm.injector.autoScale.maxReplicas=0"}}.Merge()
	if err != nil {
		t.Fatal(err)
	}
	var invalid *release.InvalidValuesError
	if err := builtIn(t).Validate(user); !errors.As(err, &invalid) || len(invalid.Problems) != 2 {
		t.Errorf("Validate = %v; want two problems", err)
	}
}

// R16: each key of the chart without its last letter is refused, and the right key is suggested.
func TestEveryTypoIsFound(t *testing.T) {
	chart := builtIn(t)
	all, err := chart.Effective(nil)
	if err != nil {
		t.Fatal(err)
	}
	keys := leafKeys("", all)
	if len(keys) < 50 {
		t.Fatalf("only %d keys: %v", len(keys), keys)
	}
	for _, key := range keys {
		typo := key[:len(key)-1]
		user, err := release.Layers{Flags: map[string]any{typo: "x"}}.Merge()
		if err != nil {
			t.Fatal(err)
		}
		if err := chart.Validate(user); err == nil || !strings.Contains(err.Error(), "did you mean "+key+" ") && !strings.Contains(err.Error(), "did you mean "+key+"?") {
			t.Errorf("%s: %v; want a suggestion of %s", typo, err, key)
		}
	}
}

// leafKeys are the dotted keys of the values that are no tables. Tables that the user fills have no
// keys of their own to mistype.
func leafKeys(prefix string, values map[string]any) []string {
	var keys []string
	for name := range maps.Keys(values) {
		key := strings.TrimPrefix(prefix+"."+name, ".")
		if table, ok := values[name].(map[string]any); ok {
			keys = append(keys, leafKeys(key, table)...)
			continue
		}
		keys = append(keys, key)
	}
	return keys
}

// Validate never panics and explains every refusal, whatever the values look like.
func FuzzValidate(f *testing.F) {
	f.Add([]byte(`{"osm": {"injector": {"autoScale": {"minReplicas": 0}}}}`))
	f.Add([]byte(`{"osm": [1]}`))
	f.Add([]byte(`{"": {"a.b": null}}`))
	f.Add([]byte(`{"osm": {"meshName": "blue"}}`))
	chart, err := release.Load(charts.Files())
	if err != nil {
		f.Fatal(err)
	}
	outcomes := reach.Both(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		var values release.Values
		if json.Unmarshal(data, &values) != nil {
			return
		}
		err := chart.Validate(values)
		outcomes.Error(err)
		if err != nil && err.Error() == "" {
			t.Errorf("%s: refused without a word", data)
		}
	})
}
