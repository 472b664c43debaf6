package fleet

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/osm-edge/osm/tests/sim/server"
)

// controlPlane is the part of an incremental xDS server that the tests need, on the gRPC library.
type controlPlane struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	t       *testing.T
	grpc    *grpc.Server
	address string
	client  *tls.Config

	refusals atomic.Int64 // how many streams to refuse
	opened   atomic.Int64

	mu      sync.Mutex
	content map[Kind][]versioned
	pushes  map[chan versioned]bool
}

func newControlPlane(t *testing.T) *controlPlane {
	t.Helper()
	root, err := server.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serving, err := root.Client("spiffe://test/server")
	if err != nil {
		t.Fatal(err)
	}
	c := &controlPlane{t: t, address: listener.Addr().String(), content: map[Kind][]versioned{}, pushes: map[chan versioned]bool{}}
	c.client = clientTLS(t, root)
	c.grpc = grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{serving}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: root.Pool(),
	})), grpc.InitialWindowSize(65535), grpc.InitialConnWindowSize(65535))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(c.grpc, c)
	done := make(chan error, 1)
	go func() { done <- c.grpc.Serve(listener) }()
	t.Cleanup(func() {
		c.grpc.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

// clientTLS verifies only the server's chain: its certificate has no DNS name.
func clientTLS(t *testing.T, root *server.Authority) *tls.Config {
	t.Helper()
	pair, err := root.Client("spiffe://test/client")
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{pair},
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: root.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
			return err
		},
	}
}

// serve serves a mesh of n clusters with one endpoint each; ballast makes their names longer.
func (c *controlPlane) serve(n int, ballast string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var routes []string
	for i := range n {
		name := fmt.Sprintf("cluster-%04d%s", i, ballast)
		c.content[CDS] = append(c.content[CDS], versioned{name, "1", edsCluster(c.t, name)})
		c.content[EDS] = append(c.content[EDS], versioned{name, "1", assignment(name, fmt.Sprintf("10.0.%d.%d", i/256, i%256))})
		c.content[RDS] = append(c.content[RDS], versioned{name, "1", staticCluster(name)})
		routes = append(routes, name)
	}
	c.content[SDS] = []versioned{{"leaf", "1", staticCluster("leaf")}}
	c.content[LDS] = []versioned{{"listener", "1", routedListener(c.t, "listener", routes...)}}
}

// change changes endpoints and notifies every stream.
func (c *controlPlane) change(name, version string, addresses ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := versioned{name, version, assignment(name, addresses...)}
	for i, r := range c.content[EDS] {
		if r.name == name {
			c.content[EDS][i] = v
		}
	}
	for push := range c.pushes {
		push <- v
	}
}

func (c *controlPlane) DeltaAggregatedResources(g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	if c.refusals.Add(-1) >= 0 {
		return status.Error(codes.ResourceExhausted, "try again")
	}
	c.opened.Add(1)
	push := make(chan versioned, 16)
	c.mu.Lock()
	c.pushes[push] = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pushes, push)
		c.mu.Unlock()
	}()
	requests, failed := make(chan *discoveryv3.DeltaDiscoveryRequest), make(chan error, 1)
	go func() {
		for {
			req, err := g.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case requests <- req:
			case <-g.Context().Done():
				return
			}
		}
	}()
	nonce := 0
	send := func(kind Kind, resources []versioned) error {
		nonce++
		resp := &discoveryv3.DeltaDiscoveryResponse{}
		if err := proto.Unmarshal(deltaResponse(c.t, kind, strconv.Itoa(nonce), nil, resources...), resp); err != nil {
			return err
		}
		return g.Send(resp)
	}
	for {
		select {
		case req := <-requests:
			kind, err := kindOf([]byte(req.GetTypeUrl()))
			if err != nil {
				return err
			}
			if news := c.news(kind, req); len(news) > 0 {
				if err := send(kind, news); err != nil {
					return err
				}
			}
		case v := <-push:
			if err := send(EDS, []versioned{v}); err != nil {
				return err
			}
		case err := <-failed:
			return err
		case <-g.Context().Done():
			return g.Context().Err()
		}
	}
}

// news returns what a request asks for and does not hold.
func (c *controlPlane) news(kind Kind, req *discoveryv3.DeltaDiscoveryRequest) []versioned {
	if req.GetResponseNonce() != "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	asked := map[string]bool{}
	for _, name := range req.GetResourceNamesSubscribe() {
		asked[name] = true
	}
	var news []versioned
	for _, r := range c.content[kind] {
		if (asked[r.name] || !byName(kind)) && req.GetInitialResourceVersions()[r.name] != r.version {
			news = append(news, r)
		}
	}
	return news
}
