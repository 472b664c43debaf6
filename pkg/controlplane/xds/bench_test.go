package xds

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// BenchmarkPush measures what one changed endpoint costs for each of 1000 proxies, without the network:
// Publish, the protocol, and the acknowledgement.
func BenchmarkPush(b *testing.B) {
	for _, services := range []int{10, 1000} {
		b.Run(fmt.Sprintf("services=%d/proxies=1000", services), func(b *testing.B) { benchmarkPush(b, services, 1000) })
	}
}

func benchmarkPush(b *testing.B, services, proxies int) {
	m := newInMemory(b)
	builder := envoy.NewBuilder(nil)
	configs := []*envoy.Config{built(b, builder, regular(services, proxies, 1)), built(b, builder, regular(services, proxies, 2))}
	m.Publish(configs[0])
	var done sync.WaitGroup
	streams := make([]*memoryDelta, proxies)
	for i := range streams {
		streams[i] = m.open(b.Context(), fmt.Sprintf("service%d-%d", i%services, i))
		streams[i].configure(b, configs[0])
		go streams[i].acknowledge(&done)
	}
	b.ReportAllocs()
	for n := 1; b.Loop(); n++ {
		done.Add(proxies)
		m.Publish(configs[n%2])
		done.Wait()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*proxies), "µs/proxy")
	for _, d := range streams {
		d.close()
	}
}

// acknowledge acknowledges each response, without checking it.
func (d *memoryDelta) acknowledge(done *sync.WaitGroup) {
	for {
		select {
		case resp := <-d.responses:
			d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.typ.TypeURL(), ResponseNonce: nonceOf(resp)})
			done.Done()
		case <-d.ctx.Done():
			return
		}
	}
}

// nonceOf reads the nonce from the end of a response's tail.
func nonceOf(resp *response) string {
	tail := resp.tail
	for i := len(tail) - 1; i >= 0; i-- {
		if tail[i] < '0' || tail[i] > '9' {
			if _, err := strconv.Atoi(string(tail[i+1:])); err == nil {
				return string(tail[i+1:])
			}
			break
		}
	}
	return ""
}

// BenchmarkFirstSync measures what the configuration of a new proxy costs, without the network.
func BenchmarkFirstSync(b *testing.B) {
	for _, services := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			m := newInMemory(b)
			config := built(b, envoy.NewBuilder(nil), regular(services, services, 1))
			m.Publish(config)
			view, _ := config.View(mesh.PodName{Namespace: "shop", Name: "service0-0"})
			edge, rds := namesOf(view, envoy.Endpoints), namesOf(view, envoy.Routes)
			b.ReportAllocs()
			size := 0
			for b.Loop() {
				d, bytes := m.open(b.Context(), "service0-0"), 0
				take := func() {
					resp := <-d.responses
					bytes += resp.size
					d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.typ.TypeURL(), ResponseNonce: nonceOf(resp)})
				}
				d.ask(envoy.Clusters, nil)
				take()
				d.ask(envoy.Endpoints, nil, edge...)
				take()
				d.ask(envoy.Secrets, nil, envoy.SecretWorkload, envoy.SecretTrustBundle)
				take()
				d.ask(envoy.Listeners, nil)
				take()
				d.ask(envoy.Routes, nil, rds...)
				take()
				d.close()
				size = bytes
			}
			b.ReportMetric(float64(size), "bytes/proxy")
		})
	}
}
