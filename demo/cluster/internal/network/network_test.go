package network

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/osm-edge/osm/demo/cluster/internal/plan"
)

func TestAStaleFileIsNoNamespace(t *testing.T) {
	if !isNamespace("/proc/self/ns/net") {
		t.Error("our own namespace is not recognized as a namespace")
	}
	stale := filepath.Join(t.TempDir(), "osmc-node-1")
	if err := os.WriteFile(stale, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{stale, stale + "-absent"} {
		if isNamespace(path) {
			t.Errorf("%s is recognized as a namespace", path)
		}
	}
}

func TestPath(t *testing.T) {
	c := plan.Cluster{Name: "osmc", Octet: 210, Nodes: 1}
	if got := Path(c, c.Node(1)); got != "/run/netns/osmc-node-1" {
		t.Error(got)
	}
}

func TestIPNet(t *testing.T) {
	for _, prefix := range []string{"0.0.0.0/0", "10.211.3.0/24", "10.212.0.0/16"} {
		if got := ipNet(netip.MustParsePrefix(prefix)).String(); got != prefix {
			t.Errorf("%s became %s", prefix, got)
		}
	}
}

// Nodes of a nonexistent cluster are not plugged, and cannot be plugged.
func TestAbsentClusterIsReported(t *testing.T) {
	c := plan.Cluster{Name: "zzabsent", Octet: 250, Nodes: 1}
	if Plugged(c, c.Node(1)) {
		t.Error("a nonexistent node is plugged")
	}
	if err := SetPlugged(c, c.Node(1), true); err == nil {
		t.Error("a nonexistent node could be plugged")
	}
}
