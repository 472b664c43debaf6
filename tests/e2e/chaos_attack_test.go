//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/tests/sim/hostile"
)

// attack lets a pod of the mesh attack the controllers with its own certificate, as package hostile can, until heal. It
// has a sidecar, too, which the controllers go on serving as far as the pod's limits allow.
func attack(c *chaosMesh, t *testing.T) {
	a := app{nsClient, "attacker", ""}
	c.account(t, a)
	service := must(c.kube.CoreV1().Services(api.DefaultNamespace).Get(t.Context(), api.AppController, metav1.GetOptions{}))(t)
	var own map[string][]byte
	eventually(t, podTime, func(ctx context.Context) string {
		secret, err := c.kube.CoreV1().Secrets(a.namespace).Get(ctx, api.ProxySecretName(a.name), metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		own = secret.Data
		return ""
	})
	plan := must(json.Marshal(hostile.Plan{
		Target: fmt.Sprintf("%s:%d", service.Spec.ClusterIP, api.PortXDS), ServerName: fmt.Sprintf("%s.%s.svc.cluster.local", service.Name, service.Namespace),
		Root: own[api.ProxyTrustFile], Node: a.namespace + "/" + a.name, Certificate: own[api.ProxyCertFile], Key: own[api.ProxyKeyFile], Lasts: time.Hour,
	}))(t)
	const folder, file = "/plan", "plan.json"
	must(c.kube.CoreV1().Secrets(a.namespace).Create(t.Context(), &corev1.Secret{ObjectMeta: a.meta(), Data: map[string][]byte{file: plan}}, metav1.CreateOptions{}))(t)
	template := a.template(c.env.testapp, "attack", folder+"/"+file)
	pod := &corev1.Pod{ObjectMeta: a.meta(), Spec: template.Spec}
	pod.Labels = map[string]string{"attacks": "true"} // it is no client
	pod.Annotations = map[string]string{api.AnnotationOutboundPortExclusion: fmt.Sprint(api.PortXDS)}
	pod.Spec.Volumes = []corev1.Volume{{Name: "plan", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: a.name}}}}
	attacker := &pod.Spec.Containers[0]
	attacker.VolumeMounts = []corev1.VolumeMount{{Name: "plan", MountPath: folder, ReadOnly: true}}
	// The rest of the machine is the mesh's.
	attacker.Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("300m"), corev1.ResourceMemory: resource.MustParse("256Mi")}
	before := c.limited(t)
	c.undone = func() {
		if now := c.limited(t); now <= before {
			t.Errorf("%d of the attacker's requests were refused", now-before)
		}
		now := metav1.DeleteOptions{GracePeriodSeconds: ptr(int64(0))}
		for what, err := range map[string]error{
			"pod":     c.kube.CoreV1().Pods(a.namespace).Delete(withoutTest(t), a.name, now),
			"Secret":  c.kube.CoreV1().Secrets(a.namespace).Delete(withoutTest(t), a.name, metav1.DeleteOptions{}),
			"account": c.kube.CoreV1().ServiceAccounts(a.namespace).Delete(withoutTest(t), a.name, metav1.DeleteOptions{}),
		} {
			if ignoreMissing(err) != nil {
				t.Errorf("delete the attacker's %s: %v", what, err)
			}
		}
	}
	must(c.kube.CoreV1().Pods(a.namespace).Create(t.Context(), pod, metav1.CreateOptions{}))(t)
	until(t, c.pods(a.namespace, "attacks=true"), podTime, only(func(pod *corev1.Pod) string {
		if pod.Status.Phase != corev1.PodRunning {
			return describe([]*corev1.Pod{pod})
		}
		return ""
	}))
}

// limited is how much the controllers have refused because of a limit.
func (c *chaosMesh) limited(t *testing.T) int {
	t.Helper()
	return c.counted(t, "osm_xds_limited_total", "")
}
