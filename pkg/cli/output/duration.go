package output

import (
	"fmt"
	"strings"
	"time"
)

// Duration reads "17 h 04 min", "4 min 10 s" or "9 s". It rounds towards zero, so that it never
// overstates the time.
func Duration(d time.Duration) string {
	if d < 0 {
		return "-" + Duration(-d)
	}
	hours, minutes, seconds := int(d/time.Hour), int(d%time.Hour/time.Minute), int(d%time.Minute/time.Second)
	switch {
	case hours > 0:
		return fmt.Sprintf("%d h %02d min", hours, minutes)
	case minutes > 0:
		return fmt.Sprintf("%d min %02d s", minutes, seconds)
	}
	return fmt.Sprintf("%d s", seconds)
}

// Days reads "3649 days"; less than two days are formatted by Duration.
func Days(d time.Duration) string {
	if days := int(d / (24 * time.Hour)); days >= 2 {
		return fmt.Sprintf("%d days", days)
	}
	return Duration(d)
}

// Compact formats a duration as a user would write it in a flag: 4h rather than 4h0m0s.
func Compact(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
