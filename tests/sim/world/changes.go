package world

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// SetReady makes one endpoint of a service ready or not, as the endpoint controller does when a
// readiness probe changes its result.
func (w *World) SetReady(ctx context.Context, s *Service, pod int, ready bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if pod >= len(s.pods) {
		return errNoPod
	}
	s.pods[pod].Ready = ready
	return w.writeSlice(ctx, s, sliceObject(s))
}

// Toggle inverts the readiness of one endpoint and returns the new value.
func (w *World) Toggle(ctx context.Context, s *Service, pod int) (ready bool, err error) {
	s.mu.Lock()
	ready = !s.pods[pod].Ready
	s.mu.Unlock()
	return ready, w.SetReady(ctx, s, pod, ready)
}

// AddPod creates a pod that is not an endpoint yet.
func (w *World) AddPod(ctx context.Context, s *Service) (Pod, error) {
	pod := w.newPod(s)
	return pod, w.createPod(ctx, s, pod)
}

// AddPodSlowly is AddPod with a pause after each write.
func (w *World) AddPodSlowly(ctx context.Context, s *Service, after After) (Pod, error) {
	pod := w.newPod(s)
	return pod, w.steps(w.podSteps(ctx, s, pod), after)
}

// AddEndpoint makes a pod an endpoint of its service.
func (w *World) AddEndpoint(ctx context.Context, s *Service, pod Pod) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pods = append(s.pods, pod)
	return w.writeSlice(ctx, s, sliceObject(s))
}

// RemoveEndpoint removes a pod from its service; the pod stays.
func (w *World) RemoveEndpoint(ctx context.Context, s *Service, pod Pod) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pods = slices.DeleteFunc(s.pods, func(p Pod) bool { return p.Name == pod.Name })
	return w.writeSlice(ctx, s, sliceObject(s))
}

// DeletePod deletes a pod at once: there is no kubelet that would end it.
func (w *World) DeletePod(ctx context.Context, pod Pod) error {
	err := w.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr(int64(0))})
	return wrap(err, "delete Pod", pod.Namespace, pod.Name)
}

// After is called after each write of a change that takes several, with the write's name, so that
// their effects can be distinguished.
type After func(write string) error

// step is one write.
type step struct {
	name  string
	write func() error
}

func (w *World) steps(steps []step, after After) error {
	for _, s := range steps {
		if err := s.write(); err != nil {
			return err
		}
		if err := after(s.name); err != nil {
			return err
		}
	}
	return nil
}

func (w *World) podSteps(ctx context.Context, s *Service, pod Pod) []step {
	return []step{
		{"pod scheduled", func() error { return w.schedulePod(ctx, s, pod) }},
		{"pod runs", func() error { return w.runPod(ctx, s, pod) }},
	}
}

// AddService creates another service with one pod, write by write.
func (w *World) AddService(ctx context.Context, after After) (*Service, error) {
	s := w.plan(1)
	steps := []step{{"account", func() error { return w.createAccount(ctx, s) }}}
	steps = append(steps, w.podSteps(ctx, s, s.pods[0])...)
	steps = append(steps,
		step{"service", func() error { return w.createObject(ctx, s) }},
		step{"endpoints", func() error { return w.createSlice(ctx, s) }})
	if err := w.steps(steps, after); err != nil {
		return nil, err
	}
	w.Services = append(w.Services, s)
	return s, nil
}

// RemoveService deletes a service's Service and EndpointSlice, write by write; its pods stay.
func (w *World) RemoveService(ctx context.Context, s *Service, after After) error {
	return w.steps([]step{
		{"service", func() error {
			err := w.client.CoreV1().Services(s.Namespace).Delete(ctx, s.Name, metav1.DeleteOptions{})
			return wrap(err, "delete Service", s.Namespace, s.Name)
		}},
		{"endpoints", func() error {
			err := w.client.DiscoveryV1().EndpointSlices(s.Namespace).Delete(ctx, s.Name+"-0", metav1.DeleteOptions{})
			return wrap(err, "delete EndpointSlice of", s.Namespace, s.Name)
		}},
	}, after)
}

// Unseen returns changes that no proxy can see: they contain nothing that a mesh reads. Each makes its
// object differ from before, for any n.
func (w *World) Unseen() []Unseen {
	return []Unseen{
		{"annotation of a Service", w.annotateService},
		{"annotation of an EndpointSlice", w.annotateSlice},
		{"annotation of an injected pod", w.annotatePod},
		{"status of an injected pod", w.statusOfPod},
		{"annotation of a namespace", w.annotateNamespace},
		{"status of a pod outside the mesh", w.statusOutside},
		{"service outside the mesh", w.serviceOutside},
		{"endpoints outside the mesh", w.endpointsOutside},
	}
}

// Unseen is one kind of change that no proxy can see.
type Unseen struct {
	Name  string
	Apply func(ctx context.Context, n int) error
}

// outside is a namespace that no mesh monitors.
const outside = "outside"

func (w *World) at(n int) *Service { return w.Services[n%len(w.Services)] }

func annotation(n int) []byte {
	return fmt.Appendf(nil, `{"metadata":{"annotations":{"example.invalid/seen":"%d"}}}`, n)
}

func (w *World) annotateService(ctx context.Context, n int) error {
	s := w.at(n)
	_, err := w.client.CoreV1().Services(s.Namespace).Patch(ctx, s.Name, types.MergePatchType, annotation(n), metav1.PatchOptions{})
	return wrap(err, "annotate Service", s.Namespace, s.Name)
}

func (w *World) annotateSlice(ctx context.Context, n int) error {
	s := w.at(n)
	_, err := w.client.DiscoveryV1().EndpointSlices(s.Namespace).Patch(ctx, s.Name+"-0", types.MergePatchType, annotation(n), metav1.PatchOptions{})
	return wrap(err, "annotate EndpointSlice of", s.Namespace, s.Name)
}

func (w *World) annotatePod(ctx context.Context, n int) error {
	pod := w.at(n).Pods()[0]
	_, err := w.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, annotation(n), metav1.PatchOptions{})
	return wrap(err, "annotate Pod", pod.Namespace, pod.Name)
}

func (w *World) annotateNamespace(ctx context.Context, n int) error {
	_, err := w.client.CoreV1().Namespaces().Patch(ctx, teamName(n%w.shape.Namespaces), types.MergePatchType, annotation(n), metav1.PatchOptions{})
	return wrap(err, "annotate Namespace", "", teamName(n%w.shape.Namespaces))
}

func (w *World) statusOfPod(ctx context.Context, n int) error {
	s := w.at(n)
	pod := s.Pods()[0]
	object := podObject(s, pod)
	return w.writeStatus(ctx, object, n)
}

// writeStatus writes a pod's status with another time of the last probe in it.
func (w *World) writeStatus(ctx context.Context, object *corev1.Pod, n int) error {
	object.Status = heartbeat(object.Status, time.Unix(1e9+int64(n), 0))
	_, err := w.client.CoreV1().Pods(object.Namespace).UpdateStatus(ctx, object, metav1.UpdateOptions{})
	return wrap(err, "write the status of Pod", object.Namespace, object.Name)
}

// CreateOutside creates a namespace that is not in the mesh, with one service and one pod.
func (w *World) CreateOutside(ctx context.Context) error {
	if err := w.createNamespace(ctx, namespaceObject(outside, nil)); err != nil {
		return err
	}
	return w.createService(ctx, w.outsideService())
}

// outsideService is a service of the namespace outside; its pod has no proxy.
func (w *World) outsideService() *Service {
	s := &Service{Namespace: outside, Name: "stranger", index: 20000}
	s.pods = []Pod{{Namespace: outside, Name: "stranger", Account: "stranger", Addr: podAddr(4000, 1), Ready: true}}
	return s
}

func (w *World) statusOutside(ctx context.Context, n int) error {
	s := w.outsideService()
	return w.writeStatus(ctx, podObject(s, s.pods[0]), n)
}

func (w *World) serviceOutside(ctx context.Context, n int) error {
	_, err := w.client.CoreV1().Services(outside).Patch(ctx, "stranger", types.MergePatchType,
		fmt.Appendf(nil, `{"spec":{"selector":{"app":"stranger-%d"}}}`, n), metav1.PatchOptions{})
	return wrap(err, "patch Service", outside, "stranger")
}

func (w *World) endpointsOutside(ctx context.Context, n int) error {
	s := w.outsideService()
	s.pods[0].Addr = podAddr(4000, 1+n%200)
	return w.writeSlice(ctx, s, sliceObject(s))
}
