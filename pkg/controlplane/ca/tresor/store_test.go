package tresor_test

import (
	"context"
	"crypto/elliptic"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/tresor"
	"github.com/osm-edge/osm/tests/catest"
)

const namespace = "osm-system"

var secretKind = schema.GroupResource{Resource: "secrets"}

// transient returns an error that an overloaded API server responds with.
func transient(i int) error {
	return []error{
		apierrors.NewConflict(secretKind, api.CABundleSecret, errors.New("try again")),
		apierrors.NewServerTimeout(secretKind, "create", 1),
		apierrors.NewTooManyRequests("slow down", 1),
		apierrors.NewInternalError(errors.New("etcd leader changed")),
		apierrors.NewServiceUnavailable("starting"),
		errors.New("connection refused"),
	}[i%6]
}

// makeUnreliable makes a third of all calls fail; every other failed Create has been carried out
// anyway, as after a timeout.
func makeUnreliable(client *fake.Clientset, seed uint64) {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 7))
	client.PrependReactor("*", "secrets", func(action k8stesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		if random.IntN(3) > 0 {
			return false, nil, nil
		}
		create, ok := action.(k8stesting.CreateAction)
		if ok && random.IntN(2) == 0 {
			err := client.Tracker().Create(action.GetResource(), create.GetObject(), action.GetNamespace())
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return true, nil, err
			}
		}
		return true, nil, transient(random.IntN(6))
	})
}

// TestLoadMakesOneRoot is HA-3 and R1: fifty replicas start at once in an empty cluster with an
// unreliable API server; there is one root and all hold it.
func TestLoadMakesOneRoot(t *testing.T) {
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) {
			client := fake.NewClientset()
			makeUnreliable(client, seed)
			fingerprints := make([]string, 50)
			var replicas sync.WaitGroup
			for i := range fingerprints {
				replicas.Go(func() {
					root, err := tresor.Store{Client: client, Namespace: namespace, Mesh: "osm"}.Load(t.Context())
					if err != nil {
						t.Errorf("replica %d: %v", i, err)
						return
					}
					fingerprints[i] = root.Fingerprint()
				})
			}
			replicas.Wait()
			for i, got := range fingerprints {
				if got == "" || got != fingerprints[0] {
					t.Errorf("seed %d: replica %d holds %q, replica 0 %q", seed, i, got, fingerprints[0])
				}
			}
			for _, action := range client.Actions() {
				if verb := action.GetVerb(); verb != "create" && verb != "get" {
					t.Errorf("a replica called %s", verb)
				}
			}
			list, err := client.Tracker().List(corev1.SchemeGroupVersion.WithResource("secrets"), corev1.SchemeGroupVersion.WithKind("Secret"), namespace)
			must(t, err)
			secrets := list.(*corev1.SecretList).Items
			if len(secrets) != 1 {
				t.Fatalf("%d Secrets, want 1", len(secrets))
			}
			stored, err := ca.ParseRoot(secrets[0].Data, time.Now())
			must(t, err)
			labels := secrets[0].Labels
			if stored.Fingerprint() != fingerprints[0] || labels[api.LabelName] != api.NameValue || labels[api.LabelInstance] != "osm" {
				t.Errorf("the cluster holds %s with labels %v", stored, labels)
			}
		})
	}
}

func rootSecret(data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: api.CABundleSecret}, Data: data}
}

// TestLoadUsesExistingSecret: a user's CA is used and not changed; a broken one is reported and
// not changed either.
func TestLoadUsesExistingSecret(t *testing.T) {
	own := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), nil, nil).Secret(t)
	tests := map[string]struct {
		data map[string][]byte
		want string
	}{
		"a user's CA": {data: own},
		"a broken one": {data: catest.SecretData(own[api.CAKeyCert], nil),
			want: `load root CA from Secret osm-system/osm-ca-bundle: key "private.key" is empty: put the CA's private key there as PEM`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(rootSecret(tt.data))
			_, err := tresor.Store{Client: client, Namespace: namespace, Mesh: "osm", Now: catest.At(catest.Today())}.Load(t.Context())
			if fmt.Sprint(err) != tt.want && (err != nil || tt.want != "") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			var fault *ca.RootError
			if tt.want != "" && !errors.As(err, &fault) {
				t.Errorf("%v is no *RootError", err)
			}
			stored, err := client.CoreV1().Secrets(namespace).Get(t.Context(), api.CABundleSecret, metav1.GetOptions{})
			must(t, err)
			if string(stored.Data[api.CAKeyPrivate]) != string(tt.data[api.CAKeyPrivate]) {
				t.Error("the user's Secret was changed")
			}
		})
	}
}

// TestLoadDistinguishesErrors: errors about the request itself are final; others are retried until ctx ends.
func TestLoadDistinguishesErrors(t *testing.T) {
	tests := map[string]struct {
		verb   string
		answer error
		final  bool
	}{
		"forbidden":            {"create", apierrors.NewForbidden(secretKind, api.CABundleSecret, errors.New("no role")), true},
		"namespace is missing": {"create", apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, namespace), true},
		"invalid":              {"create", apierrors.NewInvalid(schema.GroupKind{Kind: "Secret"}, "x", nil), true},
		"get forbidden":        {"get", apierrors.NewForbidden(secretKind, api.CABundleSecret, errors.New("no role")), true},
		"deleted since":        {"get", apierrors.NewNotFound(secretKind, api.CABundleSecret), false},
		"unavailable":          {"create", apierrors.NewServiceUnavailable("x"), false},
		"no connection":        {"create", errors.New("connection refused"), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := fake.NewClientset(rootSecret(nil))
				client.PrependReactor(tt.verb, "secrets", func(k8stesting.Action) (bool, runtime.Object, error) { return true, nil, tt.answer })
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				start := time.Now()
				_, err := tresor.Store{Client: client, Namespace: namespace, Mesh: "osm"}.Load(ctx)
				if !errors.Is(err, tt.answer) || !strings.Contains(err.Error(), "Secret osm-system/osm-ca-bundle") {
					t.Errorf("got %v, want the API server's error and the Secret's name", err)
				}
				if took := time.Since(start); tt.final != (took == 0) || !tt.final && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("gave up after %v with %v; final: %v", took, err, tt.final)
				}
				if n := len(client.Actions()); !tt.final && (n < 200 || n > 800) {
					t.Errorf("%d requests in an hour, want a pause of about ten seconds between attempts", n)
				}
			})
		})
	}
}

// TestWatch follows a root through every state; the informer is real, so real time passes.
func TestWatch(t *testing.T) {
	own := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), nil, nil)
	other := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), nil, nil)
	loaded, err := ca.ParseRoot(own.Secret(t), catest.Today())
	must(t, err)
	client := fake.NewClientset(rootSecret(own.Secret(t)))
	ctx, cancel := context.WithCancel(t.Context())
	reports, done := make(chan ca.RootStatus), make(chan error, 1)
	go func() {
		done <- tresor.Store{Client: client, Namespace: namespace, Mesh: "osm", Now: catest.At(catest.Today())}.Watch(ctx, loaded, func(s ca.RootStatus) { reports <- s })
	}()
	secrets := client.CoreV1().Secrets(namespace)
	put := func(data map[string][]byte) func() error {
		return func() error {
			_, err := secrets.Update(ctx, rootSecret(data), metav1.UpdateOptions{})
			return err
		}
	}
	steps := []struct {
		name  string
		do    func() error
		state ca.RootState
		ready bool
		words string
	}{
		{"at start", func() error { return nil }, ca.RootSame, true, ""},
		{"another root", put(other.Secret(t)), ca.RootDiffers, true, "holds a different root CA"},
		{"a broken one", put(catest.SecretData(own.CertPEM(), nil)), ca.RootBroken, true, `key "private.key" is empty`},
		{"restored", put(own.Secret(t)), ca.RootSame, true, ""},
		{"deleted", func() error { return secrets.Delete(ctx, api.CABundleSecret, metav1.DeleteOptions{}) }, ca.RootMissing, true, "is gone"},
		{"created again", func() error {
			_, err := secrets.Create(ctx, rootSecret(other.Secret(t)), metav1.CreateOptions{})
			return err
		}, ca.RootDiffers, true, loaded.Fingerprint()},
	}
	for _, step := range steps {
		must(t, step.do())
		select {
		case got := <-reports:
			if got.State != step.state || got.Ready() != step.ready || !strings.Contains(got.String(), step.words) || (got.State == ca.RootSame) != (got.String() == "") {
				t.Errorf("%s: got %+v, want %s with %q", step.name, got, step.state, step.words)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s: nothing reported", step.name)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch returned %v", err)
	}
	for _, action := range client.Actions() {
		if list, ok := action.(k8stesting.ListActionImpl); ok {
			if f := list.GetListRestrictions().Fields.String(); f != "metadata.name="+api.CABundleSecret {
				t.Errorf("listed Secrets with field selector %q: the Role allows this one only", f)
			}
		}
	}
}
