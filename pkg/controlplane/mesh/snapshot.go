package mesh

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// Settings are what the mesh's operator chose. The zero value denies: no permissive mode, no egress.
type Settings struct {
	TrustDomain identity.TrustDomain
	// Permissive lets every workload reach every service of the mesh.
	Permissive bool
	// Egress lets workloads reach destinations outside the mesh.
	Egress bool
	// DNS is where the cluster's DNS answers over TCP, if it has to be let through: without egress. Every workload
	// may reach it, since DNS over UDP does not go through the proxy at all. Invalid if there is none.
	DNS netip.AddrPort
	// AppOnPodIP makes proxies hand traffic to the application at the pod's address instead of 127.0.0.1.
	AppOnPodIP bool
	// Limits bound what peers can make proxies keep.
	Limits Limits
}

// Endpoint is one address that serves a service port and takes new connections.
type Endpoint struct {
	Address netip.AddrPort
	// Meshed reports whether a proxy stands before it, so that it speaks mTLS.
	Meshed bool
}

// ServicePort is a port of a Service and what serves it.
type ServicePort struct {
	Number   uint16
	Protocol Protocol
	// Endpoints are sorted by address.
	Endpoints []Endpoint
	// Identities are the distinct identities of the meshed workloads behind the port, ready or not, sorted.
	Identities []identity.Identity
	// Pods are, for a headless service only, where meshed workloads listen behind their proxies, ready
	// or not, sorted: clients dial them themselves.
	Pods []netip.AddrPort
}

// Service is a Kubernetes Service in a namespace of the mesh.
type Service struct {
	Name ServiceName
	// Addresses are its cluster IPs, sorted; none for a headless service.
	Addresses []netip.Addr
	// External is where clients reach its ports besides: at external addresses and those of load balancers, sorted.
	External []netip.AddrPort
	// Ports are its TCP ports, sorted by number.
	Ports []ServicePort
	// Sticky sends all connections and requests of one client pod to the same endpoint of a port, as long as the
	// endpoints stay the same. It means nothing for a headless service.
	Sticky bool
}

// Headless reports whether clients dial the service's pods and not an address of its own.
func (s *Service) Headless() bool { return len(s.Addresses) == 0 }

// InboundPort is a port on which a workload serves some Service.
type InboundPort struct {
	Number   uint16
	Protocol Protocol
}

// Workload is an injected pod.
type Workload struct {
	Name     PodName
	Identity identity.Identity
	// Addresses are the pod's IPs, sorted; none before the kubelet reported them.
	Addresses []netip.Addr
	// Inbound are the ports that Services lead to, sorted by number.
	Inbound []InboundPort
	// Unproxied are inbound ports that bypass the pod's proxy, sorted.
	Unproxied []uint16
}

// Class groups workloads that get the same configuration: same identity, same inbound ports.
type Class string

// Class returns the workload's class.
func (w *Workload) Class() Class {
	var b strings.Builder
	b.WriteString(w.Identity.String())
	for _, p := range w.Inbound {
		b.WriteString("|" + strconv.Itoa(int(p.Number)) + p.Protocol.String())
	}
	return Class(b.String())
}

// Snapshot is one state of the mesh. Use New to make one; do not change what it holds.
type Snapshot struct {
	settings  Settings
	services  []*Service
	workloads []*Workload
	rules     []*Rule
}

// New takes ownership of its arguments, sorts them where they are not sorted, and returns the snapshot.
func New(settings Settings, services []*Service, workloads []*Workload, rules ...*Rule) *Snapshot {
	ensureSorted(services, func(a, b *Service) int { return a.Name.Compare(b.Name) })
	ensureSorted(workloads, func(a, b *Workload) int { return a.Name.Compare(b.Name) })
	ensureSorted(rules, (*Rule).Compare)
	return &Snapshot{settings: settings, services: services, workloads: workloads, rules: rules}
}

// ensureSorted does not write to a list that is sorted already: an older Snapshot may share it.
func ensureSorted[T any](list []*T, compare func(a, b *T) int) {
	if !slices.IsSortedFunc(list, compare) {
		slices.SortFunc(list, compare)
	}
}

// Settings of the mesh.
func (s *Snapshot) Settings() Settings { return s.settings }

// Services of the mesh, sorted by name. Not to be changed.
func (s *Snapshot) Services() []*Service { return s.services }

// Workloads of the mesh, sorted by name. Not to be changed.
func (s *Snapshot) Workloads() []*Workload { return s.workloads }

// Rules of the mesh, sorted. Not to be changed.
func (s *Snapshot) Rules() []*Rule { return s.rules }

// SameWorkloads reports whether both snapshots share one list of workloads, which they do when ingest
// saw none of them change.
func (s *Snapshot) SameWorkloads(o *Snapshot) bool { return sameList(s.workloads, o.workloads) }

// SameRules reports the same of the rules.
func (s *Snapshot) SameRules(o *Snapshot) bool { return sameList(s.rules, o.rules) }

func sameList[T any](a, b []*T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// Find returns the index of that pod's workload in Workloads; ok is false when the pod is not in the mesh.
func (s *Snapshot) Find(pod PodName) (i int, ok bool) {
	return slices.BinarySearchFunc(s.workloads, pod, func(w *Workload, name PodName) int { return w.Name.Compare(name) })
}

// Workload returns the workload of that pod, nil when the pod is not in the mesh.
func (s *Snapshot) Workload(pod PodName) *Workload {
	if i, ok := s.Find(pod); ok {
		return s.workloads[i]
	}
	return nil
}
