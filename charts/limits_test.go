package charts_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/pflag"

	"github.com/osm-edge/osm/pkg/controlplane/command"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
	"github.com/osm-edge/osm/pkg/controlplane/xds"
)

// Each limit of a process is a value of the chart, with the default that the process has.
func TestLimitDefaults(t *testing.T) {
	for app, pod := range pods(objects(t, values{})) {
		process, _, err := command.New(serve.Version{}).Find([]string{strings.TrimPrefix(app, "osm-")})
		if err != nil {
			t.Fatal(err)
		}
		given := map[string]string{}
		for _, arg := range pod.Spec.Containers[0].Args {
			if name, value, ok := strings.Cut(strings.TrimPrefix(arg, "--"), "="); ok && isLimit(name) {
				given[name] = value
			}
		}
		process.Flags().VisitAll(func(f *pflag.Flag) {
			if !isLimit(f.Name) {
				return
			}
			value, ok := given[f.Name]
			if !ok {
				t.Errorf("%s: no value for --%s", app, f.Name)
				return
			}
			delete(given, f.Name)
			if err := f.Value.Set(value); err != nil {
				t.Errorf("%s: --%s=%s: %v", app, f.Name, value, err)
			} else if f.Value.String() != f.DefValue {
				t.Errorf("%s: --%s is %s, and %s when it is left out", app, f.Name, value, f.DefValue)
			}
		})
		for name := range given {
			t.Errorf("%s has no flag --%s", app, name)
		}
	}
}

// isLimit reports whether a flag limits what clients may use.
func isLimit(flag string) bool {
	for _, prefix := range []string{"limit-", "max-", "sidecar-", "review-"} {
		if strings.HasPrefix(flag, prefix) {
			return flag != "sidecar-image"
		}
	}
	return false
}

// The schema refuses what the controller would refuse, and names the key and the range.
func TestLimitRanges(t *testing.T) {
	set, limits := pflag.NewFlagSet("controller", pflag.ContinueOnError), xds.Limits{}
	limits.Bind(set)
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
