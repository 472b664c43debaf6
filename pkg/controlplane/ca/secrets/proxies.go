package secrets

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

const (
	// fieldManager owns the fields of the Secrets that the controllers write; probeManager only does dry runs.
	fieldManager = "osm-controller"
	probeManager = "osm-controller-probe"
	// defaultRewrites is the maximum number of Secrets per second that a change of the roots rewrites.
	defaultRewrites = 20
	// defaultProbe is how often a Secret is probed, in case somebody deleted or changed it: the control
	// plane may not watch Secrets outside its namespace.
	defaultProbe = 10 * time.Minute
	// defaultConcurrency is the number of simultaneous requests.
	defaultConcurrency = 8
	// maxPause bounds how late a jump of the wall clock is noticed: timers run on the monotonic clock,
	// which stops while the host sleeps.
	maxPause = 30 * time.Second
	// settleTime is how long further changes are waited for after one.
	settleTime = 100 * time.Millisecond
)

// Account is a ServiceAccount of a meshed namespace.
type Account struct {
	identity.Identity
	// UID makes the ServiceAccount the owner of its Secret; empty leaves the Secret without one.
	UID types.UID
	// Starting are its pods that have not started yet, perhaps because the Secret is missing.
	Starting []types.UID
}

// Problem is a fault that a user has to fix.
type Problem struct {
	// Object is the object at fault: kind, namespace/name.
	Object string
	// Message says what is wrong and what to do, in one sentence.
	Message string
}

// ProxyConfig configures a ProxyController.
type ProxyConfig struct {
	// Client, Authority, Mesh and TrustDomain are required.
	Client      kubernetes.Interface
	Authority   ca.Authority
	Mesh        string
	TrustDomain identity.TrustDomain
	// TTL is the lifetime of a certificate; zero means ca.DefaultTTL.
	TTL time.Duration
	// ProbeEvery is the maximum time between two probes of a Secret; zero means 10 minutes.
	ProbeEvery time.Duration
	// Concurrency bounds simultaneous requests; zero means 8.
	Concurrency int
	// RewritesPerSecond bounds the rate at which a change of the roots rewrites Secrets; zero means 20.
	RewritesPerSecond int
	// SweepEvery is the pause of Sweep between two accounts; zero means 200 ms.
	SweepEvery time.Duration
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
	// Log may be nil.
	Log *slog.Logger
	// Metrics may be nil.
	Metrics *ca.Metrics
}

// ProxyController keeps the client certificate Secret of every ServiceAccount in the mesh. Only the
// leader runs it. It needs create, patch and delete on Secrets and can read none: it learns what its
// own Secrets hold from the responses to its server-side applies.
type ProxyController struct {
	cfg ProxyConfig

	mu      sync.Mutex // one Reconcile, or one step of Sweep, at a time
	target  target
	records map[identity.Identity]*record
	swept   bool

	reading  sync.Mutex
	evidence []rotation.Secret // of the last Reconcile
}

// record is what the controller knows about one Secret.
type record struct {
	owner    types.UID
	uid      types.UID // of the Secret; empty while none is known to exist
	holds    contents
	nextAt   time.Time // when to probe again
	renewAt  time.Time
	failures int
	awaited  awaited
	removing bool   // the last attempt was to delete it
	problem  string // what a user has to fix
}

// Result is what a Reconcile did.
type Result struct {
	// Written, Kept, Deleted and Failed count Secrets. Kept includes those that were not probed.
	Written, Kept, Deleted, Failed int
	// Problems lists what users have to fix, sorted by object. The list is always complete: a problem
	// that is no longer in it is solved.
	Problems []Problem
	// Next is when Reconcile has work again if nothing changes; zero means never.
	Next time.Time
}

// NewProxyController returns a controller that knows no Secret yet: its first Reconcile probes all.
// Make a new one whenever this replica becomes the leader.
func NewProxyController(cfg ProxyConfig) (*ProxyController, error) {
	if cfg.Client == nil || cfg.Authority == nil || cfg.Mesh == "" || cfg.TrustDomain == "" {
		return nil, errors.New("new proxy secret writer: a client, an authority, a mesh name and a trust domain are required")
	}
	cfg.TTL = cmp.Or(cfg.TTL, ca.DefaultTTL)
	cfg.ProbeEvery = cmp.Or(cfg.ProbeEvery, defaultProbe)
	cfg.Concurrency = cmp.Or(cfg.Concurrency, defaultConcurrency)
	cfg.RewritesPerSecond = max(cmp.Or(cfg.RewritesPerSecond, defaultRewrites), 1)
	cfg.SweepEvery = cmp.Or(cfg.SweepEvery, defaultSweep)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &ProxyController{cfg: cfg, records: map[identity.Identity]*record{}}, nil
}

// Run reconciles at once, at every receive from trigger, and whenever a Secret is due, until ctx
// ends; then it returns its cause. desired returns the accounts of the meshed
// namespaces; report receives each result.
func (p *ProxyController) Run(ctx context.Context, desired func() []Account, trigger <-chan struct{}, report func(Result)) error {
	for {
		result, err := p.Reconcile(ctx, desired())
		if err != nil {
			return err
		}
		report(result)
		pause := maxPause
		if !result.Next.IsZero() {
			pause = min(pause, max(result.Next.Sub(p.now()), time.Second))
		}
		if wait(ctx, pause, trigger) {
			wait(ctx, settleTime, nil) // changes come in numbers, above all new pods
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// wait waits for a time, the trigger, or the end of ctx. It reports whether it was the trigger.
func wait(ctx context.Context, pause time.Duration, trigger <-chan struct{}) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-trigger:
		return true
	case <-timer.C:
	}
	return false
}

// Reconcile makes sure that the Secrets of the desired accounts exist and are in order, and deletes
// those of accounts that are no longer desired. A Secret known to be in order costs no request. A
// Secret that fails has a backoff of its own and delays no other. The only error is that of ctx.
func (p *ProxyController) Reconcile(ctx context.Context, desired []Account) (Result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retarget(len(desired))
	var work []func()
	var tally tally
	wanted := make(map[identity.Identity]bool, len(desired))
	for _, account := range desired {
		if wanted[account.Identity] {
			continue
		}
		wanted[account.Identity] = true
		r := p.records[account.Identity]
		if r == nil {
			r = &record{}
			p.records[account.Identity] = r
		}
		r.awaited.by(account.Starting)
		if p.due(r, account) {
			work = append(work, func() { tally.add(p.ensure(ctx, account, r)) })
			continue
		}
		tally.add(r.unprobed())
	}
	for id, r := range p.records {
		if !wanted[id] {
			work = append(work, func() { tally.add(p.remove(ctx, id, r)) })
		}
	}
	p.perform(ctx, work)
	p.publish()
	if ctx.Err() != nil {
		return Result{}, context.Cause(ctx)
	}
	maps.DeleteFunc(p.records, func(id identity.Identity, r *record) bool { return !wanted[id] && r.uid == "" && r.failures == 0 })
	return p.summary(&tally), nil
}

// perform runs the work, a few pieces at a time, and skips the rest when ctx ends.
func (p *ProxyController) perform(ctx context.Context, work []func()) {
	var group errgroup.Group
	group.SetLimit(p.cfg.Concurrency)
	for _, piece := range work {
		group.Go(func() error {
			if ctx.Err() == nil {
				piece()
			}
			return nil
		})
	}
	_ = group.Wait() // the functions return nil
}

// summary returns the result for all records.
func (p *ProxyController) summary(t *tally) Result {
	result := Result{Written: t.counts[written], Kept: t.counts[kept], Deleted: t.counts[deleted], Failed: t.counts[failed]}
	for id, r := range p.records {
		if r.problem != "" {
			result.Problems = append(result.Problems, Problem{Object: "Secret " + secretName(id), Message: r.problem})
		}
		next := p.nextProbe(id, r)
		if result.Next.IsZero() || next.Before(result.Next) {
			result.Next = next
		}
	}
	slices.SortFunc(result.Problems, func(a, b Problem) int { return strings.Compare(a.Object, b.Object) })
	return result
}

// outcome is the result for one Secret.
type outcome int

const (
	kept outcome = iota
	written
	deleted
	failed
	absent // nothing to delete
)

// tally counts outcomes from several goroutines.
type tally struct {
	mu     sync.Mutex
	counts [absent + 1]int
}

func (t *tally) add(o outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[o]++
}

func (p *ProxyController) now() time.Time { return p.cfg.Now().Round(0) }
