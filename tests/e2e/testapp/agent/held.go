package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// repeated returns how a load makes the same call again and again, and what ends it.
func (c *caller) repeated(ctx context.Context, call Call) (do func(context.Context, Call) Answer, end func()) {
	h := &held{}
	switch {
	case call.Keep && call.Protocol == TCP:
		h.open = holdTCP
	case call.Keep && call.Protocol == GRPC:
		// The stream outlives the call that opens it.
		h.open = func(first context.Context, address string) (*conversation, error) {
			return holdGRPC(ctx, first, address)
		}
	default:
		return c.do, func() {}
	}
	return h.do, h.close
}

// conversation is one open connection: ask gets an answer over it, and may be called until it fails.
type conversation struct {
	ask   func(context.Context) (Seen, error)
	close func()
}

// held keeps a conversation until a call fails; the next call opens another. It is for one goroutine.
type held struct {
	open func(ctx context.Context, address string) (*conversation, error)
	now  *conversation
}

func (h *held) do(ctx context.Context, call Call) Answer {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if h.now == nil {
		opened, err := h.open(ctx, call.Address)
		if err != nil {
			return Answer{Error: fmt.Sprintf("open %s %s: %v", call.Protocol, call.Address, err)}
		}
		h.now = opened
	}
	seen, err := h.now.ask(ctx)
	if err != nil {
		h.close()
		return Answer{Error: fmt.Sprintf("held %s %s: %v", call.Protocol, call.Address, err)}
	}
	return Answer{Seen: seen}
}

func (h *held) close() {
	if h.now != nil {
		h.now.close()
		h.now = nil
	}
}

func holdTCP(ctx context.Context, address string) (*conversation, error) {
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewReaderSize(connection, maxAnswer)
	ask := func(ctx context.Context) (Seen, error) {
		if deadline, ok := ctx.Deadline(); ok {
			if err := connection.SetDeadline(deadline); err != nil {
				return Seen{}, err
			}
		}
		if _, err := io.WriteString(connection, "hello\n"); err != nil {
			return Seen{}, err
		}
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return Seen{}, fmt.Errorf("read answer: %w", err)
		}
		return decode(line)
	}
	return &conversation{ask: ask, close: func() { _ = connection.Close() }}, nil
}

// holdGRPC opens a stream that lives as long as ctx, within the time of the first call.
func holdGRPC(ctx, first context.Context, address string) (*conversation, error) {
	connection, err := dialGRPC(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	end := func() { cancel(); _ = connection.Close() }
	inTime := context.AfterFunc(first, cancel)
	defer inTime()
	stream, err := connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/"+echoService+"/"+echoStream)
	if err != nil {
		end()
		return nil, err
	}
	ask := func(call context.Context) (Seen, error) {
		stop := context.AfterFunc(call, cancel) // a stream has no deadline for one message
		defer stop()
		if err := stream.SendMsg(wrapperspb.String("hello")); err != nil && !errors.Is(err, io.EOF) {
			return Seen{}, err
		}
		answer := new(wrapperspb.StringValue)
		if err := stream.RecvMsg(answer); err != nil {
			return Seen{}, err
		}
		return decode([]byte(answer.GetValue()))
	}
	return &conversation{ask: ask, close: end}, nil
}
