package cli

import (
	"testing"
	"time"
)

// For every budget the life is the shortest in whole minutes that leaves it.
func TestValidityFor(t *testing.T) {
	for budget := leftover(minValidity); budget < 30*time.Hour; budget += 7*time.Second + 13 {
		validity := validityFor(budget)
		if leftover(validity) < budget {
			t.Fatalf("budget %s: a life of %s leaves %s", budget, validity, leftover(validity))
		}
		if leftover(validity-time.Minute) >= budget || validity%time.Minute != 0 {
			t.Fatalf("budget %s: %s is not the shortest life in whole minutes", budget, validity)
		}
	}
	if most := validityFor(leftover(maxValidity)); most != maxValidity {
		t.Errorf("the greatest budget needs %s, want %s", most, maxValidity)
	}
	if least := validityFor(leftover(minValidity)); least != minValidity {
		t.Errorf("the least budget needs %s, want %s", least, minValidity)
	}
}
