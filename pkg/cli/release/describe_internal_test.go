package release

import (
	"encoding/json"
	"testing"

	helmrelease "helm.sh/helm/v3/pkg/release"

	"github.com/osm-edge/osm/tests/reach"
)

// The Secret of a release may contain anything: the release is described, or refused with its name, and
// whatever is described has everything that the CLI asks for.
func FuzzDescribe(f *testing.F) {
	for _, seed := range []string{
		`{"name": "osm", "namespace": "osm-system", "info": {"status": "deployed"}, "chart": {"metadata": {"name": "osm", "version": "0.1.0"}, "templates": [null, {"name": "templates/bootstrap-job.yaml"}]}, "config": {"osm": {"meshName": "osm"}}}`,
		`{"chart": {"metadata": {"name": "osm", "annotations": {"openservicemesh.io/distribution": "osm-ha"}}}, "info": {}, "config": {"osm": []}}`,
		`{"info": {}, "chart": {}}`, `{"chart": {"metadata": {}}}`, `{}`,
		`{"info": {}, "chart": {"metadata": {}, "values": {"osm": 1}, "schema": "e30="}, "config": {"osm": {"a": {}}}, "manifest": "a: ["}`,
	} {
		f.Add([]byte(seed))
	}
	outcomes := reach.Both(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		var record helmrelease.Release
		if json.Unmarshal(data, &record) != nil {
			return
		}
		info, err := describe(&record, &record, false)
		outcomes.Error(err)
		if err != nil {
			if err.Error() == "" {
				t.Fatalf("%s: refused without a word", data)
			}
			return
		}
		info.Chart.Foreign()
		info.Values.String("osm.meshName")
		info.Values.Bool("osm.enforceSingleMesh")
		if _, err := info.Chart.Effective(info.Values); err != nil {
			return
		}
		if _, err := Objects(info.Manifest); err != nil && err.Error() == "" {
			t.Fatalf("%s: its manifest is refused without a word", data)
		}
	})
}

func TestForeign(t *testing.T) {
	for name, tt := range map[string]struct{ record, want string }{
		"annotated":                 {`{"metadata": {"name": "osm", "version": "9.9.9", "annotations": {"openservicemesh.io/distribution": "osm-ha"}}}`, ""},
		"older than the annotation": {`{"metadata": {"name": "osm", "version": "0.1.0"}, "templates": [{"name": "templates/bootstrap-job.yaml"}]}`, ""},
		"Open Service Mesh":         {`{"metadata": {"name": "osm", "version": "1.2.4"}, "templates": [{"name": "templates/osm-bootstrap-deployment.yaml"}]}`, "osm 1.2.4"},
		"osm-edge":                  {`{"metadata": {"name": "osm-edge", "version": "1.3.9"}}`, "osm-edge 1.3.9"},
		"something else":            {`{"metadata": {"name": "nginx", "version": "1.0.0"}, "templates": [{"name": "templates/bootstrap-job.yaml"}]}`, "nginx 1.0.0"},
	} {
		var record helmrelease.Release
		if err := json.Unmarshal([]byte(`{"info": {}, "chart": `+tt.record+`}`), &record); err != nil {
			t.Fatal(err)
		}
		info, err := describe(&record, &record, true)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Chart.Foreign(); got != tt.want {
			t.Errorf("%s: Foreign = %q, want %q", name, got, tt.want)
		}
	}
}
