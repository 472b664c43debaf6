package coalesce

import (
	"fmt"
	"testing"
	"time"
)

// TestUrgencyForgets: things that have not changed for a long time are not remembered for ever.
func TestUrgencyForgets(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	var u Urgency
	u.allow(1, now)
	for n := range 100 * fewThings {
		now = now.Add(remembered / fewThings)
		u.of(fmt.Sprint(n), now)
	}
	if n := len(u.last); n > 3*fewThings {
		t.Errorf("%d things are remembered, want about as many as change within %v, %d", n, remembered, fewThings)
	}
}

// TestUrgencyAllowance: savings are bounded, events that are always urgent may overdraw them, and a
// smaller allowance takes away what is too much.
func TestUrgencyAllowance(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	var u Urgency
	if !u.of("thing", now) || u.last != nil {
		t.Error("without a limit everything is urgent, and nothing is to be remembered")
	}
	u.allow(10, now)
	u.fill(now.Add(time.Hour))
	if u.left != 10*savings || u.required() != 0 {
		t.Errorf("%v runs saved and %v required, want %d and none", u.left, u.required(), 10*savings)
	}
	for range 5 * savings {
		u.spend()
	}
	if u.required() != quietAtHalf {
		t.Errorf("%v required when half is spent, want %v", u.required(), quietAtHalf)
	}
	for range 10 * savings {
		u.spend()
	}
	if u.required() <= remembered {
		t.Error("with nothing left something can be urgent")
	}
	now = now.Add(2 * time.Hour)
	u.fill(now)
	u.allow(1, now)
	if u.left != savings {
		t.Errorf("%v runs left of a smaller allowance, want %d", u.left, savings)
	}
}
