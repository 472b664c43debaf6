//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/tests/e2e/testapp/agent"
)

const (
	intruderContainer = "intruder"
	controlName       = "e2e-control"
)

// connection is a connection that an agent tries to open.
type connection struct {
	name, address string
	open          bool
}

// policies checks that the mesh's NetworkPolicies are enforced in both directions: a client that does not need a
// port cannot even connect to it. A policy that temporarily allows everything proves that nothing else blocks the
// connection.
func (s *story) policies(t *testing.T) {
	controllers, injectors := s.listening(t, api.AppController), s.listening(t, api.AppInjector)
	_, unmeshed := s.onlyPod(t, s.apps.unmeshedClient)
	var denied, member []connection
	for _, ip := range controllers {
		denied = append(denied,
			to("controller, xDS", ip, api.PortXDS, false), to("controller, HTTP", ip, api.PortHTTP, false), to("controller, evidence", ip, api.PortEvidence, false))
		member = append(member,
			to("controller, xDS", ip, api.PortXDS, true), to("controller, HTTP", ip, api.PortHTTP, false), to("controller, evidence", ip, api.PortEvidence, false))
	}
	for _, ip := range injectors {
		denied = append(denied, to("injector, webhook", ip, api.PortWebhook, false), to("injector, HTTP", ip, api.PortHTTP, false))
		member = append(member, to("injector, webhook", ip, api.PortWebhook, false), to("injector, HTTP", ip, api.PortHTTP, false))
	}
	t.Run("an unmeshed pod reaches no port", func(t *testing.T) { tryAll(t, unmeshed, denied) })
	t.Run("a member reaches its configuration only", func(t *testing.T) { tryAll(t, s.noSidecar(t), member) })
	t.Run("the policies are why", func(t *testing.T) { s.policiesAreWhy(t, unmeshed, denied) })
	for _, name := range controlPlane() {
		t.Run("out of "+name, func(t *testing.T) { s.confined(t, name) })
	}
}

// policiesAreWhy checks that everything is open while an additional policy allows it, and closed again without it.
func (s *story) policiesAreWhy(t *testing.T, from agent.Client, denied []connection) {
	t.Helper()
	open := slices.Clone(denied)
	for i := range open {
		open[i].open = true
	}
	s.allowAll(t, func() {
		eventually(t, effectTime, func(ctx context.Context) string { return differences(ctx, from, open) })
	})
	eventually(t, effectTime, func(ctx context.Context) string { return differences(ctx, from, denied) })
}

func to(name, ip string, port int, open bool) connection {
	return connection{name, net.JoinHostPort(ip, strconv.Itoa(port)), open}
}

// tryAll opens each connection once, or fails to.
func tryAll(t *testing.T, from agent.Client, all []connection) {
	t.Helper()
	if text := differences(t.Context(), from, all); text != "" {
		t.Error(text)
	}
}

// differences tries all concurrently, because each dropped one takes seconds, and lists those with an unexpected result.
func differences(ctx context.Context, from agent.Client, all []connection) string {
	lines := make([]string, len(all))
	var trying sync.WaitGroup
	for i, c := range all {
		trying.Go(func() {
			answer, err := from.Call(ctx, agent.Call{Protocol: agent.Connect, Address: c.address})
			if err != nil || answer.OK() != c.open {
				lines[i] = fmt.Sprintf("%s at %s is open: %t, want %t (%v, %s)", c.name, c.address, answer.OK(), c.open, err, answer.Error)
			}
		})
	}
	trying.Wait()
	return strings.Join(slices.DeleteFunc(lines, func(line string) bool { return line == "" }), "; ")
}

// listening returns the addresses of an app's pods.
func (s *story) listening(t *testing.T, name string) []string {
	t.Helper()
	var ips []string
	for _, pod := range until(t, s.pods(api.DefaultNamespace, "app="+name), podTime, someAvailable) {
		if available(pod) {
			ips = append(ips, pod.Status.PodIP)
		}
	}
	return ips
}

func someAvailable(pods []*corev1.Pod) string {
	for _, pod := range pods {
		if available(pod) {
			return ""
		}
	}
	return "none is available: " + describe(pods)
}

// noSidecar returns an agent in a namespace of the mesh that connects directly, not through a proxy.
func (s *story) noSidecar(t *testing.T) agent.Client {
	t.Helper()
	a := app{namespace: nsClient, name: "bare", avoid: s.apps.quiet}
	s.account(t, a)
	template := a.server(s.env.testapp)
	pod := &corev1.Pod{ObjectMeta: a.meta(), Spec: template.Spec}
	pod.Annotations = map[string]string{api.AnnotationInjection: "disabled"}
	must(s.kube.CoreV1().Pods(a.namespace).Create(t.Context(), pod, metav1.CreateOptions{}))(t)
	t.Cleanup(func() {
		if err := s.kube.CoreV1().Pods(a.namespace).Delete(withoutTest(t), a.name, metav1.DeleteOptions{}); err != nil {
			t.Errorf("delete pod %s/%s: %v", a.namespace, a.name, err)
		}
	})
	made, from := s.onlyPod(t, a)
	if injected(made) {
		t.Fatalf("pod %s/%s has a sidecar, although injection is disabled", made.Namespace, made.Name)
	}
	return from
}

// confined puts an agent into a pod of the control plane, as an intruder would, and checks what it can reach. The
// container shares the pod's network, and stays until the pod is deleted.
func (s *story) confined(t *testing.T, name string) {
	pod := until(t, s.pods(api.DefaultNamespace, "app="+name), podTime, someAvailable)[0]
	intruder := s.intrude(t, pod)
	server, unmeshed := s.ready(t, s.apps.server, 2)[0], s.ready(t, s.apps.unmeshedServer, 1)[0]
	other := map[string]string{api.AppController: api.AppInjector, api.AppInjector: api.AppController}[name]
	calls := []connection{
		{"API server", s.apiServer(t), true},
		to("application in the mesh", server.Status.PodIP, agent.PortHTTP, false),
		to("application outside", unmeshed.Status.PodIP, agent.PortHTTP, false),
		to("names", s.clusterDNS(t), 53, false),
		to("metrics of "+other, s.listening(t, other)[0], api.PortHTTP, false),
	}
	if name == api.AppController {
		calls = append(calls, to("webhook of the injector", s.listening(t, other)[0], api.PortWebhook, true))
	} else {
		calls = append(calls, to("xDS of the controller", s.listening(t, other)[0], api.PortXDS, false))
	}
	tryAll(t, intruder, calls)
	s.policiesAreWhy(t, intruder, slices.DeleteFunc(calls, func(c connection) bool { return c.open }))
}

// intrude runs an agent in a running pod.
func (s *story) intrude(t *testing.T, pod *corev1.Pod) agent.Client {
	t.Helper()
	now := must(s.kube.CoreV1().Pods(pod.Namespace).Get(t.Context(), pod.Name, metav1.GetOptions{}))(t)
	template := app{name: intruderContainer}.template(s.env.testapp, "serve")
	spec := template.Spec.Containers[0]
	now.Spec.EphemeralContainers = append(now.Spec.EphemeralContainers, corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Name: intruderContainer, Image: spec.Image, ImagePullPolicy: spec.ImagePullPolicy, Args: spec.Args, SecurityContext: spec.SecurityContext,
	}})
	must(s.kube.CoreV1().Pods(pod.Namespace).UpdateEphemeralContainers(t.Context(), pod.Name, now, metav1.UpdateOptions{}))(t)
	until(t, s.pods(pod.Namespace, "app="+pod.Labels["app"]), podTime, func(pods []*corev1.Pod) string {
		for _, p := range pods {
			for _, status := range p.Status.EphemeralContainerStatuses {
				if p.Name == pod.Name && status.Name == intruderContainer && status.State.Running != nil {
					return ""
				}
			}
		}
		return fmt.Sprintf("container %s of %s does not run", intruderContainer, pod.Name)
	})
	return s.direct(t, pod)
}

// apiServer returns an endpoint of the API server, as policies see it.
func (s *story) apiServer(t *testing.T) string {
	t.Helper()
	list := must(s.kube.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).
		List(t.Context(), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=kubernetes"}))(t)
	for _, slice := range list.Items {
		if len(slice.Endpoints) > 0 {
			return net.JoinHostPort(slice.Endpoints[0].Addresses[0], strconv.Itoa(int(*slice.Ports[0].Port)))
		}
	}
	t.Fatal("the API server has no endpoint")
	return ""
}

// clusterDNS returns the address of a DNS pod.
func (s *story) clusterDNS(t *testing.T) string {
	t.Helper()
	return until(t, s.pods(metav1.NamespaceSystem, "k8s-app=kube-dns"), podTime, someAvailable)[0].Status.PodIP
}

// allowAll adds a policy that allows everything in the mesh's namespace while do runs: policies are additive.
func (s *story) allowAll(t *testing.T, do func()) {
	t.Helper()
	policies := s.kube.NetworkingV1().NetworkPolicies(api.DefaultNamespace)
	must(policies.Create(t.Context(), &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: controlName},
		Spec: networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{}}, Egress: []networkingv1.NetworkPolicyEgressRule{{}},
		},
	}, metav1.CreateOptions{}))(t)
	defer func() {
		if err := policies.Delete(context.WithoutCancel(t.Context()), controlName, metav1.DeleteOptions{}); err != nil {
			t.Errorf("delete NetworkPolicy %s: %v", controlName, err)
		}
	}()
	do()
}

// narrowed returns the values with the API server's address, if the nodes' network shows its real address.
func (s *story) narrowed(t *testing.T) []string {
	t.Helper()
	if len(s.env.nodeControl) == 0 {
		return nil
	}
	host, port, err := net.SplitHostPort(s.apiServer(t))
	if err != nil {
		t.Fatal(err)
	}
	return []string{"--set=osm.networkPolicy.apiServer.cidrs={" + host + "/32}", "--set=osm.networkPolicy.apiServer.ports={" + port + "}"}
}
