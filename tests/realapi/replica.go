package realapi

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/osm-edge/osm/pkg/controlplane/serve"
)

// Longest is how long a test waits for anything.
const Longest = time.Minute

// Await polls, for at most Longest, what has no event of its own.
func Await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(Longest); !holds(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, Longest)
		}
	}
}

// Replica is a controller or an injector that runs as a whole in the test's process, with a network of its own to the
// API server.
type Replica struct {
	Name    string
	Link    Link
	Health  *serve.Health
	Metrics *prometheus.Registry

	t     testing.TB
	lines lines
	stop  context.CancelFunc
	ended chan struct{}
	err   error // of run, once it has ended
}

// NewReplica returns a replica that does not run yet, and how it reaches the API server. gate may be nil.
func (s *Server) NewReplica(t testing.TB, name string, gate *Gate) (*Replica, *rest.Config) {
	r := &Replica{Name: name, Health: serve.NewHealth(nil), Metrics: prometheus.NewRegistry(), t: t, ended: make(chan struct{})}
	config := s.Config()
	config.Dial = r.Link.Dial
	if gate != nil {
		config.Wrap(gate.Wrap)
	}
	return r, config
}

// Run runs the replica until Signal, and at the latest until the test ends. The log is shown if the test fails.
func (r *Replica) Run(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	r.stop = cancel
	go func() {
		defer close(r.ended)
		r.err = run(ctx)
	}()
	r.t.Cleanup(func() {
		r.Link.Heal()
		r.Stop()
		r.Link.Close()
		if r.t.Failed() {
			r.t.Logf("the log of %s:\n%s", r.Name, r.lines.String())
		}
	})
}

// Log is for the replica, and what Logged searches.
func (r *Replica) Log() *slog.Logger { return slog.New(slog.NewTextHandler(&r.lines, nil)) }

// Logged reports whether the log contains a text.
func (r *Replica) Logged(text string) bool { return strings.Contains(r.lines.String(), text) }

// Signal tells the replica to end, as SIGTERM does.
func (r *Replica) Signal() { r.stop() }

// Stop is Signal and waits for the end.
func (r *Replica) Stop() {
	r.t.Helper()
	r.Signal()
	select {
	case <-r.ended:
	case <-time.After(Longest):
		r.t.Errorf("%s does not end", r.Name)
		return
	}
	if r.err != nil {
		r.t.Errorf("%s ended: %v", r.Name, r.err)
	}
}

// WaitsFor reports whether a text is among what readiness waits for.
func (r *Replica) WaitsFor(text string) bool {
	_, reasons := r.Health.Ready()
	return strings.Contains(fmt.Sprint(reasons), text)
}

// Listens reports whether a TCP port is open.
func Listens(address string) bool {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
