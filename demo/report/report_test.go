package report_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/version"
	discoveryfake "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/osm-edge/osm/demo/report"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var observed = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)

// cluster is a fake cluster on which all of the demo's promises hold.
type cluster struct {
	objects []runtime.Object
	raw     map[string]string // "pod:port/path" to the body served there
}

func ptr[T any](v T) *T { return &v }

func completeCluster() *cluster {
	c := &cluster{raw: map[string]string{}}
	for i, name := range []string{"node-b", "node-a", "node-c"} {
		c.objects = append(c.objects, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Status: corev1.NodeStatus{
				NodeInfo:   corev1.NodeSystemInfo{KubeletVersion: "v1.34.4"},
				Addresses:  []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: fmt.Sprintf("10.0.0.%d", i+1)}},
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
			},
		})
	}
	c.component("osm-controller", "node-a", "node-b")
	c.component("osm-injector", "node-c", "node-c")
	for _, pod := range []string{"osm-controller-0", "osm-controller-1"} {
		c.raw[pod+":9091/metrics"] = "# TYPE osm_root_info gauge\nosm_root_info{fingerprint=\"0123456789abcdef\"} 1\nosm_trusted_root_info{fingerprint=\"ff\"} 1\n"
	}
	c.app("bookbuyer", "bookbuyer", "bookbuyer", `{"bookstore-v1":61,"bookstore-v2":59}`, `{}`)
	c.app("bookthief", "bookthief", "bookthief", `{}`, `{}`)
	peers := `{"spiffe://cluster.local/ns/bookbuyer/sa/bookbuyer":120,"spiffe://cluster.local/ns/bookthief/sa/bookthief":2,"none":1}`
	c.app("bookstore", "bookstore-v1", "bookstore", `{"bookstore-v1":61}`, peers)
	c.app("bookstore", "bookstore-v2", "bookstore", `{"bookstore-v2":59}`, peers)
	c.app("bookwarehouse", "bookwarehouse", "bookwarehouse", `{"bookstore-v1":61,"bookstore-v2":59}`,
		`{"spiffe://cluster.local/ns/bookstore/sa/bookstore-v1":61,"spiffe://cluster.local/ns/bookstore/sa/bookstore-v2":59}`)
	return c
}

func resourceMetric(name corev1.ResourceName, target int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name: name, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &target},
	}}
}

func resourceStatus(name corev1.ResourceName, current int32) autoscalingv2.MetricStatus {
	return autoscalingv2.MetricStatus{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricStatus{
		Name: name, Current: autoscalingv2.MetricValueStatus{AverageUtilization: &current},
	}}
}

// component adds a Deployment of the control plane with one ready pod on each node named.
func (c *cluster) component(name string, nodes ...string) {
	const namespace = "osm-system"
	own := map[string]string{"app": name}
	labels := map[string]string{"app": name, "app.kubernetes.io/name": "openservicemesh.io", "app.kubernetes.io/instance": "osm", "app.kubernetes.io/version": "v2.0.0"}
	n := int32(len(nodes))
	c.objects = append(c.objects,
		&appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
			Spec: appsv1.DeploymentSpec{Replicas: &n, Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Args: []string{"controller", "--certificate-provider=vault"}}}},
			}},
		},
		&autoscalingv2.HorizontalPodAutoscaler{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + "-hpa"},
			Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
				ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: "Deployment", Name: name},
				MinReplicas:    ptr(int32(2)), MaxReplicas: 5,
				Metrics: []autoscalingv2.MetricSpec{resourceMetric(corev1.ResourceCPU, 80), resourceMetric(corev1.ResourceMemory, 85)},
			},
			Status: autoscalingv2.HorizontalPodAutoscalerStatus{
				CurrentReplicas: n,
				CurrentMetrics:  []autoscalingv2.MetricStatus{resourceStatus(corev1.ResourceMemory, 31), resourceStatus(corev1.ResourceCPU, 4)},
			},
		},
		&policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + "-pdb"},
			Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: own}},
			Status:     policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: 1, CurrentHealthy: n, DesiredHealthy: 1},
		})
	for i, node := range nodes {
		c.objects = append(c.objects, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s-%d", name, i), Labels: labels},
			Spec:       corev1.PodSpec{NodeName: node}, Status: readyStatus(),
		})
	}
}

func readyStatus() corev1.PodStatus {
	return corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
}

// app adds a meshed pod of an application, its counts and its proxy's certificates.
func (c *cluster) app(namespace, account, role, books, peers string) {
	c.objects = append(c.objects, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account + "-pod", Labels: map[string]string{"osm-proxy-uuid": "x"}},
		Spec:       corev1.PodSpec{ServiceAccountName: account}, Status: readyStatus(),
	})
	c.raw[account+"-pod:8080/raw"] = fmt.Sprintf(`{"role":%q,"identity":%q,"books":%s,"peers":%s}`, role, account, books, peers)
	leaf := `{"cert_chain":[{"path":%q,"serial_number":%q,"expiration_time":%q,"subject_alt_names":[{"dns":"x"},{"uri":"spiffe://cluster.local/ns/` + namespace + `/sa/` + account + `"}]}]}`
	c.raw[account+"-pod:15000/certs"] = `{"certificates":[` + strings.Join([]string{
		fmt.Sprintf(leaf, "/etc/osm/proxy/tls.crt", "ff", "2030-01-01T00:00:00Z"), // for the control plane: not the workload's
		fmt.Sprintf(leaf, "<inline>", "0a0b0c0d0e0f101112131415", "2026-02-04T04:00:00Z"),
		fmt.Sprintf(leaf, "<inline>", "01", "2026-02-03T05:00:00Z"), // an older one that a draining listener still uses
	}, ",") + `]}`
}

func (c *cluster) collector() *report.Collector {
	kube := fake.NewClientset(c.objects...)
	kube.Discovery().(*discoveryfake.FakeDiscovery).FakedServerVersion = &version.Info{GitVersion: "v1.34.4"}
	return &report.Collector{Kube: kube, Fetch: c.fetch, Namespace: "osm-system", Now: func() time.Time { return observed }}
}

func (c *cluster) fetch(_ context.Context, e report.Endpoint) ([]byte, error) {
	body, ok := c.raw[fmt.Sprintf("%s:%d%s", e.Pod, e.Port, e.Path)]
	if !ok {
		return nil, errors.New("no response from " + e.Pod)
	}
	return []byte(body), nil
}

// find returns the first object of a type for which match holds, to be changed by a test.
func find[T runtime.Object](t *testing.T, c *cluster, match func(T) bool) T {
	t.Helper()
	for _, o := range c.objects {
		if typed, ok := o.(T); ok && match(typed) {
			return typed
		}
	}
	var none T
	t.Fatalf("no %T as wanted", none)
	return none
}

func collect(t *testing.T, c *cluster) *report.Report {
	t.Helper()
	r, err := c.collector().Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
	}
}

func TestScreens(t *testing.T) {
	incomplete := completeCluster()
	delete(incomplete.raw, "bookbuyer-pod:8080/raw")
	find(t, incomplete, func(n *corev1.Node) bool { return n.Name == "node-b" }).Status.Conditions = nil
	incomplete.objects = slices.DeleteFunc(incomplete.objects, func(o runtime.Object) bool {
		h, isHPA := o.(*autoscalingv2.HorizontalPodAutoscaler)
		_, isPDB := o.(*policyv1.PodDisruptionBudget)
		return isPDB || isHPA && h.Name == "osm-injector-hpa"
	})
	for name, c := range map[string]*cluster{"complete": completeCluster(), "incomplete": incomplete} {
		t.Run(name, func(t *testing.T) {
			r := collect(t, c)
			var text, colour, picture, data bytes.Buffer
			if err := errors.Join(r.WriteText(&text, false), r.WriteText(&colour, true), r.WriteSVG(&picture, "make <demo>"), r.WriteJSON(&data)); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".txt", text.Bytes())
			golden(t, name+".ansi", colour.Bytes())
			golden(t, name+".svg", picture.Bytes())
			golden(t, name+".json", data.Bytes())
			var back report.Report
			if err := json.Unmarshal(data.Bytes(), &back); err != nil {
				t.Errorf("JSON does not decode into a Report: %v", err)
			}
		})
	}
}

// TestRootOfTheOtherReplica: one responding replica is enough.
func TestRootOfTheOtherReplica(t *testing.T) {
	c := completeCluster()
	delete(c.raw, "osm-controller-0:9091/metrics")
	if mesh := collect(t, c).Mesh; mesh.Root != "0123456789abcdef" || mesh.Provider != "vault" {
		t.Errorf("mesh %+v, want the root that one controller reports, and vault", mesh)
	}
}

func TestProviderOfNoMesh(t *testing.T) {
	if kind, err := report.Provider(t.Context(), fake.NewClientset(), "osm-system"); kind != "" || err != nil {
		t.Errorf("provider %q, %v, want none", kind, err)
	}
}

func TestMissing(t *testing.T) {
	if missing := collect(t, completeCluster()).Missing(); len(missing) != 0 {
		t.Fatalf("missing %q from a complete demo, want nothing", missing)
	}
	hpa := func(h *autoscalingv2.HorizontalPodAutoscaler) bool { return h.Name == "osm-controller-hpa" }
	tests := map[string]struct {
		change func(*testing.T, *cluster)
		want   []string
	}{
		"CPU metric": {
			func(t *testing.T, c *cluster) { s := &find(t, c, hpa).Status; s.CurrentMetrics = s.CurrentMetrics[:1] },
			[]string{"CPU metric of HorizontalPodAutoscaler osm-controller-hpa"},
		},
		"memory metric": {
			func(t *testing.T, c *cluster) { s := &find(t, c, hpa).Status; s.CurrentMetrics = s.CurrentMetrics[1:] },
			[]string{"memory metric of HorizontalPodAutoscaler osm-controller-hpa"},
		},
		"disruption": {
			func(t *testing.T, c *cluster) {
				find(t, c, func(*policyv1.PodDisruptionBudget) bool { return true }).Status.DisruptionsAllowed = 0
			},
			[]string{"a disruption allowed by PodDisruptionBudget osm-controller-pdb"},
		},
		"budget that selects nothing": {
			func(t *testing.T, c *cluster) {
				find(t, c, func(*policyv1.PodDisruptionBudget) bool { return true }).Spec.Selector = &metav1.LabelSelector{}
			},
			[]string{"a PodDisruptionBudget of osm-controller"},
		},
		"ready replica": {
			func(t *testing.T, c *cluster) {
				find(t, c, func(p *corev1.Pod) bool { return p.Name == "osm-injector-1" }).Status.Conditions = nil
			},
			[]string{"ready replicas of osm-injector (1 of 2)"},
		},
		"Deployment": {
			func(_ *testing.T, c *cluster) {
				c.objects = slices.DeleteFunc(c.objects, func(o runtime.Object) bool { d, ok := o.(*appsv1.Deployment); return ok && d.Name == "osm-injector" })
			},
			[]string{"Deployment osm-injector"},
		},
		"proxy": {
			func(t *testing.T, c *cluster) {
				find(t, c, func(p *corev1.Pod) bool { return p.Name == "bookthief-pod" }).Labels = nil
			},
			[]string{"a proxy in the pod of bookthief"},
		},
		"root": {
			func(_ *testing.T, c *cluster) {
				delete(c.raw, "osm-controller-0:9091/metrics") // the other one does not know yet
				c.raw["osm-controller-1:9091/metrics"] = "osm_trusted_root_info{fingerprint=\"ff\"} 1\n"
			},
			[]string{"a controller that reports which root it signs with"},
		},
		"books of one version": {
			func(_ *testing.T, c *cluster) {
				c.raw["bookbuyer-pod:8080/raw"] = `{"identity":"bookbuyer","books":{"bookstore-v1":3},"lastFault":"status 503"}`
			},
			[]string{"a book that bookbuyer got from bookstore-v2 (its last fault: status 503)"},
		},
		"verified peer": {
			func(_ *testing.T, c *cluster) {
				c.raw["bookstore-v2-pod:8080/raw"] = `{"identity":"bookstore-v2","peers":{"none":9,"/ns/bookbuyer/sa/bookbuyer":1}}`
			},
			[]string{"a request to bookstore-v2 with a verified certificate of /ns/bookbuyer/sa/bookbuyer"},
		},
		"answer": {
			func(_ *testing.T, c *cluster) { c.raw["bookwarehouse-pod:8080/raw"] = "<html>" },
			[]string{"counts of bookwarehouse (decode counts of bookwarehouse: invalid character '<' looking for beginning of value)"},
		},
		"ready app": {
			func(t *testing.T, c *cluster) {
				find(t, c, func(p *corev1.Pod) bool { return p.Name == "bookbuyer-pod" }).Status.Conditions = nil
			},
			[]string{"a ready pod of bookbuyer"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := completeCluster()
			tt.change(t, c)
			if got := collect(t, c).Missing(); !slices.Equal(got, tt.want) {
				t.Errorf("missing %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCertificateIsTheWorkloads(t *testing.T) {
	for _, a := range collect(t, completeCluster()).Apps {
		want := report.Certificate{
			SPIFFEID: "spiffe://cluster.local/ns/" + a.Namespace + "/sa/" + a.Name,
			Serial:   "a0b0c0d0e0f101112131415",
			Expires:  time.Date(2026, 2, 4, 4, 0, 0, 0, time.UTC),
		}
		if a.Certificate == nil || *a.Certificate != want {
			t.Errorf("certificate of %s = %+v, want %+v", a.Name, a.Certificate, want)
		}
	}
}

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := completeCluster()
		calls := 0
		collector := c.collector()
		collector.Kube.(*fake.Clientset).PrependReactor("list", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
			calls++
			return calls == 1, nil, errors.New("the API server is unavailable")
		})
		raw := c.raw["bookbuyer-pod:8080/raw"]
		delete(c.raw, "bookbuyer-pod:8080/raw")
		collector.Now = func() time.Time {
			if calls == 3 { // the fourth attempt
				c.raw["bookbuyer-pod:8080/raw"] = raw
			}
			return observed
		}
		var progress []string
		r, err := collector.Await(t.Context(), time.Minute, func(s string) { progress = append(progress, s) })
		if err != nil || len(r.Missing()) != 0 {
			t.Errorf("Await = %v, %v; want a complete report", r, err)
		}
		want := []string{
			"waiting for list nodes: the API server is unavailable",
			"waiting for counts of bookbuyer (no response from bookbuyer-pod)",
		}
		if !slices.Equal(progress, want) {
			t.Errorf("progress = %q, want %q", progress, want)
		}
	})
}

func TestAwaitGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := completeCluster()
		delete(c.raw, "bookbuyer-pod:8080/raw")
		began := time.Now()
		r, err := c.collector().Await(t.Context(), time.Minute, func(string) {})
		if took := time.Since(began); took != time.Minute {
			t.Errorf("gave up after %s, want 1m", took)
		}
		if err == nil || !strings.Contains(err.Error(), "still waiting for counts of bookbuyer") || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error = %v, want one that says what is missing", err)
		}
		if r == nil || len(r.Nodes) != 3 {
			t.Errorf("last report = %v, want the last one collected", r)
		}
	})
}
