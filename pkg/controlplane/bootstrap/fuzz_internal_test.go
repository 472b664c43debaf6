package bootstrap

import (
	"encoding/json"
	"testing"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/tests/reach"
)

// FuzzPreset checks that an accepted preset is applied as written. The API server would silently drop a key
// that only the Go type accepts, such as one with the wrong case.
func FuzzPreset(f *testing.F) {
	for _, text := range []string{
		defaultPreset,
		`{}`,
		`{"traffic": {"enableEgress": false}}`,
		`{"traffic": {"enableEgress": "no"}}`,
		`{"Traffic": {"enableEgress": true}}`,
		`{"traffic": {"EnableEgress": true}}`,
		`{"traffic": {"enableEgress": true}, "traffic": {}}`,
		`{"traffic": {"outboundIPRangeExclusionList": ["10.0.0.0/8"]}} {}`,
		`{"traffic": null}`,
		`null`, `[]`, `{"tracing": {}}`, ``,
	} {
		f.Add([]byte(text))
	}
	outcomes := reach.Both(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		spec, err := parsePreset(text)
		outcomes.Error(err)
		if err != nil {
			if spec != nil {
				t.Errorf("%v beside error %v", spec, err)
			}
			return
		}
		var typed v1alpha2.MeshConfigSpec
		if err := json.Unmarshal(text, &typed); err != nil {
			t.Fatal(err)
		}
		encoded, err := json.Marshal(typed)
		if err != nil {
			t.Fatal(err)
		}
		var read map[string]any
		if err := json.Unmarshal(encoded, &read); err != nil {
			t.Fatal(err)
		}
		sameKeys(t, "spec", spec, read)
	})
}

// sameKeys checks that everything written is read under the same name, unless it is empty.
func sameKeys(t *testing.T, path string, written, read map[string]any) {
	t.Helper()
	for key, value := range written {
		got, found := read[key]
		inner, isObject := value.(map[string]any)
		gotInner, _ := got.(map[string]any)
		switch {
		case isObject:
			sameKeys(t, path+"."+key, inner, gotInner)
		case !found && !empty(value):
			t.Errorf("%s.%s is applied, but not what was checked", path, key)
		}
	}
}

func empty(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case bool:
		return !v
	case float64:
		return v == 0
	case []any:
		return len(v) == 0
	}
	return false
}
