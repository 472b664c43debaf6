package controller_test

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
)

// repairsProxySecrets: a proxies' Secret that somebody deleted is back soon after a pod needs it, although no replica may
// watch it. Fails if Secrets are probed by time only.
func (f *fixture) repairsProxySecrets() {
	f.t.Helper()
	account := f.world.Pods()[0].Account
	namespace := f.world.Pods()[0].Namespace
	secrets, name := f.client.CoreV1().Secrets(namespace), api.ProxySecretName(account)
	f.must(secrets.Delete(f.t.Context(), name, metav1.DeleteOptions{}))
	pod, err := f.client.CoreV1().Pods(namespace).Create(f.t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "needs-the-secret", Labels: map[string]string{api.LabelProxyUUID: "0e7f6f4e-needs"}},
		Spec:       corev1.PodSpec{ServiceAccountName: account, Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}, metav1.CreateOptions{})
	f.must(err)
	begun := time.Now()
	f.await("the proxies' Secret is back", func() bool {
		_, err := secrets.Get(f.t.Context(), name, metav1.GetOptions{})
		return err == nil
	})
	if took := time.Since(begun); took > 10*time.Second {
		f.t.Errorf("the Secret that a pod waits for is back after %v; want seconds", took)
	}
	f.must(f.client.CoreV1().Pods(namespace).Delete(f.t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
}
