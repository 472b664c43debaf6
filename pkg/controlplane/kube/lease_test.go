package kube_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"github.com/osm-edge/osm/pkg/controlplane/kube"
)

// leaders counts the replicas that lead.
type leaders struct {
	mu        sync.Mutex
	now, most int
}

func (l *leaders) add(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now += n
	l.most = max(l.most, l.now)
}

func (l *leaders) get() (now, most int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now, l.most
}

// elect runs replicas that want to lead, until stop is called.
func (l *leaders) elect(t *testing.T, client func() kubernetes.Interface, names ...string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var electors sync.WaitGroup
	for _, name := range names {
		electors.Go(func() {
			lease := kube.Lease{Client: client(), Namespace: "default", Name: "leader", Holder: name, Log: slog.New(slog.DiscardHandler)}
			err := lease.Run(ctx, func(ctx context.Context) {
				l.add(1)
				defer l.add(-1)
				<-ctx.Done()
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s ended: %v", name, err)
			}
		})
	}
	return func() { cancel(); electors.Wait() }
}

// leaseServer gives Leases a UID and a resource version, and checks both in updates, as an API server does.
func leaseServer() *fake.Clientset {
	client := fake.NewClientset()
	var mu sync.Mutex
	var current *coordinationv1.Lease
	born := 0
	client.PrependReactor("*", "leases", func(action k8stesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		resource := action.GetResource().GroupResource()
		store := func(object runtime.Object, uid types.UID) (bool, runtime.Object, error) {
			lease, ok := object.(*coordinationv1.Lease)
			if !ok {
				return true, nil, errors.New("no Lease")
			}
			born++
			current = lease.DeepCopy()
			current.UID, current.ResourceVersion = uid, fmt.Sprint(born)
			return true, current.DeepCopy(), nil
		}
		if create, ok := action.(k8stesting.CreateAction); ok && action.GetVerb() == "create" {
			if current != nil {
				return true, nil, apierrors.NewAlreadyExists(resource, "leader")
			}
			return store(create.GetObject(), types.UID(fmt.Sprint("uid-", born)))
		}
		if current == nil {
			return true, nil, apierrors.NewNotFound(resource, "leader")
		}
		switch a := action.(type) {
		case k8stesting.UpdateAction:
			lease, ok := a.GetObject().(*coordinationv1.Lease)
			if !ok || lease.ResourceVersion != current.ResourceVersion || lease.UID != current.UID {
				return true, nil, apierrors.NewConflict(resource, "leader", errors.New("it has changed"))
			}
			return store(lease, current.UID)
		case k8stesting.DeleteAction:
			current = nil
			return true, nil, nil
		default:
			return true, current.DeepCopy(), nil
		}
	})
	return client
}

// TestOneLeader: two replicas never lead at once, whenever somebody deletes their Lease, and one leads when that stops.
// Fails if a leader does not notice that its Lease is gone, or if its successor does not wait for it.
func TestOneLeader(t *testing.T) {
	for _, every := range []time.Duration{100 * time.Millisecond, 700 * time.Millisecond, 3 * time.Second, 17 * time.Second} {
		t.Run(every.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := leaseServer()
				var leading leaders
				stop := leading.elect(t, func() kubernetes.Interface { return client }, "first", "second")
				defer stop()
				time.Sleep(5 * time.Second)
				if now, _ := leading.get(); now != 1 {
					t.Errorf("%d replicas lead after 5 s", now)
				}
				for begun := time.Now(); time.Since(begun) < 2*time.Minute; time.Sleep(every) {
					err := client.CoordinationV1().Leases("default").Delete(t.Context(), "leader", metav1.DeleteOptions{})
					if err != nil && !apierrors.IsNotFound(err) {
						t.Fatal(err)
					}
				}
				time.Sleep(30 * time.Second)
				if now, most := leading.get(); now != 1 || most > 1 {
					t.Errorf("%d replicas lead 30 s after the last deletion, and up to %d did at once", now, most)
				}
			})
		})
	}
}

// TestLeaderNoticesLostLease: a leader stops at its next renewal if its Lease is gone, or is another's. Fails if it goes on
// until its renewals have failed for long.
func TestLeaderNoticesLostLease(t *testing.T) {
	for _, replaced := range []bool{false, true} {
		t.Run(fmt.Sprint("replaced=", replaced), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := leaseServer()
				leases := client.CoordinationV1().Leases("default")
				var leading leaders
				defer leading.elect(t, func() kubernetes.Interface { return client }, "first")()
				time.Sleep(5 * time.Second)
				err := leases.Delete(t.Context(), "leader", metav1.DeleteOptions{})
				if err == nil && replaced {
					now := metav1.NewMicroTime(time.Now())
					_, err = leases.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "leader"}, Spec: coordinationv1.LeaseSpec{
						HolderIdentity: new("other"), LeaseDurationSeconds: new(int32(15)), AcquireTime: &now, RenewTime: &now,
					}}, metav1.CreateOptions{})
				}
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * time.Second)
				if now, _ := leading.get(); now != 0 {
					t.Error("a replica leads 3 s after its Lease has gone")
				}
			})
		})
	}
}

// TestLeaderIsGivenUpAfterWork: a leader that is told to stop gives the Lease up when its work has ended, not before.
func TestLeaderIsGivenUpAfterWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := leaseServer()
		ctx, cancel := context.WithCancel(t.Context())
		holder := func() string { return holderOf(t, client) }
		ended := make(chan error, 1)
		go func() {
			lease := kube.Lease{Client: client, Namespace: "default", Name: "leader", Holder: "first", Log: slog.New(slog.DiscardHandler)}
			ended <- lease.Run(ctx, func(ctx context.Context) {
				<-ctx.Done()
				time.Sleep(4 * time.Second) // the last write
				if got := holder(); got != "first" {
					t.Errorf("the Lease is held by %q while the leader works", got)
				}
			})
		}()
		time.Sleep(time.Second)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want the context's end", err)
		}
		if got := holder(); got != "" {
			t.Errorf("the Lease is held by %q after the end", got)
		}
	})
}

// over returns a client of the server of which some requests fail.
func over(server *fake.Clientset, fails func(k8stesting.Action) bool) kubernetes.Interface {
	client := fake.NewClientset()
	client.PrependReactor("*", "leases", func(action k8stesting.Action) (bool, runtime.Object, error) {
		if fails(action) {
			return true, nil, errors.New("the network is cut")
		}
		object, err := server.Invokes(action, &coordinationv1.Lease{})
		return true, object, err
	})
	return client
}

func holderOf(t *testing.T, client kubernetes.Interface) string {
	t.Helper()
	lease, err := client.CoordinationV1().Leases("default").Get(t.Context(), "leader", metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// TestLeaderThatCannotRenew: a leader that cannot renew the Lease stops before it expires, and does not give up a
// Lease while its last write goes on. Fails if client-go gives it up.
func TestLeaderThatCannotRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, cut := leaseServer(), &atomic.Bool{}
		renewals := func(action k8stesting.Action) bool { // only these: whatever gives the Lease up gets through
			update, ok := action.(k8stesting.UpdateAction)
			if !ok || !cut.Load() {
				return false
			}
			lease, ok := update.GetObject().(*coordinationv1.Lease)
			return ok && *lease.Spec.HolderIdentity == "first"
		}
		ctx, cancel := context.WithCancel(t.Context())
		started, stopped := make(chan time.Time, 1), make(chan time.Time, 1)
		ended := make(chan error, 1)
		var once sync.Once
		go func() {
			lease := kube.Lease{Client: over(server, renewals), Namespace: "default", Name: "leader", Holder: "first", Log: slog.New(slog.DiscardHandler)}
			ended <- lease.Run(ctx, func(ctx context.Context) {
				once.Do(func() {
					started <- time.Now()
					<-ctx.Done()
					stopped <- time.Now()
					cut.Store(false)
					time.Sleep(2 * time.Second) // the last write
					if got := holderOf(t, server); got != "first" {
						t.Errorf("the Lease is held by %q while the leader works", got)
					}
				})
				<-ctx.Done()
			})
		}()
		begun := <-started
		cut.Store(true)
		if led := (<-stopped).Sub(begun); led >= 15*time.Second {
			t.Errorf("the leader goes on for %v; its Lease has expired by then", led)
		}
		time.Sleep(time.Minute)
		if got := holderOf(t, server); got != "first" {
			t.Errorf("the Lease is held by %q; want the replica to lead again", got)
		}
		cancel()
		<-ended //nolint:errcheck // the context's
	})
}

// TestFormerLeaderLeavesTheLease: a leader that was cut off comes back when another replica leads, and leaves it the
// Lease.
func TestFormerLeaderLeavesTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, cut := leaseServer(), &atomic.Bool{}
		leading := &leaders{}
		stopFirst := leading.elect(t, func() kubernetes.Interface { return over(server, func(k8stesting.Action) bool { return cut.Load() }) }, "first")
		time.Sleep(time.Second)
		stopSecond := leading.elect(t, func() kubernetes.Interface { return server }, "second")
		time.Sleep(5 * time.Second)
		cut.Store(true)
		for holderOf(t, server) != "second" {
			time.Sleep(100 * time.Millisecond)
		}
		cut.Store(false)
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			if got := holderOf(t, server); got != "second" {
				t.Fatalf("the Lease is held by %q, and second leads", got)
			}
		}
		if _, most := leading.get(); most != 1 {
			t.Errorf("%d replicas led at once", most)
		}
		stopFirst()
		stopSecond()
	})
}
