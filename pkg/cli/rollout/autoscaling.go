package rollout

import (
	"fmt"

	"github.com/osm-edge/osm/pkg/cli/release"
)

// numberAfterAutoscaling refuses to turn autoscaling off without saying how many replicas stay, if
// that would leave one: a user who scales by load does not expect the default.
func numberAfterAutoscaling(before, after release.Values) error {
	for _, component := range Components() {
		_, given := after.Int(component.Key + ".replicaCount")
		if !component.Autoscaled(before) || component.Autoscaled(after) || given || component.MinReplicas(after) > 1 {
			continue
		}
		return fmt.Errorf("turning autoscaling of %[1]s off would leave one replica, because %[2]s.replicaCount is not set; give the number that stays, from 1 to 10: --set %[2]s.replicaCount=%[3]d, or with osm mesh scale --%[4]s %[3]d",
			component.App, component.Key, max(2, component.MinReplicas(before)), component.Flag)
	}
	return nil
}
