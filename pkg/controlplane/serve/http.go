package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"
)

const defaultShutdown = 5 * time.Second

// HTTPServer serves one handler over HTTP/1.1 until a context ends, within limits: no client holds a
// connection without using it, and none holds all of them. HTTP/2 would let one connection carry
// hundreds of requests past these limits, and neither the API server nor the kubelet asks for it.
type HTTPServer struct {
	// Addr is host:port for Run.
	Addr string
	// Handler handles the requests.
	Handler http.Handler
	// TLS, when set, makes it an HTTPS server; it must bring its own certificates.
	TLS *tls.Config
	// Shutdown is how long running requests may take after the context ended; zero means 5 s.
	Shutdown time.Duration
	// Limits of the clients; the zero value has the defaults.
	Limits Limits
	// Refused is called for each connection that is over the limits; it may be nil. See Refusals.
	Refused func(reason string, source netip.Addr)
	// Closed is called when an accepted connection ends; it may be nil.
	Closed func()
	// Log receives the server's errors about clients, at debug level; nil discards them.
	Log *slog.Logger
}

// Run listens on Addr and serves until ctx ends. It returns nil after a graceful shutdown.
func (s HTTPServer) Run(ctx context.Context) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.Addr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.Addr, err)
	}
	return s.Serve(ctx, listener)
}

// Serve serves on a listener, which it closes, until ctx ends. Then it refuses new connections
// and gives running requests the time Shutdown to finish. It returns nil after a graceful shutdown.
func (s HTTPServer) Serve(ctx context.Context, listener net.Listener) error {
	limits := s.Limits.withDefaults()
	server := s.server(limits)
	failed := make(chan error, 1)
	go func() { failed <- serveOn(server, s.limit(listener, limits)) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	grace := s.Shutdown
	if grace == 0 {
		grace = defaultShutdown
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := server.Shutdown(end)
	if err != nil {
		err = errors.Join(fmt.Errorf("requests on %s were still running after %v: %w", listener.Addr(), grace, err), server.Close())
	}
	<-failed //nolint:errcheck // http.ErrServerClosed: it was asked to stop
	return err
}

func (s HTTPServer) server(limits Limits) *http.Server {
	log := s.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           s.Handler,
		TLSConfig:         http1Only(s.TLS),
		ReadHeaderTimeout: limits.Read,
		ReadTimeout:       limits.Read,
		WriteTimeout:      limits.Write,
		IdleTimeout:       limits.Idle,
		Protocols:         protocols,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// http1Only returns a copy of a TLS configuration that negotiates only the protocol that is served. A configuration
// made for gRPC offers HTTP/2, and so does the one that it returns for a client.
func http1Only(config *tls.Config) *tls.Config {
	if config == nil {
		return nil
	}
	config = config.Clone()
	config.NextProtos = []string{"http/1.1"}
	if choose := config.GetConfigForClient; choose != nil {
		config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := choose(hello)
			return http1Only(chosen), err
		}
	}
	return config
}

func serveOn(server *http.Server, listener net.Listener) error {
	if server.TLSConfig != nil {
		return server.ServeTLS(listener, "", "")
	}
	return server.Serve(listener)
}
