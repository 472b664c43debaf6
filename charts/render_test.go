package charts_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/strvals"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/osm-edge/osm/charts"
)

const (
	releaseNamespace = "osm-system"
	kubernetes       = "v1.34.0"
)

// values is what a user gives to Helm: nested maps, as from a values file or from --set.
type values = map[string]any

// component is one of the components that scale, by the key of its values and by the name of its objects.
type component struct{ key, app string }

func components() []component {
	return []component{{"osmController", "osm-controller"}, {"injector", "osm-injector"}}
}

// set parses what a user would write after --set.
func set(t testing.TB, expression string) values {
	t.Helper()
	parsed, err := strvals.Parse(expression)
	if err != nil {
		t.Fatalf("parsing --set %s: %v", expression, err)
	}
	return parsed
}

// fromFile reads a values file.
func fromFile(t testing.TB, path string) values {
	t.Helper()
	parsed, err := chartutil.ReadValuesFile(path)
	if err != nil {
		t.Fatalf("reading values file %s: %v", path, err)
	}
	return parsed
}

// load reads the chart from the embedded files, as the CLI does.
func load(t testing.TB) *chart.Chart {
	t.Helper()
	var files []*loader.BufferedFile
	err := fs.WalkDir(charts.Files(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(charts.Files(), path)
		files = append(files, &loader.BufferedFile{Name: path, Data: data})
		return err
	})
	if err != nil {
		t.Fatalf("reading the embedded chart: %v", err)
	}
	loaded, err := loader.LoadFiles(files)
	if err != nil {
		t.Fatalf("loading the embedded chart: %v", err)
	}
	return loaded
}

// render does what `helm template` does: schema, templates, hooks; no cluster.
func render(t testing.TB, given values) (*release.Release, error) {
	t.Helper()
	return renderOn(t, kubernetes, given)
}

// renderOn renders for a version of Kubernetes. A registry, which every installation must name, is added.
func renderOn(t testing.TB, version string, given values) (*release.Release, error) {
	t.Helper()
	given = chartutil.MergeTables(values{}, given)
	given = chartutil.CoalesceTables(given, set(t, "osm.image.registry=registry.example/team"))
	kubeVersion, err := chartutil.ParseKubeVersion(version)
	if err != nil {
		t.Fatalf("parsing Kubernetes version %s: %v", version, err)
	}
	install := action.NewInstall(new(action.Configuration))
	install.ClientOnly, install.DryRun = true, true
	install.ReleaseName, install.Namespace = "osm", releaseNamespace
	install.KubeVersion = kubeVersion
	return install.Run(load(t), given)
}

// manifest is everything a release would send to the API server, hooks included.
func manifest(rel *release.Release) string {
	var all strings.Builder
	all.WriteString(rel.Manifest)
	for _, hook := range rel.Hooks {
		all.WriteString("---\n# Source: " + hook.Path + "\n" + strings.TrimSuffix(hook.Manifest, "\n") + "\n")
	}
	return all.String()
}

// objects renders the chart and decodes every object strictly: a field that Kubernetes does not know is an error.
func objects(t testing.TB, given values) []runtime.Object {
	t.Helper()
	rel, err := render(t, given)
	if err != nil {
		t.Fatalf("rendering with %v: %v", given, err)
	}
	return decode(t, manifest(rel))
}

func decode(t testing.TB, text string) []runtime.Object {
	t.Helper()
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	var decoded []runtime.Object
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return decoded
		}
		if err != nil {
			t.Fatalf("splitting the manifest: %v", err)
		}
		if len(bytes.TrimSpace(document)) == 0 {
			continue
		}
		object, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			t.Fatalf("decoding %s: %v", document, err)
		}
		decoded = append(decoded, object)
	}
}

// every returns the objects of one Go type.
func every[T runtime.Object](all []runtime.Object) []T {
	var matching []T
	for _, object := range all {
		if typed, ok := object.(T); ok {
			matching = append(matching, typed)
		}
	}
	return matching
}

// find returns the object of one Go type and name, and whether there is one.
func find[T interface {
	runtime.Object
	metav1.Object
}](all []runtime.Object, name string) (T, bool) {
	for _, object := range every[T](all) {
		if object.GetName() == name {
			return object, true
		}
	}
	var none T
	return none, false
}

// must is like find, but fails the test if there is no such object.
func must[T interface {
	runtime.Object
	metav1.Object
}](t testing.TB, all []runtime.Object, name string) T {
	t.Helper()
	object, ok := find[T](all, name)
	if !ok {
		t.Fatalf("no %T named %s was rendered", object, name)
	}
	return object
}

// downward returns where an environment variable gets its value from, or nil.
func downward(container corev1.Container, name string) *corev1.EnvVarSource {
	for _, variable := range container.Env {
		if variable.Name == name {
			return variable.ValueFrom
		}
	}
	return nil
}

// The chart embedded in the CLI must be identical to the files of the folder, including hidden ones.
func TestEmbeddedFilesMatchTheFolder(t *testing.T) {
	folder := os.DirFS("osm")
	count := 0
	err := fs.WalkDir(folder, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		count++
		want, err := fs.ReadFile(folder, path)
		if err != nil {
			return err
		}
		got, err := fs.ReadFile(charts.Files(), path)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			t.Errorf("embedded %s differs from the file", path)
		}
		return nil
	})
	if err != nil || count == 0 {
		t.Fatalf("comparing %d files: %v", count, err)
	}
}

func TestOldKubernetesIsRefused(t *testing.T) {
	_, err := renderOn(t, "v1.30.9", values{})
	if err == nil || !strings.Contains(err.Error(), ">=1.31.0") {
		t.Fatalf("rendering for Kubernetes 1.30: got error %v, want one that names >=1.31.0", err)
	}
}
