package driver

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// TestTurnedAround: after a rotation is turned around, the root that it led to no longer reports
// progress.
func TestTurnedAround(t *testing.T) {
	next := rotation.Root{Name: "next", Role: rotation.Passive}
	object := &v1alpha2.MeshRootCertificate{}
	object.Status = statusOf(object, next, rotation.Step{Goal: "next", Phase: rotation.TrustBoth})
	if !meta.IsStatusConditionTrue(object.Status.Conditions, conditionProgressing) {
		t.Fatalf("before the turn: %+v", object.Status)
	}
	object.Status = statusOf(object, next, rotation.Step{Goal: "old", Phase: rotation.TrustBoth})
	c := meta.FindStatusCondition(object.Status.Conditions, conditionProgressing)
	if c == nil || c.Status != "False" || c.Reason != "Ended" {
		t.Errorf("turned around: %+v", c)
	}
	never := statusOf(&v1alpha2.MeshRootCertificate{}, next, rotation.Step{Goal: "old", Phase: rotation.TrustBoth})
	if len(never.Conditions) != 0 {
		t.Errorf("a root that was never a goal: %+v", never.Conditions)
	}
}
