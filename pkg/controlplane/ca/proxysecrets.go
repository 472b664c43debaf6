package ca

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

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

const (
	// proxyManager owns the fields of the Secrets that controllers keep; probeManager only ever dry-runs.
	proxyManager = "osm-controller"
	probeManager = "osm-controller-probe"
	// proxyRenew is the share of its life after which a proxy's certificate is replaced. It is
	// fixed, unlike a leaf's: the kubelet takes up to two minutes to bring it to the proxy.
	proxyRenew = 0.5
	// defaultRewrites is how many Secrets per second a change of the roots rewrites at most.
	defaultRewrites = 20
	// defaultProbe is how often a Secret is looked at again, in case somebody deleted or changed
	// it: the control plane may not watch Secrets outside its namespace.
	defaultProbe = 10 * time.Minute
)

// Account is a ServiceAccount of a meshed namespace.
type Account struct {
	identity.Identity
	// UID makes the ServiceAccount the owner of its Secret; empty leaves the Secret without one.
	UID types.UID
}

// Problem is a fault that a user has to fix.
type Problem struct {
	// Object is the object at fault: kind, namespace/name.
	Object string
	// Message says what is wrong and what to do, in one sentence.
	Message string
}

// ProxySecretsConfig says what ProxySecrets writes.
type ProxySecretsConfig struct {
	// Client, Authority, Mesh and TrustDomain are required.
	Client      kubernetes.Interface
	Authority   Authority
	Mesh        string
	TrustDomain identity.TrustDomain
	// TTL is the certificates' life; zero means DefaultTTL.
	TTL time.Duration
	// ProbeEvery is how often a Secret is looked at again, at most; zero means 10 minutes.
	ProbeEvery time.Duration
	// Concurrency bounds simultaneous requests; zero means 8.
	Concurrency int
	// RewritesPerSecond bounds the rate at which a change of the roots rewrites Secrets; zero means 20.
	RewritesPerSecond int
	// SweepEvery is the pause of Sweep between two accounts; zero means a fifth of a second.
	SweepEvery time.Duration
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
	// Log may be nil.
	Log *slog.Logger
	// Metrics may be nil.
	Metrics *Metrics
}

// ProxySecrets keeps the client certificate Secret of every ServiceAccount in the mesh. Only the
// holder of the Lease runs it; it needs create, patch and delete on Secrets and can read none:
// what it must know of its own it learns from the answers to its server-side applies.
type ProxySecrets struct {
	cfg ProxySecretsConfig

	mu      sync.Mutex // one Reconcile, or one step of Sweep, at a time
	aim     aim
	records map[identity.Identity]*record
	swept   bool

	reading  sync.Mutex
	evidence []SecretEvidence // of the last Reconcile
}

// record is what is known of one Secret.
type record struct {
	owner    types.UID
	uid      types.UID // of the Secret; empty while none is known to exist
	holds    SecretEvidence
	nextAt   time.Time // when to look again
	renewAt  time.Time
	failures int
	removing bool   // the last attempt was to delete it
	problem  string // what a user has to fix
}

// Result is what a Reconcile did.
type Result struct {
	// Written, Kept, Deleted and Failed count Secrets. Kept includes those not looked at.
	Written, Kept, Deleted, Failed int
	// Problems lists what users have to fix, sorted by object. It is complete every time, so
	// that a problem that is no longer listed is solved.
	Problems []Problem
	// Next is when Reconcile has work again if nothing changes; zero means never.
	Next time.Time
}

// NewProxySecrets returns a writer that knows of no Secret yet: its first Reconcile looks at all.
// Make a new one whenever this replica obtains the Lease.
func NewProxySecrets(cfg ProxySecretsConfig) (*ProxySecrets, error) {
	if cfg.Client == nil || cfg.Authority == nil || cfg.Mesh == "" || cfg.TrustDomain == "" {
		return nil, errors.New("new proxy secret writer: a client, an authority, a mesh name and a trust domain are required")
	}
	cfg.TTL = cmp.Or(cfg.TTL, DefaultTTL)
	cfg.ProbeEvery = cmp.Or(cfg.ProbeEvery, defaultProbe)
	cfg.Concurrency = cmp.Or(cfg.Concurrency, defaultConcurrency)
	cfg.RewritesPerSecond = max(cmp.Or(cfg.RewritesPerSecond, defaultRewrites), 1)
	cfg.SweepEvery = cmp.Or(cfg.SweepEvery, defaultSweep)
	cfg.Now, cfg.Log = clock(cfg.Now), logger(cfg.Log)
	return &ProxySecrets{cfg: cfg, records: map[identity.Identity]*record{}}, nil
}

// Run reconciles at once, at every receive from trigger, and whenever there is work of its own,
// until ctx ends; then it returns its cause. desired returns the accounts of the meshed
// namespaces; report receives each result.
func (p *ProxySecrets) Run(ctx context.Context, desired func() []Account, trigger <-chan struct{}, report func(Result)) error {
	for {
		result, err := p.Reconcile(ctx, desired())
		if err != nil {
			return err
		}
		report(result)
		pause := maxTick // wall clock: see there
		if !result.Next.IsZero() {
			pause = min(pause, max(result.Next.Sub(p.now()), time.Second))
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-trigger:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// Reconcile makes the Secrets of the desired accounts exist and be fit, and deletes those of
// accounts that are no longer desired. What is known to be fit costs no request. A Secret that
// fails is tried again after a pause of its own and holds up no other; the error is ctx's only.
func (p *ProxySecrets) Reconcile(ctx context.Context, desired []Account) (Result, error) {
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
		if p.due(r, account) {
			work = append(work, func() { tally.add(p.ensure(ctx, account, r)) })
			continue
		}
		tally.add(r.standing())
	}
	for id, r := range p.records {
		if !wanted[id] {
			work = append(work, func() { tally.add(p.remove(ctx, id, r)) })
		}
	}
	p.perform(ctx, work)
	p.note()
	if ctx.Err() != nil {
		return Result{}, context.Cause(ctx)
	}
	maps.DeleteFunc(p.records, func(id identity.Identity, r *record) bool { return !wanted[id] && r.uid == "" && r.failures == 0 })
	return p.summary(&tally), nil
}

// perform runs the work, a few pieces at a time, and leaves out what is left when ctx ends.
func (p *ProxySecrets) perform(ctx context.Context, work []func()) {
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

// summary reads the result off the records.
func (p *ProxySecrets) summary(t *tally) Result {
	result := Result{Written: t.counts[written], Kept: t.counts[kept], Deleted: t.counts[deleted], Failed: t.counts[failed]}
	for id, r := range p.records {
		if r.problem != "" {
			result.Problems = append(result.Problems, Problem{Object: "Secret " + secretName(id), Message: r.problem})
		}
		next := p.nextLook(id, r)
		if result.Next.IsZero() || next.Before(result.Next) {
			result.Next = next
		}
	}
	slices.SortFunc(result.Problems, func(a, b Problem) int { return strings.Compare(a.Object, b.Object) })
	return result
}

// outcome is what became of one Secret.
type outcome int

const (
	kept outcome = iota
	written
	deleted
	failed
	absent // nothing was there to delete
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

func (p *ProxySecrets) now() time.Time { return p.cfg.Now().Round(0) }
