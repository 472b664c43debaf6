package certmanager_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/osm-edge/osm/pkg/controlplane/ca/certmanager"
	"github.com/osm-edge/osm/tests/realapi"
)

// testLeftovers has requests of a crashed process, and one that is not ours.
func testLeftovers(t *testing.T, c *cluster) {
	root := newAuthority(t, "root", nil, 24*time.Hour)
	requests := c.resource("certificaterequests").Namespace(namespace)
	leave := func(name string, labels map[string]any) {
		object := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "cert-manager.io/v1", "kind": "CertificateRequest",
			"metadata": map[string]any{"name": name, "labels": labels},
			"spec":     map[string]any{"request": "bm9uZQ==", "issuerRef": map[string]any{"name": "none"}},
		}}
		if _, err := requests.Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = requests.Delete(context.Background(), name, metav1.DeleteOptions{}) }) // may be deleted already
	}
	leave("osm-left", map[string]any{certmanager.LabelRequest: "osm"})
	leave("other-mesh", map[string]any{certmanager.LabelRequest: "other"})
	leave("somebodys", map[string]any{"app": "x"})

	c.loaded(t, certmanager.KindIssuer, root)
	if n := c.count(t); n != 2 {
		t.Errorf("%d requests of meshes, want both: they are recent", n)
	}
	late := c.newProvider(t, certmanager.KindIssuer, func(cfg *certmanager.Config) { cfg.Now = func() time.Time { return time.Now().Add(6 * time.Minute) } })
	load(t, late)
	list, err := requests.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, item := range list.Items {
		names = append(names, item.GetName())
	}
	if !slices.Equal(names, []string{"other-mesh", "somebodys"}) {
		t.Errorf("requests left: %v, want those that are not this mesh's", names)
	}
}

// testThousand has a replica that starts with a thousand identities.
func testThousand(t *testing.T, c *cluster) {
	const identities, callers, bound = 1000, 64, 8
	provider := c.loaded(t, certmanager.KindIssuer, newAuthority(t, "root", nil, 24*time.Hour), func(cfg *certmanager.Config) { cfg.MaxInFlight = bound })
	var live, most, made, removed atomic.Int64
	c.follow(t, func(event watch.Event, _ string) {
		switch event.Type {
		case watch.Added:
			made.Add(1)
			most.Store(max(most.Load(), live.Add(1)))
		case watch.Deleted:
			live.Add(-1)
			removed.Add(1)
		}
	})
	begin := time.Now()
	var next atomic.Int64
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for i := next.Add(1); i <= identities; i = next.Add(1) {
				if _, err := provider.Issue(t.Context(), serviceRequest(fmt.Sprintf("account-%d", i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	took := time.Since(begin)
	c.wantNone(t)
	eventually(t, "the watch to see the last one go", func() error {
		if n := removed.Load(); n != identities {
			return fmt.Errorf("%d were deleted", n)
		}
		return nil
	})
	if made.Load() != identities || most.Load() > bound {
		t.Errorf("%d requests were made, %d at a time; want %d and at most %d", made.Load(), most.Load(), identities, bound)
	}
	if most.Load() < bound/2 {
		t.Errorf("at most %d requests at a time: the bound of %d is not used", most.Load(), bound)
	}
	t.Logf("%d certificates in %v, at most %d requests at a time", identities, took, most.Load())
}

// testServerDown stops the API server while the mesh runs.
func testServerDown(t *testing.T, c *cluster) {
	c.startCertManager(t)
	var log logged
	provider := c.loaded(t, certmanager.KindIssuer, newAuthority(t, "root", nil, 24*time.Hour), logTo(&log))
	c.server.Stop()
	_, err := provider.Issue(t.Context(), serviceRequest("bookbuyer"))
	wantReason(t, err, certmanager.Refused, "create", "check the API server")
	c.startServer()
	eventually(t, "recovery", func() error {
		_, err := provider.Issue(t.Context(), serviceRequest("bookbuyer"))
		return err
	})
	c.wantNone(t)
}

// testKilled stops cert-manager as a crash does, and starts it again.
func testKilled(t *testing.T, c *cluster, manager *realapi.Process) {
	provider := c.loaded(t, certmanager.KindIssuer, newAuthority(t, "root", nil, 24*time.Hour), timeout(time.Second))
	manager.Stop()
	_, err := provider.Issue(t.Context(), serviceRequest("bookbuyer"))
	wantReason(t, err, certmanager.Unanswered, "neither approved nor denied", "check that cert-manager is running")
	c.wantNone(t)
	c.startCertManager(t)
	eventually(t, "recovery", func() error {
		_, err := provider.Issue(t.Context(), serviceRequest("bookbuyer"))
		return err
	})
	c.wantNone(t)
}

// testNeverAnswered has no approver at first, then one.
func testNeverAnswered(t *testing.T, c *cluster) {
	root := newAuthority(t, "root", nil, 24*time.Hour)
	c.putCA(t, certmanager.KindIssuer, root, nil)
	c.putIssuer(t, certmanager.KindIssuer)
	provider := c.newProvider(t, certmanager.KindIssuer, timeout(time.Second))
	approved := c.decide(t, "Approved", "by the test")
	load(t, provider)
	approved()

	begin := time.Now()
	_, err := provider.Issue(t.Context(), serviceRequest("bookbuyer"))
	wantReason(t, err, certmanager.Unanswered, "neither approved nor denied before the timeout (at most 1s)", "approval policy")
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v, want a little more than the timeout of 1s", took)
	}
	c.wantNone(t)

	c.decide(t, "Approved", "by the test")
	if _, err := provider.Issue(t.Context(), serviceRequest("bookbuyer")); err != nil {
		t.Errorf("not recovered: %v", err)
	}
	c.wantNone(t)
}

// testDenied has an approval policy that denies, at start and later.
func testDenied(t *testing.T, c *cluster) {
	root := newAuthority(t, "root", nil, 24*time.Hour)
	c.putCA(t, certmanager.KindIssuer, root, nil)
	c.putIssuer(t, certmanager.KindIssuer)
	provider := c.newProvider(t, certmanager.KindIssuer)
	denied := c.decide(t, "Denied", "names outside the policy")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	err := provider.Load(ctx)
	wantReason(t, err, certmanager.Denied, "names outside the policy", "approval policy")
	c.wantNone(t)
	denied()

	approved := c.decide(t, "Approved", "by the test")
	load(t, provider)
	approved()
	c.decide(t, "Denied", "names outside the policy")
	begin := time.Now()
	_, err = provider.Issue(t.Context(), serviceRequest("bookbuyer"))
	wantReason(t, err, certmanager.Denied, "spiffe://cluster.local/")
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v: a denial ends the wait", took)
	}
	c.wantNone(t)
}
