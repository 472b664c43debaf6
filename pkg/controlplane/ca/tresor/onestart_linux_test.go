package tresor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/tresor"
	"github.com/osm-edge/osm/tests/realapi"
)

// faults is an unreliable connection to an API server: some requests are lost, some are carried out but
// their responses are lost, and some get a transient error.
type faults struct {
	next     http.RoundTripper
	injected *atomic.Int64
}

func (f faults) RoundTrip(r *http.Request) (*http.Response, error) {
	switch fate := rand.IntN(40); fate {
	case 0:
		f.injected.Add(1)
		return nil, errors.New("connection refused, on purpose")
	case 1, 2:
		f.injected.Add(1)
		response, err := f.next.RoundTrip(r)
		if err == nil {
			response.Body.Close()
		}
		return nil, context.DeadlineExceeded
	case 3, 4, 5, 6:
		f.injected.Add(1)
		code := []int{http.StatusConflict, http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusGatewayTimeout}[fate-3]
		body := fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"on purpose","code":%d}`, code)
		return &http.Response{
			StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
			Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader([]byte(body))), ContentLength: int64(len(body)),
		}, nil
	}
	return f.next.RoundTrip(r)
}

// TestFiftyStartAtOnce is R1 against a real API server: fifty replicas load the root in an empty
// namespace at the same moment over an unreliable connection; there is one root, all have it, and
// none had to restart. The test runs as many of 200 rounds as it can start in twenty seconds, or all
// of them with OSM_ALL_ROUNDS=true.
func TestFiftyStartAtOnce(t *testing.T) {
	server := realapi.Start(t)
	plain := server.Client(t)
	var injected atomic.Int64
	replicas := make([]kubernetes.Interface, 50)
	for i := range replicas {
		replicas[i] = unreliableClient(t, server, &injected)
	}
	all := os.Getenv("OSM_ALL_ROUNDS") == "true"
	begin, rounds := time.Now(), 0
	var running errgroup.Group
	running.SetLimit(16) // a round is mostly pauses
	for rounds < 200 && (all || time.Since(begin) < 20*time.Second) && !t.Failed() {
		namespace := fmt.Sprintf("round-%d", rounds)
		running.Go(func() error { return startTogether(t, plain, replicas, namespace) })
		rounds++
	}
	must(t, running.Wait())
	t.Logf("%d rounds of %d replicas in %v, %d faults", rounds, len(replicas), time.Since(begin).Round(time.Second), injected.Load())
	if rounds < 3 || injected.Load() == 0 {
		t.Errorf("%d rounds with %d faults prove nothing", rounds, injected.Load())
	}
}

func unreliableClient(t *testing.T, server *realapi.Server, injected *atomic.Int64) kubernetes.Interface {
	t.Helper()
	config := server.Config()
	client, err := rest.HTTPClientFor(config)
	must(t, err)
	t.Cleanup(client.CloseIdleConnections)
	replica, err := kubernetes.NewForConfigAndClient(config, &http.Client{Transport: faults{client.Transport, injected}, Timeout: client.Timeout})
	must(t, err)
	return replica
}

// startTogether runs one round in a namespace of its own.
func startTogether(t *testing.T, plain kubernetes.Interface, replicas []kubernetes.Interface, namespace string) error {
	_, err := plain.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	roots := make([]*ca.Root, len(replicas))
	var starting sync.WaitGroup
	gate := make(chan struct{})
	for i, client := range replicas {
		starting.Go(func() {
			<-gate
			root, err := tresor.Store{Client: client, Namespace: namespace, Mesh: "osm"}.Load(ctx)
			if err != nil {
				t.Errorf("%s: replica %d would have to restart: %v", namespace, i, err)
				return
			}
			roots[i] = root
		})
	}
	close(gate)
	starting.Wait()
	list, err := plain.CoreV1().Secrets(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		return err
	}
	if len(list.Items) != 1 {
		return fmt.Errorf("%s: %d Secrets, want 1", namespace, len(list.Items))
	}
	stored, err := ca.ParseRoot(list.Items[0].Data, time.Now())
	if err != nil {
		return err
	}
	for i, root := range roots {
		if root != nil && root.Fingerprint() != stored.Fingerprint() {
			t.Errorf("%s: replica %d has %s, the cluster holds %s", namespace, i, root, stored)
		}
	}
	return nil
}
