package vault

import (
	"context"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
)

// Run keeps the token alive and watches the CA until ctx ends, and returns its cause. It is
// called after Load.
func (a *Authority) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.session.keep(ctx) })
	group.Go(func() error { return a.watch(ctx) })
	return group.Wait()
}

// watch looks from time to time whether the engine signs with another CA. What it shows to
// everybody costs nothing to read but may not be what the role signs with, so that a change, or a
// difference that is known, is judged by having a leaf signed.
func (a *Authority) watch(ctx context.Context) error {
	for {
		timer := time.NewTimer(a.cfg.Poll*4/5 + rand.N(a.cfg.Poll*2/5)) //nolint:gosec // jitter is no secret
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		}
		a.look(ctx)
	}
}

// look compares once. Its errors are those of every other request, whose callers hear of them.
func (a *Authority) look(ctx context.Context) {
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
	err = a.gate.pass(ctx, wish{probe.Identity, probe.Usage}, func() (outcome, error) {
		_, _, err := a.sign(ctx, probe, probeLife, &trust)
		return ended(ctx, err), err
	})
	if err == nil {
		a.mu.Lock()
		a.shown = shown
		a.mu.Unlock()
	}
}

// shownCA reads the CA that the engine shows to everybody. That may be none, where the role signs
// with an issuer of its own.
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

// report tells of a state that is not the last one told.
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
