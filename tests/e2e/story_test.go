//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
)

// story is the state that its steps share: the cluster, and the test apps, a client that talks to servers.
type story struct {
	*cluster
	env  environment
	apps testApps
}

// TestMesh runs the whole life of a mesh. Select steps with -run 'TestMesh/drain'; the mesh
// is installed before and removed after them in any case.
func TestMesh(t *testing.T) {
	env := must(readEnvironment())(t)
	s := &story{cluster: connect(t, env.kubeconfig), env: env}
	s.empty(t)
	user := s.createUserObjects(t)
	before := s.inventory(t)

	t.Cleanup(func() { s.cleanUp(t) })
	t.Cleanup(func() { s.keepEvidence(t) })
	record := s.record(t)
	s.install(t)
	s.deployTestApps(t)
	if t.Failed() {
		t.Fatal("without the test apps no step can run")
	}
	s.step(t, "autoscaling", s.autoscaling)
	s.step(t, "spread", s.spread)
	s.step(t, "traffic", s.protocols)
	s.step(t, "bookstore", s.bookstore)
	s.step(t, "permissive mode", s.permissive)
	s.step(t, "probes", s.probes)
	s.step(t, "jobs", s.jobs)
	s.step(t, "stateful sets", s.statefulSets)
	s.step(t, "quota and limits", s.quota)
	s.step(t, "minimum of a limit range", s.limitRangeMinimum)
	s.step(t, "later webhook", s.laterWebhook)
	s.step(t, "only terminating endpoints", s.onlyTerminating)
	s.step(t, "external address", s.externalAddress)
	s.step(t, "wildcard search domain", s.wildcardSearchDomain)
	s.step(t, "secrets fence", s.fence)
	s.step(t, "outside", s.outside)
	s.step(t, "stolen accounts", func(t *testing.T) { s.stolen(t, record) })
	s.step(t, "a developer's kubeconfig", s.developer)
	s.step(t, "two meshes", s.twoMeshes)
	if len(env.nodeControl) > 0 {
		s.step(t, "network policies", s.policies)
		s.step(t, "power failure", s.powerFailure)
		s.step(t, "cut cable", s.cutCable)
	} else {
		t.Logf("network policies and node failures are not tested: %s does not name a program that can stop a node", varNodeControl)
	}
	s.step(t, "drain", s.drain)
	s.step(t, "lost controller", s.lostController)
	s.step(t, "no controller", s.noController)
	s.step(t, "scale", s.scale)
	s.step(t, "autoscaling off and on", s.autoscalingOffAndOn)
	if record != nil {
		s.step(t, "rights", func(t *testing.T) { s.lifeRights(t, record) })
	}
	s.step(t, "uninstall", func(t *testing.T) { s.uninstall(t, user, before) })
}

// empty refuses a cluster that already has a mesh, because the story must be the only thing that changes it.
func (s *story) empty(t *testing.T) {
	t.Helper()
	_, err := s.kube.CoreV1().Namespaces().Get(t.Context(), api.DefaultNamespace, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Fatalf("look for namespace %s: got %v, want that it does not exist: remove the mesh first, or use another cluster", api.DefaultNamespace, err)
	}
	left := must(s.kube.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{LabelSelector: labelMine}))(t)
	if len(left.Items) > 0 {
		t.Fatalf("namespace %s is left of an earlier run: delete it first", left.Items[0].Name)
	}
}

// install runs the command from the high-availability documentation, with the images under test.
func (s *story) install(t *testing.T) {
	s.osm(t, append([]string{
		"install",
		"--set=osm.osmController.autoScale.enable=true",
		"--set=osm.osmController.enablePodDisruptionBudget=true",
		"--set=osm.injector.autoScale.enable=true",
		"--set=osm.injector.enablePodDisruptionBudget=true",
	}, append(s.narrowed(t), s.env.imageValues()...)...)...)
	for _, name := range controlPlane() {
		until(t, s.pods(api.DefaultNamespace, "app="+name), podTime, allAvailable(2))
	}
}

// controlPlane returns the apps of which one pod must always be available.
func controlPlane() []string { return []string{api.AppController, api.AppInjector} }

// cleanUp removes what a failed story left behind, so that the next one can use the cluster.
func (s *story) cleanUp(t *testing.T) {
	ctx := withoutTest(t)
	mine, err := s.kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: labelMine})
	if err == nil {
		for i := range mine.Items {
			err = errors.Join(err, ignoreMissing(s.kube.CoreV1().Namespaces().Delete(ctx, mine.Items[i].Name, metav1.DeleteOptions{})))
		}
	}
	if err != nil {
		t.Errorf("remove the story's namespaces: %v", err)
	}
	if _, err := s.kube.CoreV1().Namespaces().Get(ctx, api.DefaultNamespace, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		return
	}
	if text, err := s.tryOSM(ctx, "uninstall", "mesh", "--force", "--delete-cluster-wide-resources", "--delete-namespace"); err != nil {
		t.Errorf("remove the mesh: %v\n%s", err, text)
	}
}

func ignoreMissing(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// shared returns the node that runs pods of most apps of the control plane, the first by name if several do.
func (s *story) shared(t *testing.T) string {
	t.Helper()
	pods := must(s.kube.CoreV1().Pods(api.DefaultNamespace).List(t.Context(), metav1.ListOptions{}))(t)
	apps := map[string]map[string]bool{} // by node
	for i := range pods.Items {
		pod := &pods.Items[i]
		if app := pod.Labels["app"]; available(pod) && slices.Contains(controlPlane(), app) {
			if apps[pod.Spec.NodeName] == nil {
				apps[pod.Spec.NodeName] = map[string]bool{}
			}
			apps[pod.Spec.NodeName][app] = true
		}
	}
	best := ""
	for node := range apps {
		if best == "" || len(apps[node]) > len(apps[best]) || (len(apps[node]) == len(apps[best]) && node < best) {
			best = node
		}
	}
	return best
}

// spread checks that no two pods of an app share a node.
func (s *story) spread(t *testing.T) {
	for _, name := range controlPlane() {
		until(t, s.pods(api.DefaultNamespace, "app="+name), podTime, func(pods []*corev1.Pod) string {
			nodes := map[string]string{}
			for _, pod := range pods {
				if other := nodes[pod.Spec.NodeName]; other != "" {
					return fmt.Sprintf("%s and %s are both on node %s", other, pod.Name, pod.Spec.NodeName)
				}
				nodes[pod.Spec.NodeName] = pod.Name
			}
			if len(nodes) < 2 {
				return fmt.Sprintf("%s has %d pods, want at least 2", name, len(nodes))
			}
			return ""
		})
	}
}
