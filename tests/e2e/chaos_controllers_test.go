//go:build e2e

package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osm-edge/osm/pkg/api"
)

// controlPlaneProgram is the name of the process in a pod of the control plane.
const controlPlaneProgram = "osm-controlplane"

func nothing(*chaosMesh, *testing.T) {}

// killController kills the process of one replica, by its place: the first has most proxies.
func killController(i int) func(*chaosMesh, *testing.T) {
	return func(c *chaosMesh, t *testing.T) {
		c.host.signal(t, syscall.SIGKILL, c.host.inPod(c.controllers(t)[i], controlPlaneProgram))
	}
}

func killLeader(c *chaosMesh, t *testing.T) {
	c.host.signal(t, syscall.SIGKILL, c.host.inPod(c.leader(t), controlPlaneProgram))
}

func killControllers(c *chaosMesh, t *testing.T) {
	var pids []int
	for _, pod := range c.controllers(t) {
		pids = append(pids, c.host.inPod(pod, controlPlaneProgram)...)
	}
	c.host.signal(t, syscall.SIGKILL, pids)
}

func deleteController(c *chaosMesh, t *testing.T) {
	pod := c.controllers(t)[0]
	if err := c.kube.CoreV1().Pods(pod.Namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr(int64(0))}); err != nil {
		t.Fatal(err)
	}
}

func rollControllers(c *chaosMesh, t *testing.T) { c.roll(t, api.DefaultNamespace, api.AppController) }

// roll replaces a Deployment's pods as kubectl rollout restart does, and waits for the end.
func (c *chaosMesh) roll(t *testing.T, namespace, name string) {
	t.Helper()
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"e2e/restarted":%q}}}}}`, time.Now().Format(time.RFC3339Nano))
	deployment := must(c.kube.AppsV1().Deployments(namespace).Patch(t.Context(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}))(t)
	until(t, c.deployments(namespace, name), podTime, rolledOut(deployment.Generation))
}

func rolledOut(generation int64) func([]*appsv1.Deployment) string {
	return only(func(d *appsv1.Deployment) string {
		if st := d.Status; st.ObservedGeneration < generation || st.UpdatedReplicas < *d.Spec.Replicas || st.Replicas > st.UpdatedReplicas || st.AvailableReplicas < st.UpdatedReplicas {
			return fmt.Sprintf("%d of %d replicas are available, %d up to date", st.AvailableReplicas, st.Replicas, st.UpdatedReplicas)
		}
		return ""
	})
}

// scaleControllers sets the number of controllers again and again, and waits each time until they are available.
func scaleControllers(numbers ...int32) func(*chaosMesh, *testing.T) {
	return func(c *chaosMesh, t *testing.T) {
		for _, n := range numbers {
			c.scaleController(t, n)
			until(t, c.pods(api.DefaultNamespace, "app="+api.AppController), podTime, allAvailable(int(n)))
		}
	}
}

func scaleBack(c *chaosMesh, t *testing.T) { c.scaleController(t, replicas) }

func noControllers(c *chaosMesh, t *testing.T) {
	c.scaleController(t, 0)
	c.gone(t, api.DefaultNamespace, "app="+api.AppController)
}

// longWithoutController takes all controllers away. Then a server's Envoy dies, which gets no configuration again, so that the
// endpoints change, and another pod is to start.
func longWithoutController(c *chaosMesh, t *testing.T) {
	noControllers(c, t)
	killEnvoy(c, t)
	c.resize(t, c.flexible.namespace, c.flexible.name, 2)
}

func controllersAndFlexBack(c *chaosMesh, t *testing.T) {
	scaleBack(c, t)
	c.flex(t, 2)
	flexBack(c, t)
}

// rollBack puts the control plane of another commit in the place of this one's, and lets a pod start that has a sidecar of that
// one's, until rollForward.
func rollBack(c *chaosMesh, t *testing.T) {
	c.upgrade(t, c.env.previousOSM, c.env.previousImage)
	c.flex(t, 2)
}

func rollForward(c *chaosMesh, t *testing.T) {
	c.upgrade(t, c.env.osm, c.env.controlPlane)
	flexBack(c, t)
}

// upgrade runs `osm upgrade` of a program with an image of the control plane, and waits as it does until the replicas are
// available.
func (c *chaosMesh) upgrade(t *testing.T, program, image string) {
	t.Helper()
	env := c.env
	env.osm, env.controlPlane = program, image
	other := &story{cluster: c.cluster, env: env}
	if text, err := other.tryOSM(withoutTest(t), append([]string{"upgrade", "--allow-downgrade"}, env.imageValues()...)...); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}
