package controlplane_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/ingest"
)

var update = flag.Bool("update", false, "rewrite the golden parts of the stories")

// TestStories runs each testdata/stories/*.txtar: objects.yaml goes through the whole pure
// pipeline; problems.txt and <namespace>/<pod>.yaml are what must come out, for each workload.
// What comes out must also be accepted by a real Envoy.
func TestStories(t *testing.T) {
	stories, err := filepath.Glob("testdata/stories/*.txtar")
	if err != nil || len(stories) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range stories {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { tellStory(t, file) })
	}
}

func tellStory(t *testing.T, file string) {
	story, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if story.Files[0].Name != "objects.yaml" {
		t.Fatalf("%s: the first file must be objects.yaml, got %s", file, story.Files[0].Name)
	}
	snapshot, problems := ingest.Build(parseObjects(t, story.Files[0].Data))
	config, err := envoy.NewBuilder(nil).Build(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	got := []txtar.File{story.Files[0], {Name: "problems.txt", Data: problemText(problems)}}
	for _, w := range snapshot.Workloads() {
		view, _ := config.View(w.Name)
		got = append(got, txtar.File{Name: w.Name.String() + ".yaml", Data: viewYAML(t, view)})
		t.Run("envoy accepts "+w.Name.String(), func(t *testing.T) { envoyAccepts(t, view) })
	}
	result := txtar.Format(&txtar.Archive{Comment: story.Comment, Files: got})
	if *update {
		if err := os.WriteFile(file, result, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(txtar.Format(story)), string(result)); diff != "" {
		t.Errorf("%s differs (make golden rewrites it; read the diff first):\n%s", file, diff)
	}
}

func problemText(problems []ingest.Problem) []byte {
	var text bytes.Buffer
	for _, p := range problems {
		fmt.Fprintln(&text, p)
	}
	return text.Bytes()
}

func parseObjects(t *testing.T, data []byte) ingest.Objects {
	t.Helper()
	objects := ingest.Objects{MeshName: "osm", TrustDomain: "cluster.local"}
	for document := range bytes.SplitSeq(data, []byte("\n---\n")) {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(document, &kind); err != nil {
			t.Fatal(err)
		}
		switch kind.Kind {
		case "MeshConfig":
			objects.MeshConfig = parse[v1alpha2.MeshConfig](t, document)
		case "Namespace":
			objects.Namespaces = append(objects.Namespaces, parse[corev1.Namespace](t, document))
		case "Pod":
			objects.Pods = append(objects.Pods, parse[corev1.Pod](t, document))
		case "Service":
			objects.Services = append(objects.Services, parse[corev1.Service](t, document))
		case "EndpointSlice":
			objects.EndpointSlices = append(objects.EndpointSlices, parse[discoveryv1.EndpointSlice](t, document))
		default:
			t.Fatalf("unknown kind %q in\n%s", kind.Kind, document)
		}
	}
	return objects
}

func parse[T any](t *testing.T, document []byte) *T {
	t.Helper()
	object := new(T)
	if err := yaml.UnmarshalStrict(document, object); err != nil {
		t.Fatalf("%v in\n%s", err, document)
	}
	return object
}

// viewYAML is the view as a person reads it.
func viewYAML(t *testing.T, view envoy.View) []byte {
	t.Helper()
	kinds := map[string][]json.RawMessage{}
	for _, k := range envoy.Kinds() {
		name := k.TypeURL()[strings.LastIndex(k.TypeURL(), ".")+1:]
		for _, r := range view.All(k) {
			kinds[name] = append(kinds[name], resourceJSON(t, r))
		}
	}
	text, err := yaml.Marshal(kinds)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func resourceJSON(t *testing.T, r *envoy.Resource) json.RawMessage {
	t.Helper()
	message, err := r.Body().UnmarshalNew()
	if err != nil {
		t.Fatal(err)
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// envoyAccepts puts the view into a static bootstrap and lets Envoy check it. Routes and endpoints,
// which a proxy fetches by name, are put where a bootstrap can hold them: in a listener and a
// cluster made for each.
func envoyAccepts(t *testing.T, view envoy.View) {
	binary := envoyBinary(t)
	listeners, clusters := []any{}, []any{map[string]any{"name": "xds", "type": "STATIC", "http2_protocol_options": map[string]any{}}}
	for _, r := range view.All(envoy.Listeners) {
		listeners = append(listeners, resourceJSON(t, r))
	}
	secrets := filepath.Join(t.TempDir(), "secrets.yaml")
	if err := os.WriteFile(secrets, []byte("resources: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, r := range view.All(envoy.Clusters) {
		clusters = append(clusters, withSecretsFrom(t, secrets, resourceJSON(t, r)))
	}
	for i, r := range view.All(envoy.Endpoints) {
		clusters = append(clusters, map[string]any{
			"name": fmt.Sprintf("endpoints-%d", i), "type": "STATIC", "load_assignment": resourceJSON(t, r),
			"transport_socket_matches": []any{map[string]any{"name": "plaintext", "match": map[string]any{"plaintext": true},
				"transport_socket": map[string]any{"name": "envoy.transport_sockets.raw_buffer", "typed_config": map[string]any{"@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}}},
		})
	}
	for i, r := range view.All(envoy.Routes) {
		listeners = append(listeners, routeListener(10000+i, resourceJSON(t, r)))
	}
	bootstrap, err := json.Marshal(map[string]any{
		"node": map[string]any{"id": "test/test", "cluster": "test"},
		"bootstrap_extensions": []any{map[string]any{"name": "envoy.bootstrap.internal_listener",
			"typed_config": map[string]any{"@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"}}},
		"dynamic_resources": map[string]any{"ads_config": map[string]any{"api_type": "DELTA_GRPC", "transport_api_version": "V3",
			"grpc_services": []any{map[string]any{"envoy_grpc": map[string]any{"cluster_name": "xds"}}}}},
		"static_resources": map[string]any{"listeners": listeners, "clusters": clusters},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bootstrap.json")
	if err := os.WriteFile(path, bootstrap, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, "--mode", "validate", "-c", path, "-l", "error", "--base-id", "77").CombinedOutput()
	if err != nil {
		t.Errorf("envoy refuses the configuration: %v\n%s", err, out)
	}
}

// withSecretsFrom lets a cluster take its secrets from a file: Envoy builds a bootstrap's clusters
// before it has an ADS stream, and an ORIGINAL_DST cluster that asks for one there crashes it.
func withSecretsFrom(t *testing.T, file string, cluster json.RawMessage) any {
	t.Helper()
	var decoded any
	if err := json.Unmarshal(cluster, &decoded); err != nil {
		t.Fatal(err)
	}
	source := map[string]any{"path_config_source": map[string]any{"path": file}, "resource_api_version": "V3"}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if _, ok := v["sds_config"]; ok {
				v["sds_config"] = source
			}
			for _, child := range v {
				walk(child)
			}
		case []any:
			for _, child := range v {
				walk(child)
			}
		}
	}
	walk(decoded)
	return decoded
}

func routeListener(port int, route json.RawMessage) any {
	return map[string]any{
		"name":    fmt.Sprintf("route-%d", port),
		"address": map[string]any{"socket_address": map[string]any{"address": "127.0.0.1", "port_value": port}},
		"filter_chains": []any{map[string]any{"filters": []any{map[string]any{
			"name": "envoy.filters.network.http_connection_manager",
			"typed_config": map[string]any{
				"@type":       "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
				"stat_prefix": "route", "route_config": route,
				"http_filters": []any{map[string]any{"name": "envoy.filters.http.router",
					"typed_config": map[string]any{"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}},
			},
		}}}},
	}
}

// envoyBinary finds the Envoy to ask: $ENVOY, else PATH. CI must have one.
func envoyBinary(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("ENVOY"); path != "" {
		return path
	}
	path, err := exec.LookPath("envoy")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no Envoy: set ENVOY to what scripts/envoy.sh prints")
		}
		t.Skip("no Envoy: set ENVOY to what scripts/envoy.sh prints")
	}
	return path
}
