//go:build e2e

package e2e

import (
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
)

// flex sets the number of the flexible servers and waits until they are available; every fault that changes it ends
// with flexBack.
func (c *chaosMesh) flex(t *testing.T, n int32) {
	t.Helper()
	c.resize(t, c.flexible.namespace, c.flexible.name, n)
	until(t, c.pods(nsServer, "set="+c.flexible.name), podTime, allAvailable(int(n)))
}

func flexBack(c *chaosMesh, t *testing.T) { c.resize(t, c.flexible.namespace, c.flexible.name, 1) }

func scaleServers(c *chaosMesh, t *testing.T) {
	for _, n := range []int32{4, 1} {
		c.flex(t, n)
	}
}

func rollServers(c *chaosMesh, t *testing.T) { c.roll(t, c.flexible.namespace, c.flexible.name) }

func evictServer(c *chaosMesh, t *testing.T) {
	pod := until(t, c.pods(nsServer, "set="+c.flexible.name), podTime, allAvailable(1))[0]
	err := c.kube.CoreV1().Pods(nsServer).EvictV1(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: nsServer, Name: pod.Name}})
	if err != nil {
		t.Fatal(err)
	}
}

// killServerWithoutController loses a server while nobody can say so to the proxies.
func killServerWithoutController(c *chaosMesh, t *testing.T) {
	noControllers(c, t)
	c.killServer(t)
}

func killServer(c *chaosMesh, t *testing.T) { c.killServer(t) }

func (c *chaosMesh) killServer(t *testing.T) {
	t.Helper()
	pod := until(t, c.pods(nsServer, "set="+c.flexible.name), podTime, allAvailable(1))[0]
	if err := c.kube.CoreV1().Pods(nsServer).Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr(int64(0))}); err != nil {
		t.Fatal(err)
	}
}

// killEnvoy kills the proxy of a server, which its kubelet starts again.
func killEnvoy(c *chaosMesh, t *testing.T) {
	pod := until(t, c.pods(nsServer, "set="+c.flexible.name), podTime, allAvailable(1))[0]
	c.host.signal(t, syscall.SIGKILL, c.host.inPod(pod, "envoy"))
}

// throttle gives controllers a tenth of a CPU, until heal.
func throttle(which func(*chaosMesh, *testing.T) []*corev1.Pod) func(*chaosMesh, *testing.T) {
	return func(c *chaosMesh, t *testing.T) { c.throttle(t, which(c, t)) }
}

func (c *chaosMesh) throttle(t *testing.T, pods []*corev1.Pod) {
	t.Helper()
	var restore []func()
	c.undone = func() {
		for _, undo := range restore {
			undo()
		}
	}
	for _, pod := range pods {
		restore = append(restore, c.host.throttle(t, pod, 10))
	}
}

const (
	dnsNamespace, dnsDeployment = metav1.NamespaceSystem, "coredns"
	dnsReplicas                 = 2
)

// noDNS takes the cluster's DNS away and kills a controller: proxies must find another without it.
func noDNS(c *chaosMesh, t *testing.T) {
	c.resize(t, dnsNamespace, dnsDeployment, 0)
	c.gone(t, dnsNamespace, "k8s-app=kube-dns")
	killController(0)(c, t)
}

func dnsBack(c *chaosMesh, t *testing.T) {
	c.resize(t, dnsNamespace, dnsDeployment, dnsReplicas)
	until(t, c.pods(dnsNamespace, "k8s-app=kube-dns"), podTime, allAvailable(dnsReplicas))
}

// noInjector takes the injectors away while a pod is to start, which must wait for them.
func noInjector(c *chaosMesh, t *testing.T) {
	c.resize(t, api.DefaultNamespace, api.AppInjector, 0)
	c.gone(t, api.DefaultNamespace, "app="+api.AppInjector)
	c.resize(t, c.flexible.namespace, c.flexible.name, 2)
}

func injectorBack(c *chaosMesh, t *testing.T) {
	c.resize(t, api.DefaultNamespace, api.AppInjector, replicas)
	until(t, c.pods(api.DefaultNamespace, "app="+api.AppInjector), podTime, allAvailable(replicas))
	c.flex(t, 2)
	flexBack(c, t)
}

func rollInjectors(c *chaosMesh, t *testing.T) { c.roll(t, api.DefaultNamespace, api.AppInjector) }
