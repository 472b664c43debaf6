package controlplane_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/controlplane/ingest"
)

const (
	liveEndpoint = "10.77.0.101"
	// Packets to these addresses are dropped, as those to a pod that is gone often are.
	deadEndpoint, otherDeadEndpoint = "10.78.0.1", "10.78.0.2"
	// oneTimeout is how long a request may take that is sent to a dead endpoint once, and twiceTimeout twice.
	oneTimeout, twiceTimeout = 3500 * time.Millisecond, 4900 * time.Millisecond
)

// startClientOf starts a client of the Service web (10.96.0.50) with an HTTP port, 80, and one of bytes, 7777.
func startClientOf(t *testing.T, endpoints ...string) *livePod {
	t.Helper()
	objects := client()
	at := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}, {Name: new("tcp-game"), Port: new(int32(7777))}},
	}
	for _, address := range endpoints {
		at.Endpoints = append(at.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}})
	}
	objects.EndpointSlices = []*discoveryv1.EndpointSlice{at}
	objects.Services = []*corev1.Service{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.50", ClusterIPs: []string{"10.96.0.50"},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "tcp-game", Port: 7777}}},
	}}
	if _, problems := ingest.Build(objects); len(problems) > 0 {
		t.Fatal(problems)
	}
	p := startClient(t, objects)
	p.client.Sysctl(t, "net/ipv4/ip_forward", "0") // so that it answers nothing for the dead endpoints
	return p
}

// outcomes are what requests came to.
type outcomes struct {
	mu    sync.Mutex
	lost  []string
	took  []time.Duration
	bySrv map[string]int
}

func (o *outcomes) add(server string, err error, took time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.took = append(o.took, took)
	if err != nil {
		o.lost = append(o.lost, err.Error())
		return
	}
	o.bySrv[server]++
}

// percentile of the time that the requests took.
func (o *outcomes) percentile(p int) time.Duration {
	slices.Sort(o.took)
	return o.took[(len(o.took)-1)*p/100]
}

// requests sends n requests from each of some clients at once, each client one after another on its own connection,
// for at most half a minute.
func (p *livePod) requests(clients, n int) *outcomes {
	p.t.Helper()
	o := &outcomes{bySrv: map[string]int{}}
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
				return p.pod.Dial(net.Dialer{Timeout: time.Second}, "10.96.0.50:80", appUID)
			}}
			defer transport.CloseIdleConnections()
			for range n {
				begun := time.Now()
				server, err := askOnce(ctx, transport)
				o.add(server, err, time.Since(begun))
			}
		})
	}
	group.Wait()
	return o
}

func askOnce(ctx context.Context, transport http.RoundTripper) (server string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://web.shop/", nil)
	if err != nil {
		return "", err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	server = response.Header.Get("Server-Address")
	if server == "" {
		return "", fmt.Errorf("status %d of no server", response.StatusCode)
	}
	return server, nil
}

// ejected is the number of endpoints of port 80 of the Service web that the proxy has ejected.
func (p *livePod) ejected() int {
	p.t.Helper()
	found := regexp.MustCompile(`shop/web\|80\.outlier_detection\.ejections_active: (\d+)`).FindStringSubmatch(p.admin("/stats?filter=ejections_active"))
	if found == nil {
		return 0
	}
	n, _ := strconv.Atoi(found[1])
	return n
}

// TestDeadEndpointLosesNothing asks a real Envoy for a Service with an endpoint that drops all packets, as
// happens while no controller tells proxies that a pod is gone. No request and no connection may be lost, and only
// the first ones may wait. Fails without outlier detection, without retries, with a timeout of 5 s, and without
// more attempts to connect.
func TestDeadEndpointLosesNothing(t *testing.T) {
	p := startClientOf(t, liveEndpoint, deadEndpoint)
	p.serveOutside(liveEndpoint, 8080)
	p.serveOutside(liveEndpoint, 7777)

	got := p.requests(8, 250)
	if len(got.lost) > 0 {
		t.Errorf("%d of %d requests are lost, such as: %s", len(got.lost), len(got.took), got.lost[0])
	}
	// A request that waits for the dead endpoint takes two seconds at least.
	if p99, longest := got.percentile(99), got.percentile(100); p99 > time.Second || longest > twiceTimeout {
		t.Errorf("99%% of %d requests are answered within %v and all within %v; want 1s and %v", len(got.took), p99, longest, twiceTimeout)
	}
	if n := p.ejected(); n != 1 {
		t.Errorf("%d endpoints are ejected, want 1", n)
	}

	begun := time.Now()
	for i := range 100 {
		if time.Since(begun) > 30*time.Second {
			break
		}
		if got := p.lineFrom(livePodIP, "10.96.0.50:7777"); got != liveEndpoint+":7777" {
			t.Fatalf("connection %d is answered by %q", i, got)
		}
	}
	// Three failures in a row eject the endpoint, however they are spread over the connections.
	if took := time.Since(begun); took > 3*oneTimeout {
		t.Errorf("100 connections, one after another, took %v", took)
	}
}

// TestAllEndpointsEjected: while all endpoints are ejected, all are tried, so one that answers again is found
// at once. Fails if an ejected endpoint is never tried.
func TestAllEndpointsEjected(t *testing.T) {
	p := startClientOf(t, deadEndpoint, otherDeadEndpoint)
	_ = p.requests(16, 1)
	if n := p.ejected(); n != 2 {
		t.Fatalf("%d endpoints are ejected, want both", n)
	}
	p.serveOutside(deadEndpoint, 8080)
	got := p.requests(1, 1)
	if len(got.lost) > 0 || got.took[0] > twiceTimeout {
		t.Errorf("after %v: %v; want an answer of %s within %v", got.took, got.lost, deadEndpoint, twiceTimeout)
	}
}

// TestErrorsEjectNobody: an endpoint that answers every request with an error keeps its share of the requests. Fails if
// a 5xx counts as a failure.
func TestErrorsEjectNobody(t *testing.T) {
	const failing = "10.77.0.102"
	p := startClientOf(t, liveEndpoint, failing)
	p.serveOutside(liveEndpoint, 8080)
	p.client.IP(t, "address replace "+failing+"/24 dev eth0 nodad")
	listener := p.client.Listen(t, failing+":8080")
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server-Address", failing)
		w.WriteHeader(http.StatusServiceUnavailable)
	})}
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }()

	got := p.requests(4, 100)
	if len(got.lost) > 0 {
		t.Errorf("%d requests are lost, such as: %s", len(got.lost), got.lost[0])
	}
	if n := got.bySrv[failing]; n < 100 || p.ejected() != 0 {
		t.Errorf("the failing endpoint answers %d of 400 requests, and %d endpoints are ejected; want about half and none", n, p.ejected())
	}
}
