package cli_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/osm-edge/osm/pkg/cli"
	"github.com/osm-edge/osm/pkg/cli/command"
)

// run runs a command line in process, without any cluster in sight.
func run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	var out, errs bytes.Buffer
	env := command.NewEnv(command.Build{Version: "v0.0.0-test"})
	env.Out, env.Err = &out, &errs
	code = cli.Main(t.Context(), env, withRegistry(args, testRegistry))
	return out.String(), errs.String(), code
}

// HA-16: every value outside its range is refused with a message that names the key and the range.
func TestAutoscalingRanges(t *testing.T) {
	replicas, percent := "an integer from 1 to 10", "an integer from 0 to 100"
	parameters := []struct {
		name, allowed string
		refused       []string
		accepted      []string
	}{
		{"minReplicas", replicas, []string{"-1", "0", "11", "100", "101", "x", "1.5"}, []string{"1", "5"}},
		{"maxReplicas", replicas, []string{"-1", "0", "11", "100", "101", "x", "1.5"}, []string{"1", "10"}},
		{"cpu.targetAverageUtilization", percent, []string{"-1", "101", "x", "1.5"}, []string{"0", "1", "10", "11", "100"}},
		{"memory.targetAverageUtilization", percent, []string{"-1", "101", "x", "1.5"}, []string{"0", "1", "10", "11", "100"}},
	}
	for _, component := range []string{"osmController", "injector"} {
		for _, parameter := range parameters {
			key := "osm." + component + ".autoScale." + parameter.name
			for _, value := range parameter.refused {
				t.Run(key+"="+value, func(t *testing.T) {
					_, stderr, code := run(t, "install", "--dry-run=client", "--set", key+"="+value)
					shown := value
					if value == "x" || value == "1.5" {
						shown = `"` + value + `"` // --set makes both a string
					}
					want := fmt.Sprintf("Error: %s: %s is not allowed; use %s", key, shown, parameter.allowed)
					if code == 0 || !strings.HasPrefix(stderr, want) {
						t.Errorf("exit code %d, stderr %q; want %q", code, stderr, want)
					}
				})
			}
			for _, value := range parameter.accepted {
				t.Run(key+"="+value, func(t *testing.T) {
					if _, stderr, code := run(t, "install", "--dry-run=client", "--set", key+"="+value); code != 0 {
						t.Errorf("exit code %d, stderr %q; want it accepted", code, stderr)
					}
				})
			}
		}
	}
}

// A least number above the greatest is refused, and raising the greatest makes it right.
func TestMinAboveMax(t *testing.T) {
	for _, component := range []string{"osmController", "injector"} {
		key := "osm." + component + ".autoScale."
		_, stderr, code := run(t, "install", "--dry-run=client", "--set", key+"minReplicas=10")
		if code == 0 || !strings.Contains(stderr, key+"minReplicas") || !strings.Contains(stderr, key+"maxReplicas") {
			t.Errorf("%s: exit code %d, stderr %q", component, code, stderr)
		}
		if _, stderr, code := run(t, "install", "--dry-run=client", "--set", key+"minReplicas=10,"+key+"maxReplicas=10"); code != 0 {
			t.Errorf("%s: exit code %d, stderr %q", component, code, stderr)
		}
	}
}
