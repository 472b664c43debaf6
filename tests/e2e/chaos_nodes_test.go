//go:build e2e

package e2e

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/drain"

	"github.com/osm-edge/osm/pkg/api"
)

// nodeOfLeader and nodeWithout choose a node: that of the controller which holds the Lease, or one without any.
func nodeOfLeader(c *chaosMesh, t *testing.T) string { return c.leader(t).Spec.NodeName }

func nodeWithout(c *chaosMesh, t *testing.T) string {
	controllers := c.controllers(t)
	for _, pod := range c.ready(t, c.client, nodes) {
		if !slices.ContainsFunc(controllers, func(other *corev1.Pod) bool { return other.Spec.NodeName == pod.Spec.NodeName }) {
			return pod.Spec.NodeName
		}
	}
	t.Fatalf("every node has a controller: %s", describe(controllers))
	return ""
}

// lose takes a node away: "cut" unplugs its cable, "stop" kills its processes. Pods of a stopped node are other pods when
// it is back, so they are not asked.
func loseNode(action, back string, choose func(*chaosMesh, *testing.T) string) func(*chaosMesh, *testing.T) {
	return func(c *chaosMesh, t *testing.T) {
		node := choose(c, t)
		c.lostNode = node
		if action == "stop" {
			c.stoppedNode = node
		}
		c.power(t, action, node)
		c.undone = func() { c.power(t, back, node) }
	}
}

func drainNode(c *chaosMesh, t *testing.T) {
	node := must(c.kube.CoreV1().Nodes().Get(t.Context(), nodeOfLeader(c, t), metav1.GetOptions{}))(t)
	helper := &drain.Helper{
		Ctx: withoutTest(t), Client: c.kube, GracePeriodSeconds: -1, Timeout: drainTime,
		IgnoreAllDaemonSets: true, DeleteEmptyDirData: true, Force: true, Out: logWriter{t}, ErrOut: logWriter{t},
	}
	c.undone = func() {
		if err := drain.RunCordonOrUncordon(helper, node, false); err != nil {
			t.Errorf("uncordon: %v", err)
		}
	}
	if err := drain.RunCordonOrUncordon(helper, node, true); err != nil {
		t.Fatalf("cordon: %v", err)
	}
	if err := drain.RunNodeDrain(helper, node.Name); err != nil {
		t.Fatalf("drain: %v", err)
	}
	for _, name := range controlPlane() {
		until(t, c.pods(api.DefaultNamespace, "app="+name), podTime, allAvailable(replicas))
	}
}
