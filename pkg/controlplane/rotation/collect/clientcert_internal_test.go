package collect

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
)

// fakeAuthority counts what it issues.
type fakeAuthority struct {
	signer string
	away   error
	issued int
	now    func() time.Time
}

func (f *fakeAuthority) Trust() ca.Trust { return ca.Trust{Fingerprint: f.signer} }

func (f *fakeAuthority) Issue(_ context.Context, r ca.Request) (*ca.Leaf, error) {
	if f.away != nil {
		return nil, f.away
	}
	f.issued++
	now := f.now()
	return &ca.Leaf{Issued: now, NotAfter: now.Add(r.TTL), RenewAt: now.Add(r.TTL / 2)}, nil
}

// TestClientCert: the client certificate is renewed when it is due or a different CA signs, not for each
// collection, and an outage of the provider stops no collection before the certificate expires.
func TestClientCert(t *testing.T) {
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	roots := &fakeAuthority{signer: "a", now: clock}
	c := &Collector{Roots: roots, Now: clock}
	outage := errors.New("away")
	for _, step := range []struct {
		name   string
		passes time.Duration
		signer string
		away   error
		issued int
		fails  bool
	}{
		{name: "first", signer: "a", issued: 1},
		{name: "not due", passes: clientLifetime / 4, signer: "a", issued: 1},
		{name: "another signer", signer: "b", issued: 2},
		{name: "due while unavailable", passes: 3 * clientLifetime / 4, signer: "b", away: outage, issued: 2},
		{name: "expired while unavailable", passes: clientLifetime / 4, signer: "b", away: outage, issued: 2, fails: true},
		{name: "back", signer: "b", issued: 3},
	} {
		now = now.Add(step.passes)
		roots.signer, roots.away = step.signer, step.away
		leaf, err := c.clientCert(t.Context())
		if (err != nil) != step.fails || roots.issued != step.issued || !step.fails && !now.Before(leaf.NotAfter) {
			t.Errorf("%s: %d issued and error %v, want %d and error %v", step.name, roots.issued, err, step.issued, step.fails)
		}
	}
}
