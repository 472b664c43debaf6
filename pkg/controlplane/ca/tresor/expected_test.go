package tresor_test

import (
	"context"
	"crypto/elliptic"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/tresor"
	"github.com/osm-edge/osm/tests/catest"
)

// TestNoSecondRoot: a mesh that is known to use a root gets no other one. A replica waits until the Secret has
// that root again, creates nothing, and says which root it waits for.
func TestNoSecondRoot(t *testing.T) {
	own := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), nil, nil)
	other := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), nil, nil)
	root, err := ca.ParseRoot(own.Secret(t), catest.Today())
	must(t, err)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		client := fake.NewClientset()
		asked := 0
		store := tresor.Store{Client: client, Namespace: namespace, Mesh: "osm", Now: catest.At(catest.Today())}
		store.Expected = func(context.Context) (tresor.Expected, error) {
			if asked++; asked == 1 {
				return tresor.Expected{}, errors.New("connection refused")
			}
			return tresor.Expected{Fingerprints: []string{"another", root.Fingerprint()}, Source: "the webhook"}, nil
		}
		var said []string
		loaded := make(chan *ca.Root, 1)
		go func() {
			got, err := store.Await(ctx, func(fault *ca.RootError) { said = append(said, fault.Error()) })
			if err != nil {
				t.Error(err)
			}
			loaded <- got
		}()
		wants := func(words ...string) {
			t.Helper()
			time.Sleep(time.Minute)
			synctest.Wait()
			last := append([]string{""}, said...)[len(said)]
			for _, word := range words {
				if !strings.Contains(last, word) {
					t.Errorf("said %q; want %q", last, word)
				}
			}
		}
		wants("is missing", "(the webhook)", "restore the Secret")
		secrets := client.CoreV1().Secrets(namespace)
		if list, err := secrets.List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) > 0 {
			t.Errorf("a replica created %v (%v); want nothing", list.Items, err)
		}
		_, err := secrets.Create(t.Context(), rootSecret(other.Secret(t)), metav1.CreateOptions{})
		must(t, err)
		wants("(the webhook)", "rotate-root")
		_, err = secrets.Update(t.Context(), rootSecret(own.Secret(t)), metav1.UpdateOptions{})
		must(t, err)
		if got := <-loaded; got.Fingerprint() != root.Fingerprint() {
			t.Errorf("loaded %v, want %v", got, root)
		}
		if len(said) != 2 {
			t.Errorf("said %q; want a sentence for each fault", said)
		}
	})
}

// TestRestore puts a deleted Secret back as it was, through an outage, and never changes one that exists.
func TestRestore(t *testing.T) {
	own := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), nil, nil)
	other := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), nil, nil)
	root, err := ca.ParseRoot(own.Secret(t), catest.Today())
	must(t, err)
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		failures := 2
		client.PrependReactor("create", "secrets", func(k8stesting.Action) (bool, runtime.Object, error) {
			failures--
			return failures >= 0, nil, apierrors.NewInternalError(errors.New("etcd is away"))
		})
		store := tresor.Store{Client: client, Namespace: namespace, Mesh: "osm", Now: catest.At(catest.Today())}
		begin := time.Now()
		store.Restore(t.Context(), root)
		if waited := time.Since(begin); waited < 5*time.Second {
			t.Errorf("restored after %v; want a pause in which the Secret may be created by somebody else", waited)
		}
		secrets := client.CoreV1().Secrets(namespace)
		secret, err := secrets.Get(t.Context(), api.CABundleSecret, metav1.GetOptions{})
		must(t, err)
		if got, err := ca.ParseRoot(secret.Data, catest.Today()); err != nil || got.Fingerprint() != root.Fingerprint() || secret.Labels[api.LabelInstance] != "osm" {
			t.Errorf("restored %v with labels %v (%v), want %v", got, secret.Labels, err, root)
		}
		_, err = secrets.Update(t.Context(), rootSecret(other.Secret(t)), metav1.UpdateOptions{})
		must(t, err)
		store.Restore(t.Context(), root)
		if secret, err = secrets.Get(t.Context(), api.CABundleSecret, metav1.GetOptions{}); err != nil || string(secret.Data[api.CAKeyCert]) != string(other.Secret(t)[api.CAKeyCert]) {
			t.Errorf("an existing Secret was changed (%v)", err)
		}
	})
}
