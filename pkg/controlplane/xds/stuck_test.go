package xds

import (
	"crypto/tls"
	"fmt"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// A proxy that stops reading blocks the server's Send: it delays no other proxy, and the changes that it misses
// become one push.
func TestServerStuckProxyDelaysNobody(t *testing.T) {
	r := newRig(t)
	const services, changes = 300, 100
	config := built(t, r.builder, regular(services, 2, 0))
	r.server.Publish(config)
	view, _ := config.View(mesh.PodName{Namespace: "shop", Name: "service0-0"})

	stuck, err := discoveryv3.NewAggregatedDiscoveryServiceClient(r.connect([]tls.Certificate{r.certificate("service0")},
		grpc.WithStaticStreamWindowSize(64<<10), grpc.WithStaticConnWindowSize(64<<10))).DeltaAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask(t, stuck, "shop/service0-0", envoy.TypeCluster)
	ask(t, stuck, "", envoy.TypeEndpoint, namesOf(view, envoy.Endpoints)...)
	ask(t, stuck, "", envoy.TypeListener)
	reading := r.dial("service1")
	ask(t, reading, "shop/service1-1", envoy.TypeEndpoint, "shop/service0|80")
	receiveAndAck(t, reading)
	for host := range changes {
		r.server.Publish(built(t, r.builder, regular(services, 2, byte(host+1))))
		if got := endpointOf(t, receiveAndAck(t, reading)); got != hostOf(host+1) {
			t.Fatalf("the reading proxy was sent %s, want %s", got, hostOf(host+1))
		}
	}
	awaitMetric(t, "the stuck proxy's stream has looked at the last change", func() bool { return r.sawTheLast("service0-0") })
	if !r.sendingTo("service0-0") {
		t.Fatal("no stream was stuck")
	}

	pushes := map[string][]*discoveryv3.DeltaDiscoveryResponse{}
	for last := ""; last != hostOf(changes); {
		resp := receiveAndAck(t, stuck)
		pushes[resp.GetTypeUrl()] = append(pushes[resp.GetTypeUrl()], resp)
		if resp.GetTypeUrl() == envoy.TypeEndpoint {
			last = endpointOf(t, resp)
		}
	}
	if n := len(pushes[envoy.TypeEndpoint]); n != 2 {
		t.Errorf("%d responses with endpoints, want the first and one for all changes since", n)
	}
	if n := len(pushes[envoy.TypeCluster]); n != 1 || len(pushes[envoy.TypeCluster][0].GetResources()) < services {
		t.Errorf("%d responses with clusters, want one with all of them", n)
	}
}

// The stream of a proxy that does not read can still be ended, even if what cannot be sent is
// not an answer but its certificate, which was issued later.
func TestServerStuckProxyCanBeEnded(t *testing.T) {
	for name, typ := range map[string]string{"an answer": envoy.TypeListener, "a certificate": envoy.TypeSecret} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.server.Publish(built(t, r.builder, regular(300, 2, 0)))
			stuck, err := discoveryv3.NewAggregatedDiscoveryServiceClient(r.connect([]tls.Certificate{r.certificate("service0")},
				grpc.WithStaticStreamWindowSize(64<<10), grpc.WithStaticConnWindowSize(64<<10))).DeltaAggregatedResources(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ask(t, stuck, "shop/service0-0", envoy.TypeCluster)
			ask(t, stuck, "", typ, names(typ)...)
			awaitMetric(t, "the second response is stuck behind the first", func() bool { return r.sendingTo("service0-0") })
			for _, end := range r.server.BeginDrain() {
				end()
			}
			awaitMetric(t, "the stream has ended", func() bool { return r.server.Connected() == 0 })
		})
	}
}

// names returns what a proxy asks for first of a type.
func names(typ string) []string {
	if typ == envoy.TypeSecret {
		return []string{envoy.SecretWorkload, envoy.SecretTrustBundle}
	}
	return nil
}

// sendingTo reports whether a response is currently being sent to a pod's proxy.
func (r *rig) sendingTo(pod string) bool {
	return r.streamOf(pod, func(st *stream) bool { return st.sending })
}

// sawTheLast reports whether a pod's stream offers what was published last.
func (r *rig) sawTheLast(pod string) bool {
	return r.streamOf(pod, func(st *stream) bool { return !st.seen.Load().differs(lookUp(r.server.source(), st.peer.pod)) })
}

// streamOf calls a function with a pod's stream; it returns false if the pod is not connected.
func (r *rig) streamOf(pod string, is func(*stream) bool) bool {
	for _, st := range r.server.all() {
		if st.peer.pod.Name == pod {
			st.mu.Lock()
			defer st.mu.Unlock()
			return is(st)
		}
	}
	return false
}

// hostOf returns the address of the first endpoint of a regular mesh.
func hostOf(host int) string { return fmt.Sprintf("10.99.0.%d", host) }
