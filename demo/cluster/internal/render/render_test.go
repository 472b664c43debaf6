package render

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/osm-edge/osm/demo/cluster/internal/plan"
)

var update = flag.Bool("update", false, "rewrite golden files")

func layout() Layout {
	return Layout{
		Plan: plan.Cluster{Name: "osmc", Octet: 210, Nodes: 2}, Dir: "/state/osmc", CNIBin: "/usr/lib/cni",
		Programs: map[string]string{"kubelet": "/cache/kubelet", "kube-apiserver": "/cache/kube-apiserver"},
	}
}

// everything returns all that the package renders, by golden file.
func everything(t *testing.T) map[string][]byte {
	t.Helper()
	l := layout()
	node := l.Plan.Node(2)
	files, err := l.NodeFiles(node)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for name, content := range files {
		all["node-2-"+filepath.Base(name)] = content
	}
	if files, err = l.MasterFiles(); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		all["master-"+name] = content
	}
	if all["addons.yaml"], err = l.Addons(); err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	for _, d := range append(l.MasterDaemons(), l.NodeDaemons(node)...) {
		lines.WriteString(d.Name + ":\n  " + strings.Join(d.Argv, "\n  ") + "\n")
	}
	all["daemons.txt"] = lines.Bytes()
	return all
}

func TestGolden(t *testing.T) {
	for name, got := range everything(t) {
		golden := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s differs; run with -update if this is intended:\n%s", golden, diff)
		}
	}
}

func TestEveryGoldenIsRendered(t *testing.T) {
	files, err := filepath.Glob("testdata/*.golden")
	if err != nil {
		t.Fatal(err)
	}
	if rendered := everything(t); len(files) != len(rendered) {
		t.Errorf("testdata holds %d golden files and %d are rendered", len(files), len(rendered))
	}
}

func TestRenderingIsDeterministic(t *testing.T) {
	first := everything(t)
	for range 20 {
		if diff := cmp.Diff(first, everything(t)); diff != "" {
			t.Fatalf("two renderings differ:\n%s", diff)
		}
	}
}

func TestNetworkListIsJSON(t *testing.T) {
	files, err := layout().NodeFiles(layout().Plan.Node(1))
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(files["cni/10-pods.conflist"]) {
		t.Errorf("not JSON:\n%s", files["cni/10-pods.conflist"])
	}
}

func TestDaemonNamesAreUnique(t *testing.T) {
	l := layout()
	daemons := l.MasterDaemons()
	for _, node := range l.Plan.NodeList() {
		daemons = append(daemons, l.NodeDaemons(node)...)
	}
	seen := map[string]bool{}
	for _, d := range daemons {
		if seen[d.Name] {
			t.Errorf("two daemons are named %s and would share a record", d.Name)
		}
		seen[d.Name] = true
	}
}

// A kubeconfig or certificate belongs in a file that only root reads, and never on a command line.
func TestNoSecretOnACommandLine(t *testing.T) {
	l := layout()
	for _, d := range append(l.MasterDaemons(), l.NodeDaemons(l.Plan.Node(1))...) {
		for _, arg := range d.Argv {
			if strings.Contains(arg, "BEGIN ") || strings.Contains(arg, "-data") && !strings.HasPrefix(arg, "--data-dir=") {
				t.Errorf("%s is given %q", d.Name, arg)
			}
		}
	}
}
