//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
	meshcluster "github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/tests/e2e/testapp/agent"
)

// podTime is how long pods may take to become ready, or to terminate, on a small and busy machine.
const podTime = 3 * time.Minute

// available reports whether a pod is ready and not terminating.
func available(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && condition(pod, corev1.PodReady)
}

func condition(pod *corev1.Pod, kind corev1.PodConditionType) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == kind && c.Status == corev1.ConditionTrue
	})
}

// injected reports whether the pod has a sidecar.
func injected(pod *corev1.Pod) bool {
	return pod.Labels[api.LabelProxyUUID] != "" && slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool {
		return c.Name == api.ContainerEnvoy
	})
}

// ready waits until the app has exactly that many pods, all available, sorted by name.
func (s *story) ready(t *testing.T, a app, count int) []*corev1.Pod {
	t.Helper()
	pods := until(t, s.pods(a.namespace, a.selector()), podTime, allAvailable(count))
	slices.SortFunc(pods, func(x, y *corev1.Pod) int { return strings.Compare(x.Name, y.Name) })
	return pods
}

func allAvailable(count int) func([]*corev1.Pod) string {
	return func(pods []*corev1.Pod) string {
		n := 0
		for _, pod := range pods {
			if available(pod) {
				n++
			}
		}
		if n == count && len(pods) == count {
			return ""
		}
		return fmt.Sprintf("%d of %d pods are available, want %d: %s", n, len(pods), count, describe(pods))
	}
}

// gone waits until there is no such pod.
func (s *story) gone(t *testing.T, namespace, labels string) {
	t.Helper()
	until(t, s.pods(namespace, labels), podTime, func(pods []*corev1.Pod) string {
		if len(pods) == 0 {
			return ""
		}
		return describe(pods) + " still there"
	})
}

// describe returns the state of pods, and why they are not ready.
func describe(pods []*corev1.Pod) string {
	var words []string
	for _, pod := range pods {
		text := fmt.Sprintf("%s on %s: %s", pod.Name, pod.Spec.NodeName, pod.Status.Phase)
		if pod.DeletionTimestamp != nil {
			text += ", terminating"
		}
		for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			switch state := status.State; {
			case state.Waiting != nil:
				text += fmt.Sprintf(", %s waits: %s %s", status.Name, state.Waiting.Reason, state.Waiting.Message)
			case state.Terminated != nil && state.Terminated.ExitCode != 0:
				text += fmt.Sprintf(", %s ended with %d", status.Name, state.Terminated.ExitCode)
			case state.Running != nil && !status.Ready:
				text += fmt.Sprintf(", %s is not ready", status.Name)
			}
		}
		words = append(words, text)
	}
	return strings.Join(words, "; ")
}

// direct returns a client of the agent in a pod for the duration of the test, over a port-forward, which
// connects inside the pod and so bypasses the mesh.
func (s *story) direct(t *testing.T, pod *corev1.Pod) agent.Client {
	t.Helper()
	address, stop, err := meshcluster.Forward(t.Context(), s.config, pod.Namespace, pod.Name, agent.PortControl)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return agent.Client{Address: address}
}

// call makes a call from the agent, which must succeed.
func call(t *testing.T, from agent.Client, protocol agent.Protocol, address string) agent.Seen {
	t.Helper()
	answer := must(from.Call(t.Context(), agent.Call{Protocol: protocol, Address: address}))(t)
	if !answer.OK() {
		t.Fatalf("the call failed: %s", answer.Error)
	}
	return answer.Seen
}

// refused makes a call from the agent, which must fail.
func refused(t *testing.T, from agent.Client, protocol agent.Protocol, address string) {
	t.Helper()
	answer := must(from.Call(t.Context(), agent.Call{Protocol: protocol, Address: address}))(t)
	if answer.OK() {
		t.Errorf("%s %s got a response from %+v, want it refused", protocol, address, answer.Seen)
		return
	}
	t.Logf("refused, as it must be: %s", answer.Error)
}
