package injector_test

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	reviewv1 "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/dynamic"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
)

// TestField runs an injector beside what else changes or refuses pods in clusters: later webhooks, LimitRanges, quotas,
// Pod Security. The API server and its plugins are real.
func TestField(t *testing.T) {
	f := newFixture(t)
	f.lead()
	r := f.start("only", nil).awaitReady()
	f.knows()
	f.await("the injector knows its namespace", func() bool {
		got, err := f.admit(shop, pod())
		return err == nil && got.Labels[api.LabelProxyUUID] != ""
	})
	f.laterWebhook(r)
	f.limitRangeDefaults()
	f.limitRangeMinimum()
	f.podSecurity()
}

// gatekeeper is what the later webhook adds.
func gatekeeper() corev1.Container {
	return corev1.Container{
		Name: "gatekeeper", Image: "gatekeeper",
		LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/alive", Port: intstr.FromInt32(7000)}}},
	}
}

// laterWebhook: a webhook that comes after osm's adds a container with a probe. The API server asks the injector again,
// and the pod has one sidecar, which answers that probe, too. Fails without the second call, or if the second does not
// undo what the first did.
func (f *fixture) laterWebhook(r *replica) {
	f.t.Helper()
	namespace := "later-webhook"
	f.member(namespace, nil)
	var meshed atomic.Bool // when it was called
	server := httptest.NewTLSServer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		text, _ := io.ReadAll(in.Body)
		review, pod := &reviewv1.AdmissionReview{}, &corev1.Pod{}
		if json.Unmarshal(text, review) != nil || json.Unmarshal(review.Request.Object.Raw, pod) != nil {
			http.Error(out, "no review of a pod", http.StatusBadRequest)
			return
		}
		meshed.Store(len(pod.Spec.InitContainers) == 2)
		kind := reviewv1.PatchTypeJSONPatch
		added, _ := json.Marshal([]map[string]any{{"op": "add", "path": "/spec/containers/-", "value": gatekeeper()}})
		review.Response = &reviewv1.AdmissionResponse{UID: review.Request.UID, Allowed: true, Patch: added, PatchType: &kind}
		answer, _ := json.Marshal(review)
		_, _ = out.Write(answer)
	}))
	f.t.Cleanup(server.Close)
	none := admissionv1.SideEffectClassNone
	_, err := f.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(f.t.Context(), &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "zz-gatekeeper"}, // they are called in the order of their names
		Webhooks: []admissionv1.MutatingWebhook{{
			Name: "gatekeeper.example.com", SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig:      admissionv1.WebhookClientConfig{URL: &server.URL, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}},
			Rules:             []admissionv1.RuleWithOperations{{Operations: []admissionv1.OperationType{admissionv1.Create}, Rule: admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}}}},
		}},
	}, metav1.CreateOptions{})
	f.must(err)
	f.knows()
	f.defaults(namespace)

	app := corev1.Container{Name: "app", Image: "app", LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(6000)}}}}
	before := r.injected()
	got := f.admitted(namespace, pod(app))
	if !meshed.Load() {
		f.t.Fatal("the other webhook was called before osm's, so the step shows nothing")
	}
	if n := r.injected() - before; n != 2 {
		f.t.Errorf("the injector was asked %d times, want 2", n)
	}
	if names := containerNames(got); !slices.Equal(names, []string{api.ContainerInit, api.ContainerEnvoy, "app", "gatekeeper"}) {
		f.t.Errorf("the pod has the containers %v", names)
	}
	bootstrap := got.Spec.InitContainers[1].Args[1]
	for i, answers := range []string{"osm-probe-liveness-app-6000", `"/alive"`} { // the second one is the added container's
		probe := got.Spec.Containers[i].LivenessProbe.HTTPGet
		if probe == nil || probe.Port.IntValue() != api.PortLivenessProbe {
			f.t.Errorf("the kubelet asks %v, want the sidecar's port %d", got.Spec.Containers[i].LivenessProbe.ProbeHandler, api.PortLivenessProbe)
		} else if !strings.Contains(bootstrap, probe.Path) || !strings.Contains(bootstrap, answers) {
			f.t.Errorf("the sidecar does not know the probe %s: %s", probe.Path, bootstrap)
		}
	}
	// The plugin gives defaults once, before the second call.
	for _, c := range got.Spec.InitContainers {
		if limit := c.Resources.Limits[corev1.ResourceCPU]; limit.Cmp(resource.MustParse("500m")) != 0 {
			f.t.Errorf("container %s has a CPU limit of %s after the second call, want the LimitRange's", c.Name, limit.String())
		}
	}
}

func containerNames(pod *corev1.Pod) (names []string) {
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		names = append(names, c.Name)
	}
	return names
}

func amounts(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

func (f *fixture) limitRange(namespace string, item corev1.LimitRangeItem) {
	f.t.Helper()
	item.Type = corev1.LimitTypeContainer
	_, err := f.client.CoreV1().LimitRanges(namespace).Create(f.t.Context(), &corev1.LimitRange{
		ObjectMeta: metav1.ObjectMeta{Name: "range"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{item}},
	}, metav1.CreateOptions{})
	f.must(err)
}

// defaults gives a namespace a LimitRange with defaults and bounds, and waits until the API server applies it.
func (f *fixture) defaults(namespace string) {
	f.t.Helper()
	f.limitRange(namespace, corev1.LimitRangeItem{
		Default: amounts("500m", "256Mi"), DefaultRequest: amounts("50m", "64Mi"), Min: amounts("10m", "16Mi"), Max: amounts("2", "2Gi"),
	})
	f.await("the LimitRange is in force", func() bool {
		got, err := f.admit(namespace, pod())
		return err == nil && got.Spec.Containers[0].Resources.Limits.Cpu().MilliValue() == 500
	})
}

// quota asks for limits of CPU in a namespace. No controller runs here that would count what is used.
func (f *fixture) quota(namespace string) {
	f.t.Helper()
	hard := corev1.ResourceList{corev1.ResourceLimitsCPU: resource.MustParse("4")}
	quotas, ctx := f.client.CoreV1().ResourceQuotas(namespace), f.t.Context()
	quota, err := quotas.Create(ctx, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "quota"}, Spec: corev1.ResourceQuotaSpec{Hard: hard}}, metav1.CreateOptions{})
	f.must(err)
	quota.Status = corev1.ResourceQuotaStatus{Hard: hard, Used: corev1.ResourceList{corev1.ResourceLimitsCPU: resource.MustParse("0")}}
	_, err = quotas.UpdateStatus(ctx, quota, metav1.UpdateOptions{})
	f.must(err)
}

// limitRangeDefaults: a LimitRange completes osm's containers as it does the application's, and a quota on limits
// accepts the pod. Fails if a second call takes away the LimitRange's values, or if the requests are under its minimum.
func (f *fixture) limitRangeDefaults() {
	f.t.Helper()
	namespace := "range-defaults"
	f.member(namespace, nil)
	f.defaults(namespace)
	f.quota(namespace)
	f.await("the quota is in force", func() bool {
		big := pod(corev1.Container{Name: "app", Image: "app", Resources: corev1.ResourceRequirements{Limits: amounts("2", "1Gi")}}, corev1.Container{Name: "too", Image: "app", Resources: corev1.ResourceRequirements{Limits: amounts("2", "1Gi")}})
		_, err := f.admit(namespace, big)
		return err != nil && strings.Contains(err.Error(), "exceeded quota")
	})
	got := f.admitted(namespace, pod())
	want := map[string]corev1.ResourceRequirements{
		api.ContainerInit:  {Requests: amounts("10m", "32Mi"), Limits: amounts("500m", "128Mi")},
		api.ContainerEnvoy: {Requests: amounts("10m", "32Mi"), Limits: amounts("500m", "1Gi")},
		"app":              {Requests: amounts("50m", "64Mi"), Limits: amounts("500m", "256Mi")},
	}
	for _, c := range slices.Concat(got.Spec.InitContainers, got.Spec.Containers) {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			if is, limit := c.Resources.Limits[name], want[c.Name].Limits[name]; is.Cmp(limit) != 0 {
				f.t.Errorf("container %s has a limit of %s %s, want %s", c.Name, is.String(), name, limit.String())
			}
			if is, request := c.Resources.Requests[name], want[c.Name].Requests[name]; is.Cmp(request) != 0 {
				f.t.Errorf("container %s requests %s %s, want %s", c.Name, is.String(), name, request.String())
			}
		}
	}
}

// limitRangeMinimum: a minimum above osm's small requests, or a quota on limits without defaults, refuses the pod and
// says why. The MeshConfig's resources make it fit and keep the class Guaranteed. Fails if osm-init does not take them.
func (f *fixture) limitRangeMinimum() {
	f.t.Helper()
	f.member("range-minimum", nil)
	f.limitRange("range-minimum", corev1.LimitRangeItem{Min: amounts("100m", "64Mi")})
	f.member("quota-alone", nil)
	f.quota("quota-alone")
	app := corev1.Container{Name: "app", Image: "app", Resources: corev1.ResourceRequirements{Limits: amounts("200m", "128Mi")}}
	refusals := map[string]string{
		"range-minimum": "minimum cpu usage per Container is 100m, but request is 10m",
		"quota-alone":   "must specify limits.cpu for: envoy,osm-init",
	}
	for namespace, text := range refusals {
		f.await("pods of "+namespace+" are refused with: "+text, func() bool {
			_, err := f.admit(namespace, pod(app))
			return err != nil && strings.Contains(err.Error(), text)
		})
	}
	config := f.api.Config()
	f.link(config)
	meshConfigs, err := dynamic.NewForConfig(config)
	f.must(err)
	chosen := []byte(`{"spec":{"sidecar":{"resources":{"requests":{"cpu":"100m","memory":"256Mi"},"limits":{"cpu":"100m","memory":"256Mi"}}}}}`)
	_, err = meshConfigs.Resource(v1alpha2.GroupVersionResource()).Namespace(api.DefaultNamespace).Patch(f.t.Context(), api.MeshConfigName, types.MergePatchType, chosen, metav1.PatchOptions{})
	f.must(err)
	for namespace := range refusals {
		var got *corev1.Pod
		f.await("pods of "+namespace+" are created", func() bool {
			got, err = f.admit(namespace, pod(app))
			return err == nil
		})
		if got.Status.QOSClass != corev1.PodQOSGuaranteed {
			f.t.Errorf("namespace %s: the pod's class is %s, want Guaranteed as without a sidecar", namespace, got.Status.QOSClass)
		}
	}
}

// podSecurity: a namespace that enforces a Pod Security Standard refuses pods with a sidecar, and says that it is because
// of osm-init. Fails if the redirect no longer needs what the standard forbids: then the documentation is wrong.
func (f *fixture) podSecurity() {
	f.t.Helper()
	for _, level := range []string{"baseline", "restricted"} {
		namespace := "level-" + level
		f.member(namespace, map[string]string{"pod-security.kubernetes.io/enforce": level})
		var err error
		f.await("pods of "+namespace+" are refused", func() bool {
			_, err = f.admit(namespace, pod())
			return err != nil
		})
		for _, text := range []string{`violates PodSecurity "` + level + `:latest"`, `"osm-init"`, "NET_ADMIN"} {
			if !strings.Contains(err.Error(), text) {
				f.t.Errorf("level %s: the refusal is %q, want %s in it", level, err, text)
			}
		}
	}
	f.member("level-privileged", map[string]string{"pod-security.kubernetes.io/enforce": "privileged"})
	f.await("pods of a privileged namespace are injected", func() bool {
		got, err := f.admit("level-privileged", pod())
		return err == nil && got.Labels[api.LabelProxyUUID] != ""
	})
}
