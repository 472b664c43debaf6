package cli

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/demo/cluster/internal/cluster"
	"github.com/osm-edge/osm/demo/cluster/internal/plan"
)

var update = flag.Bool("update", false, "rewrite golden files")

// run executes the command line with args, with state and cache in the test's own folder.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out, progress bytes.Buffer
	cmd := New(&out, &progress)
	cmd.SetArgs(append([]string{"--state=" + t.TempDir(), "--cache=" + t.TempDir()}, args...))
	err := cmd.Execute()
	return out.String(), err
}

func TestMistakesAreExplained(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"too many nodes":     {[]string{"up", "--nodes", "10"}, "between 1 and 9"},
		"no nodes":           {[]string{"up", "--nodes", "0"}, "between 1 and 9"},
		"bad name":           {[]string{"up", "--name", "Big Cluster"}, "1 to 8 lower-case"},
		"bad octet":          {[]string{"up", "--octet", "300"}, "between 0 and 253"},
		"unknown output":     {[]string{"status", "-o", "xml"}, "must be text or json"},
		"no cluster":         {[]string{"status"}, "make it with `cluster up`"},
		"no kubeconfig":      {[]string{"kubeconfig"}, "make it with `cluster up`"},
		"nothing to load":    {[]string{"load"}, "at least 1 arg"},
		"load, no cluster":   {[]string{"load", "a.tar"}, "make it with `cluster up`"},
		"node, no cluster":   {[]string{"node", "cut", "node-1"}, "make it with `cluster up`"},
		"unknown program":    {[]string{"path", "vim"}, "choose from etcd"},
		"not compiled yet":   {[]string{"path", "kubectl"}, "run `cluster build`"},
		"repository missing": {[]string{"path", "kubectl", "--repo", "/nonexistent"}, "pass --repo"},
		"unknown command":    {[]string{"upp"}, "unknown command"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			out, err := run(t, tt.args...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one that says %q", err, tt.want)
			}
			if out != "" {
				t.Errorf("a failed command wrote to standard output: %q", out)
			}
		})
	}
}

func TestChoosePlan(t *testing.T) {
	running := plan.Cluster{Name: "osmc", Octet: 210, Nodes: 3}
	tests := map[string]struct {
		flags upFlags
		known bool
		want  plan.Cluster
		fails string
	}{
		"new cluster":              {upFlags{nodes: 2, octet: 210}, false, plan.Cluster{Name: "osmc", Octet: 210, Nodes: 2}, ""},
		"defaults change nothing":  {upFlags{nodes: 1, octet: 99}, true, running, ""},
		"larger":                   {upFlags{nodes: 5, nodesGiven: true}, true, plan.Cluster{Name: "osmc", Octet: 210, Nodes: 5}, ""},
		"smaller is refused":       {upFlags{nodes: 2, nodesGiven: true}, true, plan.Cluster{}, "cannot shrink to 2"},
		"other octet is refused":   {upFlags{octet: 220, octetGiven: true}, true, plan.Cluster{}, "cannot change"},
		"with a domain":            {upFlags{nodes: 2, octet: 210, domain: "mesh.test"}, false, plan.Cluster{Name: "osmc", Octet: 210, Nodes: 2, Domain: "mesh.test"}, ""},
		"other domain is refused":  {upFlags{domain: "mesh.test", domainGiven: true}, true, plan.Cluster{}, "cannot change"},
		"same values are accepted": {upFlags{nodes: 3, nodesGiven: true, octet: 210, octetGiven: true}, true, running, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := choosePlan("osmc", tt.flags, running, tt.known)
			if tt.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fails) || !strings.Contains(err.Error(), "cluster down") {
					t.Errorf("got error %v, want one that says %q and what to do", err, tt.fails)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func TestDefaultFolders(t *testing.T) {
	env := func(values map[string]string) func(string) string {
		return func(key string) string { return values[key] }
	}
	tests := []struct {
		env          map[string]string
		state, cache string
	}{
		{map[string]string{"HOME": "/home/a"}, "/var/lib/osm-cluster", "/home/a/.cache/osm-cluster"},
		{map[string]string{"XDG_STATE_HOME": "/s", "XDG_CACHE_HOME": "/c"}, "/s/osm-cluster", "/c/osm-cluster"},
	}
	for _, tt := range tests {
		if state, cache := defaultState(env(tt.env)), defaultCache(env(tt.env)); state != tt.state || cache != tt.cache {
			t.Errorf("with %v: state %s and cache %s, want %s and %s", tt.env, state, cache, tt.state, tt.cache)
		}
	}
}

func TestEveryCommandHasHelpAndAnExample(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Example == "" && !cmd.Hidden {
			t.Errorf("%q lacks a short help or an example", cmd.CommandPath())
		}
		for _, child := range cmd.Commands() {
			visit(child)
		}
	}
	visit(New(&bytes.Buffer{}, &bytes.Buffer{}))
}

func report() cluster.Report {
	return cluster.Report{
		Name: "osmc", Kubeconfig: "/s/osmc/kube/admin.yaml", Server: "https://10.210.0.2:6443", Metrics: "not available yet",
		ControlPlane: []cluster.DaemonReport{{Name: "etcd", PID: 7}, {Name: "kube-scheduler"}},
		Nodes: []cluster.NodeReport{
			{Name: "node-1", Address: "10.210.0.11", PodCIDR: "10.211.1.0/24", Plugged: true, Ready: true, Unschedulable: true, Daemons: []cluster.DaemonReport{{Name: "node-1-kubelet", PID: 8}}},
			{Name: "node-2", Address: "10.210.0.12", PodCIDR: "10.211.2.0/24"},
		},
	}
}

func TestStatusGolden(t *testing.T) {
	for _, output := range []string{"text", "json"} {
		var got bytes.Buffer
		if err := (&app{out: &got}).printReport(report(), output); err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", "status."+output+".golden")
		if *update {
			if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("%s differs; run with -update if this is intended:\n%s", golden, diff)
		}
	}
}

func TestStatusJSONIsReadBack(t *testing.T) {
	var out bytes.Buffer
	if err := (&app{out: &out}).printReport(report(), "json"); err != nil {
		t.Fatal(err)
	}
	var got cluster.Report
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(report(), got); diff != "" {
		t.Error(diff)
	}
}
