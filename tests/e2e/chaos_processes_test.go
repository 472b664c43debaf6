//go:build e2e

package e2e

import (
	"context"
	"errors"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
)

// freeze stops the processes of pods without ending their connections, until heal. A kubelet may replace them meanwhile.
func freeze(which func(*chaosMesh, *testing.T) []*corev1.Pod) func(*chaosMesh, *testing.T) {
	return func(c *chaosMesh, t *testing.T) {
		var pids []int
		for _, pod := range which(c, t) {
			pids = append(pids, c.host.inPod(pod, controlPlaneProgram)...)
		}
		c.undone = func() {
			for _, pid := range pids {
				if err := syscall.Kill(pid, syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
					t.Error(err)
				}
			}
		}
		c.host.signal(t, syscall.SIGSTOP, pids)
	}
}

func oneInjector(c *chaosMesh, t *testing.T) []*corev1.Pod {
	return c.ready(t, app{api.DefaultNamespace, api.AppInjector, ""}, replicas)[:1]
}

// freezeInjector freezes one while a pod starts.
func freezeInjector(c *chaosMesh, t *testing.T) {
	freeze(oneInjector)(c, t)
	c.flex(t, 2)
}

func thawInjector(c *chaosMesh, t *testing.T) {
	heal(c, t)
	flexBack(c, t)
}

// killDaemons kills daemons of a machine of the cluster, which startDaemons starts again. A node is that of the first client.
func killDaemons(onNode bool, names ...string) func(*chaosMesh, *testing.T) {
	return func(c *chaosMesh, t *testing.T) {
		machine := "master"
		if onNode {
			machine = c.ready(t, c.client, nodes)[0].Spec.NodeName
		}
		for _, name := range names {
			c.host.signal(t, syscall.SIGKILL, c.host.processes(name, "/"+c.host.cluster+"/"+machine+"/daemons"))
		}
	}
}

func startDaemons(c *chaosMesh, t *testing.T) {
	ctx, cancel := context.WithTimeout(withoutTest(t), upTime)
	defer cancel()
	if err := c.host.up(ctx); err != nil {
		t.Fatal(err)
	}
}

// killClientsEnvoy kills the proxy of a client, whose own requests fail until it is back.
func killClientsEnvoy(c *chaosMesh, t *testing.T) {
	pod := c.ready(t, c.client, nodes)[0]
	c.lostNode = pod.Spec.NodeName
	c.host.signal(t, syscall.SIGKILL, c.host.inPod(pod, "envoy"))
}
