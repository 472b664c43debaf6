package xds

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	grpcpeer "google.golang.org/grpc/peer"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/leafcache"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// inMemory is a Server without a network: streams are pairs of channels.
type inMemory struct {
	*Server
	metrics *Metrics
	issuer  *ca.Issuer
	leaves  *leafcache.Cache
	// proofs are the CAs that signed the clients' certificates; nil means the current signer.
	proofs []ca.Trust
}

// newInMemory creates one; change adjusts its Config.
func newInMemory(t testing.TB, change ...func(*Config)) *inMemory {
	t.Helper()
	root, err := ca.NewRoot(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	m := &inMemory{metrics: NewMetrics(prometheus.NewRegistry())}
	if m.issuer, err = ca.NewIssuer(ca.IssuerConfig{Root: root, TrustDomain: trustDomain}); err != nil {
		t.Fatal(err)
	}
	if m.leaves, err = leafcache.New(leafcache.Config{Authority: m.issuer}); err != nil {
		t.Fatal(err)
	}
	cfg := Config{TrustDomain: trustDomain, TLS: &tls.Config{MinVersion: tls.VersionTLS13}, Leaves: m.leaves, Trust: m.issuer.Trust, Metrics: m.metrics, Log: slog.New(slog.DiscardHandler), FirstSyncs: 1 << 20}
	for _, f := range change {
		f(&cfg)
	}
	if m.Server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return m
}

// memoryWire is one stream's wire.
type memoryWire[Req any] struct {
	ctx       context.Context
	requests  chan Req
	responses chan *response
}

func (w *memoryWire[Req]) Context() context.Context { return w.ctx }

func (w *memoryWire[Req]) Recv() (req Req, err error) {
	select {
	case req = <-w.requests:
		return req, nil
	case <-w.ctx.Done():
		return req, w.ctx.Err()
	}
}

func (*memoryWire[Req]) SendHeader(metadata.MD) error { return nil }

func (w *memoryWire[Req]) SendMsg(m any) error {
	select {
	case w.responses <- m.(*response):
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

type memoryDelta struct {
	*memoryWire[*discoveryv3.DeltaDiscoveryRequest]
	pod  string
	done chan error
	stop context.CancelFunc
	// ended is the result of close.
	ended error
}

// open starts the incremental stream of a pod, which must be named <account>-<number>.
func (m *inMemory) open(ctx context.Context, pod string) *memoryDelta {
	return m.openWith(ctx, pod, time.Now().Add(24*time.Hour), nil)
}

// openWith is open with a certificate that is valid until the given time, from an address.
func (m *inMemory) openWith(ctx context.Context, pod string, until time.Time, from net.Addr) *memoryDelta {
	ctx, stop := context.WithCancel(proven(ctx, m.clientCAs(), accountOf(pod), until, from))
	d := &memoryDelta{
		&memoryWire[*discoveryv3.DeltaDiscoveryRequest]{ctx, make(chan *discoveryv3.DeltaDiscoveryRequest), make(chan *response, 4)},
		pod, make(chan error, 1), stop, nil,
	}
	go func() {
		d.done <- run(m.Server, d.memoryWire, &deltaSession{lists: m.lists}, variantDelta)
	}()
	return d
}

func (d *memoryDelta) send(req *discoveryv3.DeltaDiscoveryRequest) {
	select {
	case d.requests <- req:
	case <-d.ctx.Done():
	}
}

func (d *memoryDelta) ask(typ envoy.Kind, versions map[string]string, names ...string) {
	d.send(&discoveryv3.DeltaDiscoveryRequest{Node: nodeOf(d.pod), TypeUrl: typ.TypeURL(), ResourceNamesSubscribe: names, InitialResourceVersions: versions})
}

func nodeOf(pod string) *corev3.Node { return &corev3.Node{Id: "shop/" + pod} }

// take waits for the next response and acknowledges it.
func (d *memoryDelta) take(t testing.TB) *discoveryv3.DeltaDiscoveryResponse {
	t.Helper()
	select {
	case resp := <-d.responses:
		decoded := decodeDelta(t, resp)
		d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: decoded.GetTypeUrl(), ResponseNonce: decoded.GetNonce()})
		return decoded
	case err := <-d.done:
		t.Fatalf("the stream of %s ended: %v", d.pod, err)
		return nil
	}
}

// takeNow is take for a response that must be there already; only inside a synctest bubble.
func (d *memoryDelta) takeNow(t testing.TB) *discoveryv3.DeltaDiscoveryResponse {
	t.Helper()
	synctest.Wait()
	if len(d.responses) == 0 {
		t.Errorf("no response for %s", d.pod)
		return nil
	}
	return d.take(t)
}

// close ends the stream from the proxy's side.
func (d *memoryDelta) close() {
	d.stop()
	d.ended = <-d.done
}

func (m *inMemory) clientCAs() []ca.Trust {
	if m.proofs != nil {
		return m.proofs
	}
	return []ca.Trust{m.cfg.Trust()}
}

// proven returns the context of a stream whose client presented a certificate of the account, with a chain to each CA.
func proven(ctx context.Context, cas []ca.Trust, account string, until time.Time, from net.Addr) context.Context {
	uri, _ := url.Parse(identity.Identity{Namespace: "shop", ServiceAccount: account}.SPIFFE(trustDomain))
	leaf := &x509.Certificate{URIs: []*url.URL{uri}, NotAfter: until}
	chains := make([][]*x509.Certificate, len(cas))
	for i, trust := range cas {
		chains[i] = []*x509.Certificate{leaf}
		for block, rest := pem.Decode(trust.Bundle); block != nil; block, rest = pem.Decode(rest) {
			if digest := sha256.Sum256(block.Bytes); hex.EncodeToString(digest[:]) == trust.Fingerprint {
				chains[i] = append(chains[i], &x509.Certificate{Raw: block.Bytes})
			}
		}
	}
	return grpcpeer.NewContext(ctx, &grpcpeer.Peer{Addr: from, AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{VerifiedChains: chains}}})
}

// accountOf returns the ServiceAccount of a pod: its name up to the last dash.
func accountOf(pod string) string {
	for i := len(pod) - 1; i >= 0; i-- {
		if pod[i] == '-' {
			return pod[:i]
		}
	}
	return pod
}

// regular returns a mesh of services with a port and an endpoint each, and for each a pod of its own
// ServiceAccount; host is the last part of the first service's endpoint.
func regular(services, pods int, host byte) *mesh.Snapshot {
	var all []*mesh.Service
	var workloads []*mesh.Workload
	for i := range services {
		address := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		if i == 0 {
			address = netip.AddrFrom4([4]byte{10, 99, 0, host})
		}
		id := identity.Identity{Namespace: "shop", ServiceAccount: fmt.Sprintf("service%d", i)}
		all = append(all, &mesh.Service{
			Name:      mesh.ServiceName{Namespace: "shop", Name: id.ServiceAccount},
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})},
			Ports: []mesh.ServicePort{{Number: 80, Protocol: mesh.HTTP, Identities: []identity.Identity{id}, Endpoints: []mesh.Endpoint{
				{Address: netip.AddrPortFrom(address, 8080), Meshed: true},
			}}},
		})
	}
	for i := range pods {
		workloads = append(workloads, &mesh.Workload{
			Name:      mesh.PodName{Namespace: "shop", Name: fmt.Sprintf("service%d-%d", i%max(services, 1), i)},
			Identity:  identity.Identity{Namespace: "shop", ServiceAccount: fmt.Sprintf("service%d", i%max(services, 1))},
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)})},
			Inbound:   []mesh.InboundPort{{Number: 8080, Protocol: mesh.HTTP}},
		})
	}
	return mesh.New(mesh.Settings{TrustDomain: trustDomain, Permissive: true, Egress: true}, all, workloads)
}

func built(t testing.TB, builder *envoy.Builder, snapshot *mesh.Snapshot) *envoy.Config {
	t.Helper()
	config, err := builder.Build(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// configure asks for everything, as Envoy does, and receives it. It returns the size of the responses.
func (d *memoryDelta) configure(t testing.TB, config *envoy.Config) (size int) {
	t.Helper()
	view, _ := config.View(mesh.PodName{Namespace: "shop", Name: d.pod})
	d.ask(envoy.Clusters, nil)
	first := d.take(t)
	size += len(first.GetResources())
	d.ask(envoy.Endpoints, nil, namesOf(view, envoy.Endpoints)...)
	size += len(d.take(t).GetResources())
	d.ask(envoy.Secrets, nil, envoy.SecretWorkload, envoy.SecretTrustBundle)
	size += len(d.take(t).GetResources())
	d.ask(envoy.Listeners, nil)
	size += len(d.take(t).GetResources())
	d.ask(envoy.Routes, nil, namesOf(view, envoy.Routes)...)
	return size + len(d.take(t).GetResources())
}

func namesOf(view envoy.View, kind envoy.Kind) []string {
	var names []string
	for _, r := range view.All(kind) {
		names = append(names, r.Name)
	}
	return names
}

// textLog writes records without their times.
func textLog(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}
