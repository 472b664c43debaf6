package report

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const awaitInterval = 3 * time.Second

// Await collects until nothing is missing, and returns that report. Whenever the missing part
// changes, it calls progress. After timeout it returns the last report, which may be
// nil, and an error that names a missing item.
func (c *Collector) Await(ctx context.Context, timeout time.Duration, progress func(string)) (*Report, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var latest *Report
	var waitsFor string
	err := wait.PollUntilContextCancel(ctx, awaitInterval, true, func(ctx context.Context) (bool, error) {
		state := ""
		r, err := c.Collect(ctx)
		switch {
		case ctx.Err() != nil:
			return false, nil // canceled by the timeout: what was missing before still is
		case err != nil:
			state = err.Error() // an unavailable API server comes back, or the timeout ends this
		default:
			latest = r
			state = shorten(r.Missing())
		}
		if state != waitsFor && state != "" {
			progress("waiting for " + state)
		}
		waitsFor = state
		return state == "", nil
	})
	if err != nil {
		return latest, fmt.Errorf("the demo is not complete after %s: still waiting for %s: %w", timeout, waitsFor, err)
	}
	return latest, nil
}

// shorten names the first missing item and the number of the others: the screen lists all.
func shorten(missing []string) string {
	if len(missing) < 2 {
		return strings.Join(missing, "")
	}
	return fmt.Sprintf("%s, and %d more", missing[0], len(missing)-1)
}
