// Package plan decides every name and address of a cluster from its name, its octet and its number of nodes.
// It does not inspect the machine. Invariant: two plans with different names and octets share no
// namespace, link, cgroup or address, so two clusters can run on one host.
package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
)

// MaxNodes is the maximum number of nodes on one host.
const MaxNodes = 9

const (
	hostSuffix   = 1
	masterSuffix = 2
	nodeSuffix   = 10 // node i has the address .(10+i)
)

// nameForm keeps link names (the name and a suffix such as "-node-9") within the kernel's 15 bytes.
var nameForm = regexp.MustCompile(`^[a-z][a-z0-9]{0,7}$`)

// Cluster is the whole plan. 10.Octet is the network of the machines, 10.(Octet+1) that of the pods,
// and 10.(Octet+2) that of the services.
type Cluster struct {
	Name  string `json:"name"`
	Octet int    `json:"octet"`
	Nodes int    `json:"nodes"`
	// Domain ends the DNS names of Services; empty means DefaultDomain.
	Domain string `json:"domain,omitempty"`
}

// DefaultDomain is the DNS domain of nearly every Kubernetes cluster.
const DefaultDomain = "cluster.local"

// domainForm is a DNS name in lower case.
var domainForm = regexp.MustCompile(`^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// DNSDomain is the DNS domain of the cluster.
func (c Cluster) DNSDomain() string { return cmp.Or(c.Domain, DefaultDomain) }

// Machine is one network namespace on the cluster's LAN: the control plane or a node.
type Machine struct {
	Name string
	Addr netip.Addr
	// PodCIDR is the zero prefix for the control plane, which runs no pods.
	PodCIDR netip.Prefix
}

// Validate reports the part of the plan that is out of range, and the range.
func (c Cluster) Validate() error {
	if !nameForm.MatchString(c.Name) {
		return fmt.Errorf("name %q must be 1 to 8 lower-case letters or digits and begin with a letter", c.Name)
	}
	if c.Octet < 0 || c.Octet > 253 {
		return fmt.Errorf("octet %d must be between 0 and 253: the cluster takes 10.octet to 10.(octet+2)", c.Octet)
	}
	if c.Nodes < 1 || c.Nodes > MaxNodes {
		return fmt.Errorf("nodes %d must be between 1 and %d", c.Nodes, MaxNodes)
	}
	if domain := c.DNSDomain(); len(domain) > 63 || !domainForm.MatchString(domain) {
		return fmt.Errorf("domain %q must be a DNS name of at most 63 lower-case letters, digits, '-' and '.', such as %s", domain, DefaultDomain)
	}
	return nil
}

// Subnet is the LAN that joins the host, the control plane and the nodes.
func (c Cluster) Subnet() netip.Prefix { return netip.PrefixFrom(c.addr(0, 0, 0), 24) }

// PodNetwork holds the pod subnets of all nodes.
func (c Cluster) PodNetwork() netip.Prefix { return netip.PrefixFrom(c.addr(1, 0, 0), 16) }

// ServiceNetwork holds the ClusterIPs.
func (c Cluster) ServiceNetwork() netip.Prefix { return netip.PrefixFrom(c.addr(2, 0, 0), 16) }

// HostAddr is the host's own address on the LAN.
func (c Cluster) HostAddr() netip.Addr { return c.addr(0, 0, hostSuffix) }

// APIService is the ClusterIP of the Service kubernetes.default.
func (c Cluster) APIService() netip.Addr { return c.addr(2, 0, 1) }

// DNSService is the ClusterIP of the Service kube-dns.
func (c Cluster) DNSService() netip.Addr { return c.addr(2, 0, 10) }

// APIURL is the URL of the API server, for the host, the nodes and the control plane alike.
func (c Cluster) APIURL() string { return fmt.Sprintf("https://%s:6443", c.Master().Addr) }

// Master is the machine of the control plane.
func (c Cluster) Master() Machine {
	return Machine{Name: "master", Addr: c.addr(0, 0, masterSuffix)}
}

// Node is the machine of node i, counted from 1.
func (c Cluster) Node(i int) Machine {
	return Machine{
		Name:    fmt.Sprintf("node-%d", i),
		Addr:    c.addr(0, 0, nodeSuffix+i),
		PodCIDR: netip.PrefixFrom(c.addr(1, i, 0), 24),
	}
}

// NodeList is every node, in order.
func (c Cluster) NodeList() []Machine {
	nodes := make([]Machine, 0, c.Nodes)
	for i := 1; i <= c.Nodes; i++ {
		nodes = append(nodes, c.Node(i))
	}
	return nodes
}

// FindNode returns the node called name, or an error that lists the existing names.
func (c Cluster) FindNode(name string) (Machine, error) {
	for _, m := range c.NodeList() {
		if m.Name == name {
			return m, nil
		}
	}
	return Machine{}, fmt.Errorf("no node %q in cluster %s: its nodes are node-1 to node-%d", name, c.Name, c.Nodes)
}

// Namespace is the name of the network namespace of m under /run/netns.
func (c Cluster) Namespace(m Machine) string { return c.Name + "-" + m.Name }

// HostLink is the only link in the host's own namespace.
func (c Cluster) HostLink() string { return c.Name + "0" }

// Port is the end of the machine's cable that is plugged into the bridge.
func (c Cluster) Port(m Machine) string { return c.Name + "-" + m.Name }

// Cgroup is the root of everything the cluster runs, relative to a cgroup hierarchy.
func (c Cluster) Cgroup() string { return c.Name }

// MachineCgroup holds the daemons and the pods of m.
func (c Cluster) MachineCgroup(m Machine) string { return c.Name + "/" + m.Name }

// DaemonCgroup holds the daemons of m alone. Pods are kept beside it, as cgroup v2 forbids processes in inner groups.
func (c Cluster) DaemonCgroup(m Machine) string { return c.MachineCgroup(m) + "/daemons" }

// PodNetworkName is the CNI name of the pod network, which also marks this cluster's CNI result files.
func (c Cluster) PodNetworkName() string { return c.Name + "-pods" }

func (c Cluster) addr(network, third, fourth int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(c.Octet + network), byte(third), byte(fourth)}) //nolint:gosec // Validate keeps them below 256
}
