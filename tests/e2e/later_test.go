//go:build e2e

package e2e

import (
	"context"
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
	"slices"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/tests/catest"
	"github.com/osm-edge/osm/tests/e2e/testapp/agent"
)

// laterWebhook adds a container with a probe to a pod after osm's webhook was asked, so that the API server asks that one
// again. The pod has one sidecar, which answers the probe of the added container, too.
func (s *story) laterWebhook(t *testing.T) {
	a := app{namespace: s.meshNamespace(t, "e2e-later"), name: "guarded"}
	hook := app{namespace: s.namespace(t, "e2e-later-webhook"), name: "webhook"}
	t.Cleanup(func() { s.deleteNamespace(t, hook.namespace) })
	s.startWebhook(t, hook, a.namespace)

	// The API server hears of the webhook a moment after it is created.
	template := a.server(s.env.testapp)
	eventually(t, effectTime, func(ctx context.Context) string {
		pod, err := s.kube.CoreV1().Pods(a.namespace).Create(ctx, trial(a, template), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return err.Error()
		}
		if len(pod.Spec.Containers) == 1 {
			return "the later webhook was not called"
		}
		return ""
	})
	pod := s.deployAs(t, a, 1, template)[0]
	var names []string
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		names = append(names, c.Name)
	}
	if want := []string{api.ContainerInit, api.ContainerEnvoy, container, agent.Companion}; !slices.Equal(names, want) {
		t.Fatalf("pod %s has the containers %v, want %v", pod.Name, names, want)
	}
	added := pod.Spec.Containers[1]
	if saw, want := added.Env[0].Value, fmt.Sprintf("%s %s %s", api.ContainerInit, api.ContainerEnvoy, container); saw != want {
		t.Errorf("the other webhook saw the containers %q, want %q: it was not called after osm's, so the step shows nothing", saw, want)
	}
	for _, c := range pod.Spec.Containers {
		if probe := c.ReadinessProbe.HTTPGet; probe == nil || probe.Port.IntValue() != api.PortReadinessProbe {
			t.Errorf("the kubelet probes container %s by %+v, want the sidecar's port %d", c.Name, c.ReadinessProbe.ProbeHandler, api.PortReadinessProbe)
		}
	}
	s.serves(t, a)
}

// startWebhook runs a webhook for the pods of a namespace. It is removed first of all when the step ends, because pods of
// that namespace cannot be created without it.
func (s *story) startWebhook(t *testing.T, hook app, namespace string) {
	t.Helper()
	key := catest.ECKey(t, elliptic.P256())
	own := catest.NewCA(t, key, nil, func(c *x509.Certificate) {
		c.DNSNames = []string{fmt.Sprintf("%s.%s.svc", hook.name, hook.namespace)}
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	})
	must(s.kube.CoreV1().Secrets(hook.namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: hook.meta(), Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: own.CertPEM(), corev1.TLSPrivateKeyKey: own.KeyPEM(t)},
	}, metav1.CreateOptions{}))(t)
	const folder = "/tls"
	template := hook.template(s.env.testapp, "webhook", folder, s.env.testapp)
	template.Spec.Volumes = []corev1.Volume{{Name: "tls", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: hook.name}}}}
	template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "tls", MountPath: folder, ReadOnly: true}}
	template.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: tcpHandler(agent.PortWebhook), PeriodSeconds: 1, TimeoutSeconds: 5}
	s.serviceOf(t, hook, hook.name, "", port("https", 443, agent.PortWebhook))
	s.deployAs(t, hook, 1, template)

	webhooks := s.kube.AdmissionregistrationV1().MutatingWebhookConfigurations()
	path, none := agent.PathWebhook, admissionv1.SideEffectClassNone
	object := &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "zz-e2e-later"}, // webhooks are called in the order of these names
		Webhooks: []admissionv1.MutatingWebhook{{
			Name: "later.e2e.example.com", SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionv1.WebhookClientConfig{
				Service: &admissionv1.ServiceReference{Namespace: hook.namespace, Name: hook.name, Path: &path}, CABundle: own.CertPEM(),
			},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
		}},
	}
	t.Cleanup(func() {
		if err := ignoreMissing(webhooks.Delete(withoutTest(t), object.Name, metav1.DeleteOptions{})); err != nil {
			t.Errorf("delete the later webhook: %v", err)
		}
	})
	must(webhooks.Create(t.Context(), object, metav1.CreateOptions{}))(t)
}
