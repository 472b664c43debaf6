package certmanager_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
	k8stesting "k8s.io/client-go/testing"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/certmanager"
)

var requestsResource = schema.GroupVersionResource{Group: "cert-manager.io", Version: "v1", Resource: "certificaterequests"}

// apiServer is a fake API server with an issuer behind it, for faults that real ones do not produce on demand.
// It serves the requests that the control plane may make; any other fails the test.
type apiServer struct {
	t      *testing.T
	client *fake.FakeDynamicClient
	signer *authority

	// Faults; each may be nil. fail is called before anything else, status makes the issuer's response, and
	// watch replaces a request's n-th watch, counted from 1.
	fail   func(verb string) error
	status func(spec map[string]any) map[string]any
	watch  func(n int, object *unstructured.Unstructured) (watch.Interface, error)
	// delay is how long the issuer takes to sign.
	delay time.Duration

	mu      sync.Mutex
	objects map[string]*unstructured.Unstructured
	watches map[string]int
	calls   map[string]int // by verb
	most    int            // objects at a time
	last    *unstructured.Unstructured
}

func newAPIServer(t *testing.T) *apiServer {
	s := &apiServer{
		t: t, signer: newAuthority(t, "root", nil, 365*24*time.Hour),
		objects: map[string]*unstructured.Unstructured{}, watches: map[string]int{}, calls: map[string]int{},
	}
	s.client = fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{requestsResource: "CertificateRequestList"})
	s.client.PrependReactor("*", "*", s.react)
	s.client.PrependWatchReactor("*", s.reactWatch)
	return s
}

// load returns an authority that has loaded its CA, and resets the counts.
func (s *apiServer) load(changes ...func(*certmanager.Config)) *certmanager.Authority {
	s.t.Helper()
	authority := s.authority(changes...)
	load(s.t, authority)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = map[string]int{}
	return authority
}

func (s *apiServer) authority(changes ...func(*certmanager.Config)) *certmanager.Authority {
	s.t.Helper()
	cfg := certmanager.Config{
		Client: contextClient{s.client}, Namespace: namespace, Mesh: "osm", TrustDomain: domain,
		Issuer: certmanager.IssuerRef{Name: "osm-ca"},
	}
	for _, change := range changes {
		change(&cfg)
	}
	authority, err := certmanager.New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return authority
}

func (s *apiServer) react(action k8stesting.Action) (bool, runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	verb := action.GetVerb()
	if action.GetResource() != requestsResource {
		verb += " " + action.GetResource().Resource
	}
	s.calls[verb]++
	if action.GetNamespace() != namespace {
		s.t.Errorf("%s in namespace %q", verb, action.GetNamespace())
	}
	if s.fail != nil {
		if err := s.fail(verb); err != nil {
			return true, nil, err
		}
	}
	switch verb {
	case "create":
		return s.create(action.(k8stesting.CreateAction).GetObject().(*unstructured.Unstructured))
	case "get":
		return s.get(action.(k8stesting.GetAction).GetName())
	case "delete":
		return s.remove(action.(k8stesting.DeleteAction).GetName())
	case "list":
		return s.list(action.(k8stesting.ListActionImpl).ListOptions)
	case "get issuers":
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "issuers"}, "osm-ca", nil)
	}
	s.t.Errorf("the control plane may not %s", verb)
	return true, nil, apierrors.NewMethodNotSupported(requestsResource.GroupResource(), verb)
}

func notFound(name string) error {
	return apierrors.NewNotFound(requestsResource.GroupResource(), name)
}

// create is called with s.mu held, as are the next methods.
func (s *apiServer) create(object *unstructured.Unstructured) (bool, runtime.Object, error) {
	name := object.GetName()
	if s.objects[name] != nil {
		return true, nil, apierrors.NewAlreadyExists(requestsResource.GroupResource(), name)
	}
	object = object.DeepCopy()
	object.SetResourceVersion("1")
	object.SetCreationTimestamp(metav1.Now())
	s.objects[name], s.last = object, object
	s.most = max(s.most, len(s.objects))
	return true, object.DeepCopy(), nil
}

func (s *apiServer) get(name string) (bool, runtime.Object, error) {
	if object := s.objects[name]; object != nil {
		return true, object.DeepCopy(), nil
	}
	return true, nil, notFound(name)
}

func (s *apiServer) remove(name string) (bool, runtime.Object, error) {
	if s.objects[name] == nil {
		return true, nil, notFound(name)
	}
	delete(s.objects, name)
	return true, nil, nil
}

// list returns two objects per page, sorted by name.
func (s *apiServer) list(options metav1.ListOptions) (bool, runtime.Object, error) {
	selector, err := labels.Parse(options.LabelSelector)
	if err != nil {
		return true, nil, err
	}
	list := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "cert-manager.io/v1", "kind": "CertificateRequestList"}}
	for name := range sortedKeys(s.objects) {
		if !selector.Matches(labels.Set(s.objects[name].GetLabels())) || name <= options.Continue {
			continue
		}
		if len(list.Items) == 2 {
			list.SetContinue(list.Items[1].GetName())
			break
		}
		list.Items = append(list.Items, *s.objects[name].DeepCopy())
	}
	return true, list, nil
}

func (s *apiServer) reactWatch(action k8stesting.Action) (bool, watch.Interface, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls["watch"]++
	fields := action.(k8stesting.WatchActionImpl).WatchRestrictions.Fields
	name, exact := fields.RequiresExactMatch("metadata.name")
	if !exact {
		s.t.Errorf("watches %q: want one request by its name", fields)
	}
	if s.fail != nil {
		if err := s.fail("watch"); err != nil {
			return true, nil, err
		}
	}
	object := s.objects[name]
	if object == nil {
		return true, watch.NewFakeWithChanSize(0, false), nil
	}
	s.watches[name]++
	if s.watch != nil {
		if watcher, err := s.watch(s.watches[name], object); watcher != nil || err != nil {
			return true, watcher, err
		}
	}
	return true, s.answering(object), nil
}

// answering returns a watch that sees the issuer's response after the delay.
func (s *apiServer) answering(object *unstructured.Unstructured) watch.Interface {
	watcher := watch.NewFakeWithChanSize(1, false)
	answered := s.answered(object)
	if answered == nil {
		return watcher
	}
	if s.delay == 0 {
		watcher.Modify(answered)
		return watcher
	}
	go func() {
		time.Sleep(s.delay) // in a bubble: the issuer's time
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.objects[object.GetName()] != nil {
			watcher.Modify(answered)
		}
	}()
	return watcher
}

// answered returns the object with the issuer's response; nil if there is none.
func (s *apiServer) answered(object *unstructured.Unstructured) *unstructured.Unstructured {
	status := map[string]any{}
	spec := object.Object["spec"].(map[string]any)
	if s.status != nil {
		status = s.status(spec)
	} else {
		maps.Copy(status, s.issued(spec))
	}
	if status == nil {
		return nil
	}
	object = object.DeepCopy()
	object.Object["status"] = status
	object.SetResourceVersion("2")
	return object
}

// issued returns the status of a signed request.
func (s *apiServer) issued(spec map[string]any) map[string]any {
	csr, err := base64.StdEncoding.DecodeString(spec["request"].(string))
	if err != nil {
		s.t.Error(err)
	}
	lifetime, err := time.ParseDuration(spec["duration"].(string))
	if err != nil {
		s.t.Error(err)
	}
	return map[string]any{
		"conditions":  []any{is("Approved", "cert-manager.io", ""), is("Ready", "Issued", "")},
		"certificate": base64.StdEncoding.EncodeToString(s.signer.answer(csr, lifetime)),
		"ca":          base64.StdEncoding.EncodeToString(s.signer.pem()),
	}
}

// is returns a condition with status True.
func is(kind, reason, message string) any {
	return map[string]any{"type": kind, "status": "True", "reason": reason, "message": message}
}

// notReady returns condition Ready with status False.
func notReady(reason, message string) any {
	return map[string]any{"type": "Ready", "status": "False", "reason": reason, "message": message}
}

// count returns the number of calls of a verb.
func (s *apiServer) count(verb string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[verb]
}

// wantNone fails if a request was left over.
func (s *apiServer) wantNone() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.objects) != 0 {
		s.t.Errorf("%d CertificateRequests are left, want none", len(s.objects))
	}
}

// change changes the faults under the lock.
func (s *apiServer) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// put stores a request of the given age.
func (s *apiServer) put(name, mesh string, age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "cert-manager.io/v1", "kind": "CertificateRequest"}}
	object.SetNamespace(namespace)
	object.SetName(name)
	object.SetLabels(map[string]string{certmanager.LabelRequest: mesh})
	object.SetCreationTimestamp(metav1.NewTime(time.Now().Add(-age)))
	s.objects[name] = object
}

// names returns the names of all requests, sorted.
func (s *apiServer) names() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name := range sortedKeys(s.objects) {
		names = append(names, name)
	}
	return fmt.Sprint(names)
}

// collect sets a Report that keeps what it receives.
func collect(into statuses) func(*certmanager.Config) {
	return func(cfg *certmanager.Config) { cfg.Report = func(s ca.RootStatus) { into <- s } }
}

// contextClient is a client that fails once its context has ended, as the real one does. The fake client does not
// check the context.
type contextClient struct{ dynamic.Interface }

func (p contextClient) Resource(resource schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	return contextResource{p.Interface.Resource(resource)}
}

type contextResource struct {
	dynamic.NamespaceableResourceInterface
}

func (p contextResource) Namespace(name string) dynamic.ResourceInterface {
	return contextObjects{p.NamespaceableResourceInterface.Namespace(name)}
}

type contextObjects struct{ dynamic.ResourceInterface }

func (p contextObjects) Delete(ctx context.Context, name string, options metav1.DeleteOptions, sub ...string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return p.ResourceInterface.Delete(ctx, name, options, sub...)
}
