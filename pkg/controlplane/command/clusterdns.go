package command

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/osm-edge/osm/pkg/api"
)

// resolvConf is what the kubelet writes for a pod with dnsPolicy ClusterFirst, as the chart's pods are.
const resolvConf = "/etc/resolv.conf"

// clusterDNS is how names of the cluster are resolved.
type clusterDNS struct {
	domain  string       // ends the names of Services
	servers []netip.Addr // the cluster's DNS servers; none while they are not known
}

// dns returns the domain that --cluster-domain names, or that of the process's own pod, and the servers of
// that pod.
func (s *shared) dns() (clusterDNS, error) {
	text, err := os.ReadFile(resolvConf)
	if err != nil {
		text = nil // outside a cluster there need not be one
	}
	return chooseDNS(s.clusterDomain, string(text), s.namespace)
}

// chooseDNS prefers the value to what was found, and cluster.local to nothing.
func chooseDNS(value, resolvConf, namespace string) (clusterDNS, error) {
	found := readResolvConf(resolvConf, namespace)
	if value == "" {
		if found.domain == "" {
			found.domain = api.DefaultDomain
		}
		return found, nil
	}
	domain := strings.TrimSuffix(value, ".")
	if errs := validation.IsDNS1123Subdomain(domain); len(errs) > 0 {
		return clusterDNS{}, fmt.Errorf("--cluster-domain %q: want the domain that the kubelets' clusterDomain names, such as %s: %s", value, api.DefaultDomain, strings.Join(errs, "; "))
	}
	return clusterDNS{domain: domain, servers: found.servers}, nil
}

// readResolvConf reads the domain and the servers of a pod in a namespace. The search list of such a pod
// begins with "NAMESPACE.svc.DOMAIN"; a file without that is not the cluster's, and says nothing.
func readResolvConf(text, namespace string) clusterDNS {
	var search []string
	var servers []netip.Addr
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "search":
			search = fields[1:] // the last one counts
		case "nameserver":
			if server, err := netip.ParseAddr(fields[1]); err == nil && reachable(server) {
				servers = append(servers, server)
			}
		}
	}
	i := slices.IndexFunc(search, func(item string) bool { return strings.HasPrefix(item, namespace+".svc.") })
	if i < 0 {
		return clusterDNS{}
	}
	domain := strings.TrimSuffix(strings.TrimPrefix(search[i], namespace+".svc."), ".")
	if len(validation.IsDNS1123Subdomain(domain)) > 0 {
		return clusterDNS{}
	}
	return clusterDNS{domain: domain, servers: servers}
}

// reachable reports whether another pod can ask the server at the same address. A link-local one is a cache that
// runs on every node.
func reachable(server netip.Addr) bool {
	return server.Zone() == "" && !server.IsLoopback() && !server.IsUnspecified()
}
