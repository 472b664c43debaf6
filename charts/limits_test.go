package charts_test

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/pflag"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/osm-edge/osm/pkg/controlplane/command"
	"github.com/osm-edge/osm/pkg/controlplane/controller"
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
		wantRange(t, "osm.osmController.limits."+camel(strings.TrimPrefix(f.Name, "limit-")), least, most)
	})
}

// The values of rebalancing become flags that the controller accepts, and none while it is off. Out of range, the
// schema refuses what the controller refuses.
func TestRebalanceValues(t *testing.T) {
	const key = "osm.osmController.rebalance."
	flags := func(given values) (found []string) {
		for _, arg := range pods(objects(t, given))["osm-controller"].Spec.Containers[0].Args {
			if strings.HasPrefix(arg, "--rebalance") {
				found = append(found, arg)
			}
		}
		return found
	}
	if found := flags(set(t, key+"perSecond=7")); len(found) != 0 {
		t.Errorf("rebalancing is off, and the controller gets %v", found)
	}
	on := flags(set(t, key+"enable=true,"+key+"perSecond=7,"+key+"maxAgeMinutes=60"))
	var parsed controller.Rebalance
	flagSet := pflag.NewFlagSet("controller", pflag.ContinueOnError)
	parsed.Bind(flagSet)
	if err := flagSet.Parse(on); err != nil || parsed != (controller.Rebalance{Enable: true, PerSecond: 7, MaxAgeMinutes: 60}) {
		t.Errorf("%v is parsed as %+v, %v", on, parsed, err)
	}
	wantRange(t, key+"perSecond", 1, 1000)
	for age, ok := range map[int]bool{-1: false, 0: true, 1: false, 9: false, 10: true, 43200: true, 43201: false} {
		_, err := render(t, nest(key+"maxAgeMinutes", age))
		if refused := (controller.Rebalance{MaxAgeMinutes: age}).Validate(); ok && (err != nil || refused != nil) {
			t.Errorf("%smaxAgeMinutes=%d: %v, %v", key, age, err, refused)
		} else if !ok {
			wantRefusal(t, err, key+"maxAgeMinutes", "0, or an integer from 10 to 43200")
			if refused == nil || !strings.Contains(refused.Error(), "want 0, or an integer from 10 to 43200; fix: ") {
				t.Errorf("the controller answers %v to %d minutes", refused, age)
			}
		}
	}
}

// wantRange renders the chart with values at the ends of a key's range, and next to them.
func wantRange(t *testing.T, key string, least, most int) {
	t.Helper()
	for value, ok := range map[int]bool{least - 1: false, least: true, most: true, most + 1: false} {
		_, err := render(t, nest(key, value))
		if ok && err != nil {
			t.Errorf("%s=%d: %v", key, value, err)
		}
		if !ok {
			wantRefusal(t, err, key, fmt.Sprintf("an integer from %d to %d", least, most))
		}
	}
}

// The drain period has the same range in the schema and in the controller, whose error names flag, key and range.
func TestDrainRange(t *testing.T) {
	wantRange(t, "osm.osmController.drainSeconds", 5, 300)
	for period, ok := range map[string]bool{"4s": false, "5s": true, "5m0s": true, "5m1s": false} {
		process := command.New(serve.Version{})
		process.SetArgs([]string{"controller", "--kubeconfig", kubeconfig(t), "--drain-period", period, "--limit-names", "1"})
		process.SetErr(io.Discard)
		err := process.ExecuteContext(t.Context())
		refused := err != nil && strings.Contains(err.Error(), "--drain-period "+period+": want 5s to 5m0s; fix: --drain-period=20s, in the chart osm.osmController.drainSeconds=20")
		if refused == ok {
			t.Errorf("--drain-period %s: %v", period, err)
		}
	}
}

// kubeconfig is a file that names a server which nobody asks.
func kubeconfig(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	config := clientcmdapi.Config{Clusters: map[string]*clientcmdapi.Cluster{"none": {Server: "https://127.0.0.1:1"}},
		Contexts: map[string]*clientcmdapi.Context{"none": {Cluster: "none"}}, CurrentContext: "none"}
	if err := clientcmd.WriteToFile(config, file); err != nil {
		t.Fatal(err)
	}
	return file
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
