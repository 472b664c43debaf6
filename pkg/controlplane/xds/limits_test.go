package xds

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/spf13/pflag"
)

func TestLimitsRanges(t *testing.T) {
	var l Limits
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	l.Bind(set)
	if err := l.Validate(); err != nil || l != (Limits{}).withDefaults() {
		t.Errorf("the flags' defaults are %+v, %v; want those of a zero Limits", l, err)
	}
	for _, one := range limits() {
		for value, ok := range map[int]bool{one.least - 1: false, one.least: true, one.most: true, one.most + 1: false, -1: false} {
			bad := l
			*one.of(&bad) = value
			err := bad.Validate()
			if (err == nil) != (ok || value == 0) {
				t.Errorf("%s %d: %v", one.name, value, err)
			}
			if err == nil {
				continue
			}
			if text := err.Error(); !strings.Contains(text, "--limit-"+one.name+" ") || !strings.Contains(text, fmt.Sprintf("an integer from %d to %d", one.least, one.most)) {
				t.Errorf("%q does not name the flag and its range", text)
			}
		}
	}
}

// limited is the metric that names offenders.
func (m *inMemory) limited(limit, offender string) float64 {
	return testutil.ToFloat64(m.metrics.limited.WithLabelValues(limit, offender))
}
