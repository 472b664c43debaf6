package vault

import (
	"context"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
)

// Run keeps the token alive and watches the CA until ctx ends, and returns its cause. Call it after Load.
func (a *Authority) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.session.keep(ctx) })
	group.Go(func() error { return a.watch(ctx) })
	return group.Wait()
}

// watch checks from time to time whether the engine signs with another CA. The CA that the engine publishes
// is cheap to read, but the role may sign with another one. So after a change, or while the CAs are known to
// differ, watch issues a leaf to find out.
func (a *Authority) watch(ctx context.Context) error {
	for {
		timer := time.NewTimer(a.cfg.Poll*4/5 + rand.N(a.cfg.Poll*2/5)) //nolint:gosec // jitter is no secret
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		}
		a.compareOnce(ctx)
	}
}

// compareOnce checks which CA signs. It drops errors: other requests fail as well, and their callers get the error.
func (a *Authority) compareOnce(ctx context.Context) {
	shown, err := a.shownCA(ctx)
	if err != nil {
		return
	}
	a.mu.Lock()
	same := shown == a.shown && a.reported == ca.RootSame
	a.mu.Unlock()
	if same {
		return
	}
	trust, probe := a.Trust(), a.probe()
	err = a.gate.pass(ctx, requestKey{probe.Identity, probe.Usage}, func() (outcome, error) {
		_, _, err := a.sign(ctx, probe, probeLifetime, &trust)
		return outcomeOf(ctx, err), err
	})
	if err == nil {
		a.mu.Lock()
		a.shown = shown
		a.mu.Unlock()
	}
}

// shownCA returns the CA that the engine publishes. There may be none if the role signs with an issuer of
// its own.
func (a *Authority) shownCA(ctx context.Context) (string, error) {
	secret, err := a.server.read(ctx, "", a.cfg.caPath())
	if denied(err) || withoutCA(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	text, _ := secret.Data["certificate"].(string)
	return text, nil
}

// compare reports whether a signed leaf is accepted where the loaded CA is trusted.
func (a *Authority) compare(loaded, signer ca.Trust, err error) {
	a.mu.Lock()
	ready := a.loaded != nil
	tell := ready && err == nil && signer.Fingerprint != loaded.Fingerprint && signer.Fingerprint != a.renewed
	if tell {
		a.renewed = signer.Fingerprint
	}
	a.mu.Unlock()
	switch {
	case !ready:
	case err == nil:
		if tell {
			a.cfg.Log.Warn("the CA's certificate was renewed: restart the control plane before the loaded one expires", "loaded", loaded.Fingerprint, "expires", loaded.NotAfter, "found", signer.Fingerprint)
		}
		a.report(ca.RootStatus{State: ca.RootSame, Found: signer.Fingerprint})
	case signer.Fingerprint != loaded.Fingerprint:
		a.report(ca.RootStatus{State: ca.RootDiffers, Found: signer.Fingerprint})
	}
}

// report reports a state unless it is the last one reported.
func (a *Authority) report(status ca.RootStatus) {
	a.reporting.Lock()
	defer a.reporting.Unlock()
	a.mu.Lock()
	known := a.reported == status.State
	a.reported = status.State
	status.Loaded = a.loaded.Fingerprint
	a.mu.Unlock()
	status.Provider = a.cfg.String()
	if !known {
		a.cfg.Report(status)
	}
}
