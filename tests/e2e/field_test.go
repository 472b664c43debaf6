//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolswatch "k8s.io/client-go/tools/watch"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/tests/e2e/testapp/agent"
)

// quota runs a Guaranteed pod in a namespace that demands limits of every container and bounds them.
func (s *story) quota(t *testing.T) {
	a := app{namespace: s.meshNamespace(t, "e2e-quota"), name: "ledger"}
	amount := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	must(s.kube.CoreV1().ResourceQuotas(a.namespace).Create(t.Context(), &corev1.ResourceQuota{
		ObjectMeta: a.meta(),
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
			corev1.ResourceLimitsCPU: resource.MustParse("8"), corev1.ResourceLimitsMemory: resource.MustParse("4Gi"),
			corev1.ResourceRequestsCPU: resource.MustParse("8"), corev1.ResourceRequestsMemory: resource.MustParse("4Gi"),
		}},
	}, metav1.CreateOptions{}))(t)
	must(s.kube.CoreV1().LimitRanges(a.namespace).Create(t.Context(), &corev1.LimitRange{
		ObjectMeta: a.meta(),
		Spec:       corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypeContainer, Min: amount("10m", "16Mi"), Max: amount("4", "2Gi")}}},
	}, metav1.CreateOptions{}))(t)
	s.sidecarResources(t, `{"requests":{"cpu":"500m","memory":"256Mi"},"limits":{"cpu":"500m","memory":"256Mi"}}`)

	template := a.server(s.env.testapp)
	template.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: amount("20m", "32Mi"), Limits: amount("20m", "32Mi")}
	s.awaitResources(t, a, template, "500m")
	pod := s.deployAs(t, a, 1, template)[0]
	if !injected(pod) {
		t.Errorf("pod %s has no sidecar", pod.Name)
	}
	if pod.Status.QOSClass != corev1.PodQOSGuaranteed {
		t.Errorf("pod %s is %s; want Guaranteed, as without a sidecar", pod.Name, pod.Status.QOSClass)
	}
}

// sidecarResources sets the resources of the mesh's sidecars until the step ends.
func (s *story) sidecarResources(t *testing.T, resources string) {
	t.Helper()
	t.Cleanup(func() {
		if err := s.patchMeshConfig(withoutTest(t), `{"spec":{"sidecar":{"resources":null}}}`); err != nil {
			t.Error(err)
		}
	})
	if err := s.patchMeshConfig(t.Context(), `{"spec":{"sidecar":{"resources":`+resources+`}}}`); err != nil {
		t.Fatal(err)
	}
}

// limitRangeMinimum runs a pod in a namespace whose LimitRange has a minimum above what sidecars request by default: the
// MeshConfig makes them fit.
func (s *story) limitRangeMinimum(t *testing.T) {
	a := app{namespace: s.meshNamespace(t, "e2e-minimum"), name: "till"}
	must(s.kube.CoreV1().LimitRanges(a.namespace).Create(t.Context(), &corev1.LimitRange{
		ObjectMeta: a.meta(),
		Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypeContainer, Min: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
		}}}},
	}, metav1.CreateOptions{}))(t)
	template := a.server(s.env.testapp)
	template.Spec.Containers[0].Resources.Requests = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
	}
	eventually(t, effectTime, func(ctx context.Context) string {
		_, err := s.kube.CoreV1().Pods(a.namespace).Create(ctx, trial(a, template), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil || !strings.Contains(err.Error(), "minimum cpu usage per Container is 100m") {
			return fmt.Sprintf("a pod with sidecars of the default size: got error %v, want the LimitRange's refusal", err)
		}
		return ""
	})
	s.sidecarResources(t, `{"requests":{"cpu":"100m","memory":"64Mi"},"limits":{"cpu":"600m","memory":"256Mi"}}`)
	s.awaitResources(t, a, template, "600m")
	pod := s.deployAs(t, a, 1, template)[0]
	if !injected(pod) {
		t.Errorf("pod %s has no sidecar", pod.Name)
	}
	s.serves(t, a)
}

// serves calls an app, and lets the app call a server: both through the mesh.
func (s *story) serves(t *testing.T, a app) {
	t.Helper()
	address := fmt.Sprintf("%s:%d", s.serviceOf(t, a, a.name, "", port("http", portHTTP, agent.PortHTTP)).Spec.ClusterIP, portHTTP)
	_, client := s.onlyPod(t, s.apps.client)
	eventually(t, effectTime, func(ctx context.Context) string {
		answer, err := client.Call(ctx, agent.Call{Protocol: agent.HTTP, Address: address})
		switch {
		case err != nil:
			return err.Error()
		case !answer.OK():
			return answer.Error
		case answer.Seen.Peer != s.apps.client.spiffe():
			return fmt.Sprintf("%s saw peer %q, want %q", a.name, answer.Seen.Peer, s.apps.client.spiffe())
		}
		return ""
	})
	_, own := s.onlyPod(t, a)
	if seen := reach(t, own, agent.Call{Protocol: agent.HTTP, Address: s.apps.at("server", portHTTP)}); seen.Peer != a.spiffe() {
		t.Errorf("the server saw peer %q, want %q", seen.Peer, a.spiffe())
	}
}

// trial is a pod of a template, to be created in a dry run.
func trial(a app, template corev1.PodTemplateSpec) *corev1.Pod {
	spec := template.Spec.DeepCopy()
	spec.ServiceAccountName = "default"
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: a.name + "-", Namespace: a.namespace}, Spec: *spec}
}

// awaitResources waits until every injector gives the sidecars a limit of CPU: each is asked several times.
func (s *story) awaitResources(t *testing.T, a app, template corev1.PodTemplateSpec, cpu string) {
	t.Helper()
	pod := trial(a, template)
	eventually(t, effectTime, func(ctx context.Context) string {
		for range 8 {
			got, err := s.kube.CoreV1().Pods(a.namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			if err != nil {
				return err.Error()
			}
			for _, c := range got.Spec.InitContainers {
				if limit := c.Resources.Limits[corev1.ResourceCPU]; limit.Cmp(resource.MustParse(cpu)) != 0 {
					return fmt.Sprintf("container %s gets %s of CPU", c.Name, limit.String())
				}
			}
		}
		return ""
	})
}

// onlyTerminating stops the only pod of a server that takes its time. As long as it serves, clients reach it:
// no other endpoint is ready.
func (s *story) onlyTerminating(t *testing.T) {
	a := app{namespace: s.meshNamespace(t, "e2e-terminating"), name: "leaver"}
	template := a.server(s.env.testapp)
	// While it sleeps it is ready to serve, which is what drained applications do.
	template.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 25}}}
	template.Spec.TerminationGracePeriodSeconds = ptr(int64(60))
	address := fmt.Sprintf("%s:%d", s.serviceOf(t, a, a.name, "", port("http", portHTTP, agent.PortHTTP)).Spec.ClusterIP, portHTTP)
	s.deployAs(t, a, 1, template)
	_, client := s.onlyPod(t, s.apps.client)
	call := agent.Call{Protocol: agent.HTTP, Address: address}
	reach(t, client, call)

	load := flow(t, client, call)
	must(s.kube.AppsV1().Deployments(a.namespace).Patch(t.Context(), a.name, types.MergePatchType, []byte(`{"spec":{"replicas":0}}`), metav1.PatchOptions{}))(t)
	until(t, s.slices(a.namespace), podTime, func(all []*discoveryv1.EndpointSlice) string {
		for _, slice := range all {
			for _, e := range slice.Endpoints {
				if is(e.Conditions.Terminating) && is(e.Conditions.Serving) && !is(e.Conditions.Ready) {
					return ""
				}
			}
		}
		return "no endpoint is terminating and serving"
	})
	load.more(t, 100) // 5 s, more than proxies need to hear of it
	load.stop(t)
}

func is(condition *bool) bool { return condition != nil && *condition }

// externalAddress calls a Service by an address that its owner gave it, as from outside the cluster: the call
// is the mesh's all the same.
func (s *story) externalAddress(t *testing.T) {
	const address = "192.0.2.80"
	service := must(s.kube.CoreV1().Services(nsServer).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: nsServer, Name: "server-external"},
		Spec: corev1.ServiceSpec{
			Selector: s.apps.server.labels(), ExternalIPs: []string{address}, Ports: []corev1.ServicePort{port("http-external", portHTTP, agent.PortHTTP)},
		},
	}, metav1.CreateOptions{}))(t)
	t.Cleanup(func() {
		if err := s.kube.CoreV1().Services(nsServer).Delete(withoutTest(t), service.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	_, client := s.onlyPod(t, s.apps.client)
	seen := reach(t, client, agent.Call{Protocol: agent.HTTP, Address: fmt.Sprintf("%s:%d", address, portHTTP)})
	if seen.Peer != s.apps.client.spiffe() {
		t.Errorf("the server saw peer %q, want %q", seen.Peer, s.apps.client.spiffe())
	}
}

// wildcardSearchDomain starts a pod whose DNS search list has a domain in which every name exists. Its proxy
// finds the controller all the same.
func (s *story) wildcardSearchDomain(t *testing.T) {
	const domain = "wildcard.test"
	s.addZone(t, domain, s.apps.addresses["unmeshed-server"])
	a := app{namespace: s.meshNamespace(t, "e2e-search"), name: "searcher"}
	template := a.server(s.env.testapp)
	template.Spec.DNSConfig = &corev1.PodDNSConfig{Searches: []string{domain}}
	s.deployAs(t, a, 1, template)
	_, client := s.onlyPod(t, a)
	stranger := reach(t, client, agent.Call{Protocol: agent.HTTP, Address: fmt.Sprintf("any.name.%s:%d", domain, portHTTP)})
	if !strings.HasPrefix(stranger.Server, s.apps.unmeshedServer.name) {
		t.Errorf("a name in %s leads to %q, so the step shows nothing", domain, stranger.Server)
	}
	if seen := reach(t, client, agent.Call{Protocol: agent.HTTP, Address: s.apps.at("server", portHTTP)}); seen.Peer != a.spiffe() {
		t.Errorf("the server saw peer %q, want %q", seen.Peer, a.spiffe())
	}
}

// addZone makes the cluster's DNS answer every name of a domain with one address, until the step ends.
func (s *story) addZone(t *testing.T, domain, address string) {
	t.Helper()
	const name = "coredns"
	before := must(s.kube.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(t.Context(), name, metav1.GetOptions{}))(t).Data["Corefile"]
	set := func(ctx context.Context, corefile string) error {
		data, err := json.Marshal(map[string]any{"data": map[string]string{"Corefile": corefile}})
		if err != nil {
			return err
		}
		if _, err := s.kube.CoreV1().ConfigMaps(metav1.NamespaceSystem).Patch(ctx, name, types.MergePatchType, data, metav1.PatchOptions{}); err != nil {
			return err
		}
		restart := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"e2e/corefile":%q}}}}}`, time.Now().Format(time.RFC3339Nano))
		_, err = s.kube.AppsV1().Deployments(metav1.NamespaceSystem).Patch(ctx, name, types.StrategicMergePatchType, []byte(restart), metav1.PatchOptions{})
		return err
	}
	t.Cleanup(func() {
		if err := set(withoutTest(t), before); err != nil {
			t.Errorf("restore the cluster's DNS: %v", err)
		}
	})
	zone := "\n%[1]s:53 {\n    template IN A %[1]s {\n        answer \"{{ .Name }} 5 IN A %[2]s\"\n    }\n    template IN AAAA %[1]s {\n        rcode NOERROR\n    }\n}\n"
	if err := set(t.Context(), before+fmt.Sprintf(zone, domain, address)); err != nil {
		t.Fatal(err)
	}
	until(t, s.deployments(metav1.NamespaceSystem, name), podTime, only(func(d *appsv1.Deployment) string {
		if st := d.Status; st.ObservedGeneration < d.Generation || st.UpdatedReplicas < st.Replicas || st.AvailableReplicas < st.Replicas {
			return fmt.Sprintf("%d of %d replicas are new, %d available", st.UpdatedReplicas, st.Replicas, st.AvailableReplicas)
		}
		return ""
	}))
}

// autoscalingOffAndOn switches the autoscalers off and on under load. No change of a Deployment leaves an app with
// fewer than two replicas.
func (s *story) autoscalingOffAndOn(t *testing.T) {
	_, client := s.onlyPod(t, s.apps.client)
	load := flow(t, client, s.apps.everything()...)
	few := s.watchReplicas(t, api.DefaultNamespace, 2)
	guard := s.startGuard(t, api.DefaultNamespace, controlPlane()...)
	s.osm(t, "mesh", "scale", "--autoscale=false", "--controller", "2", "--injector", "2", "--yes")
	load.more(t, 50)
	s.osm(t, "mesh", "scale", "--autoscale=true", "--controller-min", "2", "--injector-min", "2", "--yes")
	load.more(t, 50)
	for _, change := range few() {
		t.Error(change)
	}
	guard.end(t)
	load.stop(t)
}

// watchReplicas follows every change of the Deployments of a namespace. The function that it returns ends the
// watch and lists the changes that set fewer replicas than least.
func (s *story) watchReplicas(t *testing.T, namespace string, least int32) func() []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	list := must(s.kube.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{}))(t)
	changes, err := toolswatch.NewRetryWatcherWithContext(ctx, list.ResourceVersion, s.deployments(namespace, "").listWatch())
	if err != nil {
		cancel()
		t.Fatalf("watch Deployments of %s: %v", namespace, err)
	}
	var few []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		for change := range changes.ResultChan() {
			d, ok := change.Object.(*appsv1.Deployment)
			switch {
			case !ok:
				few = append(few, fmt.Sprintf("the watch ended, so later changes are unknown: %v", apierrors.FromObject(change.Object)))
			case d.Spec.Replicas != nil && *d.Spec.Replicas < least:
				few = append(few, fmt.Sprintf("%s is to have %d replicas, want at least %d", d.Name, *d.Spec.Replicas, least))
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return func() []string { cancel(); <-done; return few }
}
