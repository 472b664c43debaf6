//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osm-edge/osm/pkg/api"
	meshcluster "github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/tests/e2e/testapp/agent"
)

// lostController deletes, without grace, the replica with the most proxies. They must
// reconnect to the others while traffic flows.
func (s *story) lostController(t *testing.T) {
	pod, client := s.onlyPod(t, s.apps.client)
	meshed := append(s.ready(t, s.apps.server, 2), pod)
	s.alone(t, meshed)
	s.connected(t, meshed, true)
	load := flow(t, client, s.apps.everything()...)

	victim := s.busiest(t)
	connections := map[string]int{}
	for _, pod := range meshed {
		connections[pod.Name] = s.connections(t, pod)
	}
	err := s.kube.CoreV1().Pods(api.DefaultNamespace).Delete(t.Context(), victim, metav1.DeleteOptions{GracePeriodSeconds: ptr(int64(0))})
	if err != nil {
		t.Fatalf("delete pod %s: %v", victim, err)
	}
	eventually(t, effectTime, func(ctx context.Context) string { return s.unconnected(ctx, meshed, victim) })
	s.connected(t, meshed, true)
	moved := 0
	for _, pod := range meshed {
		if s.connections(t, pod) > connections[pod.Name] {
			moved++
		}
	}
	if moved == 0 {
		t.Errorf("no proxy has made a new connection, although %s is deleted", victim)
	}
	t.Logf("%d of %d proxies moved from %s to another replica", moved, len(meshed), victim)
	until(t, s.pods(api.DefaultNamespace, "app="+api.AppController), podTime, allAvailable(2))
	load.more(t, 200)
	load.stop(t)
}

// powerFailure kills every process of a node at once: its connections break without being closed.
func (s *story) powerFailure(t *testing.T) { s.lostNode(t, "stop", "start") }

// cutCable unplugs a node's cable: connections to it stay open but silent. The proxies must detect
// the loss by themselves.
func (s *story) cutCable(t *testing.T) { s.lostNode(t, "cut", "heal") }

// lostNode stops the quiet node, with a controller that serves proxies, and restarts it.
func (s *story) lostNode(t *testing.T, loss, back string) {
	pod, client := s.onlyPod(t, s.apps.client)
	meshed := append(s.ready(t, s.apps.server, 2), pod)
	s.alone(t, meshed)
	s.moveProxiesTo(t, s.apps.quiet)
	s.connected(t, meshed, true)
	load := flow(t, client, s.apps.everything()...)

	begin := time.Now()
	s.power(t, loss, s.apps.quiet)
	t.Cleanup(func() {
		if t.Failed() {
			s.power(t, back, s.apps.quiet)
		}
	})
	eventually(t, noticeTime, func(ctx context.Context) string { return s.unconnected(ctx, meshed, s.apps.quiet) })
	t.Logf("all proxies have found another controller %s after the loss", since(begin))
	load.more(t, 200)

	s.power(t, back, s.apps.quiet)
	until(t, s.nodes(s.apps.quiet), podTime, only(func(node *corev1.Node) string {
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
				return c.Message
			}
		}
		return ""
	}))
	for _, name := range controlPlane() {
		until(t, s.pods(api.DefaultNamespace, "app="+name), podTime, allAvailable(2))
	}
	load.stop(t)
}

// alone waits until only these pods have sidecars, so that controllers count only them.
func (s *story) alone(t *testing.T, meshed []*corev1.Pod) {
	t.Helper()
	until(t, s.pods("", api.LabelProxyUUID), podTime, func(pods []*corev1.Pod) string {
		if len(pods) == len(meshed) {
			return ""
		}
		return fmt.Sprintf("%d pods have sidecars, want only %d: %s", len(pods), len(meshed), describe(pods))
	})
}

// noticeTime is how long proxies may take to notice that a controller is silent, and to reach
// another one: half a minute of keep-alives, and up to a minute until the Service drops the node.
const noticeTime = 2 * time.Minute

// moveProxiesTo makes the controller of a node serve proxies by deleting all others without grace: their
// replacements are usually not ready before the proxies have reconnected to the one that is left. If one is,
// because that controller was itself just starting, it is deleted too.
func (s *story) moveProxiesTo(t *testing.T, node string) {
	t.Helper()
	pods := s.replaceControllers(t, node)
	i := slices.IndexFunc(pods, func(pod *corev1.Pod) bool { return pod.Spec.NodeName == node })
	if i < 0 {
		t.Fatalf("node %s runs no controller: %s", node, describe(pods))
	}
	replaced := time.Now()
	eventually(t, effectTime, func(ctx context.Context) string {
		n, err := s.proxies(ctx, pods[i])
		switch {
		case err != nil:
			return err.Error()
		case n > 0:
			t.Logf("%s on node %s serves %d proxies", pods[i].Name, node, n)
			return ""
		}
		if time.Since(replaced) > effectTime/4 {
			s.replaceControllers(t, node)
			replaced = time.Now()
		}
		return fmt.Sprintf("%s serves no proxy, so its loss would have no effect", pods[i].Name)
	})
}

// replaceControllers deletes the controllers that are not on the node, and returns the available ones afterwards.
func (s *story) replaceControllers(t *testing.T, node string) []*corev1.Pod {
	t.Helper()
	for _, pod := range until(t, s.pods(api.DefaultNamespace, "app="+api.AppController), podTime, allAvailable(2)) {
		if pod.Spec.NodeName == node {
			continue
		}
		if err := s.kube.CoreV1().Pods(pod.Namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr(int64(0))}); err != nil {
			t.Fatalf("delete pod %s: %v", pod.Name, err)
		}
	}
	return until(t, s.pods(api.DefaultNamespace, "app="+api.AppController), podTime, allAvailable(2))
}

func (s *story) power(t *testing.T, action, node string) {
	t.Helper()
	args := append(slices.Clone(s.env.nodeControl[1:]), "node", action, node)
	text, err := exec.CommandContext(withoutTest(t), s.env.nodeControl[0], args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s the power of node %s: %v\n%s", action, node, err, text)
	}
}

// noController removes all replicas. Proxies keep working with what they have, new connections
// included; changes continue when the controllers are back.
func (s *story) noController(t *testing.T) {
	pod, client := s.onlyPod(t, s.apps.client)
	meshed := append(s.ready(t, s.apps.server, 2), pod)
	load := flow(t, client, s.apps.everything()...)

	guard := s.startGuard(t, api.DefaultNamespace, api.AppController)
	s.scaleController(t, 0)
	t.Cleanup(func() {
		if t.Failed() {
			s.scaleController(t, 2)
		}
	})
	s.gone(t, api.DefaultNamespace, "app="+api.AppController)
	s.connected(t, meshed, false)
	load.more(t, 500)
	t.Log("traffic flows without any controller")
	if len(guard.finish()) == 0 {
		t.Error("the guard did not notice that no controller ran, so its result for the drain proves nothing")
	}

	late := app{nsServer, "late", s.apps.quiet}
	address := s.serviceOf(t, s.apps.server, late.name, "", port("http-late", portAlias, agent.PortHTTP)).Spec.ClusterIP
	s.scaleController(t, 2)
	until(t, s.pods(api.DefaultNamespace, "app="+api.AppController), podTime, allAvailable(2))
	s.connected(t, meshed, true)
	seen := reach(t, client, agent.Call{Protocol: agent.HTTP, Address: fmt.Sprintf("%s:%d", address, portAlias)})
	if seen.Peer != s.apps.client.spiffe() {
		t.Errorf("through a Service created during the outage the server saw peer %q, want %q", seen.Peer, s.apps.client.spiffe())
	}
	load.more(t, 200)
	load.stop(t)
}

// scaleController sets the number of replicas; the autoscaler leaves a Deployment of 0 alone.
func (s *story) scaleController(t *testing.T, replicas int32) {
	t.Helper()
	s.resize(t, api.DefaultNamespace, api.AppController, replicas)
}

// resize sets the number of a Deployment's replicas, even after the test has ended.
func (s *story) resize(t *testing.T, namespace, name string, replicas int32) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas) // unlike an update, it cannot conflict
	must(s.kube.AppsV1().Deployments(namespace).Patch(withoutTest(t), name, types.MergePatchType, patch, metav1.PatchOptions{}, "scale"))(t)
}

// connected waits until every proxy reports whether it is connected to a controller.
func (s *story) connected(t *testing.T, pods []*corev1.Pod, want bool) {
	t.Helper()
	for _, pod := range pods {
		eventually(t, effectTime, func(ctx context.Context) string {
			state, err := s.stat(ctx, pod, "control_plane.connected_state")
			if err != nil {
				return err.Error()
			}
			if (state == 1) != want {
				return fmt.Sprintf("proxy of %s has connected_state %d, want connected: %t", pod.Name, state, want)
			}
			return ""
		})
	}
}

// connections returns how many connections to controllers a proxy has made since its start.
func (s *story) connections(t *testing.T, pod *corev1.Pod) int {
	t.Helper()
	return must(s.stat(t.Context(), pod, "cluster.osm-controller.upstream_cx_total"))(t)
}

// stat reads a counter or gauge of a proxy with the osm command.
func (s *story) stat(ctx context.Context, pod *corev1.Pod, name string) (int, error) {
	text, err := s.tryOSM(ctx, "proxy", "get", "stats?filter=^"+regexp.QuoteMeta(name)+"$", pod.Name, "-n", pod.Namespace)
	if err != nil {
		return 0, err
	}
	return number(string(text), name+": ")
}

// number returns the number after the name at the start of a line.
func number(text, name string) (int, error) {
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(strings.TrimSpace(line), name); found {
			return strconv.Atoi(value)
		}
	}
	return 0, fmt.Errorf("%q is not among %q", name, text)
}

// proxies returns how many proxies a controller serves.
func (s *story) proxies(ctx context.Context, pod *corev1.Pod) (int, error) {
	text, err := meshcluster.ProxyGet(ctx, s.kube, pod, api.PortHTTP, "/metrics")
	if err != nil {
		return 0, err
	}
	return number(string(text), "osm_proxy_connect_count ")
}

// busiest returns the controller with the most proxies.
func (s *story) busiest(t *testing.T) string {
	t.Helper()
	most, name := -1, ""
	for _, pod := range until(t, s.pods(api.DefaultNamespace, "app="+api.AppController), podTime, allAvailable(2)) {
		n := must(s.proxies(t.Context(), pod))(t)
		t.Logf("%s on %s serves %d proxies", pod.Name, pod.Spec.NodeName, n)
		if n > most {
			most, name = n, pod.Name
		}
	}
	if most < 1 {
		t.Fatal("no controller serves a proxy")
	}
	return name
}

// unconnected returns what is missing until the controllers other than the lost one, which is named by
// its pod or node, serve all proxies.
func (s *story) unconnected(ctx context.Context, meshed []*corev1.Pod, lost string) string {
	pods, err := s.kube.CoreV1().Pods(api.DefaultNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + api.AppController})
	if err != nil {
		return err.Error()
	}
	total := 0
	for i := range pods.Items {
		if pod := &pods.Items[i]; pod.Name != lost && pod.Spec.NodeName != lost && available(pod) {
			n, err := s.proxies(ctx, pod)
			if err != nil {
				return err.Error()
			}
			total += n
		}
	}
	if total < len(meshed) {
		return fmt.Sprintf("the other controllers serve %d proxies, want %d", total, len(meshed))
	}
	return ""
}
