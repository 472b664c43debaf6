//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/drain"

	"github.com/osm-edge/osm/pkg/api"
)

// metricsTime is how long the resource metrics of a new pod may take to appear.
const metricsTime = 5 * time.Minute

// autoscaling checks that both autoscalers use live metrics, and that both budgets allow a node to be
// drained.
func (s *story) autoscaling(t *testing.T) {
	autoscalers := until(t, s.autoscalers(api.DefaultNamespace), metricsTime, func(all []*autoscalingv2.HorizontalPodAutoscaler) string {
		if len(all) != 2 {
			return fmt.Sprintf("there are %d, want one each for %v", len(all), controlPlane())
		}
		for _, a := range all {
			for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				if utilization(a, name) == nil {
					return fmt.Sprintf("%s reports no %s utilization: %+v", a.Name, name, a.Status.Conditions)
				}
			}
		}
		return ""
	})
	for _, a := range autoscalers {
		t.Logf("%s: cpu %d%%, memory %d%% of the request, %d replicas", a.Name,
			*utilization(a, corev1.ResourceCPU), *utilization(a, corev1.ResourceMemory), a.Status.CurrentReplicas)
	}
	until(t, s.budgets(api.DefaultNamespace), podTime, func(all []*policyv1.PodDisruptionBudget) string {
		if len(all) != 2 {
			return fmt.Sprintf("there are %d, want one each for %v", len(all), controlPlane())
		}
		for _, b := range all {
			if b.Status.DisruptionsAllowed < 1 {
				return fmt.Sprintf("%s allows no disruption: %+v", b.Name, b.Status)
			}
		}
		return ""
	})
}

// utilization returns the average of a resource, in percent of the request, if known.
func utilization(a *autoscalingv2.HorizontalPodAutoscaler, name corev1.ResourceName) *int32 {
	for _, metric := range a.Status.CurrentMetrics {
		if metric.Resource != nil && metric.Resource.Name == name {
			return metric.Resource.Current.AverageUtilization
		}
	}
	return nil
}

// drainTime limits the drain of one node; a pod of the control plane may take 45 s to terminate.
const drainTime = 5 * time.Minute

// drain empties a node that runs pods of the control plane, by eviction as kubectl drain does.
func (s *story) drain(t *testing.T) {
	_, client := s.onlyPod(t, s.apps.client)
	node := must(s.kube.CoreV1().Nodes().Get(t.Context(), s.apps.quiet, metav1.GetOptions{}))(t)
	t.Logf("node %s runs %s", node.Name, strings.Join(s.controlPlaneOn(t, node.Name), ", "))
	helper := &drain.Helper{
		Ctx: t.Context(), Client: s.kube, GracePeriodSeconds: -1, Timeout: drainTime,
		IgnoreAllDaemonSets: true, DeleteEmptyDirData: true, Force: true,
		Out: logWriter{t}, ErrOut: logWriter{t},
	}
	if err := drain.RunCordonOrUncordon(helper, node, true); err != nil {
		t.Fatalf("cordon: %v", err)
	}
	t.Cleanup(func() {
		helper.Ctx = withoutTest(t)
		if err := drain.RunCordonOrUncordon(helper, node, false); err != nil {
			t.Errorf("uncordon: %v", err)
		}
	})
	guard := s.startGuard(t, api.DefaultNamespace, controlPlane()...)
	load := flow(t, client, s.apps.everything()...)
	begin := time.Now()
	if err := drain.RunNodeDrain(helper, node.Name); err != nil {
		t.Fatalf("drain: %v", err)
	}
	t.Logf("drained in %s", since(begin))
	if left := s.controlPlaneOn(t, node.Name); len(left) > 0 {
		t.Errorf("after the drain node %s still runs %v", node.Name, left)
	}
	for _, name := range controlPlane() {
		until(t, s.pods(api.DefaultNamespace, "app="+name), podTime, allAvailable(2))
	}
	load.more(t, 100)
	load.stop(t)
	guard.end(t)
}

func (s *story) controlPlaneOn(t *testing.T, node string) []string {
	t.Helper()
	pods := must(s.kube.CoreV1().Pods(api.DefaultNamespace).List(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=" + node}))(t)
	var names []string
	for i := range pods.Items {
		names = append(names, pods.Items[i].Name)
	}
	return names
}

// scale raises the minimum, which an upgrade must keep, and lowers it again.
func (s *story) scale(t *testing.T) {
	_, client := s.onlyPod(t, s.apps.client)
	load := flow(t, client, s.apps.everything()...)
	t.Log(s.osm(t, "mesh", "scale", "--controller-min", "3", "--yes"))
	three := only(func(d *appsv1.Deployment) string {
		if st := d.Status; st.ReadyReplicas < 3 || st.Replicas != st.UpdatedReplicas || st.ObservedGeneration < d.Generation {
			return fmt.Sprintf("%d of %d replicas are ready, %d up to date; want at least 3", st.ReadyReplicas, st.Replicas, st.UpdatedReplicas)
		}
		return ""
	})
	until(t, s.deployments(api.DefaultNamespace, api.AppController), podTime, three)
	s.spread(t)

	s.osm(t, "upgrade")
	until(t, s.deployments(api.DefaultNamespace, api.AppController), podTime, three)
	s.expectFloor(t, 3)
	s.osm(t, "mesh", "scale", "--controller-min", "2", "--yes")
	s.expectFloor(t, 2)
	load.stop(t)
}

func (s *story) expectFloor(t *testing.T, want int32) {
	t.Helper()
	autoscaler := must(s.kube.AutoscalingV2().HorizontalPodAutoscalers(api.DefaultNamespace).Get(t.Context(), api.AppController+"-hpa", metav1.GetOptions{}))(t)
	if got := autoscaler.Spec.MinReplicas; got == nil || *got != want {
		t.Errorf("%s has minReplicas %v, want %d", autoscaler.Name, got, want)
	}
}

// logWriter writes lines to a test's log.
type logWriter struct{ t *testing.T }

func (w logWriter) Write(text []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(text)))
	return len(text), nil
}
