package controller

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/leafcache"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/wake"
	"github.com/osm-edge/osm/pkg/controlplane/xds"
)

// TestRootsChanged: when another CA signs, leaves are replaced within minutes and the proxies'
// Secrets are looked at; when one is only trusted, the leaves stay.
func TestRootsChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := newIssuer(t), newIssuer(t)
		p := newRooted(t, first)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = p.leaves.Run(ctx) }() // ends with ctx
		lease, err := p.leaves.Acquire(ctx, identity.Identity{Namespace: "shop", ServiceAccount: "store"})
		must(t, err)
		defer lease.Release()
		before := lease.Current()

		must(t, p.roots.Set(first, second))
		time.Sleep(10 * time.Minute)
		if lease.Current() != before {
			t.Error("the leaf was replaced though the same CA signs")
		}
		if !p.accounts.Clear() || !p.hook.Clear() {
			t.Error("the proxies' Secrets or the webhook do not get the new bundle")
		}

		must(t, p.roots.Set(second, first))
		time.Sleep(10 * time.Minute)
		if lease.Current() == before {
			t.Error("the leaf of the former signer is still in use after ten minutes")
		}
		if !p.accounts.Clear() || !p.hook.Clear() {
			t.Error("the proxies' Secrets or the injectors' do not get leaves of the new signer")
		}
	})
}

// newRooted is as much of a controller as a change of the roots concerns.
func newRooted(t *testing.T, signer ca.Authority) *process {
	t.Helper()
	roots, err := ca.NewRootSet(nil, signer)
	must(t, err)
	leaves, err := leafcache.New(leafcache.Config{Authority: roots})
	must(t, err)
	p := &process{cfg: Config{Log: slog.New(slog.DiscardHandler)}, roots: roots, leaves: leaves, accounts: wake.NewSignal(), hook: wake.NewSignal()}
	cert, err := ca.NewServingCert(t.Context(), ca.ServingConfig{Authority: roots, Identity: identity.Identity{Namespace: "osm-system", ServiceAccount: "osm-controller"}})
	must(t, err)
	p.xds, err = xds.New(xds.Config{
		TrustDomain: "cluster.local", TLS: cert.MutualTLS(), Leaves: leaves, Trust: roots.Trust, Metrics: xds.NewMetrics(prometheus.NewRegistry()), Log: p.cfg.Log,
	})
	must(t, err)
	roots.Subscribe(p.rootsChanged)
	return p
}

func newIssuer(t *testing.T) *ca.Issuer {
	t.Helper()
	root, err := ca.NewRoot(time.Now())
	must(t, err)
	issuer, err := ca.NewIssuer(ca.IssuerConfig{Root: root, TrustDomain: "cluster.local"})
	must(t, err)
	return issuer
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
