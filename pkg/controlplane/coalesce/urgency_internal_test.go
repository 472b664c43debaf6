package coalesce

import (
	"fmt"
	"testing"
	"time"
)

// TestUrgencyForgets: keys that changed once, as at a start, are not remembered forever, nor are keys that
// are always new.
func TestUrgencyForgets(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	var u urgency
	u.allow(1, now)
	for n := range 50_000 {
		u.of(fmt.Sprint("at the start ", n), now)
	}
	now = now.Add(2 * remembered)
	u.of("later", now)
	if n := len(u.last); n != 1 {
		t.Errorf("%d keys are remembered after a long time, want 1", n)
	}
	for n := range 10_000 {
		now = now.Add(remembered / 100)
		u.of(fmt.Sprint("new ", n), now)
	}
	if n := len(u.last); n > 201 {
		t.Errorf("%d keys are remembered, want those of the last minute or two, about 200", n)
	}
}

// TestUrgencyAllowance: the unspent allowance is bounded, events that are always urgent may overdraw it, and a
// smaller allowance cuts the excess.
func TestUrgencyAllowance(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	var u urgency
	if !u.of("key", now) || u.last != nil {
		t.Error("without a limit, want every event urgent and no key remembered")
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
	u.left = 1e-30
	if u.required() <= remembered {
		t.Errorf("%v required when almost nothing is left, want more than the time that keys are remembered", u.required())
	}
	for range 10 * savings {
		u.spend()
	}
	if u.required() <= remembered {
		t.Error("with nothing left a key can be urgent")
	}
	now = now.Add(2 * time.Hour)
	u.fill(now)
	u.allow(1, now)
	if u.left != savings {
		t.Errorf("%v runs left of a smaller allowance, want %d", u.left, savings)
	}
}
