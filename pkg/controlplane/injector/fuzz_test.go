package injector

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	kjson "sigs.k8s.io/json"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/tests/reach"
)

// FuzzAdmission sends reviews of pods with any content. The patch in an answer applies to the pod. The result
// has exactly one sidecar, only the sidecar mounts the key, and injecting it again changes nothing.
func FuzzAdmission(f *testing.F) {
	for _, s := range stories(f) {
		f.Add(string(s.pod))
	}
	for _, spec := range hostileSpecs(3) {
		f.Add(`{"spec":` + spec + `}`)
	}
	f.Add(`{"metadata":{"labels":{"osm-proxy-uuid":"mine"}},"spec":{"initContainers":[{"name":"osm-init"}],"containers":[{"name":"envoy","volumeMounts":[{"name":"osm-proxy","mountPath":"/etc/osm/proxy"}]}]}}`)
	f.Add(`{"spec":{"containers":[{"name":"app","volumeMounts":[{"name":"osm-proxy","mountPath":"/k"}]}]}}`)
	w := testWebhook(f, enabledNamespace)
	outcomes := reach.All(f, "not injected", "names that are not unique", "injected twice")
	f.Fuzz(func(t *testing.T, pod string) {
		if !json.Valid([]byte(pod)) {
			return
		}
		injected, ok := admit(t, w, pod)
		if !ok {
			outcomes.Note("not injected")
			return
		}
		checkInjected(t, injected)
		again, err := json.Marshal(injected)
		if err != nil {
			t.Fatal(err)
		}
		twice, ok := admit(t, w, string(again))
		if !uniqueNames(injected) { // which the API server refuses
			outcomes.Note("names that are not unique")
			return
		}
		if !ok {
			t.Fatalf("injected once only: %s", again)
		}
		outcomes.Note("injected twice")
		normal, second := normalise(t, injected), normalise(t, twice)
		if !reflect.DeepEqual(normal, second) {
			t.Errorf("once %+v\ntwice %+v", normal, second)
		}
	})
}

func uniqueNames(pod *corev1.Pod) bool {
	names := map[string]bool{}
	for _, c := range everyContainer(pod) {
		names[c.Name] = true
	}
	return len(names) == len(everyContainer(pod))
}

// TestFuzzSeedsReachThePatch asks for several stories among the seeds that are injected.
func TestFuzzSeedsReachThePatch(t *testing.T) {
	w, reached := testWebhook(t, enabledNamespace), 0
	for _, s := range stories(t) {
		if injected, ok := admit(t, w, string(s.pod)); ok {
			checkInjected(t, injected)
			reached++
		}
	}
	if reached < 5 {
		t.Errorf("only %d of the seeds are injected", reached)
	}
}

// admit sends a pod and applies the patch that comes back; ok is false if there is none.
func admit(t *testing.T, w *webhook, pod string) (injected *corev1.Pod, ok bool) {
	t.Helper()
	out := post(w, http.MethodPost, []byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","operation":"CREATE","namespace":"shop",`+
		`"resource":{"version":"v1","resource":"pods"},"object":`+pod+`}}`))
	if out.Code != http.StatusOK {
		return nil, false
	}
	got := &admissionv1.AdmissionReview{}
	if err := json.Unmarshal(out.Body.Bytes(), got); err != nil || got.Response == nil {
		t.Fatalf("%v: %s", err, out.Body)
	}
	if got.Response.Result != nil && got.Response.Result.Code == http.StatusInternalServerError {
		t.Fatalf("panic on %s", pod)
	}
	if len(got.Response.Patch) == 0 {
		return nil, false
	}
	// As the API server does: the patch is applied to the object as it stores it.
	sent := &corev1.Pod{}
	if err := kjson.UnmarshalCaseSensitivePreserveInts([]byte(pod), sent); err != nil {
		t.Fatalf("patched what is no pod: %v", err)
	}
	stored, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(got.Response.Patch)
	if err != nil {
		t.Fatal(err)
	}
	patched, err := patch.Apply(stored)
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, stored, got.Response.Patch)
	}
	injected = &corev1.Pod{}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(patched, injected); err != nil {
		t.Fatal(err)
	}
	return injected, true
}

// checkInjected asks of a pod what the mesh relies on.
func checkInjected(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	names, volumes := map[string]int{}, map[string]int{}
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name]++
	}
	for _, c := range everyContainer(pod) {
		names[c.Name]++
		if mounts(c, volumeCertificate) != (c.Name == api.ContainerEnvoy) {
			t.Errorf("container %s mounts the key, or the sidecar does not", c.Name)
		}
		if isSidecarName(c.Name) {
			checkOurs(t, c)
		}
	}
	if names[api.ContainerEnvoy] != 1 || names[api.ContainerInit] != 1 || volumes[volumeCertificate] != 1 {
		t.Errorf("containers %v, volumes %v", names, volumes)
	}
	if pod.Labels[api.LabelProxyUUID] != "1" {
		t.Errorf("label %q", pod.Labels[api.LabelProxyUUID])
	}
	if len(everyContainer(pod)) > defaultContainers+2 {
		t.Errorf("%d containers", len(everyContainer(pod)))
	}
	secret := pod.Spec.Volumes[slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == volumeCertificate })].Secret
	if secret == nil || secret.SecretName != api.ProxySecretName(serviceAccount(pod)) {
		t.Errorf("the key is that of %+v", secret)
	}
}

// checkOurs is what the API server and Linux ask of a container, for those that are not the user's.
func checkOurs(t *testing.T, c corev1.Container) {
	t.Helper()
	if errs := validation.IsDNS1123Label(c.Name); len(errs) > 0 {
		t.Errorf("container %s: %v", c.Name, errs)
	}
	for _, p := range c.Ports {
		if errs := append(validation.IsValidPortNum(int(p.ContainerPort)), validation.IsValidPortName(p.Name)...); len(errs) > 0 {
			t.Errorf("port %+v: %v", p, errs)
		}
	}
	for _, argument := range c.Args {
		if len(argument) > maxArgument || strings.ContainsRune(argument, 0) {
			t.Errorf("an argument of container %s has %d bytes, or a NUL", c.Name, len(argument))
		}
	}
	for name, request := range c.Resources.Requests {
		if limit, limited := c.Resources.Limits[name]; limited && request.Cmp(limit) > 0 {
			t.Errorf("container %s asks for more %s than it may have", c.Name, name)
		}
	}
}

// normalise makes pods comparable: empty lists are none, and volumes have no order.
func normalise(t *testing.T, pod *corev1.Pod) map[string]any {
	t.Helper()
	pod = pod.DeepCopy()
	slices.SortStableFunc(pod.Spec.Volumes, func(a, b corev1.Volume) int { return strings.Compare(a.Name, b.Name) })
	text, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := json.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	return tree
}
