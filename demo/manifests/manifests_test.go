package manifests_test

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/osm-edge/osm/demo/manifests"
)

const image = "registry.test/osm-demo:v1"

func TestObjects(t *testing.T) {
	objects, err := manifests.Objects(image)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range objects {
		got = append(got, o.GetKind()+" "+strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/"))
	}
	want := []string{
		"Namespace bookbuyer", "Namespace bookthief", "Namespace bookstore", "Namespace bookwarehouse",
		"Service bookwarehouse/bookwarehouse", "ServiceAccount bookwarehouse/bookwarehouse", "Deployment bookwarehouse/bookwarehouse",
		"Service bookstore/bookstore", "Service bookstore/bookstore-v1", "Service bookstore/bookstore-v2",
		"ServiceAccount bookstore/bookstore-v1", "Deployment bookstore/bookstore-v1",
		"ServiceAccount bookstore/bookstore-v2", "Deployment bookstore/bookstore-v2",
		"ServiceAccount bookbuyer/bookbuyer", "Deployment bookbuyer/bookbuyer",
		"ServiceAccount bookthief/bookthief", "Deployment bookthief/bookthief",
	}
	if !slices.Equal(got, want) {
		t.Errorf("objects in order:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// decoded converts the objects of one kind, refusing fields that the type does not have.
func decoded[T any](t *testing.T, kind string) []T {
	t.Helper()
	objects, err := manifests.Objects(image)
	if err != nil {
		t.Fatal(err)
	}
	var all []T
	for _, o := range objects {
		if o.GetKind() != kind {
			continue
		}
		var typed T
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, &typed, true); err != nil {
			t.Fatalf("%s %s: %v", kind, o.GetName(), err)
		}
		all = append(all, typed)
	}
	return all
}

func TestDeployments(t *testing.T) {
	for _, d := range decoded[appsv1.Deployment](t, "Deployment") {
		t.Run(d.Name, func(t *testing.T) {
			pod := d.Spec.Template.Spec
			if pod.ServiceAccountName != d.Name || pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
				t.Errorf("service account %q: want %q and no token mounted", pod.ServiceAccountName, d.Name)
			}
			c := pod.Containers[0]
			if c.Image != image || c.ImagePullPolicy != corev1.PullIfNotPresent {
				t.Errorf("image %q, pulled %s: want %q IfNotPresent", c.Image, c.ImagePullPolicy, image)
			}
			for name, probe := range map[string]*corev1.Probe{"liveness": c.LivenessProbe, "readiness": c.ReadinessProbe, "startup": c.StartupProbe} {
				if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != "/"+name {
					t.Errorf("%s probe = %v, want HTTP GET /%s", name, probe, name)
				}
			}
			s := c.SecurityContext
			if s == nil || !*s.RunAsNonRoot || !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
				t.Errorf("security context = %v, want a restricted one", s)
			}
			if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() {
				t.Error("no CPU or memory requested")
			}
			for key, value := range d.Spec.Selector.MatchLabels {
				if d.Spec.Template.Labels[key] != value {
					t.Errorf("selector %s=%s does not select the own pods %v", key, value, d.Spec.Template.Labels)
				}
			}
		})
	}
}

func TestServicesReachTheirPods(t *testing.T) {
	want := map[string][]string{
		"bookstore":     {"bookstore-v1", "bookstore-v2"},
		"bookstore-v1":  {"bookstore-v1"},
		"bookstore-v2":  {"bookstore-v2"},
		"bookwarehouse": {"bookwarehouse"},
	}
	deployments := decoded[appsv1.Deployment](t, "Deployment")
	for _, s := range decoded[corev1.Service](t, "Service") {
		var reached []string
		for _, d := range deployments {
			if d.Namespace == s.Namespace && selects(s.Spec.Selector, d.Spec.Template.Labels) && listens(d, s.Spec.Ports[0].TargetPort.StrVal) {
				reached = append(reached, d.Name)
			}
		}
		if !slices.Equal(reached, want[s.Name]) {
			t.Errorf("Service %s reaches %v, want %v", s.Name, reached, want[s.Name])
		}
		if p := s.Spec.Ports; len(p) != 1 || p[0].Name != "http" || p[0].Port != 14001 {
			t.Errorf("Service %s has ports %v, want http on 14001", s.Name, p)
		}
	}
}

func selects(selector, labels map[string]string) bool {
	for key, value := range selector {
		if labels[key] != value {
			return false
		}
	}
	return true
}

func listens(d appsv1.Deployment, port string) bool {
	return slices.ContainsFunc(d.Spec.Template.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool {
		return p.Name == port && p.ContainerPort == 14001
	})
}

func TestObjectsNeedAnImage(t *testing.T) {
	if _, err := manifests.Objects(""); err == nil || !strings.Contains(err.Error(), "demo image is empty") {
		t.Errorf("Objects error = %v, want that the image is missing", err)
	}
}
