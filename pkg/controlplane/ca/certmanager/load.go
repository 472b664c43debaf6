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

// Attempts to load start at least loadFirst apart, and later up to loadLast. An attempt that waits for an
// issuer takes Timeout by itself, so the next one follows at once and notices a repaired issuer at once.
const (
	loadFirst = time.Second
	loadLast  = 15 * time.Second
)

// staleAfter is the age at which a request counts as a leftover. It allows for clocks that are minutes off.
// Deleting one too soon does little harm: its owner retries.
const staleAfter = 5 * time.Minute

// sweepPage is how many requests are listed at a time.
const sweepPage = 500

// Load waits until the issuer exists and signs, and learns the CA that it signs with. It fails only when ctx
// ends; it logs each problem once for as long as it stays the same.
func (a *Authority) Load(ctx context.Context) error {
	a.sweep(ctx)
	var last string
	var problem error // of the last attempt that ctx did not cut short
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

// essence is the part of an error that stays the same when the same problem occurs again.
func essence(err error) string {
	if failed, ok := errors.AsType[*RequestError](err); ok {
		return string(failed.Reason) + failed.Detail
	}
	return err.Error()
}

// trial returns a request for a leaf that is not used: only its signer matters.
func trial() ca.Request {
	return ca.Request{
		Identity: identity.Identity{Namespace: "osm-self-test", ServiceAccount: "osm-self-test"},
		Usage:    ca.UsageService,
		TTL:      time.Hour,
	}
}

// learn issues a leaf as for workloads, and trusts only the CA that signed it. If that is an intermediate,
// it does not trust the root, so that a mesh never trusts whatever else a company signs.
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

// Run reports when the issuer starts to sign with another CA than the loaded one, and when it returns to it.
// It learns the signer from the leaves that are issued, and requests one itself if none was for a while. It
// also removes requests left by crashed processes. It runs until ctx ends and returns its cause; call it
// after Load.
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

// compare returns how the CA that signed last compares with the loaded one. A renewed CA is the same to peers
// until the loaded certificate expires.
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

// probe requests a leaf unless the issuer has signed since the last call.
func (a *Authority) probe(ctx context.Context) {
	if a.takeHeard() {
		return
	}
	if _, err := a.issue(ctx, trial()); err != nil && ctx.Err() == nil {
		a.cfg.Log.Warn("the issuer currently issues no certificates", "issuer", a.cfg.Issuer.String(), "problem", err)
	}
	a.takeHeard() // our own probe does not count
}

// takeHeard reports whether the issuer has signed since the last call, and clears the flag.
func (a *Authority) takeHeard() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	heard := a.heard
	a.heard = false
	return heard
}

func (a *Authority) staleAge() time.Duration { return max(staleAfter, 2*a.cfg.Timeout) }

// sweep deletes this mesh's requests that are too old to be in use.
func (a *Authority) sweep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	removed, err := a.sweepAll(ctx)
	if removed > 0 {
		a.cfg.Log.Info("removed CertificateRequests left by an earlier process", "namespace", a.cfg.Namespace, "count", removed)
	}
	// Not found: cert-manager is not installed, so there are none.
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
			case !apierrors.IsNotFound(err): // not found: another replica deleted it first
				return removed, fmt.Errorf("delete %s: %w", item.GetName(), err)
			}
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return removed, nil
		}
	}
}

// jittered returns a duration from d/2 to d, so that replicas that start together spread out.
func jittered(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) } //nolint:gosec // jitter is no secret
