package rotation

import (
	"slices"
	"time"
)

// Evidence is what everybody who takes part in the mesh's TLS has, collected after the roots were
// read. It need not be of one moment: each Replica must be one moment of that replica.
type Evidence struct {
	// Now is the time of the collection.
	Now time.Time `json:"now"`
	// Replicas are all replicas of the control plane that exist, whether they answered or not.
	Replicas []Replica `json:"replicas"`
	// Webhooks are the webhook configurations of the mesh.
	Webhooks []Webhook `json:"webhooks"`
}

// Component is a kind of replica.
type Component string

// The components.
const (
	Controller Component = "osm-controller"
	Injector   Component = "osm-injector"
)

// Replica is what one replica of the control plane reports of itself and of its proxies.
type Replica struct {
	Name      string    `json:"name"`
	Component Component `json:"component"`
	// At is when it reported.
	At time.Time `json:"at"`
	// Error says why there is no report; nothing but Name and Component counts then.
	Error string `json:"error,omitempty"`
	// Roots are those that it acts on, with the roles that it knows. An Injector holds none.
	Roots []Loaded `json:"roots"`
	// Signer is the CA of what it signs; an Injector signs nothing. Serving is the CA of its own serving
	// certificate.
	Signer  string `json:"signer"`
	Serving string `json:"serving"`
	// Proxies are those connected to it.
	Proxies []Proxy `json:"proxies,omitempty"`
	// Unknown are pods of the mesh, namespace/name, whose proxy is not connected to it.
	Unknown []string `json:"unknown,omitempty"`
	// Leads says that it holds the Lease; Secrets is what it wrote for the ServiceAccounts, those of the
	// proxies and the injectors'.
	Leads   bool     `json:"leads,omitempty"`
	Secrets []Secret `json:"secrets,omitempty"`
}

// Loaded is a root that a replica acts on.
type Loaded struct {
	Name        string `json:"name"`
	Role        Role   `json:"role"`
	Fingerprint string `json:"fingerprint"`
}

// Proxy is what one connected proxy has acknowledged.
type Proxy struct {
	// Pod is namespace/name; Identity is namespace/name of its ServiceAccount.
	Pod      string `json:"pod"`
	Identity string `json:"identity"`
	// Trusts are the CAs of the bundle that it acknowledged last.
	Trusts []string `json:"trusts"`
	// Serial, Root and NotAfter are of the workload certificate that it acknowledged last; Root is
	// the CA that signed it.
	Serial   string    `json:"serial"`
	Root     string    `json:"root"`
	NotAfter time.Time `json:"notAfter"`
	// At is when it last acknowledged one of the two.
	At time.Time `json:"at"`
}

// Secret is what a ServiceAccount's proxies read their own client certificate from, or injectors their
// serving certificate.
type Secret struct {
	// Account is namespace/name of the ServiceAccount.
	Account string   `json:"account"`
	Trusts  []string `json:"trusts"`
	Signer  string   `json:"signer"`
	Serial  string   `json:"serial"`
	// Since is when it got a bundle of these CAs and a certificate of this signer; a renewal by the
	// same signer does not count. Zero means that it needs no time to arrive.
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

// Line is one proxy of a Report.
type Line struct {
	Pod      string    `json:"pod"`
	Identity string    `json:"identity"`
	Replica  string    `json:"replica,omitempty"`
	Serial   string    `json:"serial,omitempty"`
	NotAfter time.Time `json:"notAfter,omitzero"`
	// Root is the name of the root that signed the certificate, Trusts are those that the proxy
	// trusts. A CA that is none of the roots shows by its fingerprint.
	Root   string    `json:"root,omitempty"`
	Trusts []string  `json:"trusts,omitempty"`
	At     time.Time `json:"at,omitzero"`
}

// Report lists every proxy with its certificate, and when it acknowledged it, sorted by pod. A pod
// without a connected proxy has a line with its name alone.
func Report(roots []Root, evidence Evidence) []Line {
	var lines []Line
	for _, r := range evidence.Replicas {
		for _, p := range r.Proxies {
			line := Line{Pod: p.Pod, Identity: p.Identity, Replica: r.Name, Serial: p.Serial, NotAfter: p.NotAfter, Root: nameOf(roots, p.Root), At: p.At}
			for _, ca := range p.Trusts {
				line.Trusts = append(line.Trusts, nameOf(roots, ca))
			}
			slices.Sort(line.Trusts)
			lines = append(lines, line)
		}
	}
	for _, pod := range evidence.lost() {
		lines = append(lines, Line{Pod: pod})
	}
	slices.SortFunc(lines, func(a, b Line) int { return compareStrings(a.Pod, b.Pod, a.Replica, b.Replica) })
	return lines
}

// nameOf is the name of the root with a fingerprint; of several the one in use.
func nameOf(roots []Root, fingerprint string) string {
	for _, r := range append(Trusted(roots), roots...) {
		if r.Fingerprint == fingerprint && fingerprint != "" {
			return r.Name
		}
	}
	return fingerprint
}

// lost are the pods of the mesh whose proxy is connected nowhere, sorted.
func (e Evidence) lost() []string {
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
