package certmanager

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// Attempts to load are at least loadFirst apart, later up to loadLast. One that waits for an issuer
// takes Timeout by itself, so that the next follows at once and a repaired issuer is noticed at once.
const (
	loadFirst = time.Second
	loadLast  = 15 * time.Second
)

// staleAfter is the least age at which a request is a leftover, on a clock that may be off by
// minutes. Too soon does little harm: whoever waits for the request asks again.
const staleAfter = 5 * time.Minute

// sweepPage is how many requests are listed at a time.
const sweepPage = 500

// Load waits until the issuer signs, which it may not do yet or may not exist yet, and learns the
// CA that it signs with. It ends without it only when ctx does; what is in the way is logged once
// for as long as it stays the same.
func (a *Authority) Load(ctx context.Context) error {
	a.sweep(ctx)
	var last string
	var problem error // of the last attempt that had all its time
	for pause := loadFirst; ; pause = min(2*pause, loadLast) {
		next := time.NewTimer(jittered(pause))
		err := a.learn(ctx)
		if err == nil {
			next.Stop()
			a.cfg.Report(a.compare())
			return nil
		}
		if ctx.Err() == nil || problem == nil {
			problem = err
		}
		if text := essence(problem); text != last && ctx.Err() == nil {
			last = text
			a.cfg.Log.Warn("waiting for the first certificate of the issuer", "issuer", a.cfg.Issuer.String(), "problem", problem)
		}
		select {
		case <-ctx.Done():
			next.Stop()
			return fmt.Errorf("load the CA of %s: %w: %w", a.cfg.Issuer, context.Cause(ctx), problem)
		case <-next.C:
		}
	}
}

// essence is what of an error stays the same when the same goes wrong again.
func essence(err error) string {
	if failed, ok := errors.AsType[*RequestError](err); ok {
		return string(failed.Reason) + failed.Detail
	}
	return err.Error()
}

// trial is a leaf that nobody uses: what it was signed with is of interest.
func trial() ca.Request {
	return ca.Request{
		Identity: identity.Identity{Namespace: "osm-self-test", ServiceAccount: "osm-self-test"},
		Usage:    ca.UsageService,
		TTL:      time.Hour,
	}
}

// learn issues a leaf as it is issued for workloads, and trusts the CA that signed it alone: if
// that one is an intermediate, not its root, so that a mesh never trusts what else a company signs.
func (a *Authority) learn(ctx context.Context) error {
	req := trial()
	got, err := a.ask(ctx, req, req.TTL)
	if err != nil {
		return err
	}
	trust, err := ca.SignerTrust(got.certificate, got.ca, a.now())
	if err != nil {
		return a.unusable(got.name, err)
	}
	if _, err := ca.LeafFromPEM(req, a.cfg.TrustDomain, got.certificate, got.key, trust, a.now()); err != nil {
		return a.unusable(got.name, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.trust, a.signer, a.heard = trust, signer{trust.Fingerprint, true}, true
	return nil
}

// Run reports when the issuer signs with another CA than the loaded one, and when with that one
// again. It learns of it from the leaves that are issued, and asks for one itself when none was for
// a while. Beside that it removes leftovers of processes that crashed. It runs until ctx ends and
// returns its cause; call it after Load.
func (a *Authority) Run(ctx context.Context) error {
	stale := time.NewTicker(a.staleAge())
	defer stale.Stop()
	quiet := time.NewTimer(jittered(a.cfg.ProbeInterval))
	defer quiet.Stop()
	for last := ca.RootSame; ; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-a.changed:
			if status := a.compare(); status.State != last {
				last = status.State
				a.cfg.Report(status)
			}
		case <-stale.C:
			a.sweep(ctx)
		case <-quiet.C:
			a.probe(ctx)
			quiet.Reset(jittered(a.cfg.ProbeInterval))
		}
	}
}

// compare says how the CA that signed last compares with the loaded one. One that was only renewed
// is the same to peers for as long as the loaded certificate lasts.
func (a *Authority) compare() ca.RootStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	status := ca.RootStatus{State: ca.RootSame, Provider: a.cfg.String(), Loaded: a.trust.Fingerprint, Found: a.signer.fingerprint}
	switch {
	case !a.signer.accepted:
		status.State = ca.RootDiffers
	case status.Found != status.Loaded:
		a.cfg.Log.Warn("the CA's certificate was renewed: restart the control plane before the loaded one expires",
			"issuer", a.cfg.Issuer.String(), "loaded", status.Loaded, "expires", a.trust.NotAfter, "found", status.Found)
	}
	return status
}

// probe asks for a leaf unless the issuer was heard of since the last time.
func (a *Authority) probe(ctx context.Context) {
	if a.listened() {
		return
	}
	if _, err := a.issue(ctx, trial()); err != nil && ctx.Err() == nil {
		a.cfg.Log.Warn("the issuer gives no certificates at present", "issuer", a.cfg.Issuer.String(), "problem", err)
	}
	a.listened() // an answer to ourselves does not stand in for others
}

// listened says whether the issuer was heard of since it was called last.
func (a *Authority) listened() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	heard := a.heard
	a.heard = false
	return heard
}

func (a *Authority) staleAge() time.Duration { return max(staleAfter, 2*a.cfg.Timeout) }

// sweep deletes this mesh's requests that are too old for anybody to wait for.
func (a *Authority) sweep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	removed, err := a.sweepAll(ctx)
	if removed > 0 {
		a.cfg.Log.Info("removed CertificateRequests that a process left behind", "namespace", a.cfg.Namespace, "count", removed)
	}
	// Not found: cert-manager is not even installed, so there are none.
	if err != nil && !apierrors.IsNotFound(err) && !errors.Is(err, context.Canceled) {
		a.cfg.Log.Warn("leftover CertificateRequests not removed", "namespace", a.cfg.Namespace, "error", err)
	}
}

func (a *Authority) sweepAll(ctx context.Context) (removed int, err error) {
	options := metav1.ListOptions{LabelSelector: labels.Set{LabelRequest: a.cfg.Mesh}.String(), Limit: sweepPage}
	before := a.now().Add(-a.staleAge())
	for {
		page, err := a.requests.List(ctx, options)
		if err != nil {
			return removed, fmt.Errorf("list: %w", err)
		}
		for _, item := range page.Items {
			if !item.GetCreationTimestamp().Time.Before(before) {
				continue
			}
			switch err := a.requests.Delete(ctx, item.GetName(), metav1.DeleteOptions{}); {
			case err == nil:
				removed++
			case !apierrors.IsNotFound(err): // not found: another replica was faster
				return removed, fmt.Errorf("delete %s: %w", item.GetName(), err)
			}
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return removed, nil
		}
	}
}

// jittered is between half of d and d, so that replicas that start together do not stay together.
func jittered(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) } //nolint:gosec // jitter is no secret
