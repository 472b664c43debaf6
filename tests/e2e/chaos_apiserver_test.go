//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
)

const (
	apiServer = "kube-apiserver"
	etcd      = "etcd"
	// upTime is how long the cluster's program may take to start daemons again.
	upTime = 2 * time.Minute
)

// pause stops the processes of a daemon without ending their connections; resume lets them go on.
func pause(daemon string) func(*chaosMesh, *testing.T) {
	return func(c *chaosMesh, t *testing.T) { c.host.signal(t, syscall.SIGSTOP, c.host.daemon(daemon)) }
}

func resume(daemon string) func(*chaosMesh, *testing.T) {
	return func(c *chaosMesh, t *testing.T) { c.host.signal(t, syscall.SIGCONT, c.host.daemon(daemon)) }
}

// killControllerMeanwhile kills a controller when the API server has gone: the next process starts without it.
func killControllerMeanwhile(c *chaosMesh, t *testing.T) {
	pids := c.host.inPod(c.controllers(t)[0], controlPlaneProgram)
	pause(apiServer)(c, t)
	c.host.signal(t, syscall.SIGKILL, pids)
}

// deaf makes controllers lose every packet to and from the API server; heard ends that.
func deaf(which func(*chaosMesh, *testing.T) []*corev1.Pod) func(*chaosMesh, *testing.T) {
	return func(c *chaosMesh, t *testing.T) {
		service := must(c.kube.CoreV1().Services(metav1.NamespaceDefault).Get(t.Context(), "kubernetes", metav1.GetOptions{}))(t)
		match := fmt.Sprintf("%s -p tcp --%s %d", service.Spec.ClusterIP, "%s", service.Spec.Ports[0].Port)
		c.cut(t, which(c, t), "OUTPUT -d "+fmt.Sprintf(match, "dport"), "INPUT -s "+fmt.Sprintf(match, "sport"))
	}
}

// silent makes the packets between a controller's xDS port and the pods of one client's node disappear, in one direction or
// both: connections stay open and never get an answer.
func silent(in, out bool) func(*chaosMesh, *testing.T) {
	return func(c *chaosMesh, t *testing.T) {
		client := c.ready(t, c.client, nodes)[0]
		var rules []string
		if in {
			rules = append(rules, fmt.Sprintf("INPUT -s %s/24 -p tcp --dport %d", client.Status.PodIP, api.PortXDS))
		}
		if out {
			rules = append(rules, fmt.Sprintf("OUTPUT -d %s/24 -p tcp --sport %d", client.Status.PodIP, api.PortXDS))
		}
		c.cut(t, c.serving(t, client), rules...)
	}
}

// cut drops packets in the pods' networks until heal.
func (c *chaosMesh) cut(t *testing.T, pods []*corev1.Pod, rules ...string) {
	t.Helper()
	for _, pod := range pods {
		c.host.drops(t, true, pod, rules...)
	}
	c.undone = func() {
		for _, pod := range pods {
			c.host.drops(t, false, pod, rules...)
		}
	}
}

// heal undoes what a fault has left in undone.
func heal(c *chaosMesh, _ *testing.T) {
	if c.undone != nil {
		c.undone()
		c.undone = nil
	}
}

func onlyLeader(c *chaosMesh, t *testing.T) []*corev1.Pod { return []*corev1.Pod{c.leader(t)} }

func notLeader(c *chaosMesh, t *testing.T) []*corev1.Pod {
	leader := c.leader(t)
	for _, pod := range c.controllers(t) {
		if pod.Name != leader.Name {
			return []*corev1.Pod{pod}
		}
	}
	t.Fatal("every controller is the leader")
	return nil
}

func allControllers(c *chaosMesh, t *testing.T) []*corev1.Pod { return c.controllers(t) }

// serving returns the controller that has an established connection from the pod's address.
func (c *chaosMesh) serving(t *testing.T, client *corev1.Pod) []*corev1.Pod {
	t.Helper()
	for _, pod := range c.controllers(t) {
		if slices.Contains(c.host.peers(t, pod, api.PortXDS), client.Status.PodIP) {
			return []*corev1.Pod{pod}
		}
	}
	t.Fatalf("no controller has a connection from %s", client.Name)
	return nil
}
