package secrets_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"github.com/osm-edge/osm/pkg/api"
)

// apiServer handles applies and deletes of Secrets as the real one does, as far as it matters
// here: dry runs store nothing, a TLS Secret must hold data, its type cannot change, owners of
// fields are remembered, and a delete may demand a uid. Anything else fails the test.
type apiServer struct {
	t      *testing.T
	client *fake.Clientset

	mu       sync.Mutex
	secrets  map[string]*corev1.Secret
	uids     int
	fail     func(verb, name string) error
	requests []string
}

func newAPIServer(t *testing.T) *apiServer {
	s := &apiServer{t: t, client: fake.NewClientset(), secrets: map[string]*corev1.Secret{}}
	s.client.PrependReactor("*", "*", s.react)
	return s
}

func (s *apiServer) react(action k8stesting.Action) (bool, runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch a := action.(type) {
	case k8stesting.PatchActionImpl:
		if a.PatchType == types.ApplyPatchType && a.GetResource().Resource == "secrets" {
			secret, err := s.apply(a)
			return true, secret, err
		}
	case k8stesting.DeleteActionImpl:
		return true, nil, s.remove(a)
	}
	s.t.Errorf("the control plane may not %s %s", action.GetVerb(), action.GetResource().Resource)
	return true, nil, errors.New("not allowed")
}

func (s *apiServer) apply(a k8stesting.PatchActionImpl) (*corev1.Secret, error) {
	dry, key := len(a.PatchOptions.DryRun) > 0, a.GetNamespace()+"/"+a.GetName()
	verb := map[bool]string{true: "probe", false: "write"}[dry]
	s.requests = append(s.requests, verb+" "+key)
	if s.fail != nil {
		if err := s.fail(verb, key); err != nil {
			return nil, err
		}
	}
	var wanted corev1.Secret
	if err := json.Unmarshal(a.GetPatch(), &wanted); err != nil {
		return nil, err
	}
	result := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: a.GetNamespace(), Name: a.GetName(), UID: types.UID(fmt.Sprint("uid-", s.uids+1))}, Type: wanted.Type}
	if old := s.secrets[key]; old != nil {
		result = old.DeepCopy()
	}
	if result.Type != wanted.Type {
		return nil, invalid(field.Invalid(field.NewPath("type"), wanted.Type, "field is immutable"))
	}
	merge(result, &wanted, a.PatchOptions.FieldManager)
	if result.Type == corev1.SecretTypeTLS && result.Data["tls.crt"] == nil {
		data := field.NewPath("data")
		return nil, invalid(field.Required(data.Key("tls.crt"), ""), field.Required(data.Key("tls.key"), ""))
	}
	if !dry {
		s.uids++
		s.secrets[key] = result.DeepCopy()
	}
	return result, nil
}

// merge adds what was applied, and the manager to the owners of the label.
func merge(result, wanted *corev1.Secret, manager string) {
	if result.Labels == nil {
		result.Labels = map[string]string{}
	}
	if result.Labels[api.LabelProxyCertificate] != wanted.Labels[api.LabelProxyCertificate] {
		result.ManagedFields = nil // forced: the other owners lose the label
	}
	maps.Copy(result.Labels, wanted.Labels)
	if wanted.Data != nil {
		result.Data, result.OwnerReferences = wanted.Data, wanted.OwnerReferences
	}
	result.ManagedFields = append(result.ManagedFields, labelOwner(manager, slices.Sorted(maps.Keys(wanted.Labels))...))
}

func labelOwner(manager string, labels ...string) metav1.ManagedFieldsEntry {
	owned := map[string]struct{}{}
	for _, label := range labels {
		owned["f:"+label] = struct{}{}
	}
	text, _ := json.Marshal(map[string]any{"f:metadata": map[string]any{"f:labels": owned}})
	fields := &metav1.FieldsV1{}
	fields.SetRawBytes(text)
	return metav1.ManagedFieldsEntry{Manager: manager, FieldsV1: fields}
}

func (s *apiServer) remove(a k8stesting.DeleteActionImpl) error {
	key := a.GetNamespace() + "/" + a.GetName()
	s.requests = append(s.requests, "delete "+key)
	if s.fail != nil {
		if err := s.fail("delete", key); err != nil {
			return err
		}
	}
	old := s.secrets[key]
	if old == nil {
		return apierrors.NewNotFound(secretKind, a.GetName())
	}
	if p := a.DeleteOptions.Preconditions; p == nil || *p.UID != old.UID {
		return apierrors.NewConflict(secretKind, a.GetName(), errors.New("uid"))
	}
	delete(s.secrets, key)
	return nil
}

func invalid(errs ...*field.Error) error {
	return apierrors.NewInvalid(schema.GroupKind{Kind: "Secret"}, "x", errs)
}

// took returns the requests since the last call, sorted.
func (s *apiServer) took() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := s.requests
	s.requests = nil
	slices.Sort(requests)
	return requests
}

func (s *apiServer) put(key string, secret *corev1.Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	secret.Namespace, secret.Name, _ = strings.Cut(key, "/")
	secret.UID = types.UID("foreign-" + key)
	s.secrets[key] = secret
}

func (s *apiServer) secret(key string) *corev1.Secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.secrets[key]
}

// lose deletes a Secret behind the control plane's back.
func (s *apiServer) lose(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.secrets, key)
}
