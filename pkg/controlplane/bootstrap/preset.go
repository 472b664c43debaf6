package bootstrap

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	kjson "sigs.k8s.io/json"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
)

// defaultPreset is the MeshConfig of a mesh without a preset. It is the only place that makes a mesh
// permissive, and it does so explicitly, since the zero value of each field is the restrictive one.
const defaultPreset = `{
	"sidecar": {"localProxyMode": "Localhost", "logLevel": "error"},
	"traffic": {"enableEgress": true, "enablePermissiveTrafficPolicyMode": true},
	"certificate": {"serviceCertValidityDuration": "24h"}
}`

// readPreset returns the MeshConfig spec to apply. It is checked against the Go type but kept as written:
// server-side apply treats "false" and an absent field differently.
func readPreset(file string) (map[string]any, error) {
	if file == "" {
		return parsePreset([]byte(defaultPreset))
	}
	text, err := os.ReadFile(file) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("read preset: %w", err)
	}
	spec, err := parsePreset(text)
	if err != nil {
		return nil, fmt.Errorf("preset %s: %w", file, err)
	}
	return spec, nil
}

// parsePreset is stricter than the API server, which would drop a key with the wrong case, and of a duplicate
// key might use another value than was checked here.
func parsePreset(text []byte) (map[string]any, error) {
	strict, err := kjson.UnmarshalStrict(text, &v1alpha2.MeshConfigSpec{})
	if err = errors.Join(append(strict, err)...); err != nil {
		return nil, fmt.Errorf("not the JSON of a MeshConfig spec: %w", err)
	}
	var spec map[string]any
	if err := json.Unmarshal(text, &spec); err != nil {
		return nil, fmt.Errorf("not the JSON of a MeshConfig spec: %w", err)
	}
	if spec == nil {
		return nil, fmt.Errorf("not the JSON of a MeshConfig spec: want an object, got %s", bytes.TrimSpace(text))
	}
	return spec, nil
}
