package xds

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// BenchmarkNetwork measures the server alone, over mTLS on loopback, with its proxies in another
// process: what a stream costs in memory, a first sync in CPU time, and one changed endpoint.
func BenchmarkNetwork(b *testing.B) {
	for _, size := range []struct{ services, proxies int }{{10, 200}, {100, 200}, {1000, 200}} {
		b.Run(fmt.Sprintf("services=%d/proxies=%d", size.services, size.proxies), func(b *testing.B) {
			benchmarkNetwork(b, size.services, size.proxies)
		})
	}
}

func benchmarkNetwork(b *testing.B, services, proxies int) {
	r := newRig(b)
	configs := []*envoy.Config{built(b, r.builder, regular(services, proxies, 1)), built(b, r.builder, regular(services, proxies, 2))}
	r.server.Publish(configs[0])
	clients := startClients(b, r, configs[0], services, proxies)
	memory, rss, cpu := inUse(), residentSet(b), cpuTime(b)
	clients.send("connect")
	clients.await("configured")
	firstSync := cpuTime(b) - cpu
	memory, rss = inUse()-memory, residentSet(b)-rss
	cpu = cpuTime(b)
	n := 0
	for b.Loop() {
		n++
		r.server.Publish(configs[n%2])
		clients.await("pushed")
	}
	b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(proxies*n), "push-cpu-µs/proxy")
	clients.send("end")
	b.ReportMetric(float64(firstSync.Microseconds())/float64(proxies), "first-sync-cpu-µs/proxy")
	b.ReportMetric(float64(memory)/float64(proxies), "heap+stack-bytes/proxy")
	b.ReportMetric(float64(rss)/float64(proxies), "rss-bytes/proxy")
}

// inUse returns the memory in use after a garbage collection.
func inUse() int {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc + stats.StackInuse)
}

func residentSet(b *testing.B) int {
	b.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("needs /proc")
	}
	var size, resident int
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		b.Fatal(err)
	}
	return resident * os.Getpagesize()
}

// cpuTime returns the CPU time that this process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// benchClients are proxies in a process of their own.
type benchClients struct {
	b   *testing.B
	in  io.Writer
	out *bufio.Scanner
}

// benchOrder is the input of the client process.
type benchOrder struct {
	Address   string
	Roots     []byte
	Proxies   []benchProxy
	Endpoints []string
	Routes    []string
}

type benchProxy struct {
	Pod       string
	Cert, Key []byte
}

func startClients(b *testing.B, r *rig, config *envoy.Config, services, proxies int) *benchClients {
	b.Helper()
	view, _ := config.View(mesh.PodName{Namespace: "shop", Name: "service0-0"})
	order := benchOrder{Address: r.address, Roots: r.issuer.Trust().Bundle, Endpoints: namesOf(view, envoy.Endpoints), Routes: namesOf(view, envoy.Routes)}
	for i := range proxies {
		account := fmt.Sprintf("service%d", i%services)
		leaf, err := r.issuer.Issue(b.Context(), ca.Request{Identity: identity.Identity{Namespace: "shop", ServiceAccount: account}, Usage: ca.UsageProxy})
		if err != nil {
			b.Fatal(err)
		}
		order.Proxies = append(order.Proxies, benchProxy{fmt.Sprintf("%s-%d", account, i), leaf.CertPEM, leaf.KeyPEM()})
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestBenchClients$")
	cmd.Env = append(os.Environ(), "XDS_BENCH_CLIENTS=1")
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		b.Fatal(err)
	}
	c := &benchClients{b, in, bufio.NewScanner(out)}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	if err := json.NewEncoder(in).Encode(order); err != nil {
		b.Fatal(err)
	}
	c.await("ready")
	return c
}

func (c *benchClients) send(word string) {
	if _, err := fmt.Fprintln(c.in, word); err != nil {
		c.b.Fatal(err)
	}
}

func (c *benchClients) await(word string) {
	c.b.Helper()
	for c.out.Scan() {
		if c.out.Text() == word {
			return
		}
	}
	c.b.Fatalf("the proxies ended before they printed %q", word)
}

// TestBenchClients is the process of the proxies.
func TestBenchClients(t *testing.T) {
	if os.Getenv("XDS_BENCH_CLIENTS") == "" {
		t.Skip("only for BenchmarkNetwork")
	}
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	var order benchOrder
	if err == nil {
		err = json.Unmarshal(line, &order)
	}
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("ready")
	if _, err := in.ReadString('\n'); err != nil { // connect
		t.Fatal(err)
	}
	streams := make([]rawDelta, len(order.Proxies))
	var group errgroup.Group
	group.SetLimit(8)
	for i := range streams {
		group.Go(func() (err error) {
			streams[i], err = order.configure(order.Proxies[i])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	fmt.Println("configured")
	var pushed atomic.Int64
	for _, s := range streams {
		go func() {
			for s.take() == nil {
				if pushed.Add(1)%int64(len(streams)) == 0 {
					fmt.Println("pushed")
				}
			}
		}()
	}
	_, _ = in.ReadString('\n') // end
}

// configure connects and asks for everything, as Envoy does.
func (o *benchOrder) configure(p benchProxy) (rawDelta, error) {
	pair, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return rawDelta{}, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(o.Roots)
	conn, err := grpc.NewClient(o.Address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{pair}})),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
	if err != nil {
		return rawDelta{}, err
	}
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(context.Background())
	if err != nil {
		return rawDelta{}, err
	}
	raw := rawDelta{stream}
	asks := []*discoveryv3.DeltaDiscoveryRequest{
		{TypeUrl: envoy.TypeCluster, Node: &corev3.Node{Id: "shop/" + p.Pod}},
		{TypeUrl: envoy.TypeEndpoint, ResourceNamesSubscribe: o.Endpoints},
		{TypeUrl: envoy.TypeSecret, ResourceNamesSubscribe: []string{envoy.SecretWorkload, envoy.SecretTrustBundle}},
		{TypeUrl: envoy.TypeListener},
		{TypeUrl: envoy.TypeRoute, ResourceNamesSubscribe: o.Routes},
	}
	for _, req := range asks {
		if err := stream.Send(req); err != nil {
			return rawDelta{}, err
		}
		if err := raw.take(); err != nil {
			return rawDelta{}, err
		}
	}
	return raw, nil
}

// rawDelta is an incremental stream that acknowledges everything.
type rawDelta struct{ deltaClient }

// take receives a response and acknowledges it.
func (r rawDelta) take() error {
	resp := &discoveryv3.DeltaDiscoveryResponse{}
	if err := r.RecvMsg(resp); err != nil {
		return err
	}
	return r.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce()})
}
