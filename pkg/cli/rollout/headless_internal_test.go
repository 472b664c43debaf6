package rollout

import (
	"testing"
	"time"
)

// The lifetime is the shortest in whole minutes that leaves the budget.
func TestValidityFor(t *testing.T) {
	for budget := leftover(minValidity); budget < 30*time.Hour; budget += 7*time.Second + 13 {
		validity := validityFor(budget)
		if leftover(validity) < budget {
			t.Fatalf("budget %s: a lifetime of %s leaves %s", budget, validity, leftover(validity))
		}
		if leftover(validity-time.Minute) >= budget || validity%time.Minute != 0 {
			t.Fatalf("budget %s: %s is not the shortest lifetime in whole minutes", budget, validity)
		}
	}
	if longest := validityFor(leftover(maxValidity)); longest != maxValidity {
		t.Errorf("the maximum budget needs %s, want %s", longest, maxValidity)
	}
	if shortest := validityFor(leftover(minValidity)); shortest != minValidity {
		t.Errorf("the minimum budget needs %s, want %s", shortest, minValidity)
	}
}
