package injector

import (
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
)

var update = flag.Bool("update", false, "write golden files")

const seeBootstrap = "see envoy.yaml"

func testSettings() Settings {
	return Settings{
		MeshName: "osm", Namespace: "osm-system",
		SidecarImage: "envoyproxy/envoy:distroless-v1.40.0", InitImage: "example.com/osm-controlplane:v2",
	}
}

// story is one file of testdata: a pod, its namespace, the MeshConfig's spec and other settings, what another
// webhook changes after the injection (later.json, a JSON patch), and what comes of it.
type story struct {
	name     string
	file     string
	archive  *txtar.Archive
	request  Request
	settings Settings
	pod      []byte // as JSON
}

func stories(t testing.TB) []story {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories in testdata: %v", err)
	}
	var all []story
	for _, file := range files {
		all = append(all, readStory(t, file))
	}
	return all
}

func readStory(t testing.TB, file string) story {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := story{name: strings.TrimSuffix(filepath.Base(file), ".txtar"), file: file, archive: archive, settings: testSettings()}
	s.pod, err = yaml.YAMLToJSON(s.section("pod.yaml"))
	if err != nil {
		t.Fatalf("%s: pod.yaml: %v", file, err)
	}
	pod, namespace := &corev1.Pod{}, &corev1.Namespace{}
	decode(t, file, s.section("pod.yaml"), pod)
	decode(t, file, s.section("namespace.yaml"), namespace)
	mesh := &v1alpha2.MeshConfigSpec{}
	decode(t, file, s.section("meshconfig.yaml"), mesh)
	s.settings.Mesh = *mesh
	settings := struct {
		ClusterDomain string
		ClusterDNS    []netip.Addr
		PullSecrets   []string
	}{}
	decode(t, file, s.section("settings.yaml"), &settings)
	s.settings.ClusterDomain, s.settings.ClusterDNS, s.settings.PullSecrets = settings.ClusterDomain, settings.ClusterDNS, settings.PullSecrets
	s.settings.PlainContainer = strings.HasPrefix(s.name, "plain-")
	s.request = Request{Pod: pod, UID: "11111111-2222-3333-4444-555555555555", Secret: "THESECRETOFTHEREVIEW", Namespace: Namespace{
		Name: namespace.Name, Labels: namespace.Labels, Annotations: namespace.Annotations,
	}}
	return s
}

func decode(t testing.TB, file string, text []byte, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func (s story) section(name string) []byte {
	for _, f := range s.archive.Files {
		if f.Name == name {
			return f.Data
		}
	}
	return nil
}

// play injects and renders what came of it, in the order of the file's sections.
func (s story) play(t testing.TB) []txtar.File {
	t.Helper()
	result, err := Patch(s.request, s.settings)
	if err != nil {
		return []txtar.File{{Name: "error", Data: []byte(err.Error() + "\n")}}
	}
	outcome := string(result.Outcome) + ": " + result.Reason + "\n"
	if len(result.Warnings) > 0 {
		outcome += strings.Join(result.Warnings, "\n") + "\n"
	}
	files := []txtar.File{{Name: "outcome", Data: []byte(outcome)}}
	if len(result.Operations) == 0 {
		return files
	}
	pod := applyOperations(t, s.pod, result.Operations)
	if later := s.section("later.json"); later != nil {
		again := s.request
		again.Pod = applyJSON(t, marshal(t, pod), later)
		result, err = Patch(again, s.settings)
		if err != nil {
			return append(files, txtar.File{Name: "error", Data: []byte(err.Error() + "\n")})
		}
		pod = applyOperations(t, marshal(t, again.Pod), result.Operations)
	}
	bootstrap := takeBootstrap(pod)
	files = append(files, txtar.File{Name: "injected.yaml", Data: toYAML(t, withoutServerFields(t, pod))})
	if bootstrap != "" {
		var tree any
		if err := json.Unmarshal([]byte(bootstrap), &tree); err != nil {
			t.Fatalf("bootstrap is not JSON: %v", err)
		}
		files = append(files, txtar.File{Name: "envoy.yaml", Data: toYAML(t, tree)})
	}
	return files
}

func applyOperations(t testing.TB, pod []byte, operations []Operation) *corev1.Pod {
	t.Helper()
	return applyJSON(t, pod, marshal(t, operations))
}

func marshal(t testing.TB, value any) []byte {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func applyJSON(t testing.TB, pod, text []byte) *corev1.Pod {
	t.Helper()
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		t.Fatal(err)
	}
	patched, err := patch.Apply(pod)
	if err != nil {
		t.Fatalf("patch does not apply: %v\n%s", err, text)
	}
	result := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(patched, result); err != nil {
		t.Fatalf("patched pod is not a pod: %v\n%s", err, patched)
	}
	return result
}

// sidecarOf returns the pod's Envoy, or nil.
func sidecarOf(pod *corev1.Pod) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == api.ContainerEnvoy {
				return &list[i]
			}
		}
	}
	return nil
}

// takeBootstrap replaces the one long line by a pointer to where it can be read.
func takeBootstrap(pod *corev1.Pod) string {
	sidecar := sidecarOf(pod)
	if sidecar == nil || len(sidecar.Args) < 2 || sidecar.Args[0] != "--config-yaml" {
		return ""
	}
	text := sidecar.Args[1]
	sidecar.Args[1] = seeBootstrap
	if text == seeBootstrap {
		return ""
	}
	return text
}

func withoutServerFields(t testing.TB, pod *corev1.Pod) map[string]any {
	t.Helper()
	text, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	tree := map[string]any{}
	if err := json.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	delete(tree, "status")
	return tree
}

func toYAML(t testing.TB, v any) []byte {
	t.Helper()
	text, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestStories(t *testing.T) {
	inputs := []string{"pod.yaml", "namespace.yaml", "meshconfig.yaml", "settings.yaml", "later.json"}
	for _, s := range stories(t) {
		t.Run(s.name, func(t *testing.T) {
			want := &txtar.Archive{Comment: s.archive.Comment}
			for _, name := range inputs {
				if text := s.section(name); text != nil {
					want.Files = append(want.Files, txtar.File{Name: name, Data: text})
				}
			}
			want.Files = append(want.Files, s.play(t)...)
			got := txtar.Format(want)
			if *update {
				if err := os.WriteFile(s.file, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(txtar.Format(s.archive)), string(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", s.file, diff)
			}
		})
	}
}

// TestTwiceIsOnce injects what was injected, as the API server asks for after another webhook changed the pod.
func TestTwiceIsOnce(t *testing.T) {
	same, probed := 0, 0
	for _, s := range stories(t) {
		t.Run(s.name, func(t *testing.T) {
			first, err := Patch(s.request, s.settings)
			if err != nil || first.Outcome != Injected {
				return
			}
			once := applyOperations(t, s.pod, first.Operations)
			again := s.request
			again.Pod = once
			second, err := Patch(again, s.settings)
			if err != nil {
				t.Fatal(err)
			}
			twice := applyOperations(t, marshal(t, once), second.Operations)
			if diff := cmp.Diff(once, twice, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-once +twice):\n%s", diff)
			}
			if diff := cmp.Diff(first.Warnings, second.Warnings); diff != "" {
				t.Errorf("warnings (-once +twice):\n%s", diff)
			}
			same++
			if found, _ := probes(s.request.Pod, nil); len(found) > 0 {
				probed++
			}
		})
	}
	if same < 3 || probed < 1 {
		t.Errorf("%d pods were the same, %d of them with probes: the stories do not show both", same, probed)
	}
}

// TestUsersContainersStay holds the user's containers before and after against each other: but
// for the handlers of their probes they are the same, in the same order.
func TestUsersContainersStay(t *testing.T) {
	for _, s := range stories(t) {
		t.Run(s.name, func(t *testing.T) {
			result, err := Patch(s.request, s.settings)
			if err != nil || result.Outcome != Injected {
				return
			}
			after := applyOperations(t, s.pod, result.Operations)
			before := s.request.Pod
			if diff := cmp.Diff(users(before.Spec.InitContainers), users(after.Spec.InitContainers)); diff != "" {
				t.Errorf("init containers:\n%s", diff)
			}
			if diff := cmp.Diff(users(before.Spec.Containers), users(after.Spec.Containers)); diff != "" {
				t.Errorf("containers:\n%s", diff)
			}
			before.Spec.InitContainers, before.Spec.Containers, before.Spec.Volumes, before.Spec.ImagePullSecrets = nil, nil, nil, nil
			after.Spec.InitContainers, after.Spec.Containers, after.Spec.Volumes, after.Spec.ImagePullSecrets = nil, nil, nil, nil
			before.ObjectMeta, after.ObjectMeta = metav1.ObjectMeta{}, metav1.ObjectMeta{}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("the rest of the pod:\n%s", diff)
			}
		})
	}
}

// users returns the containers that are not the sidecar's, without their probes' handlers.
func users(containers []corev1.Container) []corev1.Container {
	var kept []corev1.Container
	for _, c := range containers {
		if c.Name == api.ContainerEnvoy || c.Name == api.ContainerInit {
			continue
		}
		c = *c.DeepCopy()
		if c.Lifecycle != nil {
			for _, hook := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
				if hook != nil && hook.HTTPGet != nil {
					hook.HTTPGet = &corev1.HTTPGetAction{}
				}
			}
		}
		for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
			if p != nil && p.Exec == nil {
				p.ProbeHandler = corev1.ProbeHandler{}
			}
		}
		kept = append(kept, c)
	}
	return kept
}

// TestPatchIsPure asks the same twice and expects the same bytes and untouched arguments.
func TestPatchIsPure(t *testing.T) {
	for _, s := range stories(t) {
		t.Run(s.name, func(t *testing.T) {
			before := s.request.Pod.DeepCopy()
			first, _ := Patch(s.request, s.settings)
			second, _ := Patch(s.request, s.settings)
			a, _ := json.Marshal(first)
			b, _ := json.Marshal(second)
			if string(a) != string(b) {
				t.Errorf("two results:\n%s\n%s", a, b)
			}
			if diff := cmp.Diff(before, s.request.Pod); diff != "" {
				t.Errorf("Patch changed its argument:\n%s", diff)
			}
		})
	}
}
