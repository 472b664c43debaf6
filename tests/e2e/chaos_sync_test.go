//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/tests/e2e/testapp/agent"
)

// probing is how often an agent tries the mark, and probeTime how long: a proxy that does not know it lets the connection
// through to a server that says nothing.
const (
	probing   = 100 * time.Millisecond
	probeTime = time.Second
)

// mark is a Service that is created during a fault: a proxy is in sync when its application reaches it over mTLS,
// which no proxy allows that does not know it.
type mark struct {
	c     *chaosMesh
	name  string
	begin time.Time

	cancel  context.CancelFunc
	running sync.WaitGroup
	all     chan struct{} // closed when all proxies are in sync

	mu                sync.Mutex
	waiting           map[string]string // the proxies that are not in sync, and why
	total             int
	last              time.Time // when the last proxy got in sync, of which pod, and why it was not before
	lastPod, lastNote string
}

// mark creates one, as soon as the API server accepts it, and lets every agent try it. The time counts from now, or from its
// creation if the API server is away.
func (c *chaosMesh) mark(t *testing.T) *mark {
	t.Helper()
	c.marks++
	m := &mark{c: c, name: fmt.Sprintf("mark-%d", c.marks), begin: time.Now(), all: make(chan struct{}), waiting: map[string]string{}}
	ctx, cancel := context.WithCancel(t.Context())
	m.cancel = cancel
	t.Cleanup(func() { cancel(); m.running.Wait() })
	m.waiting["the API server"] = "does not accept the Service"
	m.running.Go(func() { m.start(ctx) })
	return m
}

func (m *mark) start(ctx context.Context) {
	object := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: m.c.server.namespace, Name: m.name},
		Spec:       corev1.ServiceSpec{Selector: m.c.server.labels(), Ports: []corev1.ServicePort{port("http-mark", portAlias, agent.PortHTTP)}},
	}
	slow := 0
	for ctx.Err() == nil {
		made, pods, err := m.create(ctx, object)
		if err == nil {
			m.mu.Lock()
			if slow > 0 {
				m.begin = time.Now()
			}
			delete(m.waiting, "the API server")
			m.total = len(pods)
			for _, pod := range pods {
				m.waiting[pod.Name] = "not asked"
			}
			m.mu.Unlock()
			for _, pod := range pods {
				m.running.Go(func() { m.probe(ctx, pod, fmt.Sprintf("%s:%d", made.Spec.ClusterIP, portAlias)) })
			}
			return
		}
		slow++
		m.note("the API server", err.Error())
		idle(ctx, probing)
	}
}

// create makes the Service and returns the pods whose proxies run at that time, ready or not.
func (m *mark) create(ctx context.Context, object *corev1.Service) (*corev1.Service, []*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	services := m.c.kube.CoreV1().Services(object.Namespace)
	made, err := services.Create(ctx, object, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) { // an attempt took effect after it had timed out
		made, err = services.Get(ctx, object.Name, metav1.GetOptions{})
	}
	if err != nil {
		return nil, nil, err
	}
	var pods []*corev1.Pod
	for _, a := range []app{m.c.client, m.c.server} {
		some, err := m.c.listPods(ctx, a.namespace, a.selector())
		if err != nil {
			return nil, nil, err
		}
		pods = append(pods, slices.DeleteFunc(some, func(pod *corev1.Pod) bool {
			return pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning || pod.Spec.NodeName == m.c.stoppedNode
		})...)
	}
	return made, pods, nil
}

// probe tries until the call is answered by a server that saw the pod's identity.
func (m *mark) probe(ctx context.Context, pod *corev1.Pod, address string) {
	want := app{namespace: pod.Namespace, name: pod.Spec.ServiceAccountName}.spiffe()
	call := agent.Call{Protocol: agent.HTTP, Address: address}
	for ctx.Err() == nil {
		answer, err := m.ask(ctx, pod, call)
		switch {
		case err != nil:
			m.note(pod.Name, err.Error())
		case !answer.OK():
			m.note(pod.Name, answer.Error)
		case answer.Seen.Peer != want:
			m.note(pod.Name, "the server saw peer "+answer.Seen.Peer)
		default:
			m.done(pod.Name)
			return
		}
		idle(ctx, probing)
	}
}

func (m *mark) ask(ctx context.Context, pod *corev1.Pod, call agent.Call) (agent.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	return agentOf(pod).Call(ctx, call)
}

func (m *mark) note(who, why string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting[who] = why
}

func (m *mark) done(who string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last, m.lastPod, m.lastNote = time.Now(), who, m.waiting[who]
	delete(m.waiting, who)
	if len(m.waiting) == 0 {
		close(m.all)
	}
}

// restart counts the time from now: a fault that lasts is undone.
func (m *mark) restart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.begin = time.Now()
}

// inSync returns how many proxies are.
func (m *mark) inSync() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, away := m.waiting["the API server"]; away {
		return 0
	}
	return m.total - len(m.waiting)
}

func (m *mark) proxies() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.total
}

// wait waits for the last proxy, for at most podTime. It returns the time until then, and what is missing if it is above
// within; the time is negative if a proxy never was in sync.
func (m *mark) wait(t *testing.T, within time.Duration) (time.Duration, string) {
	t.Helper()
	timer := time.NewTimer(podTime)
	defer timer.Stop()
	select {
	case <-m.all:
	case <-timer.C:
	case <-t.Context().Done():
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.waiting) > 0 {
		var late []string
		for who, why := range m.waiting {
			late = append(late, who+": "+why)
		}
		slices.Sort(late)
		return -time.Second, strings.Join(late, "; ")
	}
	took := max(m.last.Sub(m.begin), 0)
	if took > within {
		return took, fmt.Sprintf("%s was the last after %s: %s", m.lastPod, took, m.lastNote)
	}
	return took, ""
}

// remove deletes the Service and ends the probes.
func (m *mark) remove(t *testing.T) {
	t.Helper()
	m.cancel()
	m.running.Wait()
	if err := m.c.kube.CoreV1().Services(m.c.server.namespace).Delete(withoutTest(t), m.name, metav1.DeleteOptions{}); ignoreMissing(err) != nil {
		t.Errorf("delete Service %s: %v", m.name, err)
	}
}

// idle waits between two attempts.
func idle(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
