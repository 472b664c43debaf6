package ingest

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/api/membership"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// State tracks a mesh's objects. The Set methods only mark what may have changed; Snapshot recomputes
// everything marked since the last call. Not safe for concurrent use.
type State struct {
	meshName string
	domain   identity.TrustDomain
	limits   mesh.Limits
	config   *v1alpha2.MeshConfig
	spaces   map[string]*space

	workloads map[mesh.PodName]*workload
	services  map[mesh.ServiceName]*service
	// podsAt are the workloads whose status lists an address, sorted by name; owner says which one has it.
	podsAt map[netip.Addr][]*workload
	// hosts counts the pods on the node with that address; hostsOf are the addresses of a pod's node.
	hosts   map[netip.Addr]int
	hostsOf map[mesh.PodName][]netip.Addr
	// servicesAt are the services with an endpoint at an address. awaitedBy are the services that name a
	// pod at an address that no workload has.
	servicesAt map[netip.Addr]map[mesh.ServiceName]bool
	awaitedBy  map[mesh.PodName]map[mesh.ServiceName]bool
	// claimsAt are the Services of the cluster that list an address, as their cluster IP or an external one;
	// claimsOf are a Service's.
	claimsAt map[netip.Addr]map[mesh.ServiceName]bool
	claimsOf map[mesh.ServiceName]claims
	// winnersAt caches who has an external address, by port.
	winnersAt map[netip.Addr]map[uint16]claimant
	// apiServer are the API server's addresses, sorted.
	apiServer []netip.AddrPort

	// What Snapshot has to recompute.
	configChanged    bool
	changedPods      map[mesh.PodName]bool
	changedServices  map[mesh.ServiceName]bool
	changedWorkloads map[mesh.PodName]bool // those whose inbound ports may have changed

	problems problemSet
	last     *mesh.Snapshot
}

// space is a namespace and its objects. Objects outside the mesh are kept too, since a namespace may join.
type space struct {
	member   bool
	pods     map[string]*corev1.Pod
	services map[string]*corev1.Service
	slices   map[string]*discoveryv1.EndpointSlice
	// slicesOf holds the slices of each service, by service name and slice name.
	slicesOf map[string]map[string]*discoveryv1.EndpointSlice
}

// NewState returns the State of a mesh without objects.
func NewState(meshName string, domain identity.TrustDomain) *State {
	return &State{
		meshName: meshName, domain: domain, configChanged: true,
		spaces:           map[string]*space{},
		workloads:        map[mesh.PodName]*workload{},
		services:         map[mesh.ServiceName]*service{},
		podsAt:           map[netip.Addr][]*workload{},
		hosts:            map[netip.Addr]int{},
		hostsOf:          map[mesh.PodName][]netip.Addr{},
		servicesAt:       map[netip.Addr]map[mesh.ServiceName]bool{},
		awaitedBy:        map[mesh.PodName]map[mesh.ServiceName]bool{},
		claimsAt:         map[netip.Addr]map[mesh.ServiceName]bool{},
		claimsOf:         map[mesh.ServiceName]claims{},
		winnersAt:        map[netip.Addr]map[uint16]claimant{},
		changedPods:      map[mesh.PodName]bool{},
		changedServices:  map[mesh.ServiceName]bool{},
		changedWorkloads: map[mesh.PodName]bool{},
		problems:         problemSet{by: map[string][]Problem{}},
	}
}

// SetMeshConfig sets the mesh's configuration; nil means that there is none.
func (s *State) SetMeshConfig(config *v1alpha2.MeshConfig) {
	s.config, s.configChanged = config, true
}

// SetLimits sets the limits of the mesh's proxies.
func (s *State) SetLimits(limits mesh.Limits) {
	s.limits, s.configChanged = limits, true
}

// SetNamespace sets the current state of a namespace; nil means that it was deleted.
func (s *State) SetNamespace(name string, ns *corev1.Namespace) {
	member := ns != nil && membership.Member(ns.Labels, s.meshName)
	in := s.space(name)
	if in.member != member {
		in.member = member
		for pod := range in.pods {
			s.changedPods[mesh.PodName{Namespace: name, Name: pod}] = true
		}
		for service := range in.services {
			s.changedServices[mesh.ServiceName{Namespace: name, Name: service}] = true
		}
	}
	s.tidy(name)
}

// SetPod sets the current state of a pod; nil means that it was deleted.
func (s *State) SetPod(namespace, name string, pod *corev1.Pod) {
	set(s.space(namespace).pods, name, pod)
	s.changedPods[mesh.PodName{Namespace: namespace, Name: name}] = true
	s.tidy(namespace)
}

// SetService sets the current state of a Service; nil means that it was deleted.
func (s *State) SetService(namespace, name string, service *corev1.Service) {
	set(s.space(namespace).services, name, service)
	s.changedServices[mesh.ServiceName{Namespace: namespace, Name: name}] = true
	s.tidy(namespace)
}

// SetEndpointSlice sets the current state of a slice; nil means that it was deleted.
func (s *State) SetEndpointSlice(namespace, name string, slice *discoveryv1.EndpointSlice) {
	in := s.space(namespace)
	if before := in.slices[name]; before != nil {
		s.assign(namespace, before.Labels[discoveryv1.LabelServiceName], name, nil)
	}
	set(in.slices, name, slice)
	if slice != nil {
		s.assign(namespace, slice.Labels[discoveryv1.LabelServiceName], name, slice)
	}
	s.tidy(namespace)
}

// assign adds a slice to its service, or removes it if slice is nil.
func (s *State) assign(namespace, service, name string, slice *discoveryv1.EndpointSlice) {
	if service == "" {
		return
	}
	of := s.space(namespace).slicesOf
	if of[service] == nil {
		of[service] = map[string]*discoveryv1.EndpointSlice{}
	}
	set(of[service], name, slice)
	if len(of[service]) == 0 {
		delete(of, service)
	}
	s.changedServices[mesh.ServiceName{Namespace: namespace, Name: service}] = true
}

func set[T any](in map[string]*T, name string, object *T) {
	if object == nil {
		delete(in, name)
	} else {
		in[name] = object
	}
}

func (s *State) space(name string) *space {
	in := s.spaces[name]
	if in == nil {
		in = &space{
			pods: map[string]*corev1.Pod{}, services: map[string]*corev1.Service{},
			slices: map[string]*discoveryv1.EndpointSlice{}, slicesOf: map[string]map[string]*discoveryv1.EndpointSlice{},
		}
		s.spaces[name] = in
	}
	return in
}

// tidy forgets a namespace of which nothing is left.
func (s *State) tidy(name string) {
	if in := s.spaces[name]; !in.member && len(in.pods)+len(in.services)+len(in.slices) == 0 {
		delete(s.spaces, name)
	}
}

// Snapshot returns the mesh that the current objects describe, and their problems, sorted. If nothing
// changed, it returns the same snapshot; parts that did not change keep their pointers.
func (s *State) Snapshot() (*mesh.Snapshot, []Problem) {
	settings, services, workloads := mesh.Settings{}, []*mesh.Service(nil), []*mesh.Workload(nil)
	if s.last != nil {
		settings, services, workloads = s.last.Settings(), s.last.Services(), s.last.Workloads()
	}
	changed := s.last == nil
	if s.configChanged || s.changedServices[dnsName()] {
		before := settings
		settings = s.settings()
		changed = changed || settings != before
		s.configChanged = false
	}
	for name := range s.changedPods {
		s.updatePod(name)
	}
	s.updateAPIServer()
	s.updateClaims()
	newServices := map[mesh.ServiceName]*mesh.Service{}
	for name := range s.changedServices {
		s.updateService(name, newServices)
	}
	newWorkloads := map[mesh.PodName]*mesh.Workload{}
	for name := range s.changedWorkloads {
		s.updateWorkload(name, newWorkloads)
	}
	clear(s.changedPods)
	clear(s.changedServices)
	clear(s.changedWorkloads)
	if changed || len(newServices)+len(newWorkloads) > 0 {
		services = patch(services, newServices, func(s *mesh.Service) mesh.ServiceName { return s.Name })
		workloads = patch(workloads, newWorkloads, func(w *mesh.Workload) mesh.PodName { return w.Name })
		s.last = mesh.New(settings, services, workloads)
	}
	return s.last, s.problems.sorted()
}

// patch returns a sorted copy of list with the changes applied by name; a nil change deletes the item.
func patch[N interface {
	comparable
	Compare(N) int
}, T any](list []*T, changes map[N]*T, name func(*T) N) []*T {
	if len(changes) == 0 {
		return list
	}
	patched := make([]*T, 0, len(list)+len(changes))
	for _, item := range list {
		if _, changed := changes[name(item)]; !changed {
			patched = append(patched, item)
		}
	}
	kept := len(patched)
	for _, item := range changes {
		if item != nil {
			patched = append(patched, item)
		}
	}
	if len(patched) > kept {
		slices.SortFunc(patched, func(a, b *T) int { return name(a).Compare(name(b)) })
	}
	return patched
}

func (s *State) settings() mesh.Settings {
	settings := mesh.Settings{TrustDomain: s.domain, Limits: s.limits}
	if s.config == nil {
		s.problems.set("MeshConfig", problemOf("MeshConfig", "", api.MeshConfigName,
			"does not exist: the mesh refuses every connection until it does; run `osm upgrade` to restore it"))
		return settings
	}
	s.problems.set("MeshConfig")
	settings.Permissive = s.config.Spec.Traffic.EnablePermissiveTrafficPolicyMode
	settings.Egress = s.config.Spec.Traffic.EnableEgress
	if !settings.Egress {
		settings.DNS = s.clusterDNS()
	}
	settings.AppOnPodIP = s.config.Spec.Sidecar.LocalProxyMode == v1alpha2.LocalProxyModePodIP
	return settings
}

// problemSet holds the problems of each part of the mesh, and caches their sorted list until one changes.
type problemSet struct {
	by   map[string][]Problem
	list []Problem
}

func (p *problemSet) set(part string, problems ...Problem) {
	if slices.Equal(p.by[part], problems) {
		return
	}
	if p.list = nil; len(problems) == 0 {
		delete(p.by, part)
	} else {
		p.by[part] = problems
	}
}

func (p *problemSet) sorted() []Problem {
	if p.list == nil {
		p.list = []Problem{}
		for _, problems := range p.by {
			p.list = append(p.list, problems...)
		}
		slices.SortFunc(p.list, func(a, b Problem) int { return strings.Compare(a.String(), b.String()) })
		p.list = slices.Compact(p.list)
	}
	return p.list
}
