package xds

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/leafcache"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// Leaves issues the certificates that proxies present to each other; *leafcache.Cache implements it.
type Leaves interface {
	Acquire(ctx context.Context, id identity.Identity) (*leafcache.Handle, error)
}

// Config configures a Server. Fields without a default are required.
type Config struct {
	TrustDomain identity.TrustDomain
	// TLS must demand a client certificate signed by the mesh's root.
	TLS    *tls.Config
	Leaves Leaves
	// Trust is read by New and by Retrust.
	Trust   func() ca.Trust
	Metrics *Metrics
	Log     *slog.Logger
	// Limits bound what one proxy may take; zero fields have defaults.
	Limits Limits
	// FirstSyncs bounds how many new proxies are configured at the same time; zero means Limits.FirstSyncsPerCPU
	// for each CPU.
	FirstSyncs int
	// MovesPerSecond is how many proxies that reconnect TurnAway may turn away a second; zero means none.
	MovesPerSecond int
	// MaxAge is the longest time that a stream lasts if that is shorter than Limits.StreamMinutes; streams end at a
	// random time in its second half. Zero means no such time.
	MaxAge time.Duration
	// Patience is how long a stream waits for its pod to be known and for a sync slot; zero means 5 s.
	Patience time.Duration
	// GracePeriod is how long the proxy of a pod that left the mesh keeps its stream; zero means 10 min.
	GracePeriod time.Duration
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	if c.GracePeriod == 0 {
		c.GracePeriod = 10 * time.Minute
	}
	if c.Patience == 0 {
		c.Patience = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Limits = c.Limits.withDefaults()
	if c.FirstSyncs == 0 {
		c.FirstSyncs = c.Limits.FirstSyncsPerCPU * runtime.GOMAXPROCS(0)
	}
	return c
}

// Validate returns an error that names what is missing.
func (c Config) Validate() error {
	if c.TrustDomain == "" || c.TLS == nil || c.Leaves == nil || c.Trust == nil || c.Metrics == nil || c.Log == nil {
		return errors.New("xds: trust domain, TLS, leaves, trust, metrics and log are required")
	}
	return c.Limits.Validate()
}

// Server serves ADS to proxies from the envoy.Config that was published last. Create one with New.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	cfg       Config
	grpc      *grpc.Server
	config    atomic.Pointer[source]
	trust     atomic.Pointer[trusted]
	pace      pacer
	slots     *syncSlots
	gate      *gate
	offenders *offenders
	lists     *nameLists
	leafSets  leafSets

	mu       sync.Mutex
	streams  map[*stream]struct{}
	accounts accounts
	waiters  map[*waiter]struct{}
	moves    moves
	draining bool
}

// New returns a Server that has nothing to serve yet; call Publish before Serve.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	s := &Server{
		cfg: cfg, slots: newSyncSlots(cfg.FirstSyncs), lists: newNameLists(),
		streams: map[*stream]struct{}{}, accounts: newAccounts(cfg.Limits), waiters: map[*waiter]struct{}{},
		moves: newMoves(cfg.MovesPerSecond),
	}
	s.offenders = newOffenders(cfg.Log, cfg.Metrics, cfg.Limits.LogLines)
	s.gate = newGate(cfg.Limits, cfg.Metrics, s.offenders)
	s.pace.turn, s.pace.free, s.pace.patience = (*stream).takeTurn, pacePlaces*runtime.GOMAXPROCS(0), pacePatience
	if err := s.Retrust(); err != nil {
		return nil, err
	}
	s.grpc = grpc.NewServer(options(cfg)...)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s.grpc, s)
	return s, nil
}

// options are chosen for very many quiet streams; BenchmarkNetwork measures their cost.
func options(cfg Config) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(newCredentials(cfg.TLS)), grpc.InTapHandle(tapped), grpc.ConnectionTimeout(cfg.Limits.handshake()),
		grpc.ForceServerCodecV2(newCodec()),
		// TLS buffers reads, so a second buffer would be wasted. The write buffer, which exists only while
		// there is something to write, holds a TLS record.
		grpc.ReadBufferSize(0), grpc.WriteBufferSize(16 << 10),
		// Requests are small and rare: dynamic windows would cost a ping for each.
		grpc.StaticStreamWindowSize(64 << 10), grpc.StaticConnWindowSize(64 << 10),
		grpc.MaxRecvMsgSize(cfg.Limits.RequestBytes), grpc.MaxHeaderListSize(8 << 10),
		grpc.MaxConcurrentStreams(4),
		grpc.KeepaliveParams(cfg.Limits.keepalive()),
		// Proxies ping every 30 s; a stricter policy would make gRPC close their connections.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	}
}

// Serve accepts proxies until Close. It requires an earlier Publish: a proxy that connects gets the
// whole mesh or waits, never a part of it.
func (s *Server) Serve(listener net.Listener) error {
	if s.config.Load() == nil {
		return errors.New("xds: serve before the first configuration was published")
	}
	if err := s.grpc.Serve(gatedListener{listener, s.gate}); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve xDS on %s: %w", listener.Addr(), err)
	}
	return nil
}

// Connected is the number of proxies with an authenticated stream.
func (s *Server) Connected() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

// BeginDrain refuses new streams from now on and asks every proxy (GOAWAY) to open a new connection for
// its next stream: on the old one it would only come back here. It returns a function for each connected
// proxy that ends its stream, so that the caller can spread the ends over time.
func (s *Server) BeginDrain() []func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	go s.grpc.GracefulStop() // returns when the last stream has ended, at the latest at Close
	ends := make([]func(), 0, len(s.streams))
	for st := range s.streams {
		ends = append(ends, func() { st.end(status.Error(codes.Unavailable, "this replica is going away: connect again")) })
	}
	return ends
}

// Close ends all streams and stops serving. It does not wait for proxies, whose streams would never end
// by themselves.
func (s *Server) Close() { s.grpc.Stop() }
