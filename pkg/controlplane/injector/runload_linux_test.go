package injector_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/injector"
)

// pod is an application's.
func pod(containers ...corev1.Container) *corev1.Pod {
	if containers == nil {
		containers = []corev1.Container{{Name: "app", Image: "app"}}
	}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "till-"}, Spec: corev1.PodSpec{Containers: containers}}
}

// admit asks the API server for a pod without keeping it: webhooks and plugins see it as any other.
func (f *fixture) admit(namespace string, pod *corev1.Pod) (*corev1.Pod, error) {
	return f.client.CoreV1().Pods(namespace).Create(f.t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

// admitted is an injected pod.
func (f *fixture) admitted(namespace string, pod *corev1.Pod) *corev1.Pod {
	f.t.Helper()
	got, err := f.admit(namespace, pod)
	f.must(err)
	if _, ok := got.Labels[api.LabelProxyUUID]; !ok {
		f.t.Fatalf("a pod of namespace %s has no sidecar", namespace)
	}
	return got
}

// load asks for pods all the time.
type load struct {
	f      *fixture
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex
	pods   int
	failed []error
}

func (f *fixture) load() *load {
	ctx, cancel := context.WithCancel(f.t.Context())
	l := &load{f: f, cancel: cancel}
	for range 4 {
		l.work.Go(func() {
			for ctx.Err() == nil {
				got, err := f.admit(shop, pod())
				if err == nil && got.Labels[api.LabelProxyUUID] == "" {
					err = errors.New("a pod has no sidecar")
				}
				l.mu.Lock()
				l.pods++
				if err != nil {
					l.failed = append(l.failed, err)
				}
				l.mu.Unlock()
			}
		})
	}
	f.t.Cleanup(func() { cancel(); l.work.Wait() })
	return l
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pods
}

// more waits for some more pods.
func (l *load) more() {
	l.f.t.Helper()
	want := l.count() + 20
	l.f.await("more pods are admitted", func() bool { return l.count() >= want })
}

// end expects that no pod was refused.
func (l *load) end() {
	l.f.t.Helper()
	l.cancel()
	l.work.Wait()
	if len(l.failed) > 0 {
		l.f.t.Errorf("%d of %d pods were refused, the first one: %v", len(l.failed), l.pods, l.failed[0])
	}
}

// review is the beginning and the end of a request for a pod of the shop.
func review() (head, tail string) {
	body := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","operation":"CREATE","namespace":"` + shop +
		`","resource":{"version":"v1","resource":"pods"},"object":{"spec":{"containers":[{"name":"app"}]}}}}`
	request := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: osm\r\nContent-Length: %d\r\n\r\n%s", injector.WebhookPath, len(body), body)
	return request[:len(request)-20], request[len(request)-20:]
}
