package kube

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ingest"
	"github.com/osm-edge/osm/tests/reach"
)

// sampleMesh is a namespace of the mesh with one workload, its Service and its endpoints.
const sampleMesh = `{
"Namespaces": [{"metadata": {"name": "shop", "labels": {"` + api.LabelMonitoredBy + `": "osm", "team": "x"}}}],
"Pods": [{"metadata": {"name": "web-1", "namespace": "shop", "uid": "u1", "labels": {"` + api.LabelProxyUUID + `": "a", "app": "web"}, "annotations": {"a": "b"}},
  "spec": {"serviceAccountName": "web", "nodeName": "n", "initContainers": [{"name": "` + api.ContainerInit + `", "args": ["redirect", "--exclude-inbound-ports=81"]}, {"name": "` + api.ContainerEnvoy + `", "volumeMounts": [{"name": "osm-proxy", "mountPath": "` + api.ProxyCertDir + `"}]}], "containers": [{"name": "web", "image": "x", "ports": [{"containerPort": 8080}]}]},
  "status": {"phase": "Running", "podIP": "10.0.0.5", "podIPs": [{"ip": "10.0.0.5"}], "hostIP": "192.168.0.1"}}],
"Services": [{"metadata": {"name": "web", "namespace": "shop", "labels": {"a": "b"}},
  "spec": {"type": "ClusterIP", "clusterIP": "10.1.0.5", "clusterIPs": ["10.1.0.5"], "ipFamilies": ["IPv4"], "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}, {"name": "tcp-db", "port": 6379, "appProtocol": "tcp", "protocol": "TCP"}]}}],
"EndpointSlices": [{"metadata": {"name": "web-abc", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web", "x": "y"}}, "addressType": "IPv4",
  "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "tcp-db", "port": 6379, "protocol": "TCP"}],
  "endpoints": [{"addresses": ["10.0.0.5"], "nodeName": "n", "zone": "z", "conditions": {"ready": true, "serving": true}, "targetRef": {"kind": "Pod", "namespace": "shop", "name": "web-1", "uid": "u1"}}]}]}`

// FuzzTrim checks that trimming an object does not change the mesh that ingest builds from it, and that
// trimming it again changes nothing. It fails if ingest reads a field that trim drops.
func FuzzTrim(f *testing.F) {
	for _, text := range []string{
		sampleMesh, `{}`, `{"Pods": [null, {}]}`, `{"Services": [{"spec": {"ports": [{}]}}]}`, `{"EndpointSlices": [{"endpoints": [{}]}]}`,
	} {
		f.Add([]byte(text))
	}
	outcomes := reach.All(f, "workloads", "no workloads")
	f.Fuzz(func(t *testing.T, text []byte) {
		var whole ingest.Objects
		if json.Unmarshal(text, &whole) != nil {
			t.Skip("not objects")
		}
		whole.MeshName, whole.TrustDomain, whole.MeshConfig = "osm", "cluster.local", &v1alpha2.MeshConfig{}
		trimmed := whole
		whole.Namespaces, trimmed.Namespaces = trimAll(t, whole.Namespaces, trimNamespace)
		whole.Pods, trimmed.Pods = trimAll(t, whole.Pods, trimPod)
		whole.Services, trimmed.Services = trimAll(t, whole.Services, trimService)
		whole.EndpointSlices, trimmed.EndpointSlices = trimAll(t, whole.EndpointSlices, trimSlice)
		want, wantProblems := ingest.Build(whole)
		got, gotProblems := ingest.Build(trimmed)
		if !reflect.DeepEqual(got, want) || !slices.Equal(gotProblems, wantProblems) {
			t.Errorf("trimmed objects result in\n%+v %v\nwhole ones in\n%+v %v", got, gotProblems, want, wantProblems)
		}
		if len(want.Workloads()) > 0 {
			outcomes.Note("workloads")
		} else {
			outcomes.Note("no workloads")
		}
	})
}

// trimAll returns the objects that are not nil, whole and trimmed.
func trimAll[T interface {
	comparable
	runtime.Object
}](t *testing.T, objects []T, trim func(any) (any, error)) (whole, trimmed []T) {
	t.Helper()
	var none T
	for _, object := range objects {
		if object == none {
			continue
		}
		before := object.DeepCopyObject()
		once, err := trim(object)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := trim(once)
		if err != nil || !reflect.DeepEqual(once, twice) {
			t.Errorf("trimmed twice %v, error %v; once %v", twice, err, once)
		}
		if !reflect.DeepEqual(before, object.DeepCopyObject()) {
			t.Errorf("trimming changed the object to %v", object)
		}
		whole, trimmed = append(whole, object), append(trimmed, once.(T))
	}
	return whole, trimmed
}
