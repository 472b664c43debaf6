package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/release"
	"github.com/osm-edge/osm/pkg/controlplane/bootstrap/crds"
)

// What the chart passes to the install hook, which makes the MeshConfig from it.
const (
	presetName = "preset-mesh-config"
	presetKey  = "preset-mesh-config.json"
)

// Deviations returns what in the cluster is not as a release has left it: its objects and, unless hooks are skipped, what
// its install hook applies.
func (c *Change) Deviations(ctx context.Context, clients *cluster.Clients, engine *release.Engine, info *release.Info, skipHooks bool) ([]release.Deviation, error) {
	found, err := engine.Deviations(ctx, info.Rendered)
	if err != nil || skipHooks {
		return found, err
	}
	applied, err := hookDeviations(ctx, clients, info)
	return append(found, applied...), err
}

// hookDeviations returns the CRDs that are missing or of another version of osm, and the MeshConfig if it is missing, lacks
// a field, or has a field that the hook has set to another value, as one that was rolled back. Fields that somebody else
// has set are left out: the hook keeps them.
func hookDeviations(ctx context.Context, clients *cluster.Clients, info *release.Info) ([]release.Deviation, error) {
	all, err := crds.All()
	if err != nil {
		return nil, err
	}
	var found []release.Deviation
	for _, ours := range all {
		present, err := clients.Definition(ctx, ours.Name)
		if err != nil {
			return nil, err
		}
		switch {
		case present == nil:
			found = append(found, release.Deviation{Kind: "CustomResourceDefinition", Name: ours.Name, Why: release.Missing})
		case !crds.Same(present, ours):
			found = append(found, release.Deviation{Kind: "CustomResourceDefinition", Name: ours.Name, Why: release.Edited})
		}
	}
	preset, err := presetOf(info)
	if err != nil || preset == nil {
		return found, err
	}
	config := release.Deviation{Kind: "MeshConfig", Namespace: info.Namespace, Name: api.MeshConfigName, Why: release.Missing}
	body, err := meshConfig(ctx, clients, info.Namespace)
	if apierrors.IsNotFound(err) {
		return append(found, config), nil
	}
	if err != nil {
		return nil, err
	}
	var live struct {
		Metadata metav1.ObjectMeta
		Spec     map[string]any
	}
	if err := json.Unmarshal(body, &live); err != nil {
		return nil, fmt.Errorf("read MeshConfig %s/%s: %w", info.Namespace, api.MeshConfigName, err)
	}
	own, err := hookFields(live.Metadata.ManagedFields)
	if err != nil {
		return nil, fmt.Errorf("read MeshConfig %s/%s: %w", info.Namespace, api.MeshConfigName, err)
	}
	if !asApplied(live.Spec, preset, own) {
		config.Why = release.Edited
		found = append(found, config)
	}
	return found, nil
}

// presetOf returns the spec of the MeshConfig that a release's install hook applies, or nil if it applies none.
func presetOf(info *release.Info) (map[string]any, error) {
	objects, err := release.Objects(info.Rendered)
	if err != nil {
		return nil, err
	}
	for _, object := range objects {
		if object.Kind != "ConfigMap" || object.Name != presetName {
			continue
		}
		data, _ := object.Fields["data"].(map[string]any)
		text, _ := data[presetKey].(string)
		var preset map[string]any
		if err := json.Unmarshal([]byte(text), &preset); err != nil {
			return nil, fmt.Errorf("read ConfigMap %s of the chart: %w", presetName, err)
		}
		return preset, nil
	}
	return nil, nil //nolint:nilnil // none is an answer
}

// hookFields returns the fields of spec that the install hook has set and nobody has edited since, in the form of
// metav1.FieldsV1.
func hookFields(managed []metav1.ManagedFieldsEntry) (map[string]any, error) {
	for _, entry := range managed {
		if entry.Manager != crds.FieldManager || entry.Operation != metav1.ManagedFieldsOperationApply || entry.FieldsV1 == nil {
			continue
		}
		var fields map[string]any
		if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields); err != nil {
			return nil, fmt.Errorf("decode managed fields of %s: %w", entry.Manager, err)
		}
		return child(fields, "spec"), nil
	}
	return nil, nil //nolint:nilnil // no fields
}

func child(fields map[string]any, name string) map[string]any {
	below, _ := fields["f:"+name].(map[string]any)
	return below
}

// asApplied reports whether object has every field of wanted, those among own with the same value.
func asApplied(object, wanted, own map[string]any) bool {
	for key, value := range wanted {
		present, ok := object[key]
		if !ok && value != nil {
			return false
		}
		if children, isTable := value.(map[string]any); isTable {
			if live, ok := present.(map[string]any); !ok || !asApplied(live, children, child(own, key)) {
				return false
			}
			continue
		}
		if _, ours := own["f:"+key]; ours && !reflect.DeepEqual(present, value) {
			return false
		}
	}
	return true
}
