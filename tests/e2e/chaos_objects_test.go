//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"maps"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/tests/e2e/testapp/agent"
)

func deleteLease(c *chaosMesh, t *testing.T) {
	if err := c.kube.CoordinationV1().Leases(api.DefaultNamespace).Delete(t.Context(), api.ControllerLease, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// deleteRoot deletes the root's Secret, and waits until a replica that holds the root has put it back.
func deleteRoot(c *chaosMesh, t *testing.T) {
	root := c.takeRoot(t)
	c.rootIs(t, root)
}

// deleteRootAndKill also kills a controller, whose successor starts without the Secret.
func deleteRootAndKill(c *chaosMesh, t *testing.T) {
	root := c.takeRoot(t)
	killController(0)(c, t)
	c.rootIs(t, root)
}

// otherRoot puts a Secret with other data in the place of the root's, until putRootBack.
func otherRoot(change func(*corev1.Secret)) func(*chaosMesh, *testing.T) {
	return func(c *chaosMesh, t *testing.T) {
		root := c.takeRoot(t)
		other := root.DeepCopy()
		change(other)
		secrets := c.kube.CoreV1().Secrets(api.DefaultNamespace)
		if _, err := secrets.Create(t.Context(), other, metav1.CreateOptions{}); err != nil {
			t.Logf("a replica was faster, or the API server refused: %v", err)
		}
		c.undone = func() {
			now, err := secrets.Get(withoutTest(t), root.Name, metav1.GetOptions{})
			if err == nil && maps.EqualFunc(now.Data, root.Data, bytes.Equal) {
				return
			}
			if err := ignoreMissing(secrets.Delete(withoutTest(t), root.Name, metav1.DeleteOptions{})); err != nil {
				t.Error(err)
			}
			if _, err := secrets.Create(withoutTest(t), root, metav1.CreateOptions{}); err != nil {
				t.Logf("put the root back: %v", err)
			}
			c.rootIs(t, root)
		}
	}
}

func emptied(secret *corev1.Secret) { secret.Data = nil }

func replaced(secret *corev1.Secret) {
	for key := range secret.Data {
		secret.Data[key] = []byte("not a certificate")
	}
}

// takeRoot deletes the root's Secret and returns it as it was.
func (c *chaosMesh) takeRoot(t *testing.T) *corev1.Secret {
	t.Helper()
	secrets := c.kube.CoreV1().Secrets(api.DefaultNamespace)
	root := must(secrets.Get(t.Context(), api.CABundleSecret, metav1.GetOptions{}))(t)
	if err := secrets.Delete(t.Context(), root.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	root.ObjectMeta = metav1.ObjectMeta{Namespace: root.Namespace, Name: root.Name, Labels: root.Labels, Annotations: root.Annotations}
	return root
}

// rootIs waits until the root's Secret has the same data again.
func (c *chaosMesh) rootIs(t *testing.T, root *corev1.Secret) {
	t.Helper()
	eventually(t, podTime, func(ctx context.Context) string {
		now, err := c.kube.CoreV1().Secrets(api.DefaultNamespace).Get(ctx, root.Name, metav1.GetOptions{})
		switch {
		case err != nil:
			return err.Error()
		case !maps.EqualFunc(now.Data, root.Data, bytes.Equal):
			return "the Secret of the root has other data"
		}
		return ""
	})
}

// deleteProxySecrets deletes the certificates with which proxies connect to controllers, and lets a pod start, which waits
// for its account's Secret.
func deleteProxySecrets(c *chaosMesh, t *testing.T) {
	for _, a := range []app{c.client, c.server} {
		err := c.kube.CoreV1().Secrets(a.namespace).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: api.LabelProxyCertificate})
		if err != nil {
			t.Fatal(err)
		}
	}
	c.resize(t, c.flexible.namespace, c.flexible.name, 2)
}

// proxySecretsBack makes another replica the leader, which writes the missing Secrets at once, and waits for the pod.
func proxySecretsBack(c *chaosMesh, t *testing.T) {
	rollControllers(c, t)
	c.flex(t, 2)
	flexBack(c, t)
}

func deleteWebhookSecret(c *chaosMesh, t *testing.T) {
	err := c.kube.CoreV1().Secrets(api.DefaultNamespace).Delete(t.Context(), api.InjectorCertificateSecret, metav1.DeleteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.flex(t, 2)
}

// badObjects creates objects that the mesh cannot honor, beside those in use.
func badObjects(c *chaosMesh, t *testing.T) {
	services := c.kube.CoreV1().Services(nsServer)
	bad := map[string]corev1.ServiceSpec{
		"external": {Type: corev1.ServiceTypeExternalName, ExternalName: "nowhere.invalid"},
		"nobody":   {Selector: map[string]string{"app": "nobody"}, Ports: []corev1.ServicePort{port("http", 80, 80)}},
		"manual":   {Ports: []corev1.ServicePort{port("http", 80, 80)}},
		"protocol": {Selector: c.server.labels(), Ports: []corev1.ServicePort{port("http", 80, agent.PortTCP, "example.com/unknown")}},
		"mixed": {Selector: c.server.labels(), Ports: []corev1.ServicePort{
			{Name: "udp", Protocol: corev1.ProtocolUDP, Port: 53}, {Name: "sctp", Protocol: corev1.ProtocolSCTP, Port: 54},
		}},
	}
	for name, spec := range bad {
		must(services.Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "bad-" + name}, Spec: spec}, metav1.CreateOptions{}))(t)
	}
	must(c.kube.DiscoveryV1().EndpointSlices(nsServer).Create(t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "bad-manual", Labels: map[string]string{discoveryv1.LabelServiceName: "bad-manual"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"203.0.113.1"}}},
		Ports: []discoveryv1.EndpointPort{{Name: ptr("http"), Port: ptr(int32(80))}},
	}, metav1.CreateOptions{}))(t)
	bare := app{nsServer, "bad-pod", ""}
	template := c.server.template(c.env.testapp, "serve")
	pod := &corev1.Pod{ObjectMeta: bare.meta(), Spec: template.Spec}
	pod.Annotations = map[string]string{api.AnnotationInboundPortExclusion: "no port", api.AnnotationOutboundIPRangeExclusion: "10.0.0.0/99"}
	if _, err := c.kube.CoreV1().Pods(nsServer).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Logf("the bad pod is refused: %v", err)
	}
	c.undone = func() {
		for name := range bad {
			if err := services.Delete(withoutTest(t), "bad-"+name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		}
		if err := c.kube.CoreV1().Pods(nsServer).Delete(withoutTest(t), bare.name, metav1.DeleteOptions{}); ignoreMissing(err) != nil {
			t.Error(err)
		}
	}
}

func killInjector(c *chaosMesh, t *testing.T) {
	pod := c.ready(t, app{api.DefaultNamespace, api.AppInjector, ""}, replicas)[0]
	c.host.signal(t, syscall.SIGKILL, c.host.inPod(pod, controlPlaneProgram))
	c.flex(t, 2)
}
