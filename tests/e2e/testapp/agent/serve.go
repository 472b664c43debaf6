package agent

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/osm-edge/osm/demo/bookstore"
)

const (
	headerTimeout   = 5 * time.Second
	shutdownTimeout = 5 * time.Second
	tcpIdle         = 30 * time.Second
	maxLine         = 1 << 10
)

// Config is what an agent needs to know.
type Config struct {
	// Server is its name in answers.
	Server string
	// Drain is how long it keeps serving, unready, after ctx ended.
	Drain time.Duration
	// Control is the address of the control port; "" means PortControl on loopback.
	Control string
	// Listen opens addresses; net.ListenConfig's method in production.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
	Log    *slog.Logger
}

// agent is one running process.
type agent struct {
	config Config
	state  *state
	health *health.Server
	caller *caller
	load   *load
}

// Run serves every port until ctx ends, then for config.Drain more, and returns nil. Addresses are
// ":port", and "127.0.0.1:port" for the control port.
func Run(ctx context.Context, config Config) error {
	group, ctx := errgroup.WithContext(ctx)
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	a := &agent{config: config, health: health.NewServer(), caller: newCaller()}
	a.load = newLoad(serving, a.caller)
	a.state = newState(a.readiness)
	group.Go(func() error { return a.tcpReady(serving) })
	for address, serve := range a.services() {
		listener, err := config.Listen(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", address, err)
		}
		group.Go(func() error {
			if err := serve(serving, listener); err != nil {
				return fmt.Errorf("serve on %s: %w", address, err)
			}
			return nil
		})
	}
	group.Go(func() error {
		<-ctx.Done()
		a.state.set(State{Live: true})
		drain := time.NewTimer(config.Drain)
		defer drain.Stop()
		<-drain.C
		stop()
		return nil
	})
	config.Log.InfoContext(ctx, "started", "server", config.Server)
	return group.Wait()
}

// service answers on a listener until ctx ends.
type service func(ctx context.Context, listener net.Listener) error

func (a *agent) services() map[string]service {
	address := func(port int) string { return ":" + strconv.Itoa(port) }
	return map[string]service{
		address(PortHTTP):        serveHTTP(a.pages()),
		address(PortHTTPSecond):  serveHTTP(a.pages()),
		address(PortH2C):         serveHTTP(a.pages()),
		address(PortGRPC):        a.serveGRPC,
		address(PortTCP):         serveTCP(a.echo),
		address(PortServerFirst): serveTCP(a.greet),
		cmp.Or(a.config.Control, net.JoinHostPort("127.0.0.1", strconv.Itoa(PortControl))): serveHTTP(a.control()),
	}
}

// readiness reports the state in the protocols that can express it.
func (a *agent) readiness(now State) {
	status := grpc_health_v1.HealthCheckResponse_NOT_SERVING
	if now.Ready {
		status = grpc_health_v1.HealthCheckResponse_SERVING
	}
	a.health.SetServingStatus("", status)
	status = grpc_health_v1.HealthCheckResponse_NOT_SERVING
	if now.Live {
		status = grpc_health_v1.HealthCheckResponse_SERVING
	}
	a.health.SetServingStatus(ServiceLive, status)
}

// tcpReady holds the TCP readiness port open while the agent is ready.
func (a *agent) tcpReady(ctx context.Context) error {
	for {
		if err := a.state.until(ctx, func(s State) bool { return s.Ready }); err != nil {
			return nil //nolint:nilerr // ctx ended: there is nothing left to serve
		}
		listener, err := a.config.Listen(ctx, "tcp", ":"+strconv.Itoa(PortTCPReady))
		if err != nil {
			return fmt.Errorf("listen for TCP probes: %w", err)
		}
		phase, end := context.WithCancel(ctx)
		go func() {
			defer end()
			_ = a.state.until(ctx, func(s State) bool { return !s.Ready })
		}()
		err = serveTCP(func(net.Conn) error { return nil })(phase, listener)
		end()
		if err != nil {
			return fmt.Errorf("serve TCP probes: %w", err)
		}
	}
}

func serveHTTP(handler http.Handler) service {
	return func(ctx context.Context, listener net.Listener) error {
		var protocols http.Protocols
		protocols.SetHTTP1(true)
		protocols.SetUnencryptedHTTP2(true)
		server := &http.Server{Handler: handler, Protocols: &protocols, ReadHeaderTimeout: headerTimeout}
		context.AfterFunc(ctx, func() {
			bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
			defer cancel()
			_ = server.Shutdown(bounded)
		})
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
}

func (a *agent) pages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(PathReady, probe(func() bool { return a.state.get().Ready }))
	mux.HandleFunc(PathLive, probe(func() bool { return a.state.get().Live }))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		seen := a.seen(r.Proto, r.RemoteAddr, r.Context().Value(http.LocalAddrContextKey))
		seen.Peer = bookstore.Peer(r.Header)
		writeJSON(w, seen)
	})
	return mux
}

func probe(holds func() bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if !holds() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // an error means that the client has disconnected
}

// seen returns what the server knows about a connection; local is a net.Addr.
func (a *agent) seen(protocol, source string, local any) Seen {
	seen := Seen{Server: a.config.Server, Protocol: protocol, Source: source}
	if address, ok := local.(*net.TCPAddr); ok {
		seen.Port = address.Port
	}
	return seen
}

// serveTCP passes each connection to handle and closes it afterwards.
func serveTCP(handle func(net.Conn) error) service {
	return func(ctx context.Context, listener net.Listener) error {
		stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
		defer stop()
		for {
			connection, err := listener.Accept()
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			go func() {
				defer connection.Close()
				if err := connection.SetDeadline(time.Now().Add(tcpIdle)); err == nil {
					_ = handle(connection) // the client sees the connection end without an answer
				}
			}()
		}
	}
}

// echo answers each line with what it saw, until the client ends the connection or is silent for tcpIdle.
func (a *agent) echo(connection net.Conn) error {
	lines := bufio.NewReaderSize(connection, maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			return errors.New("empty line")
		}
		if err := a.greet(connection); err != nil {
			return err
		}
		if err := connection.SetDeadline(time.Now().Add(tcpIdle)); err != nil {
			return err
		}
	}
}

// greet sends what it saw without waiting for a request.
func (a *agent) greet(connection net.Conn) error {
	return json.NewEncoder(connection).Encode(a.seen("tcp", connection.RemoteAddr().String(), connection.LocalAddr()))
}
