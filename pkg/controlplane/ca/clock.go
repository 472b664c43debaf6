package ca

import (
	"time"
)

// clock returns now, or time.Now for nil.
func clock(now func() time.Time) func() time.Time {
	if now == nil {
		return time.Now
	}
	return now
}
