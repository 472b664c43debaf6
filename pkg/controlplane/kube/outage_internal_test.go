package kube

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// unreachable is how client-go reports a connection that fails.
func unreachable() error {
	return &url.Error{Op: "Get", URL: "https://api", Err: &net.OpError{Op: "dial", Err: errors.New("no route to host")}}
}

// TestOutageOfAnyLength: a reflector follows the API server again soon after an outage, however long it lasted and
// however the API server said that it was unavailable. Fails if the pauses grow with the outage.
func TestOutageOfAnyLength(t *testing.T) {
	failures := map[string]error{
		"unreachable": unreachable(),
		"starting":    apierrors.NewServiceUnavailable("starting"),
		"overloaded":  apierrors.NewTooManyRequests("storage is initializing", 1),
	}
	for name, failure := range failures {
		for lasts := 5 * time.Second; lasts < 5*time.Minute; lasts += 19 * time.Second {
			synctest.Test(t, func(t *testing.T) {
				if took := recovery(t, failure, lasts); took > 2*time.Second {
					t.Errorf("%s for %v: asked again after another %v; want 2s at most", name, lasts, took)
				}
			})
		}
	}
}

// recovery returns how long after an outage a reflector makes a request.
func recovery(t *testing.T, failure error, lasts time.Duration) time.Duration {
	t.Helper()
	var out atomic.Bool
	answered := make(chan time.Time, 1)
	out.Store(true)
	s := &source{name: "pods"}
	lists := s.noting(&cache.ListWatch{
		ListWithContextFunc: func(context.Context, metav1.ListOptions) (runtime.Object, error) {
			if out.Load() {
				return nil, failure
			}
			answered <- time.Now()
			return &corev1.PodList{}, nil
		},
		WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) { return watch.NewFake(), nil },
	}, slog.New(slog.DiscardHandler), time.Now)
	reflector := cache.NewReflectorWithOptions(noWatchList{lists}, &corev1.Pod{}, cache.NewStore(cache.MetaNamespaceKeyFunc), cache.ReflectorOptions{})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); reflector.RunWithContext(ctx) }()
	time.Sleep(lasts)
	healed := time.Now()
	out.Store(false)
	took := (<-answered).Sub(healed)
	stop()
	<-ended
	return took
}

// noWatchList makes a reflector list first.
type noWatchList struct{ *cache.ListWatch }

func (noWatchList) IsWatchListSemanticsUnSupported() bool { return true }

// TestPersists: only an API server that is unavailable is asked again at once. What else it says is an answer, which the
// reflector must see: it may have to start over.
func TestPersists(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	answers := map[string]error{
		"none":      nil,
		"gone":      apierrors.NewResourceExpired("too old"),
		"forbidden": apierrors.NewForbidden(pods, "", nil),
		"not found": apierrors.NewNotFound(pods, ""),
		"internal":  apierrors.NewInternalError(errors.New("decode")),
		"other":     errors.New("cannot be decoded"),
	}
	for name, answer := range answers {
		requests := 0
		_, err := persist(t.Context(), func() (int, error) { requests++; return 0, answer })
		if requests != 1 || !errors.Is(err, answer) {
			t.Errorf("%s: %d requests and %v; want one and the answer", name, requests, err)
		}
	}
}

// TestPersistsUntilTheEnd: a process that ends does not wait for the API server.
func TestPersistsUntilTheEnd(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	if _, err := persist(ctx, func() (int, error) { stop(); return 0, unreachable() }); err == nil {
		t.Error("a request that failed has no error")
	}
}

// TestBoundDial: an attempt to connect ends soon, so that the next one begins. Fails if it lasts as long as the network
// lets it.
func TestBoundDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := &rest.Config{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		BoundDial(config)
		start := time.Now()
		if _, err := config.Dial(t.Context(), "tcp", "api:443"); err == nil || time.Since(start) > dialTimeout {
			t.Errorf("a dial ended after %v with %v; want an error after %v", time.Since(start), err, dialTimeout)
		}
	})
}

// TestCheckConnections: what the environment says already stays.
func TestCheckConnections(t *testing.T) {
	t.Setenv("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "30")
	t.Setenv("HTTP2_PING_TIMEOUT_SECONDS", "")
	if err := CheckConnections(); err != nil {
		t.Fatal(err)
	}
	if idle, ping := os.Getenv("HTTP2_READ_IDLE_TIMEOUT_SECONDS"), os.Getenv("HTTP2_PING_TIMEOUT_SECONDS"); idle != "30" || ping != "4" {
		t.Errorf("checked after %q s, for %q s; want 30 and 4", idle, ping)
	}
}
