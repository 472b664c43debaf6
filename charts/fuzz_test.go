package charts_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/osm-edge/osm/tests/reach"
)

// FuzzValues: what the schema accepts is rendered into objects that Kubernetes can read, and into no
// kind of object that the chart does not have: a value cannot inject objects.
func FuzzValues(f *testing.F) {
	known := map[string]bool{}
	for _, given := range []values{{}, fromFile(f, "testdata/ha.values.yaml")} {
		maps.Copy(known, inventory(f, given))
	}
	for path, value := range map[string]string{
		"osm.meshName":                      `"my-mesh"`,
		"osm.trustDomain":                   `"a\n---\nkind: Secret"`,
		"osm.image.tag":                     `"v1\"\n  hostNetwork: true"`,
		"osm.image.registry":                `"registry.example.com:5000/osm"`,
		"osm.sidecarImage":                  `"{{ .Release.Name }}"`,
		"osm.imagePullSecrets":              `[{"name": "a: b"}]`,
		"osm.osmController.replicaCount":    `3`,
		"osm.osmController.resource":        `{"limits": {"cpu": "2", "memory": "1Gi"}}`,
		"osm.injector.podLabels":            `{"a": "true", "b": "1"}`,
		"osm.osmController.nodeSelector":    `{"kubernetes.io/os": "linux"}`,
		"osm.osmController.tolerations":     `[{"key": "a", "operator": "Exists"}]`,
		"osm.controllerLogLevel":            `"debug"`,
		"osm.controlPlaneTolerations":       `[1]`,
		"osm.enablePermissiveTrafficPolicy": `"yes"`,
		"osm":                               `null`,
		"none.such":                         `1`,
	} {
		f.Add(path, value)
	}
	outcomes := reach.Both(f)
	f.Fuzz(func(t *testing.T, path, text string) {
		var value any
		if path == "" || strings.Contains(path, "..") || json.Unmarshal([]byte(text), &value) != nil {
			t.Skip("no value")
		}
		given := nest(path, value)
		rel, err := render(t, given)
		outcomes.Error(err)
		if err != nil {
			return
		}
		for _, object := range decode(t, manifest(rel)) {
			name := object.GetObjectKind().GroupVersionKind().Kind
			if !known[name] {
				t.Errorf("%s=%s renders a %s", path, text, name)
			}
		}
	})
}

// inventory is the kinds of what the chart renders.
func inventory(t testing.TB, given values) map[string]bool {
	kinds := map[string]bool{}
	for _, object := range objects(t, given) {
		kinds[object.GetObjectKind().GroupVersionKind().Kind] = true
	}
	return kinds
}
