package coalesce

import (
	"maps"
	"time"
)

const (
	// savings is how many seconds' worth of urgent runs can be saved up.
	savings = 4
	// quietAtHalf is how long a thing must have been quiet to be urgent when half of them are spent.
	quietAtHalf = time.Second
	// remembered is how long a thing is remembered: after that it is as quiet as can be.
	remembered = time.Minute
	// fewThings are remembered anyway.
	fewThings = 1000
)

// Urgency says which events are worth a run of their own. While there are few, all are. The more of
// the allowance is spent, the longer a thing must have been quiet for its next event to be urgent:
// what changes all the time waits, and what changes once in a while does not wait for that. Not safe for
// concurrent use; the zero Urgency takes everything for urgent.
type Urgency struct {
	rate   float64 // runs a second; 0 for no limit
	left   float64 // runs; below 0 when things that are always urgent have overdrawn it
	filled time.Time
	last   map[string]time.Time // when a thing changed last
	keep   int                  // how many of them are kept without a look
}

// allow sets the rate. Who has not spent anything yet has saved all that can be.
func (u *Urgency) allow(rate float64, now time.Time) {
	u.fill(now)
	if u.rate == 0 {
		u.left = rate * savings
	}
	u.rate, u.left = rate, min(u.left, rate*savings)
}

func (u *Urgency) fill(now time.Time) {
	if u.rate > 0 && now.After(u.filled) {
		u.left = min(u.left+now.Sub(u.filled).Seconds()*u.rate, u.rate*savings)
	}
	u.filled = now
}

// of says whether an event of that thing is urgent.
func (u *Urgency) of(thing string, now time.Time) bool {
	if u.rate == 0 {
		return true
	}
	u.fill(now)
	quiet := remembered
	if last, known := u.last[thing]; known {
		quiet = min(now.Sub(last), remembered)
	}
	u.remember(thing, now)
	return quiet >= u.required()
}

// required is how long a thing must have been quiet: nothing when nothing is spent, longer than
// anything is remembered when next to nothing is left.
func (u *Urgency) required() time.Duration {
	share := u.left / (u.rate * savings)
	if share <= 0 {
		return remembered + 1
	}
	return time.Duration(float64(quietAtHalf) * (1 - share) / share)
}

// spend takes a run from the allowance.
func (u *Urgency) spend() {
	if u.rate > 0 {
		u.left--
	}
}

// remember notes a change. Things that have been quiet for so long that they are not worth remembering are
// forgotten when there are many of them.
func (u *Urgency) remember(thing string, now time.Time) {
	if u.last == nil {
		u.last, u.keep = map[string]time.Time{}, fewThings
	}
	u.last[thing] = now
	if len(u.last) > u.keep {
		maps.DeleteFunc(u.last, func(_ string, last time.Time) bool { return now.Sub(last) >= remembered })
		u.keep = max(fewThings, 2*len(u.last))
	}
}
