package coalesce

import "time"

const (
	// savings is how many seconds' worth of urgent runs can be saved up.
	savings = 4
	// quietAtHalf is how long a key must have been quiet to be urgent when half of them are spent.
	quietAtHalf = time.Second
	// remembered is how long a key is remembered. After that it counts as quiet.
	remembered = time.Minute
)

// urgency decides which events are urgent. While there are few, all are. The more of the allowance is
// spent, the longer a key must have been quiet for its next event to be urgent: keys that change all the
// time wait, and keys that rarely change do not wait for them. It is not safe for concurrent use. To the zero
// urgency every event is urgent.
type urgency struct {
	rate   float64 // runs a second; 0 for no limit
	left   float64 // runs; below 0 when events that are always urgent have overdrawn it
	filled time.Time
	last   map[string]time.Time // when a key last changed
	swept  time.Time            // when old keys were last removed
}

// allow sets the rate. The first call starts with full savings.
func (u *urgency) allow(rate float64, now time.Time) {
	u.fill(now)
	if u.rate == 0 {
		u.left = rate * savings
	}
	u.rate, u.left = rate, min(u.left, rate*savings)
}

func (u *urgency) fill(now time.Time) {
	if u.rate > 0 {
		u.left = min(u.left+now.Sub(u.filled).Seconds()*u.rate, u.rate*savings)
	}
	u.filled = now
}

// of reports whether an event of the key is urgent.
func (u *urgency) of(key string, now time.Time) bool {
	if u.rate == 0 {
		return true
	}
	u.fill(now)
	quiet := remembered
	if last, known := u.last[key]; known {
		quiet = min(now.Sub(last), remembered)
	}
	u.remember(key, now)
	return quiet >= u.required()
}

// required returns how long a key must have been quiet: nothing when nothing is spent, longer than
// keys are remembered when almost nothing is left.
func (u *urgency) required() time.Duration {
	share := u.left / (u.rate * savings)
	if share <= 0 {
		return remembered + 1
	}
	return time.Duration(min(float64(quietAtHalf)*(1-share)/share, float64(remembered+1)))
}

// spend takes a run from the allowance.
func (u *urgency) spend() {
	if u.rate > 0 {
		u.left--
	}
}

// remember records a change, and from time to time removes keys that have been quiet for so long that
// they count as new.
func (u *urgency) remember(key string, now time.Time) {
	if now.Sub(u.swept) >= remembered {
		young := map[string]time.Time{} // a map never shrinks
		for key, last := range u.last {
			if now.Sub(last) < remembered {
				young[key] = last
			}
		}
		u.last, u.swept = young, now
	}
	u.last[key] = now
}
