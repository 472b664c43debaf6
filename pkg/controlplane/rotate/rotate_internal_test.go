package rotate

import (
	"context"
	"errors"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/rotation"
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

// TestProof: the provider is asked for the collector's certificate when that is due or another CA
// signs, not for each look, and an outage does not stop the looks before it expires.
func TestProof(t *testing.T) {
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
		{name: "not due", passes: clientLife / 4, signer: "a", issued: 1},
		{name: "another signer", signer: "b", issued: 2},
		{name: "due while away", passes: 3 * clientLife / 4, signer: "b", away: outage, issued: 2},
		{name: "expired while away", passes: clientLife / 4, signer: "b", away: outage, issued: 2, fails: true},
		{name: "back", signer: "b", issued: 3},
	} {
		now = now.Add(step.passes)
		roots.signer, roots.away = step.signer, step.away
		leaf, err := c.prove(t.Context())
		if (err != nil) != step.fails || roots.issued != step.issued || !step.fails && !now.Before(leaf.NotAfter) {
			t.Errorf("%s: %d issued and error %v, want %d and error %v", step.name, roots.issued, err, step.issued, step.fails)
		}
	}
}

// TestTurnedRound: when a rotation is turned round, the root that it led to does not go on saying
// that it makes progress.
func TestTurnedRound(t *testing.T) {
	next := rotation.Root{Name: "next", Role: rotation.Passive}
	object := &v1alpha2.MeshRootCertificate{}
	object.Status = statusOf(object, next, rotation.Step{Goal: "next", Phase: rotation.TrustBoth})
	if !meta.IsStatusConditionTrue(object.Status.Conditions, conditionProgressing) {
		t.Fatalf("on its way there: %+v", object.Status)
	}
	object.Status = statusOf(object, next, rotation.Step{Goal: "old", Phase: rotation.TrustBoth})
	c := meta.FindStatusCondition(object.Status.Conditions, conditionProgressing)
	if c == nil || c.Status != "False" || c.Reason != "Ended" {
		t.Errorf("turned round: %+v", c)
	}
	never := statusOf(&v1alpha2.MeshRootCertificate{}, next, rotation.Step{Goal: "old", Phase: rotation.TrustBoth})
	if len(never.Conditions) != 0 {
		t.Errorf("no rotation ever led here: %+v", never.Conditions)
	}
}
