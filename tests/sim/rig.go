package sim

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/tests/sim/fleet"
	"github.com/osm-edge/osm/tests/sim/report"
	"github.com/osm-edge/osm/tests/sim/server"
	"github.com/osm-edge/osm/tests/sim/world"
)

// rig is the environment of one scenario: an API server, a mesh in it, replicas, and fleets.
type rig struct {
	*session
	scenario scenario
	ctx      context.Context //nolint:containedctx // the rig's life is the scenario's
	report   *report.Report

	cluster  *server.Cluster
	world    *world.World
	root     *server.Authority
	replicas []*server.Replica
	catalog  *fleet.Catalog
	fleets   []*fleet.Fleet

	mu  sync.Mutex
	tls map[string]*tls.Config // by namespace/account
}

// up starts everything but the proxies.
func (r *rig) up() error {
	dir := filepath.Join(r.dir, r.scenario.name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	r.catalog, r.tls = fleet.NewCatalog(), map[string]*tls.Config{}
	var err error
	r.log("starting the API server")
	if r.cluster, err = server.StartCluster(r.ctx, dir, r.Programs); err != nil {
		return err
	}
	if r.world, err = world.New(r.cluster.REST, r.scenario.shape, api.DefaultMeshName); err != nil {
		return err
	}
	r.log("making %d services with %d pods each", r.scenario.shape.Services, r.scenario.shape.Pods)
	if err := r.world.Create(r.ctx, api.DefaultNamespace); err != nil {
		return err
	}
	if err := r.cluster.Bootstrap(r.ctx, r.Programs, !r.scenario.strict); err != nil {
		return err
	}
	for range max(1, r.scenario.replicas) {
		if err := r.addReplica(); err != nil {
			return err
		}
	}
	if r.root, err = r.cluster.Root(r.ctx); err != nil {
		return err
	}
	// The leader writes a Secret for each ServiceAccount: that is not the work
	// of any scenario.
	return r.still(2 * time.Second)
}

// down stops everything that up and the scenario started.
func (r *rig) down() {
	for _, f := range r.fleets {
		f.Close()
	}
	for _, replica := range r.replicas {
		replica.Kill()
	}
	if r.cluster != nil {
		r.cluster.Stop()
	}
}

func (r *rig) addReplica() error {
	replica, err := r.cluster.StartReplica(r.Programs, fmt.Sprintf("osm-controller-%d", len(r.replicas)), nil)
	if err != nil {
		return err
	}
	r.replicas = append(r.replicas, replica)
	began := time.Now()
	if err := replica.Ready(r.ctx); err != nil {
		return err
	}
	r.log("replica %d (process %d, debug %s) is ready after %s", len(r.replicas)-1, replica.PID(), replica.Debug, time.Since(began).Round(10*time.Millisecond))
	return nil
}

// restart starts a new process in place of a replica that has ended.
func (r *rig) restart(i int) error {
	replica, err := r.cluster.StartReplica(r.Programs, fmt.Sprintf("osm-controller-%d", i), r.replicas[i])
	if err != nil {
		return err
	}
	r.replicas[i] = replica
	return nil
}

// server returns the replica of a scenario with one replica.
func (r *rig) server() *server.Replica { return r.replicas[0] }

// newFleet returns a fleet without proxies that connects to the first replica.
func (r *rig) newFleet(protocol fleet.Protocol) *fleet.Fleet {
	f := fleet.New(fleet.Config{Protocol: protocol, Targets: []string{r.server().XDS}, Seed: r.Seed, Catalog: r.catalog})
	r.fleets = append(r.fleets, f)
	return f
}

// usualFleet returns a fleet with the protocol of the command line.
func (r *rig) usualFleet() *fleet.Fleet {
	if r.StateOfTheWorld {
		return r.newFleet(fleet.StateOfTheWorld)
	}
	return r.newFleet(fleet.Delta)
}

// proxies returns the proxies of the given pods.
func (r *rig) proxies(pods ...world.Pod) ([]fleet.Proxy, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var proxies []fleet.Proxy
	for _, pod := range pods {
		account := pod.Namespace + "/" + pod.Account
		config := r.tls[account]
		if config == nil {
			var err error
			if config, err = server.ProxyTLS(r.root, pod.Namespace, pod.Account); err != nil {
				return nil, err
			}
			r.tls[account] = config
		}
		proxies = append(proxies, fleet.Proxy{Node: pod.String(), TLS: config})
	}
	return proxies, nil
}

// firstProxies returns the scenario's number of proxies, spread over all services.
func (r *rig) firstProxies() ([]fleet.Proxy, error) {
	pods := r.world.Pods()
	if r.scenario.proxies > len(pods) {
		return nil, fmt.Errorf("%d proxies need as many pods, there are %d: raise -pods", r.scenario.proxies, len(pods))
	}
	return r.proxies(pods[:r.scenario.proxies]...)
}

// connected starts a fleet of the scenario's size and waits until nothing is sent anymore.
func (r *rig) connected() (*fleet.Fleet, error) {
	f := r.usualFleet()
	proxies, err := r.firstProxies()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	f.Add(proxies...)
	last, err := f.AwaitConfigured(r.ctx)
	if err != nil {
		return nil, err
	}
	r.log("%d proxies are configured after %s (%s)", len(proxies), last.Sub(began).Round(10*time.Millisecond), f.Stats().Troubles())
	return f, r.quiet(time.Second, f)
}

// wait sleeps, unless the run ends.
func (r *rig) wait(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// quiet waits until no fleet has received anything for a while. That nothing arrives can only be seen
// by waiting.
func (r *rig) quiet(d time.Duration, fleets ...*fleet.Fleet) error {
	var before int64 = -1
	for {
		var now int64
		for _, f := range fleets {
			messages, _ := f.Stats().Total()
			now += messages
		}
		if now == before {
			return nil
		}
		before = now
		if err := r.wait(d); err != nil {
			return err
		}
	}
}

// still waits until the replicas have been idle for a while: below 2 % of a CPU.
func (r *rig) still(d time.Duration) error {
	before, err := r.cpu()
	for err == nil {
		if err = r.wait(d); err != nil {
			break
		}
		var now time.Duration
		if now, err = r.cpu(); err == nil && now-before <= d/50 {
			return nil
		}
		before = now
	}
	return err
}

// cpu returns the CPU time that all replicas have used.
func (r *rig) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, replica := range r.replicas {
		select {
		case <-replica.Done():
			continue
		default:
		}
		u, err := replica.Usage()
		if err != nil {
			return 0, err
		}
		sum += u.CPU
	}
	return sum, nil
}
