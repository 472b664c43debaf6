package fleet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Proxy is the identity of one fake Envoy.
type Proxy struct {
	// Node is its node id, namespace/pod.
	Node string
	// TLS proves its identity and names the server that it accepts.
	TLS *tls.Config
	// Only narrows the endpoint resources that it subscribes to; nil means all that its
	// clusters need.
	Only func(name string) bool
}

// Protocol is a variant of xDS.
type Protocol int

// The variants.
const (
	Delta Protocol = iota
	StateOfTheWorld
)

// Config describes a fleet.
type Config struct {
	Protocol Protocol
	// Targets are the addresses of the control plane; each connection goes to one of them at random.
	Targets []string
	// Seed of all random choices.
	Seed uint64
	// Catalog may be shared by fleets; nil means a new one.
	Catalog *Catalog
}

// Fleet is many fake Envoys.
type Fleet struct {
	cfg    Config
	began  time.Time
	ctx    context.Context //nolint:containedctx // the fleet lives as long as its Envoys
	cancel context.CancelFunc
	alive  sync.WaitGroup
	count  counters
	large  sync.Pool // buffers (*[]byte) for large messages

	mu      sync.Mutex
	targets []string
	envoys  []*envoy // nil for removed ones
	failed  error    // the first error in a response
}

// New returns a fleet without proxies. Close it.
func New(cfg Config) *Fleet {
	if cfg.Catalog == nil {
		cfg.Catalog = NewCatalog()
	}
	f := &Fleet{cfg: cfg, began: time.Now(), targets: cfg.Targets}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// Close ends all proxies and waits for them.
func (f *Fleet) Close() {
	f.cancel()
	f.alive.Wait()
}

// Add starts proxies; they connect at once.
func (f *Fleet) Add(proxies ...Proxy) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range proxies {
		ctx, stop := context.WithCancel(f.ctx)
		e := &envoy{
			fleet: f, index: len(f.envoys), proxy: p, next: backoffBase, stop: stop,
			random: rand.New(rand.NewPCG(f.cfg.Seed, uint64(len(f.envoys)))), //nolint:gosec // reproducible on purpose
		}
		held := holding{catalog: f.cfg.Catalog, only: p.Only}
		if f.cfg.Protocol == Delta {
			e.variant = &delta{holding: held}
		} else {
			e.variant = &sotw{holding: held}
		}
		f.envoys = append(f.envoys, e)
		f.alive.Go(func() { e.run(ctx) })
	}
}

// Remove ends the proxy of that node, as when its pod is deleted.
func (f *Fleet) Remove(node string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, e := range f.envoys {
		if e != nil && e.proxy.Node == node {
			e.stop()
			f.envoys[i] = nil
			return nil
		}
	}
	return fmt.Errorf("no proxy %s", node)
}

// Route sets the addresses that proxies connect to from now on; open connections stay.
func (f *Fleet) Route(targets ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.targets = targets
}

func (f *Fleet) target(random *rand.Rand) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.targets) == 0 {
		return "", errors.New("no replica to connect to")
	}
	return f.targets[random.IntN(len(f.targets))], nil
}

// Cut closes all connections at once. With forget the proxies reconnect as new ones that hold
// nothing.
func (f *Fleet) Cut(forget bool) {
	for _, e := range f.all() {
		e.cut(forget)
	}
}

// CutOne closes the connection of the n-th proxy, modulo the number of proxies.
func (f *Fleet) CutOne(n int, forget bool) {
	all := f.all()
	all[n%len(all)].cut(forget)
}

func (f *Fleet) all() []*envoy {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*envoy, 0, len(f.envoys))
	for _, e := range f.envoys {
		if e != nil {
			all = append(all, e)
		}
	}
	return all
}

// Size is the number of proxies.
func (f *Fleet) Size() int { return len(f.all()) }

// Messages is the number of responses that each proxy has received, by its node.
func (f *Fleet) Messages() map[string]int64 {
	messages := map[string]int64{}
	for _, e := range f.all() {
		messages[e.proxy.Node] += e.messages.Load()
	}
	return messages
}

// Configured returns the number of proxies that have everything that they need, and since when the last of them
// does.
func (f *Fleet) Configured() (n int, last time.Time) {
	var latest int64
	for _, e := range f.all() {
		if at := e.configuredAt.Load(); at > 0 {
			n++
			latest = max(latest, at)
		}
	}
	return n, f.began.Add(time.Duration(latest))
}

// AwaitConfigured waits until all proxies are configured and returns when the last one was.
func (f *Fleet) AwaitConfigured(ctx context.Context) (time.Time, error) {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		n, last := f.Configured()
		if n == f.Size() {
			return last, f.Err()
		}
		if err := f.Err(); err != nil {
			return last, err
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return last, fmt.Errorf("wait for proxies: %d of %d are configured: %w: %s", n, f.Size(), ctx.Err(), f.Stats().Troubles())
		}
	}
}

func (f *Fleet) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed == nil {
		f.failed = err
	}
}

// Err returns the first error in a response, nil if all were good.
func (f *Fleet) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}
