package plan

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAddresses(t *testing.T) {
	c := Cluster{Name: "osmc", Octet: 210, Nodes: 2}
	node := c.Node(2)
	got := map[string]string{
		"subnet": c.Subnet().String(), "pods": c.PodNetwork().String(), "services": c.ServiceNetwork().String(),
		"host": c.HostAddr().String(), "master": c.Master().Addr.String(), "api": c.APIURL(),
		"api service": c.APIService().String(), "dns": c.DNSService().String(),
		"node": node.Addr.String(), "node pods": node.PodCIDR.String(), "node name": node.Name,
		"namespace": c.Namespace(node), "port": c.Port(node), "host link": c.HostLink(),
		"daemons": c.DaemonCgroup(node), "machine": c.MachineCgroup(node), "root": c.Cgroup(), "cni": c.PodNetworkName(),
	}
	want := map[string]string{
		"subnet": "10.210.0.0/24", "pods": "10.211.0.0/16", "services": "10.212.0.0/16",
		"host": "10.210.0.1", "master": "10.210.0.2", "api": "https://10.210.0.2:6443",
		"api service": "10.212.0.1", "dns": "10.212.0.10",
		"node": "10.210.0.12", "node pods": "10.211.2.0/24", "node name": "node-2",
		"namespace": "osmc-node-2", "port": "osmc-node-2", "host link": "osmc0",
		"daemons": "osmc/node-2/daemons", "machine": "osmc/node-2", "root": "osmc", "cni": "osmc-pods",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan differs (-want +got):\n%s", diff)
	}
}

func TestValidate(t *testing.T) {
	good := Cluster{Name: "osmc", Octet: 210, Nodes: 3}
	tests := map[string]struct {
		change func(*Cluster)
		want   string
	}{
		"good":                {func(*Cluster) {}, ""},
		"name of eight":       {func(c *Cluster) { c.Name = "abcdefgh" }, ""},
		"name too long":       {func(c *Cluster) { c.Name = "abcdefghi" }, "1 to 8"},
		"name with slash":     {func(c *Cluster) { c.Name = "a/b" }, "1 to 8"},
		"empty name":          {func(c *Cluster) { c.Name = "" }, "1 to 8"},
		"name begins with 1":  {func(c *Cluster) { c.Name = "1a" }, "begin with a letter"},
		"no nodes":            {func(c *Cluster) { c.Nodes = 0 }, "between 1 and 9"},
		"ten nodes":           {func(c *Cluster) { c.Nodes = 10 }, "between 1 and 9"},
		"octet out of range":  {func(c *Cluster) { c.Octet = 254 }, "between 0 and 253"},
		"octet below range":   {func(c *Cluster) { c.Octet = -1 }, "between 0 and 253"},
		"largest octet":       {func(c *Cluster) { c.Octet = 253 }, ""},
		"a domain":            {func(c *Cluster) { c.Domain = "mesh.test" }, ""},
		"a domain with a dot": {func(c *Cluster) { c.Domain = "mesh.test." }, "domain"},
		"a domain with space": {func(c *Cluster) { c.Domain = "mesh test {" }, "domain"},
		"a long domain":       {func(c *Cluster) { c.Domain = strings.Repeat("a.", 32) + "b" }, "63"},
		"largest node number": {func(c *Cluster) { c.Nodes = MaxNodes }, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := good
			tt.change(&c)
			err := c.Validate()
			if tt.want == "" && err != nil {
				t.Fatalf("valid plan refused: %v", err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("got error %v, want one that says %q", err, tt.want)
			}
		})
	}
}

func TestLinkNamesFitTheKernel(t *testing.T) {
	c := Cluster{Name: "abcdefgh", Nodes: MaxNodes}
	for _, name := range []string{c.HostLink(), c.Port(c.Node(MaxNodes)), c.Port(c.Master())} {
		if len(name) > 15 {
			t.Errorf("link name %q has %d bytes, the kernel takes 15", name, len(name))
		}
	}
}

func TestMachinesShareNoAddress(t *testing.T) {
	c := Cluster{Name: "osmc", Octet: 210, Nodes: MaxNodes}
	seen := map[string]string{c.HostAddr().String(): "host"}
	for _, m := range append(c.NodeList(), c.Master()) {
		if other, taken := seen[m.Addr.String()]; taken {
			t.Errorf("%s and %s share %s", m.Name, other, m.Addr)
		}
		seen[m.Addr.String()] = m.Name
		if !c.Subnet().Contains(m.Addr) {
			t.Errorf("%s at %s is outside %s", m.Name, m.Addr, c.Subnet())
		}
		if m.PodCIDR.IsValid() && !c.PodNetwork().Overlaps(m.PodCIDR) {
			t.Errorf("pods of %s at %s are outside %s", m.Name, m.PodCIDR, c.PodNetwork())
		}
	}
}

func TestFindNode(t *testing.T) {
	c := Cluster{Name: "osmc", Nodes: 2}
	if m, err := c.FindNode("node-2"); err != nil || m != c.Node(2) {
		t.Errorf("FindNode(node-2) = %v, %v", m, err)
	}
	for _, name := range []string{"node-3", "master", ""} {
		if _, err := c.FindNode(name); err == nil || !strings.Contains(err.Error(), "node-1 to node-2") {
			t.Errorf("FindNode(%q) says %v, want the existing names", name, err)
		}
	}
}
