package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/bootstrap/crds"
)

const namespace = "osm-system"

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// server is the API server's server-side apply of MeshConfigs: the real field management code over an
// in-memory store. If fail is set, each call first asks it for an error.
type server struct {
	t       *testing.T
	tracker clienttesting.ObjectTracker
	fail    func(call int) error
	calls   int
}

func newServer(t *testing.T) *server {
	scheme := runtime.NewScheme()
	gvk := v1alpha2.GroupVersion().WithKind(v1alpha2.Kind)
	scheme.AddKnownTypeWithName(gvk, &unstructured.Unstructured{})
	scheme.AddKnownTypeWithName(gvk.GroupVersion().WithKind(v1alpha2.Kind+"List"), &unstructured.UnstructuredList{})
	metav1.AddToGroupVersion(scheme, v1alpha2.GroupVersion())
	tracker := clienttesting.NewFieldManagedObjectTracker(scheme, unstructured.UnstructuredJSONScheme, managedfields.NewDeducedTypeConverter())
	return &server{t: t, tracker: tracker}
}

func (s *server) Apply(_ context.Context, _ string, obj *unstructured.Unstructured, opts metav1.ApplyOptions, _ ...string) (*unstructured.Unstructured, error) {
	s.calls++
	if s.fail != nil {
		if err := s.fail(s.calls); err != nil {
			return nil, err
		}
	}
	err := s.tracker.Apply(v1alpha2.GroupVersionResource(), obj, obj.GetNamespace(), metav1.PatchOptions{FieldManager: opts.FieldManager, Force: &opts.Force})
	return obj, err
}

// spec returns the stored spec.
func (s *server) spec() map[string]any {
	s.t.Helper()
	obj, err := s.tracker.Get(v1alpha2.GroupVersionResource(), namespace, api.MeshConfigName)
	if err != nil {
		s.t.Fatal(err)
	}
	spec, _, err := unstructured.NestedMap(obj.(*unstructured.Unstructured).Object, "spec")
	if err != nil {
		s.t.Fatal(err)
	}
	return spec
}

// userEdits changes the stored object as kubectl edit does.
func (s *server) userEdits(value any, path ...string) {
	s.t.Helper()
	obj, err := s.tracker.Get(v1alpha2.GroupVersionResource(), namespace, api.MeshConfigName)
	if err != nil {
		s.t.Fatal(err)
	}
	edited := obj.(*unstructured.Unstructured).DeepCopy()
	if err := unstructured.SetNestedField(edited.Object, value, append([]string{"spec"}, path...)...); err != nil {
		s.t.Fatal(err)
	}
	if err := s.tracker.Update(v1alpha2.GroupVersionResource(), edited, namespace, metav1.UpdateOptions{FieldManager: "kubectl-edit"}); err != nil {
		s.t.Fatal(err)
	}
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	spec, err := parsePreset([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func apply(t *testing.T, s *server, text string) {
	t.Helper()
	if err := applyMeshConfig(t.Context(), s, namespace, parse(t, text), discard()); err != nil {
		t.Fatal(err)
	}
}

func TestUserEditsSurvive(t *testing.T) {
	const first = `{"sidecar": {"logLevel": "error", "resources": {"limits": {"cpu": "1", "example.com/fpga": "1"}}},
		"traffic": {"enableEgress": true, "enablePermissiveTrafficPolicyMode": true, "outboundPortExclusionList": [1]}}`
	const second = `{"sidecar": {"logLevel": "debug", "resources": {"limits": {"cpu": "2", "example.com/fpga": "2"}}},
		"traffic": {"enableEgress": true, "enablePermissiveTrafficPolicyMode": true, "outboundPortExclusionList": [2]}}`
	tests := map[string]struct {
		edit func(*server)
		want string
	}{
		"untouched fields move": {func(*server) {}, second},
		"switched off by the user": {func(s *server) { s.userEdits(false, "traffic", "enableEgress") },
			strings.Replace(second, `"enableEgress": true`, `"enableEgress": false`, 1)},
		"a list": {func(s *server) { s.userEdits([]any{int64(7), int64(8)}, "traffic", "outboundPortExclusionList") },
			strings.Replace(second, "[2]", "[7, 8]", 1)},
		"a name with dots": {func(s *server) { s.userEdits("9", "sidecar", "resources", "limits", "example.com/fpga") },
			strings.Replace(second, `"example.com/fpga": "2"`, `"example.com/fpga": "9"`, 1)},
		"two fields": {func(s *server) {
			s.userEdits("trace", "sidecar", "logLevel")
			s.userEdits(false, "traffic", "enablePermissiveTrafficPolicyMode")
		}, strings.NewReplacer(`"debug"`, `"trace"`, `"enablePermissiveTrafficPolicyMode": true`, `"enablePermissiveTrafficPolicyMode": false`).Replace(second)},
		"a field the preset never had": {func(s *server) { s.userEdits("Localhost", "sidecar", "localProxyMode") },
			strings.Replace(second, `"logLevel": "debug"`, `"logLevel": "debug", "localProxyMode": "Localhost"`, 1)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			apply(t, s, first)
			tt.edit(s)
			apply(t, s, second)
			apply(t, s, second) // an upgrade to the same version changes nothing more
			if diff := cmp.Diff(canonical(t, parse(t, tt.want)), canonical(t, s.spec())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSameValueIsNoConflict(t *testing.T) {
	s := newServer(t)
	apply(t, s, defaultPreset)
	s.calls = 0
	apply(t, s, defaultPreset)
	if s.calls != 1 {
		t.Errorf("%d calls to apply the same preset again, want 1", s.calls)
	}
}

func canonical(t *testing.T, v any) string {
	t.Helper()
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestReadPreset(t *testing.T) {
	file := filepath.Join(t.TempDir(), "preset.json")
	tests := map[string]struct{ text, want string }{
		"valid":         {`{"traffic": {"enableEgress": false}}`, ""},
		"empty object":  {`{}`, ""},
		"unknown field": {`{"traffic": {"enableEgres": true}}`, `unknown field "traffic.enableEgres"`},
		"other letters": {`{"traffic": {"EnableEgress": false}}`, `unknown field "traffic.EnableEgress"`},
		"a key twice":   {`{"traffic": {"enableEgress": false, "enableEgress": true}}`, `duplicate field "traffic.enableEgress"`},
		"wrong type":    {`{"traffic": {"enableEgress": "yes"}}`, "cannot unmarshal"},
		"bad duration":  {`{"certificate": {"serviceCertValidityDuration": "a day"}}`, "invalid duration"},
		"null":          {`null`, "want an object"},
		"not JSON":      {`traffic:`, "not the JSON"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := readPreset(file)
			if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := readPreset(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file: got %v", err)
	}
	spec, err := readPreset("")
	if err != nil {
		t.Fatal(err)
	}
	if egress, _, _ := unstructured.NestedBool(spec, "traffic", "enableEgress"); !egress {
		t.Errorf("the default preset does not enable egress: %v", spec)
	}
}

// crdServer stores CRDs and establishes each at its third Get.
type crdServer struct {
	crds map[string]*apiextensionsv1.CustomResourceDefinition
	gets map[string]int
	fail func(call int) error
	n    int
}

func (s *crdServer) Get(_ context.Context, name string, _ metav1.GetOptions) (*apiextensionsv1.CustomResourceDefinition, error) {
	crd, ok := s.crds[name]
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "customresourcedefinitions"}, name)
	}
	s.gets[name]++
	if s.gets[name] >= 3 {
		crd.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue}}
	}
	return crd, nil
}

func (s *crdServer) Patch(_ context.Context, name string, pt types.PatchType, data []byte, opts metav1.PatchOptions, _ ...string) (*apiextensionsv1.CustomResourceDefinition, error) {
	s.n++
	if s.fail != nil {
		if err := s.fail(s.n); err != nil {
			return nil, err
		}
	}
	if pt != types.ApplyPatchType || opts.FieldManager != FieldManager {
		return nil, apierrors.NewBadRequest("want a server-side apply by osm-bootstrap")
	}
	var sent map[string]any
	if err := json.Unmarshal(data, &sent); err != nil {
		return nil, err
	}
	if sent["status"] != nil {
		return nil, apierrors.NewBadRequest("a CRD's status is not the client's to set")
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := json.Unmarshal(data, crd); err != nil {
		return nil, err
	}
	s.crds[name] = crd
	return crd, nil
}

func newCRDServer() *crdServer {
	return &crdServer{crds: map[string]*apiextensionsv1.CustomResourceDefinition{}, gets: map[string]int{}}
}

func TestApplyCRDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newCRDServer()
		if err := ApplyCRDs(t.Context(), s, discard()); err != nil {
			t.Fatal(err)
		}
		all, err := crds.All()
		if err != nil {
			t.Fatal(err)
		}
		if len(all) == 0 || len(s.crds) != len(all) {
			t.Fatalf("%d CRDs applied, want %d", len(s.crds), len(all))
		}
		for _, crd := range all {
			if s.crds[crd.Name].Labels[api.LabelName] != api.NameValue {
				t.Errorf("CRD %s has labels %v", crd.Name, s.crds[crd.Name].Labels)
			}
			if s.gets[crd.Name] < 3 {
				t.Errorf("did not wait for CRD %s", crd.Name)
			}
		}
	})
}

func TestApplyCRDsSaysWhatIsInTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newCRDServer()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		err := ApplyCRDs(ctx, s, discard())
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "meshconfigs.config.openservicemesh.io") {
			t.Errorf("got %v", err)
		}
	})
}

type namespaces struct{ created []string }

func (n *namespaces) Create(_ context.Context, ns *corev1.Namespace, _ metav1.CreateOptions) (*corev1.Namespace, error) {
	n.created = append(n.created, ns.Name)
	return ns, nil
}

func newJob(t *testing.T) (*job, *crdServer, *server, *namespaces) {
	crds, configs, spaces := newCRDServer(), newServer(t), &namespaces{}
	return &job{crds: crds, meshConfigs: configs, namespaces: spaces, namespace: namespace, spec: parse(t, defaultPreset), log: discard()}, crds, configs, spaces
}

func TestRunRetriesWhatMayPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, crds, configs, spaces := newJob(t)
		crds.fail = func(call int) error {
			if call < 4 {
				return apierrors.NewServiceUnavailable("starting")
			}
			return nil
		}
		// A CRD is established a moment before its objects are served.
		configs.fail = func(call int) error {
			switch {
			case call < 3:
				return apierrors.NewGenericServerResponse(404, "patch", schema.GroupResource{Group: v1alpha2.Group, Resource: v1alpha2.Resource}, api.MeshConfigName, "404 page not found", 0, true)
			case len(spaces.created) == 0:
				return apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, namespace)
			}
			return nil
		}
		if err := j.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{namespace}, spaces.created); diff != "" {
			t.Errorf("namespaces created (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(canonical(t, parse(t, defaultPreset)), canonical(t, configs.spec())); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestRunKeepsTryingUntilTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, crds, _, _ := newJob(t)
		crds.fail = func(int) error { return apierrors.NewServiceUnavailable("away") }
		ctx, cancel := context.WithTimeout(t.Context(), DefaultTimeout)
		defer cancel()
		start := time.Now()
		err := j.run(ctx)
		if err == nil || !strings.Contains(err.Error(), "away") || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the last error and the deadline", err)
		}
		if took := time.Since(start); took != DefaultTimeout {
			t.Errorf("gave up after %v, want %v", took, DefaultTimeout)
		}
		if crds.n < 20 || crds.n > 60 {
			t.Errorf("%d attempts in %v, want a few dozen", crds.n, DefaultTimeout)
		}
	})
}

func TestRunGivesUpAtOnceWhereRetryingIsUseless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, _, configs, spaces := newJob(t)
		configs.fail = func(int) error {
			return apierrors.NewInvalid(schema.GroupKind{Group: v1alpha2.Group, Kind: v1alpha2.Kind}, api.MeshConfigName, nil)
		}
		if err := j.run(t.Context()); !apierrors.IsInvalid(err) {
			t.Errorf("got %v", err)
		}
		if configs.calls != 1 || len(spaces.created) != 0 {
			t.Errorf("%d calls, namespaces %v created", configs.calls, spaces.created)
		}
	})
}

func TestValidate(t *testing.T) {
	valid := Config{REST: &rest.Config{}, Logger: discard()}
	if err := valid.Validate(); err != nil {
		t.Errorf("minimal configuration: %v", err)
	}
	err := Config{Namespace: "Not_A_Name", Timeout: -1}.Validate()
	for _, want := range []string{"API server", "logger", "--osm-namespace", "--timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
