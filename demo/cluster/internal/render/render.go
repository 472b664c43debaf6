// Package render turns a plan into the configuration files and command lines of the daemons. It writes nothing.
// Invariant: the same plan and paths always give the same bytes.
package render

import (
	"bytes"
	"embed"
	"fmt"
	"path/filepath"
	"text/template"

	"github.com/osm-edge/osm/demo/cluster/internal/plan"
)

// Images that every node holds before its first pod. They name no registry, because none is reachable.
const (
	PauseImage   = "osm-cluster.local/pause:1"
	DNSImage     = "osm-cluster.local/coredns:1.14.7"
	MetricsImage = "osm-cluster.local/metrics-server:0.9.0"
)

// auditPolicy is the file that defines what the API server logs.
const auditPolicy = "audit-policy.yaml"

//go:embed templates
var templates embed.FS

// Layout holds the paths of a cluster's files and programs.
type Layout struct {
	Plan plan.Cluster
	// Dir is the cluster's state folder.
	Dir string
	// Programs maps a program's name to its path.
	Programs map[string]string
	// CNIBin is the folder of the CNI plugins.
	CNIBin string
}

// PKI is the folder of the certificates.
func (l Layout) PKI() string { return filepath.Join(l.Dir, "pki") }

// Kubeconfig is the kubeconfig of the component called name; "admin" is the user's.
func (l Layout) Kubeconfig(name string) string { return filepath.Join(l.Dir, "kube", name+".yaml") }

// MachineDir holds what belongs to one machine.
func (l Layout) MachineDir(m plan.Machine) string { return filepath.Join(l.Dir, m.Name) }

// Socket is where the containerd of node listens.
func (l Layout) Socket(node plan.Machine) string {
	return filepath.Join(l.MachineDir(node), "containerd.sock")
}

// NodeFiles are the configuration files of node, keyed by path relative to its folder.
func (l Layout) NodeFiles(node plan.Machine) (map[string][]byte, error) {
	values := map[string]any{
		"Dir": l.MachineDir(node), "Addr": node.Addr, "PauseImage": PauseImage, "CNIBin": l.CNIBin, "PKI": l.PKI(),
		"Node": node.Name, "DNS": l.Plan.DNSService(), "Cgroup": l.Plan.MachineCgroup(node),
		"PodNetwork": l.Plan.PodNetworkName(), "PodCIDR": node.PodCIDR,
		"Domain": l.Plan.DNSDomain(),
	}
	files := map[string][]byte{}
	for file, name := range map[string]string{"containerd.toml": "containerd.toml", "cni/10-pods.conflist": "pods.conflist", "kubelet.yaml": "kubelet.yaml"} {
		content, err := fill(name, values)
		if err != nil {
			return nil, err
		}
		files[file] = content
	}
	proxy, err := l.proxyConfig(node, node.Name)
	files["kube-proxy.yaml"] = proxy
	return files, err
}

// MasterFiles are the configuration files of the control plane. Its kube-proxy goes by the name of the first node,
// because an unknown node name would make it wait 30 seconds.
func (l Layout) MasterFiles() (map[string][]byte, error) {
	proxy, err := l.proxyConfig(l.Plan.Master(), l.Plan.Node(1).Name)
	if err != nil {
		return nil, err
	}
	audit, err := fill(auditPolicy, nil)
	return map[string][]byte{"kube-proxy.yaml": proxy, auditPolicy: audit}, err
}

func (l Layout) proxyConfig(m plan.Machine, node string) ([]byte, error) {
	return fill("kube-proxy.yaml", map[string]any{
		"Kubeconfig": l.Kubeconfig(ProxyUser), "PodNetwork": l.Plan.PodNetwork(), "Node": node, "Addr": m.Addr,
	})
}

// Addons are the manifests of CoreDNS and metrics-server.
func (l Layout) Addons() ([]byte, error) {
	return fill("addons.yaml", map[string]any{
		"DNS": l.Plan.DNSService(), "DNSImage": DNSImage, "MetricsImage": MetricsImage, "DNSReplicas": min(2, l.Plan.Nodes),
		"PolicyUser": PolicyUser, "Domain": l.Plan.DNSDomain(),
	})
}

func fill(name string, values map[string]any) ([]byte, error) {
	t, err := template.New(name).Option("missingkey=error").ParseFS(templates, "templates/"+name)
	if err != nil {
		return nil, fmt.Errorf("parse template %s: %w", name, err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, values); err != nil {
		return nil, fmt.Errorf("fill template %s: %w", name, err)
	}
	return out.Bytes(), nil
}
