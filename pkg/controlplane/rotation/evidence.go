package rotation

import (
	"slices"
	"time"
)

// Evidence is what all participants in the mesh's TLS have, collected after the roots were read. It need
// not be consistent as a whole, but each Replica must be.
type Evidence struct {
	// Now is the time of the collection.
	Now time.Time `json:"now"`
	// Replicas are all replicas of the control plane, including those that did not respond.
	Replicas []Replica `json:"replicas"`
	// Webhooks are the webhook configurations of the mesh.
	Webhooks []Webhook `json:"webhooks"`
}

// Component is the component that a replica belongs to.
type Component string

// The components.
const (
	Controller Component = "osm-controller"
	Injector   Component = "osm-injector"
)

// Replica is what one replica of the control plane reports about itself and its proxies.
type Replica struct {
	Name      string    `json:"name"`
	Component Component `json:"component"`
	// At is when it reported.
	At time.Time `json:"at"`
	// Error says why there is no report; only Name and Component are valid then.
	Error string `json:"error,omitempty"`
	// Roots are the roots that it uses, with the roles that it has seen. An Injector has none.
	Roots []Loaded `json:"roots"`
	// Signer is the CA that it signs with; an Injector signs nothing. Serving is the CA of its serving
	// certificate.
	Signer  string `json:"signer"`
	Serving string `json:"serving"`
	// Proxies are those connected to it.
	Proxies []Proxy `json:"proxies,omitempty"`
	// Unknown are pods of the mesh, namespace/name, whose proxies are not connected to it.
	Unknown []string `json:"unknown,omitempty"`
	// Leads reports whether it is the leader; Secrets is what it wrote for the ServiceAccounts of the
	// proxies and of the injectors.
	Leads   bool     `json:"leads,omitempty"`
	Secrets []Secret `json:"secrets,omitempty"`
}

// Loaded is a root that a replica uses.
type Loaded struct {
	Name        string `json:"name"`
	Role        Role   `json:"role"`
	Fingerprint string `json:"fingerprint"`
}

// Proxy is what one connected proxy has acknowledged. A CA is named by its fingerprint.
type Proxy struct {
	// Pod is namespace/name; Identity is namespace/name of its ServiceAccount.
	Pod      string `json:"pod"`
	Identity string `json:"identity"`
	// Trusts are the CAs in the bundle that it acknowledged last, sorted; nil if that is not known.
	Trusts []string `json:"trusts"`
	// Serial, Root and NotAfter describe the workload certificate that it acknowledged last; Root is the
	// CA that signed it, "" if that is not known.
	Serial   string    `json:"serial"`
	Root     string    `json:"root"`
	NotAfter time.Time `json:"notAfter"`
	// At is when it last acknowledged a bundle or a certificate.
	At time.Time `json:"at"`
}

// Secret is what the leader wrote, or last saw, in the Secret of a ServiceAccount: the client certificate
// of its proxies, or the serving certificate of the injectors. The kubelet delivers it to the pods within
// about two minutes after Since.
type Secret struct {
	// Account is namespace/name of the ServiceAccount.
	Account string `json:"account"`
	// Trusts are the CAs in the bundle.
	Trusts []string `json:"trusts"`
	// Signer is the CA that signed the certificate, "" if that CA is not trusted.
	Signer string `json:"signer"`
	Serial string `json:"serial"`
	// Since is when the Secret got a bundle of these CAs and a certificate of this signer, at the latest; a
	// renewal by the same signer does not count. Zero means that it needs no time to reach the pods.
	Since time.Time `json:"since"`
}

// Webhook is a webhook configuration, as the API server holds it.
type Webhook struct {
	Name string `json:"name"`
	// Trusts are the CAs in its caBundle.
	Trusts []string  `json:"trusts"`
	At     time.Time `json:"at"`
	// Error says why it could not be read.
	Error string `json:"error,omitempty"`
}

// disconnected are the pods of the mesh whose proxy is not connected to any replica, sorted.
func (e Evidence) disconnected() []string {
	connected := map[string]bool{}
	for _, r := range e.Replicas {
		for _, p := range r.Proxies {
			connected[p.Pod] = true
		}
	}
	var lost []string
	for _, r := range e.Replicas {
		for _, pod := range r.Unknown {
			if !connected[pod] {
				lost = append(lost, pod)
			}
		}
	}
	slices.Sort(lost)
	return slices.Compact(lost)
}
