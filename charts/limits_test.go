package charts_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/pflag"

	"github.com/osm-edge/osm/pkg/controlplane/xds"
)

// limitFlags are the controller's flags for limits, with what the chart gives by default.
func limitFlags(t *testing.T) (set *pflag.FlagSet, given map[string]string) {
	t.Helper()
	set, given = pflag.NewFlagSet("controller", pflag.ContinueOnError), map[string]string{}
	var limits xds.Limits
	limits.Bind(set)
	for name, pod := range pods(objects(t, values{})) {
		for _, arg := range pod.Spec.Containers[0].Args {
			if flag, value, ok := strings.Cut(arg, "="); ok && strings.HasPrefix(flag, "--limit-") {
				if name != "osm-controller" {
					t.Errorf("%s has %s", name, arg)
				}
				given[strings.TrimPrefix(flag, "--")] = value
			}
		}
	}
	return set, given
}

// Each limit is a value of the chart, with the default that the controller has.
func TestLimitDefaults(t *testing.T) {
	set, given := limitFlags(t)
	set.VisitAll(func(f *pflag.Flag) {
		value, ok := given[f.Name]
		if !ok {
			t.Errorf("no value for --%s", f.Name)
			return
		}
		if err := set.Set(f.Name, value); err != nil {
			t.Errorf("--%s=%s: %v", f.Name, value, err)
		} else if f.Value.String() != f.DefValue {
			t.Errorf("--%s is %s, and %s when it is left out", f.Name, value, f.DefValue)
		}
		delete(given, f.Name)
	})
	for name := range given {
		t.Errorf("there is no flag --%s", name)
	}
}

// The schema refuses what the controller would refuse, and names the key and the range.
func TestLimitRanges(t *testing.T) {
	set, _ := limitFlags(t)
	set.VisitAll(func(f *pflag.Flag) {
		var least, most int
		open := strings.LastIndexByte(f.Usage, '(')
		if _, err := fmt.Sscanf(f.Usage[open:], "(%d to %d)", &least, &most); err != nil {
			t.Fatalf("%q: want a range at the end", f.Usage)
		}
		key := "osm.osmController.limits." + camel(strings.TrimPrefix(f.Name, "limit-"))
		for value, ok := range map[int]bool{least - 1: false, least: true, most: true, most + 1: false} {
			_, err := render(t, nest(key, value))
			if ok && err != nil {
				t.Errorf("%s=%d: %v", key, value, err)
			}
			if !ok {
				wantRefusal(t, err, key, fmt.Sprintf("an integer from %d to %d", least, most))
			}
		}
	})
}

// camel writes a flag's name as the chart does.
func camel(flag string) string {
	var name strings.Builder
	up := false
	for _, r := range flag {
		switch {
		case r == '-':
			up = true
			continue
		case up:
			r = unicode.ToUpper(r)
		}
		up = false
		name.WriteRune(r)
	}
	return name.String()
}
