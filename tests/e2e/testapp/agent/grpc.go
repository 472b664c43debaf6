package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/osm-edge/osm/demo/bookstore"
)

// seenHeader carries a Seen as JSON in the header of a gRPC answer.
const seenHeader = "e2e-seen"

// echoService has one method, a stream in both directions: each message is answered with a Seen as JSON.
const (
	echoService = "osm.e2e.Echo"
	echoStream  = "Stream"
)

func (a *agent) serveGRPC(ctx context.Context, listener net.Listener) error {
	local := listener.Addr()
	server := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		text, err := a.seenOverGRPC(ctx, local)
		if err != nil {
			return nil, err
		}
		if err := grpc.SetHeader(ctx, metadata.Pairs(seenHeader, text)); err != nil {
			return nil, err
		}
		return next(ctx, request)
	}))
	grpc_health_v1.RegisterHealthServer(server, a.health)
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: echoService, HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: echoStream, ServerStreams: true, ClientStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
			return a.echoGRPC(stream, local)
		}}},
	}, a)
	context.AfterFunc(ctx, server.Stop)
	return server.Serve(listener)
}

func (a *agent) seenOverGRPC(ctx context.Context, local net.Addr) (string, error) {
	source := ""
	if from, ok := peer.FromContext(ctx); ok {
		source = from.Addr.String()
	}
	seen := a.seen("grpc", source, local)
	received, _ := metadata.FromIncomingContext(ctx)
	seen.Peer = bookstore.Peer(http.Header{http.CanonicalHeaderKey("x-forwarded-client-cert"): received.Get("x-forwarded-client-cert")})
	text, err := json.Marshal(seen)
	return string(text), err
}

func (a *agent) echoGRPC(stream grpc.ServerStream, local net.Addr) error {
	text, err := a.seenOverGRPC(stream.Context(), local)
	if err != nil {
		return err
	}
	for {
		if err := stream.RecvMsg(new(wrapperspb.StringValue)); err != nil {
			return err
		}
		if err := stream.SendMsg(wrapperspb.String(text)); err != nil {
			return err
		}
	}
}

func dialGRPC(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
}

// overGRPC requests the server's health; a header carries what the server saw. A server that does not serve, because it
// leaves, has answered all the same.
func overGRPC(ctx context.Context, address string) (seen Seen, err error) {
	connection, err := dialGRPC(address)
	if err != nil {
		return Seen{}, err
	}
	defer connection.Close()
	var header metadata.MD
	response, err := grpc_health_v1.NewHealthClient(connection).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Header(&header))
	if err != nil {
		return Seen{}, err
	}
	values := header.Get(seenHeader)
	if len(values) != 1 {
		return Seen{}, fmt.Errorf("answer has %d headers %s, want 1", len(values), seenHeader)
	}
	seen, err = decode([]byte(values[0]))
	seen.Leaving = response.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING
	return seen, err
}
