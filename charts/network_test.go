package charts_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// place is one end of a connection: a pod, or an address outside the cluster's pods.
type place struct {
	namespace, pod labels.Set
	address        string
}

func podOf(namespace string, pod labels.Set) place {
	return place{namespace: labels.Set{corev1.LabelMetadataName: namespace}, pod: pod, address: "10.1.0.1"}
}

func elsewhere(address string) place { return place{address: address} }

// ours returns a pod of the control plane with the labels that the chart gives it.
func ours(t *testing.T, all []runtime.Object, name string) place {
	t.Helper()
	pod, ok := pods(all)[name]
	if !ok {
		t.Fatalf("no pod of %s", name)
	}
	return podOf(releaseNamespace, labels.Set(pod.Labels))
}

// matches follows the API: an address by CIDR, a pod by both selectors, the policy's namespace without one.
func matches(t *testing.T, peer networkingv1.NetworkPolicyPeer, p place) bool {
	t.Helper()
	if peer.IPBlock != nil {
		return netip.MustParsePrefix(peer.IPBlock.CIDR).Contains(netip.MustParseAddr(p.address))
	}
	if p.pod == nil {
		return false
	}
	if peer.NamespaceSelector == nil && p.namespace[corev1.LabelMetadataName] != releaseNamespace {
		return false
	}
	return (peer.NamespaceSelector == nil || selects(t, peer.NamespaceSelector, p.namespace)) &&
		(peer.PodSelector == nil || selects(t, peer.PodSelector, p.pod))
}

func allows(t *testing.T, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort, other place, protocol corev1.Protocol, port int32) bool {
	t.Helper()
	return slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool {
		return *p.Protocol == protocol && p.Port.IntVal == port && p.EndPort == nil
	}) && (len(peers) == 0 || slices.ContainsFunc(peers, func(peer networkingv1.NetworkPolicyPeer) bool { return matches(t, peer, other) }))
}

// policyOf is the one policy that selects a pod of the control plane.
func policyOf(t *testing.T, all []runtime.Object, name string) networkingv1.NetworkPolicySpec {
	t.Helper()
	policy := must[*networkingv1.NetworkPolicy](t, all, name)
	for _, other := range []string{"osm-controller", "osm-injector", "osm-bootstrap"} {
		if got := selects(t, &policy.Spec.PodSelector, ours(t, all, other).pod); got != (other == name) {
			t.Errorf("the policy %s selects pods of %s: %t", name, other, got)
		}
	}
	if !slices.Equal(policy.Spec.PolicyTypes, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}) {
		t.Errorf("the policy %s denies only %v", name, policy.Spec.PolicyTypes)
	}
	return policy.Spec
}

func mayEnter(t *testing.T, all []runtime.Object, from place, to string, port int32) bool {
	t.Helper()
	return slices.ContainsFunc(policyOf(t, all, to).Ingress, func(r networkingv1.NetworkPolicyIngressRule) bool {
		return allows(t, r.From, r.Ports, from, corev1.ProtocolTCP, port)
	})
}

func mayLeave(t *testing.T, all []runtime.Object, from string, to place, protocol corev1.Protocol, port int32) bool {
	t.Helper()
	return slices.ContainsFunc(policyOf(t, all, from).Egress, func(r networkingv1.NetworkPolicyEgressRule) bool {
		return allows(t, r.To, r.Ports, to, protocol, port)
	})
}

const (
	apiAddress     = "172.16.0.1"
	narrow         = "osm.networkPolicy.apiServer.cidrs={172.16.0.1/32}"
	scrapedBy      = `osm.networkPolicy.metrics.namespaceLabels.kubernetes\.io/metadata\.name=monitoring,osm.networkPolicy.metrics.podLabels.app=prometheus`
	scrapedFrom    = "osm.networkPolicy.metrics.cidrs={192.168.9.0/24}"
	vaultElsewhere = "osm.certificateProvider.kind=vault,osm.vault.host=vault,osm.vault.protocol=http"
)

// TestIngress tries all ports from every source: everything that is not listed must be refused.
func TestIngress(t *testing.T) {
	member := place{namespace: labels.Set{corev1.LabelMetadataName: "shop", "openservicemesh.io/monitored-by": "osm"}, pod: labels.Set{"app": "osm-controller"}, address: "10.1.0.2"}
	ofOther := place{namespace: labels.Set{corev1.LabelMetadataName: "shop", "openservicemesh.io/monitored-by": "other"}, pod: labels.Set{}, address: "10.1.0.3"}
	stranger := podOf("default", labels.Set{"app": "osm-controller", "app.kubernetes.io/name": "openservicemesh.io", "app.kubernetes.io/instance": "osm"})
	scraper := podOf("monitoring", labels.Set{"app": "prometheus"})
	all := objects(t, values{})
	for _, test := range []struct {
		name, set                     string
		from                          place
		controller, injector, opening []int32
	}{
		{"member of the mesh", "", member, []int32{15128}, []int32{9090}, nil},
		{"member of the mesh", narrow, member, []int32{15128}, nil, nil},
		{"member of another mesh", narrow, ofOther, nil, nil, nil},
		{"a lookalike in another namespace", narrow, stranger, nil, nil, nil},
		{"a controller", narrow, ours(t, all, "osm-controller"), []int32{9093}, []int32{9090}, nil},
		{"an injector", narrow, ours(t, all, "osm-injector"), nil, nil, nil},
		{"the hook", narrow, ours(t, all, "osm-bootstrap"), nil, nil, nil},
		{"the API server", narrow, elsewhere(apiAddress), []int32{9091}, []int32{9090, 9091}, nil},
		{"the API server, unknown", "", elsewhere(apiAddress), nil, []int32{9090}, nil},
		{"a neighbour of the API server", narrow, elsewhere("172.16.0.2"), nil, nil, nil},
		{"the scraper, unknown", narrow, scraper, nil, nil, nil},
		{"the scraper", narrow + "," + scrapedBy, scraper, []int32{9091}, []int32{9091}, nil},
		{"another pod beside the scraper", narrow + "," + scrapedBy, podOf("monitoring", labels.Set{"app": "grafana"}), nil, nil, nil},
		{"a lookalike of the scraper", narrow + "," + scrapedBy, podOf("default", labels.Set{"app": "prometheus"}), nil, nil, nil},
		{"an outside scraper", narrow + "," + scrapedFrom, elsewhere("192.168.9.7"), []int32{9091}, []int32{9091}, nil},
	} {
		t.Run(test.name+" "+test.set, func(t *testing.T) {
			all := objects(t, set(t, test.set))
			for name, want := range map[string][]int32{"osm-controller": test.controller, "osm-injector": test.injector, "osm-bootstrap": nil} {
				var got []int32
				for _, port := range []int32{80, 443, 6443, 8200, 9090, 9091, 9093, 15128} {
					if mayEnter(t, all, test.from, name, port) {
						got = append(got, port)
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("may connect to %s at %v, want %v", name, got, want)
				}
			}
		})
	}
}

// TestEgress checks the control plane's egress: a compromised component cannot connect elsewhere.
func TestEgress(t *testing.T) {
	world, dns := elsewhere("203.0.113.5"), podOf("kube-system", labels.Set{"k8s-app": "kube-dns"})
	all := objects(t, values{})
	controller, injector := ours(t, all, "osm-controller"), ours(t, all, "osm-injector")
	application := place{namespace: labels.Set{"openservicemesh.io/monitored-by": "osm"}, pod: labels.Set{}, address: "10.1.0.2"}
	const parts = "osm-bootstrap osm-controller osm-injector"
	for _, test := range []struct {
		name, set string
		to        place
		port      int32
		want      string // parts that may
	}{
		{"the API server", narrow, elsewhere(apiAddress), 6443, parts},
		{"the API server, unknown", "", elsewhere(apiAddress), 443, parts},
		{"another port there", "", elsewhere(apiAddress), 22, ""},
		{"another port there, chosen", narrow + ",osm.networkPolicy.apiServer.ports={22}", elsewhere(apiAddress), 22, parts},
		{"the world", narrow, world, 443, ""},
		{"an application", narrow, application, 80, ""},
		{"an application's sidecar", narrow, application, 15000, ""},
		{"another controller", narrow, controller, 9093, "osm-controller"},
		{"another controller's metrics", narrow, controller, 9091, ""},
		{"another controller's proxies", narrow, controller, 15128, ""},
		{"an injector", narrow, injector, 9090, "osm-controller"},
		{"names, without Vault", narrow, dns, 53, ""},
		{"names, for Vault", narrow + "," + vaultElsewhere, dns, 53, "osm-controller"},
		{"names, by a cache", narrow + "," + vaultElsewhere + ",osm.networkPolicy.dns.cidrs={169.254.20.10/32}", elsewhere("169.254.20.10"), 53, "osm-controller"},
		{"names, by a lookalike", narrow + "," + vaultElsewhere, podOf("default", labels.Set{"k8s-app": "kube-dns"}), 53, ""},
		{"names, by another", narrow + "," + vaultElsewhere + `,osm.networkPolicy.dns.namespaceLabels.name=dns,osm.networkPolicy.dns.podLabels.app=dns`, dns, 53, ""},
		{"names, elsewhere", narrow + "," + vaultElsewhere, world, 53, ""},
		{"names, at a port of theirs", narrow + "," + vaultElsewhere + ",osm.networkPolicy.dns.ports={1053}", dns, 1053, "osm-controller"},
		{"no Vault", narrow, world, 8200, ""},
		{"Vault", narrow + "," + vaultElsewhere, world, 8200, "osm-controller"},
		{"a later Vault", narrow + ",osm.certificateProvider.additionalKinds={vault},osm.vault.host=vault,osm.vault.protocol=http", world, 8200, "osm-controller"},
		{"Vault at its address", narrow + "," + vaultElsewhere + ",osm.networkPolicy.vault.cidrs={198.51.100.0/24}", world, 8200, ""},
		{"Vault at its port", narrow + "," + vaultElsewhere + ",osm.networkPolicy.vault.ports={18200}", world, 8200, ""},
		{"cert-manager", narrow + ",osm.certificateProvider.kind=cert-manager", world, 443, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			all := objects(t, set(t, test.set))
			var got []string
			for _, name := range accounts() {
				if mayLeave(t, all, name, test.to, corev1.ProtocolTCP, test.port) {
					got = append(got, name)
				}
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("port %d is open to %q, want %q", test.port, got, test.want)
			}
		})
	}
	if !mayLeave(t, objects(t, set(t, vaultElsewhere)), "osm-controller", dns, corev1.ProtocolUDP, 53) {
		t.Error("DNS over UDP is not allowed")
	}
}

// All policies can be disabled; the hook's policy is created before the hook's pod.
func TestNetworkPolicySwitch(t *testing.T) {
	if found := every[*networkingv1.NetworkPolicy](objects(t, set(t, "osm.networkPolicy.enable=false"))); len(found) != 0 {
		t.Errorf("%d policies are rendered though disabled", len(found))
	}
	all := objects(t, values{})
	if found := every[*networkingv1.NetworkPolicy](all); len(found) != len(pods(all)) {
		t.Errorf("%d policies for %d kinds of pods", len(found), len(pods(all)))
	}
	hook := must[*networkingv1.NetworkPolicy](t, all, "osm-bootstrap").Annotations
	if hook["helm.sh/hook"] != "pre-install,pre-upgrade" || hook["helm.sh/hook-weight"] != "-10" {
		t.Errorf("the hook's policy is %v", hook)
	}
}

func TestNetworkPolicyValuesAreRefused(t *testing.T) {
	for _, test := range []struct{ set, key, says string }{
		{"osm.networkPolicy.metrics.podLabels.app=prometheus", "osm.networkPolicy.metrics.podLabels", "namespaceLabels"},
		{"osm.networkPolicy.apiServer.cidrs={10.0.0.1}", "osm.networkPolicy.apiServer.cidrs.0", "CIDR"},
		{"osm.networkPolicy.apiServer.ports={0}", "osm.networkPolicy.apiServer.ports.0", "from 1 to 65535"},
		{"osm.networkPolicy.vault.ports={65536}", "osm.networkPolicy.vault.ports.0", "from 1 to 65535"},
		{"osm.networkPolicy.metrics.namespaceLabels.name=a b", "osm.networkPolicy.metrics.namespaceLabels.name", "pattern"},
	} {
		t.Run(test.set, func(t *testing.T) {
			_, err := render(t, set(t, test.set))
			wantRefusal(t, err, test.key, test.says)
		})
	}
	for _, key := range []string{"osm.networkPolicy.apiServer.ports", "osm.networkPolicy.dns.ports"} {
		_, err := render(t, nest(key, []any{}))
		wantRefusal(t, err, key, "minItems")
	}
}
