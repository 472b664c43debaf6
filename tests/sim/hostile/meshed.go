package hostile

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

const (
	typePrefix = "type.googleapis.com/envoy.config."
	clusters   = typePrefix + "cluster.v3.Cluster"
	endpoints  = typePrefix + "endpoint.v3.ClusterLoadAssignment"
	listeners  = typePrefix + "listener.v3.Listener"
)

func newAttacker(plan Plan) (*attacker, error) {
	pair, err := tls.X509KeyPair(plan.Certificate, plan.Key)
	if err != nil {
		return nil, fmt.Errorf("read the plan's certificate: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(plan.Root) {
		return nil, errors.New("read the plan's root: no certificate in it")
	}
	a := &attacker{Plan: plan}
	a.bare = &tls.Config{RootCAs: roots, ServerName: plan.ServerName, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}}
	a.meshed = a.bare.Clone()
	a.meshed.Certificates = []tls.Certificate{pair}
	return a, nil
}

type stream = grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]

// withStream opens a stream on its own connection. Windows are small: what it does not read stays
// with the server.
func (a *attacker) withStream(ctx context.Context, use func(stream) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+a.Target, grpc.WithTransportCredentials(credentials.NewTLS(a.meshed)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return a.dial(ctx, a.Meshed) }),
		grpc.WithStaticStreamWindowSize(64<<10), grpc.WithStaticConnWindowSize(64<<10))
	if err != nil {
		return err
	}
	defer conn.Close()
	s, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	return use(s)
}

func (a *attacker) ask(s stream, url string, names ...string) error {
	return s.Send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: a.Node}, TypeUrl: url, ResourceNamesSubscribe: names})
}

// meshedAttacks returns the attacks of a pod of the mesh.
func meshedAttacks() []attack {
	streams := func(use func(context.Context, *attacker, stream) error) func(context.Context, *attacker) error {
		return func(ctx context.Context, a *attacker) error {
			return a.withStream(ctx, func(s stream) error { return use(ctx, a, s) })
		}
	}
	return []attack{
		{"streams that answer nothing", 20 * time.Millisecond, 250, streams(func(ctx context.Context, a *attacker, s stream) error {
			return errors.Join(a.ask(s, clusters), a.ask(s, listeners), drain(ctx, s, nil))
		})},
		{"streams that read nothing", 100 * time.Millisecond, 20, streams(func(ctx context.Context, a *attacker, s stream) error {
			if err := errors.Join(a.ask(s, clusters), a.ask(s, listeners)); err != nil {
				return err
			}
			select {
			case <-s.Context().Done():
				return s.Context().Err()
			case <-time.After(10 * time.Second):
				return errOwn
			case <-ctx.Done():
				return nil
			}
		})},
		{"connections that come and go", 50 * time.Millisecond, 20, streams(func(_ context.Context, a *attacker, s stream) error {
			err := a.ask(s, clusters)
			if err == nil {
				_, err = s.Recv()
			}
			return err
		})},
		{"subscriptions that are huge", 200 * time.Millisecond, 10, streams(func(ctx context.Context, a *attacker, s stream) error {
			return errors.Join(a.ask(s, endpoints, names(250_000, 4)...), drain(ctx, s, nil))
		})},
		{"subscriptions that grow", 200 * time.Millisecond, 10, streams(func(ctx context.Context, a *attacker, s stream) error {
			for i := range 100 {
				if err := a.ask(s, endpoints, names(10_000, 8+i)...); err != nil {
					break
				}
			}
			return drain(ctx, s, nil)
		})},
		{"node ids that are huge", 200 * time.Millisecond, 10, streams(func(ctx context.Context, _ *attacker, s stream) error {
			req := &discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: strings.Repeat("n", 900<<10)}, TypeUrl: clusters}
			return errors.Join(s.Send(req), drain(ctx, s, nil))
		})},
		{"other pods' names", 100 * time.Millisecond, 20, streams(func(ctx context.Context, _ *attacker, s stream) error {
			req := &discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: "nowhere/nobody"}, TypeUrl: clusters}
			return errors.Join(s.Send(req), drain(ctx, s, nil))
		})},
		{"refusals of everything", 200 * time.Millisecond, 2, streams(func(ctx context.Context, a *attacker, s stream) error {
			if err := a.ask(s, clusters); err != nil {
				return err
			}
			return drain(ctx, s, func(resp *discoveryv3.DeltaDiscoveryResponse) error {
				// Refused, and asked for again.
				return errors.Join(
					s.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce(), ErrorDetail: &rpcstatus.Status{Message: strings.Repeat("no ", 10_000)}}),
					s.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: clusters, ResourceNamesUnsubscribe: []string{"*"}}),
					s.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: clusters, ResourceNamesSubscribe: []string{"*"}}))
			})
		})},
		{"floods of pings", 200 * time.Millisecond, 5, flood(func(f *http2.Framer, _ uint32) error { return f.WritePing(false, [8]byte{1}) })},
		{"floods of resets", 200 * time.Millisecond, 5, flood(func(f *http2.Framer, id uint32) error {
			return errors.Join(f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: opening(), EndHeaders: true}), f.WriteRSTStream(id, http2.ErrCodeCancel))
		})},
		{"floods of settings", 200 * time.Millisecond, 5, flood(func(f *http2.Framer, _ uint32) error { return f.WriteSettings() })},
	}
}

func attacks() []attack { return append(meshedAttacks(), unmeshedAttacks()...) }

// drain reads to the end of a stream.
func drain(ctx context.Context, s stream, answer func(*discoveryv3.DeltaDiscoveryResponse) error) error {
	for ctx.Err() == nil {
		resp, err := s.Recv()
		if err == nil && answer != nil {
			err = answer(resp)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// names returns a number of nonexistent names of a length.
func names(n, length int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%0*x", length, i)
	}
	return all
}

// opening returns the headers of a new stream, in a form that depends on no earlier ones.
func opening() []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	encoder.SetMaxDynamicTableSize(0)
	for _, field := range []hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "x"}, {Name: "te", Value: "trailers"},
		{Name: ":path", Value: discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResources_FullMethodName}, {Name: "content-type", Value: "application/grpc"},
	} {
		_ = encoder.WriteField(field) // into memory
	}
	return block.Bytes()
}

// flood sends frames until the server ends the connection, at most 50,000 on a connection.
func flood(frame func(f *http2.Framer, id uint32) error) func(context.Context, *attacker) error {
	return func(ctx context.Context, a *attacker) error {
		raw, err := a.dial(ctx, a.Meshed)
		if err != nil {
			return err
		}
		defer raw.Close()
		conn := tls.Client(raw, a.meshed)
		if err := conn.HandshakeContext(ctx); err != nil {
			return err
		}
		if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
			return err
		}
		go func() { _ = untilClosed(ctx, conn) }() // its responses do not matter
		framer := http2.NewFramer(conn, nil)
		if err := framer.WriteSettings(); err != nil {
			return err
		}
		for i := range uint32(50_000) {
			if ctx.Err() != nil {
				return nil
			}
			if err := frame(framer, 2*i+1); err != nil {
				return err
			}
		}
		return errOwn
	}
}
