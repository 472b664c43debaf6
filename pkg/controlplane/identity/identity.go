// Package identity names workloads: a workload's identity is its ServiceAccount.
//
// It knows the two spellings that certificates carry, the SPIFFE id (URI SAN) and the common
// name, and nothing about certificates, Kubernetes clients or Envoy. Its invariant: an Identity
// and its SPIFFE id map one to one; the common name is for people and for peers that match on
// it, and is never parsed back, because ServiceAccount names may contain dots.
package identity

import (
	"fmt"
	"strings"
)

// TrustDomain is the SPIFFE trust domain of a mesh, "cluster.local" unless configured.
type TrustDomain string

// Identity is who a workload is: the ServiceAccount it runs as.
type Identity struct {
	Namespace      string
	ServiceAccount string
}

// String returns "namespace/serviceaccount", for logs and messages.
func (id Identity) String() string { return id.Namespace + "/" + id.ServiceAccount }

// Compare orders identities by namespace, then by name, for the slices package.
func Compare(a, b Identity) int {
	if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
		return c
	}
	return strings.Compare(a.ServiceAccount, b.ServiceAccount)
}

// SPIFFE returns spiffe://<trust domain>/ns/<namespace>/sa/<service account>.
func (id Identity) SPIFFE(td TrustDomain) string {
	return "spiffe://" + string(td) + "/ns/" + id.Namespace + "/sa/" + id.ServiceAccount
}

// CommonName returns <service account>.<namespace>.<trust domain>, the name that every leaf
// certificate of the identity carries, whichever replica issued it (HA-11).
func (id Identity) CommonName(td TrustDomain) string {
	return id.ServiceAccount + "." + id.Namespace + "." + string(td)
}

// Parse reads a SPIFFE id of the given trust domain. It accepts exactly what SPIFFE produces:
// no query, no trailing slash, no empty part, no percent-encoding.
func Parse(uri string, td TrustDomain) (Identity, error) {
	rest, ok := strings.CutPrefix(uri, "spiffe://"+string(td)+"/ns/")
	if !ok {
		return Identity{}, fmt.Errorf("%q is not a workload of trust domain %q: want spiffe://%s/ns/NAMESPACE/sa/SERVICEACCOUNT", uri, td, td)
	}
	namespace, account, ok := strings.Cut(rest, "/sa/")
	if !ok || !validName(namespace) || !validName(account) {
		return Identity{}, fmt.Errorf("%q does not name a namespace and a ServiceAccount: want spiffe://%s/ns/NAMESPACE/sa/SERVICEACCOUNT", uri, td)
	}
	return Identity{Namespace: namespace, ServiceAccount: account}, nil
}

// validName reports whether s is a DNS subdomain, as Kubernetes demands of both names.
func validName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return true
}
