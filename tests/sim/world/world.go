package world

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Shape is the size of a mesh.
type Shape struct {
	// Services, each with its ServiceAccount and as many Pods.
	Services, Pods int
	// Namespaces that the services are spread over; zero means 10, or as many as there are services.
	Namespaces int
}

// maxPods is what fits into one EndpointSlice.
const maxPods = 100

func (s Shape) withDefaults() Shape {
	if s.Namespaces == 0 {
		s.Namespaces = min(10, s.Services)
	}
	return s
}

// Validate checks the ranges.
func (s Shape) Validate() error {
	if s.Services < 1 || s.Services > 10000 || s.Pods < 1 || s.Pods > maxPods || s.Namespaces > s.Services {
		return fmt.Errorf("shape %+v: want 1 to 10000 services, 1 to %d pods each and no more namespaces than services", s, maxPods)
	}
	return nil
}

// Pod is an injected pod.
type Pod struct {
	Namespace, Name, Account string
	Addr                     netip.Addr
	Ready                    bool
}

// String is namespace/name.
func (p Pod) String() string { return p.Namespace + "/" + p.Name }

// Service is one service of the mesh with its pods.
type Service struct {
	Namespace, Name string
	index           int

	mu   sync.Mutex
	pods []Pod
}

// Pods returns a copy of the pods, in the order of the EndpointSlice.
func (s *Service) Pods() []Pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Pod(nil), s.pods...)
}

// World is a mesh in an API server. Its methods may be called concurrently for different services.
type World struct {
	// Services are those that Create made.
	Services []*Service

	client kubernetes.Interface
	shape  Shape
	mesh   string

	mu   sync.Mutex
	born int // pods that were ever created
}

// writers is the number of concurrent requests.
const writers = 8

// New returns a world that has no objects yet. config must have no rate limit.
func New(config *rest.Config, shape Shape, mesh string) (*World, error) {
	shape = shape.withDefaults()
	if err := shape.Validate(); err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.ContentType = "application/vnd.kubernetes.protobuf" // the cheaper encoding on both sides
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client of the API server: %w", err)
	}
	return newWorld(client, shape, mesh), nil
}

func newWorld(client kubernetes.Interface, shape Shape, mesh string) *World {
	return &World{client: client, shape: shape, mesh: mesh}
}

// Pods are all pods of the mesh, the first pod of each service first.
func (w *World) Pods() []Pod {
	var pods []Pod
	for i := range w.shape.Pods {
		for _, s := range w.Services {
			if all := s.Pods(); i < len(all) {
				pods = append(pods, all[i])
			}
		}
	}
	return pods
}

// Create creates the mesh's namespace, the namespaces of the services, and the services.
func (w *World) Create(ctx context.Context, meshNamespace string) error {
	if err := w.createNamespace(ctx, namespaceObject(meshNamespace, nil)); err != nil {
		return err
	}
	return w.createTeams(ctx)
}

func (w *World) createTeams(ctx context.Context) error {
	for i := range w.shape.Namespaces {
		if err := w.createNamespace(ctx, memberNamespace(teamName(i), w.mesh)); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for range w.shape.Services {
		s := w.plan(w.shape.Pods)
		w.Services = append(w.Services, s)
		group.Go(func() error { return w.createService(ctx, s) })
	}
	return group.Wait()
}

// plan decides the names and addresses of the next service.
func (w *World) plan(pods int) *Service {
	index := len(w.Services)
	s := &Service{Namespace: teamName(index % w.shape.Namespaces), Name: fmt.Sprintf("svc-%04d", index), index: index}
	for range pods {
		s.pods = append(s.pods, w.newPod(s))
	}
	return s
}

func (w *World) createNamespace(ctx context.Context, ns *corev1.Namespace) error {
	_, err := w.client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create namespace %s: %w", ns.Name, err)
	}
	return nil
}

func (w *World) createService(ctx context.Context, s *Service) error {
	if err := w.createAccount(ctx, s); err != nil {
		return err
	}
	for _, pod := range s.pods {
		if err := w.createPod(ctx, s, pod); err != nil {
			return err
		}
	}
	if err := w.createObject(ctx, s); err != nil {
		return err
	}
	return w.createSlice(ctx, s)
}

func (w *World) createAccount(ctx context.Context, s *Service) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name}}
	_, err := w.client.CoreV1().ServiceAccounts(s.Namespace).Create(ctx, account, metav1.CreateOptions{})
	return wrap(err, "create ServiceAccount", s.Namespace, s.Name)
}

func (w *World) createObject(ctx context.Context, s *Service) error {
	_, err := w.client.CoreV1().Services(s.Namespace).Create(ctx, serviceObject(s), metav1.CreateOptions{})
	return wrap(err, "create Service", s.Namespace, s.Name)
}

func (w *World) createSlice(ctx context.Context, s *Service) error {
	_, err := w.client.DiscoveryV1().EndpointSlices(s.Namespace).Create(ctx, sliceObject(s), metav1.CreateOptions{})
	return wrap(err, "create EndpointSlice of", s.Namespace, s.Name)
}

// createPod creates a pod and gives it the status of a running one.
func (w *World) createPod(ctx context.Context, s *Service, pod Pod) error {
	if err := w.schedulePod(ctx, s, pod); err != nil {
		return err
	}
	return w.runPod(ctx, s, pod)
}

// schedulePod creates a pod that does not run yet: it has no address.
func (w *World) schedulePod(ctx context.Context, s *Service, pod Pod) error {
	_, err := w.client.CoreV1().Pods(pod.Namespace).Create(ctx, podObject(s, pod), metav1.CreateOptions{})
	return wrap(err, "create Pod", pod.Namespace, pod.Name)
}

// runPod gives a pod the status of a running one. There is no other writer, so no version is needed.
func (w *World) runPod(ctx context.Context, s *Service, pod Pod) error {
	_, err := w.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, podObject(s, pod), metav1.UpdateOptions{})
	return wrap(err, "write the status of Pod", pod.Namespace, pod.Name)
}

// writeSlice writes the EndpointSlice for the current pods. s.mu must be held.
func (w *World) writeSlice(ctx context.Context, s *Service, slice *discoveryv1.EndpointSlice) error {
	_, err := w.client.DiscoveryV1().EndpointSlices(s.Namespace).Update(ctx, slice, metav1.UpdateOptions{})
	return wrap(err, "update EndpointSlice of", s.Namespace, s.Name)
}

func wrap(err error, what, namespace, name string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s/%s: %w", what, namespace, name, err)
}

var errNoPod = errors.New("no such pod")
