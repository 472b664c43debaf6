//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/tests/e2e/testapp/agent"
)

// nodes of the cluster, and replicas of each component of the control plane.
const (
	nodes    = 3
	replicas = 2
)

// build installs the mesh without autoscaling, so that a fault alone decides how many replicas run, and starts a client
// and a server on every node.
func (c *chaosMesh) build(t *testing.T) {
	t.Helper()
	c.osm(t, append([]string{
		"install",
		"--set=osm.osmController.enablePodDisruptionBudget=true", "--set=osm.injector.enablePodDisruptionBudget=true",
		fmt.Sprintf("--set=osm.osmController.replicaCount=%d", replicas), fmt.Sprintf("--set=osm.injector.replicaCount=%d", replicas),
	}, append(c.narrowed(t), c.env.imageValues()...)...)...)
	for _, name := range controlPlane() {
		until(t, c.pods(api.DefaultNamespace, "app="+name), podTime, allAvailable(replicas))
	}
	c.client, c.server = app{c.namespace(t, nsClient), "client", ""}, app{c.namespace(t, nsServer), "server", ""}
	c.flexible = app{nsServer, "flexible", ""}
	c.osm(t, "namespace", "add", nsClient, nsServer)
	c.address = c.serviceOf(t, c.server, c.server.name, "", serverPorts()...).Spec.ClusterIP
	for _, a := range []app{c.client, c.server} {
		c.account(t, a)
		must(c.kube.AppsV1().DaemonSets(a.namespace).Create(t.Context(), &appsv1.DaemonSet{
			ObjectMeta: a.meta(),
			Spec: appsv1.DaemonSetSpec{
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"set": a.name}}, Template: c.template(a, a.name),
			},
		}, metav1.CreateOptions{}))(t)
	}
	must(c.kube.AppsV1().Deployments(nsServer).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: c.flexible.meta(),
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr(int32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"set": c.flexible.name}},
			Template: c.template(c.server, c.flexible.name),
		},
	}, metav1.CreateOptions{}))(t)
}

// template returns a pod of the app whose agent can be controlled without the API server, which is part of some
// faults: the control port is open to the cluster's host, and bypasses the proxy.
func (c *chaosMesh) template(a app, set string) corev1.PodTemplateSpec {
	template := a.template(c.env.testapp, "serve", fmt.Sprintf("--control=:%d", agent.PortControl))
	template.Spec.Containers[0].ReadinessProbe = httpProbe(agent.PathReady)
	template.Labels["set"] = set
	template.Annotations = map[string]string{api.AnnotationInboundPortExclusion: fmt.Sprint(agent.PortControl)}
	return template
}

// agentOf returns the agent in a pod.
func agentOf(pod *corev1.Pod) agent.Client {
	return agent.Client{Address: fmt.Sprintf("%s:%d", pod.Status.PodIP, agent.PortControl)}
}

// calls is the load of each client: kept connections of each kind, and new ones for each request.
func (c *chaosMesh) calls() []agent.Call {
	all := testApps{addresses: map[string]string{"server": c.address}}.everything()
	at := func(port int) string { return fmt.Sprintf("%s:%d", c.address, port) }
	return append(all,
		agent.Call{Protocol: agent.GRPC, Address: at(portGRPC), Keep: true},
		agent.Call{Protocol: agent.TCP, Address: at(portTCP), Keep: true})
}

// listPods lists pods once.
func (c *chaosMesh) listPods(ctx context.Context, namespace, labels string) ([]*corev1.Pod, error) {
	list, err := c.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: labels})
	if err != nil {
		return nil, err
	}
	pods := make([]*corev1.Pod, len(list.Items))
	for i := range list.Items {
		pods[i] = &list.Items[i]
	}
	return pods, nil
}

func (c *chaosMesh) nodesReady(ctx context.Context) string {
	list, err := c.kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	for i := range list.Items {
		for _, condition := range list.Items[i].Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
				return fmt.Sprintf("node %s is not ready: %s", list.Items[i].Name, condition.Message)
			}
		}
	}
	return ""
}

// controllers returns the available replicas, those with most proxies first.
func (c *chaosMesh) controllers(t *testing.T) []*corev1.Pod {
	t.Helper()
	pods := c.ready(t, app{api.DefaultNamespace, api.AppController, ""}, replicas)
	proxies := map[string]int{}
	for _, pod := range pods {
		proxies[pod.Name] = len(c.host.peers(t, pod, api.PortXDS))
	}
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int { return proxies[b.Name] - proxies[a.Name] })
	return pods
}

// leader returns the replica that holds the Lease.
func (c *chaosMesh) leader(t *testing.T) *corev1.Pod {
	t.Helper()
	var leader *corev1.Pod
	eventually(t, time.Minute, func(ctx context.Context) string {
		lease, err := c.kube.CoordinationV1().Leases(api.DefaultNamespace).Get(ctx, api.ControllerLease, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		holder := ""
		if lease.Spec.HolderIdentity != nil {
			holder = *lease.Spec.HolderIdentity
		}
		for _, pod := range c.controllers(t) {
			if pod.Name == holder {
				leader = pod
				return ""
			}
		}
		return fmt.Sprintf("the Lease is held by %q, which is no available replica", holder)
	})
	return leader
}
