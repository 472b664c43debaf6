package tresor_test

import (
	"context"
	"crypto/elliptic"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/tresor"
	"github.com/osm-edge/osm/tests/catest"
)

// TestStartRecovers: a replica that starts with a broken root reports each fault once, in a sentence of
// its own, and starts by itself once the Secret is repaired.
func TestStartRecovers(t *testing.T) {
	good := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), nil, nil).Secret(t)
	cases := catest.BrokenRoots(t)
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(rootSecret(cases[0].Data))
		tresor := tresor.Store{Client: client, Namespace: namespace, Mesh: "osm", Now: catest.At(catest.Today())}
		var said []string
		started := make(chan *ca.Root, 1)
		go func() {
			root, err := tresor.Await(t.Context(), func(fault *ca.RootError) { said = append(said, fault.Error()) })
			if err != nil {
				t.Error(err)
			}
			started <- root
		}()
		put := func(data map[string][]byte) {
			_, err := client.CoreV1().Secrets(namespace).Update(t.Context(), rootSecret(data), metav1.UpdateOptions{})
			must(t, err)
			time.Sleep(20 * time.Second)
			synctest.Wait()
		}
		different := map[string]bool{}
		for i, broken := range cases {
			put(broken.Data)
			_, err := ca.ParseRoot(broken.Data, catest.Today())
			if len(said) == 0 || said[len(said)-1] != err.Error() {
				t.Fatalf("%s: reported %q, want %q at the end", broken.Name, said, err)
			}
			different[err.Error()] = true
			if len(said) > i+1 {
				t.Fatalf("%s: reported %d sentences about %d faults", broken.Name, len(said), i+1)
			}
		}
		if len(different) < 15 {
			t.Errorf("%d different sentences, want at least 15", len(different))
		}
		put(good)
		if root := <-started; root == nil {
			t.Error("not started")
		}
	})
}

// TestAwaitEnds checks that Await ends with its context, and at once where waiting is useless.
func TestAwaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		client := fake.NewClientset(rootSecret(nil))
		_, err := tresor.Store{Client: client, Namespace: namespace, Mesh: "osm"}.Await(ctx, func(*ca.RootError) {})
		var fault *ca.RootError
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &fault) {
			t.Errorf("got %v, want the context's error and the fault", err)
		}
		if n := len(client.Actions()); n < 180 || n > 420 {
			t.Errorf("%d requests in ten minutes, want one or two every few seconds", n)
		}
		if _, err := (tresor.Store{}).Await(ctx, func(*ca.RootError) { t.Error("reported a fault") }); err == nil {
			t.Error("accepted no client")
		}
	})
}

// TestRunningRecovers: a running replica keeps its root through every fault, reports which
// one it is, and reports each repair.
func TestRunningRecovers(t *testing.T) {
	good := catest.NewCA(t, catest.ECKey(t, elliptic.P256()), nil, nil).Secret(t)
	loaded, err := ca.ParseRoot(good, catest.Today())
	must(t, err)
	client := fake.NewClientset(rootSecret(good))
	ctx, cancel := context.WithCancel(t.Context())
	reports, done := make(chan ca.RootStatus), make(chan error, 1)
	go func() {
		done <- tresor.Store{Client: client, Namespace: namespace, Mesh: "osm", Now: catest.At(catest.Today())}.Watch(ctx, loaded, func(s ca.RootStatus) { reports <- s })
	}()
	next := func(what string) ca.RootStatus {
		select {
		case status := <-reports:
			return status
		case <-time.After(30 * time.Second):
			t.Fatalf("%s: nothing reported", what)
			return ca.RootStatus{}
		}
	}
	put := func(data map[string][]byte) {
		_, err := client.CoreV1().Secrets(namespace).Update(ctx, rootSecret(data), metav1.UpdateOptions{})
		must(t, err)
	}
	if status := next("at start"); status.State != ca.RootSame {
		t.Fatalf("at start: %+v", status)
	}
	different := map[string]bool{}
	for _, broken := range catest.BrokenRoots(t) {
		put(broken.Data)
		status := next(broken.Name)
		if status.State != ca.RootBroken || !status.Ready() || status.Err == nil {
			t.Errorf("%s: %+v", broken.Name, status)
		}
		different[status.String()] = true
		put(good)
		if status := next(broken.Name + ", repaired"); status.State != ca.RootSame || !status.Ready() {
			t.Errorf("%s, repaired: %+v", broken.Name, status)
		}
	}
	if len(different) < 15 {
		t.Errorf("%d different sentences, want at least 15", len(different))
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch returned %v", err)
	}
}
